"""The public SDK's `ModelHub` and our client see the same repositories on the local hub."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

from og_mcp.client import Session
from tests import onnx_files
from tests.localnet_client import LocalNetwork

SCRIPT: Final = Path(__file__).with_name("public_sdk_hub.py")

pytestmark = pytest.mark.slow


def ask(python: str, localnet: LocalNetwork, *calls: list[Any]) -> list[Any]:
    """Make calls of the SDK's ModelHub, in a process of its own."""
    done = subprocess.run(  # noqa: S603 - the SDK's Python with a script of ours
        [python, str(SCRIPT)],
        input=json.dumps({"ready": localnet.ready, "calls": calls}),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
        timeout=120,
    )
    answers: list[Any] = json.loads(done.stdout)
    return answers


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "doubling.onnx"
    path.write_bytes(onnx_files.small())
    return path


async def test_each_sees_what_the_other_has_published(
    sdk_python: str, localnet: LocalNetwork, path: Path
) -> None:
    theirs, ours = f"sdk-{uuid4().hex}", f"og-mcp-{uuid4().hex}"
    environ = {**localnet.environ, "OG_UPLOAD_ROOTS": str(path.parent)}
    async with Session.from_env(environ) as og:
        mine = await og.create_model(ours, "By og-mcp.", str(path))
        created, version, uploaded, listed, of_ours, unknown = ask(
            sdk_python,
            localnet,
            ["create_model", theirs, "By the SDK."],
            ["create_version", theirs, "second"],
            ["upload", str(path), theirs, "0.02"],
            ["list_files", theirs, "0.02"],
            ["list_files", ours, "0.01"],
            ["list_files", theirs, "9.99"],
        )
        shown = await og.get_model(theirs)
        files = await og.list_files(theirs, "0.02")
        again = await og.upload(str(path), theirs, "0.02")
        result = await og.infer(uploaded["modelCid"], {"x": [[1.0, 2.0, 3.0]]})

    assert created == {"name": theirs, "initialVersion": "0.01"}
    assert version == {"versionString": "0.02"}
    assert uploaded == {"modelCid": mine.upload["model_cid"], "size": path.stat().st_size}  # noqa: ASYNC240 - a small file
    assert [file["name"] for file in listed] == [file.name for file in files.files]
    assert [file["ipfsCid"] for file in of_ours] == [mine.upload["model_cid"]]
    assert "404" in unknown["error"]
    assert shown.description == "By the SDK."
    assert [v.version for v in shown.versions] == ["0.01", "0.02"]
    assert again.already_there
    assert result.model_output == {"y": [[2.0, 4.0, 6.0]]}
