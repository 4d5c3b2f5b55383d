"""The catalogue names the models of the public SDK alike, as far as both have them."""

from __future__ import annotations

import json
import subprocess
from typing import Final

import pytest

from og_mcp.catalogue import find

LISTING: Final = (
    "import json, opengradient; print(json.dumps({m.name: m.value for m in opengradient.TEE_LLM}))"
)

pytestmark = pytest.mark.slow


def test_the_public_sdk_s_members_lead_to_its_models(sdk_python: str) -> None:
    listed = subprocess.run(  # noqa: S603 - the SDK's Python with a line of ours
        [sdk_python, "-c", LISTING], stdout=subprocess.PIPE, check=True, timeout=120
    )
    theirs: dict[str, str] = json.loads(listed.stdout)
    ours = {member: entry.id for member in theirs if (entry := find(member, "gateway"))}

    # What only one of the two has is of no account: both learn models at their own pace.
    assert len(ours) >= 40
    assert ours == {member: theirs[member] for member in ours}
