"""The catalogue names every model that the public SDK does, by the same member."""

from __future__ import annotations

import json
import subprocess
from typing import Final

import pytest

from og_mcp.catalogue import MODELS

LISTING: Final = (
    "import json, opengradient; print(json.dumps({m.name: m.value for m in opengradient.TEE_LLM}))"
)

pytestmark = pytest.mark.slow


def test_the_gateways_models_are_those_of_the_public_sdk(sdk_python: str) -> None:
    listed = subprocess.run(  # noqa: S603 - the SDK's Python with a line of ours
        [sdk_python, "-c", LISTING], stdout=subprocess.PIPE, check=True, timeout=120
    )
    ours = {entry.member: entry.id for entry in MODELS if entry.generation == "gateway"}

    assert json.loads(listed.stdout) == ours
