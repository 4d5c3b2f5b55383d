"""Tool upload: a full result, who is asked first, and what the model reads when it is refused."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import uuid4

import pytest
from mcp import Client

from og_mcp.client import Session
from og_mcp.client.files.model_file import FORMATS
from og_mcp.journal import open_journal
from og_mcp.server import build_server
from og_mcp.settings import Settings
from og_mcp.tools._progress import EVERY_S
from tests import onnx_files
from tests.client.secret_texts import SECRETS
from tests.localnet_client import LocalNetwork
from tests.tools.calls import answer, refusal
from tests.tools.person import Person

both_eras = pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])


@pytest.fixture
def environ(localnet: LocalNetwork, tmp_path: Path) -> dict[str, str]:
    localnet.reset_counters("hub")
    return {**localnet.environ, "OG_UPLOAD_ROOTS": str(tmp_path)}


@pytest.fixture
async def mcp(environ: dict[str, str]) -> AsyncIterator[Client]:
    async with Client(build_server(Session.from_env(environ))) as client:
        yield client


@pytest.fixture
async def name(environ: dict[str, str]) -> str:
    """A repository with the empty version 0.01."""
    async with Session.from_env(environ) as og:
        return (await og.create_model(f"model-{uuid4().hex}", "")).model_name


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "doubling.onnx"
    path.write_bytes(onnx_files.small())
    return path


def rewrite(path: Path) -> None:
    """Give a file another content."""
    path.write_bytes(onnx_files.small("another"))


def uploads(localnet: LocalNetwork) -> int:
    calls = localnet.counters("hub")["calls"]
    return sum(n for call, n in calls.items() if call.endswith("/files") and " POST " in call)


async def test_a_file_is_published_and_can_be_run(mcp: Client, name: str, path: Path) -> None:
    result = await answer(mcp, "upload", model_path=str(path), model_name=name, version="0.01")
    listed = await answer(mcp, "list_files", model_name=name, version="0.01")
    ran = await answer(mcp, "infer", model_cid=result["model_cid"], model_input={"x": [[1, 2, 3]]})

    (file,) = listed["files"]
    assert len(result.pop("call_id")) == 32
    assert len(result.pop("sha256")) == 64
    assert result == {
        "network": "local",
        "status": "done",
        "model_cid": file["model_cid"],
        "size": len(onnx_files.small()),
        "model_name": name,
        "version": "0.01",
        "file_name": "doubling.onnx",
        "format": "onnx",
        "checked_by": "onnx",
        "inputs": [{"name": "x", "dtype": "float", "shape": [1, 3]}],
        "outputs": [{"name": "y", "dtype": "float", "shape": [1, 3]}],
    }
    assert ran["model_output"] == {"y": [[2.0, 4.0, 6.0]]}


async def test_a_pickle_is_named_as_such(mcp: Client, name: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(b"\x80\x02}q\x00." * 9)

    result = await answer(mcp, "upload", model_path=str(path), model_name=name, version="0.01")

    assert result["format"] == "pickle"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("/etc/passwd", "not an ending of a model file"),
        ("/etc/model.onnx", "outside the folders that tools may read from"),
        ("../model.onnx", "contains '..'"),
        (".hidden.onnx", "it is hidden"),
        ("nothing.onnx", "there is no such file"),
        ("id_rsa.txt", "looks like a key or a secret"),
        ("key.onnx", "not an ONNX model"),
        ("key.txt", "holds a private key (PEM)"),
    ],
)
async def test_t26_what_may_not_be_published_is_told_and_is_not_there(
    mcp: Client, name: str, tmp_path: Path, file: str, told: str
) -> None:
    for each in (".hidden.onnx", "id_rsa.txt", "key.onnx", "key.txt"):
        (tmp_path / each).write_text(SECRETS["pem"], encoding="utf-8")

    text = await refusal(mcp, "upload", model_path=file, model_name=name, version="0.01")

    assert told in text
    assert (await answer(mcp, "list_files", model_name=name, version="0.01"))["files"] == []


@pytest.mark.sweep(quick=1)
@pytest.mark.parametrize("spelling", [str, str.upper, lambda key: key.removeprefix("0x")])
async def test_t26_og_mcp_s_own_keys_are_not_published_whatever_they_stand_in(
    mcp: Client, name: str, localnet: LocalNetwork, tmp_path: Path, spelling: Callable[[str], str]
) -> None:
    key = spelling(localnet.ready["accounts"][1]["private_key"])
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"wide": ["of no name", key, "x" * 5000]}), encoding="utf-8")

    error = await refusal(mcp, "upload", model_path=str(path), model_name=name, version="0.01")

    assert "a secret of this og-mcp's own" in error
    assert key not in error
    assert (await answer(mcp, "list_files", model_name=name, version="0.01"))["files"] == []


async def test_t26_og_mcp_s_own_files_are_not_published_whatever_their_names(
    environ: dict[str, str], localnet: LocalNetwork, name: str, tmp_path: Path
) -> None:
    key, data, ready = tmp_path / "notes.txt", tmp_path / "weights", Path(environ["OG_LOCALNET"])
    key.write_text("11" * 32, encoding="utf-8")
    key.chmod(0o600)
    data.mkdir()
    (data / "notes.txt").write_text("a note", encoding="utf-8")
    os.link(key, tmp_path / "other.md")
    own = [key, data / "notes.txt", tmp_path / "other.md", ready]
    roots = os.pathsep.join([str(tmp_path), str(ready.parent)])
    more = {"OG_PRIVATE_KEY_FILE": str(key), "OG_DATA_DIR": str(data), "OG_UPLOAD_ROOTS": roots}
    localnet.reset_counters("hub")
    async with Client(build_server(Session.from_env({**environ, **more}))) as mcp:
        said = [
            await refusal(mcp, "upload", model_path=str(path), model_name=name, version="0.01")
            for path in own
        ]

    assert ready.suffix in FORMATS
    assert all("it belongs to og-mcp's own data or keys" in text for text in said), said
    assert uploads(localnet) == 0


@pytest.mark.slow
@both_eras
async def test_t23_a_person_is_asked_with_the_file_s_size_and_hash(
    environ: dict[str, str], name: str, path: Path, mode: str
) -> None:
    person = Person()
    async with Client(
        build_server(Session.from_env(environ)), mode=mode, elicitation_callback=person
    ) as mcp:
        result = await answer(mcp, "upload", model_path=str(path), model_name=name, version="0.01")

    (question,) = person.heard
    assert question == (
        f"May og-mcp publish the file '{path}' ({len(onnx_files.small())} bytes, SHA-256 "
        f"{result['sha256']}) as version '0.01' of model '{name}'? This cannot be undone. "
        f"Network local. Call {result['call_id']}."
    )


@pytest.mark.slow
@both_eras
async def test_a_person_who_does_not_agree_is_obeyed(
    environ: dict[str, str], localnet: LocalNetwork, name: str, path: Path, mode: str
) -> None:
    person = Person("decline")
    async with Client(
        build_server(Session.from_env(environ)), mode=mode, elicitation_callback=person
    ) as mcp:
        text = await refusal(mcp, "upload", model_path=str(path), model_name=name, version="0.01")

    assert "A person declined this request (call " in text
    assert uploads(localnet) == 0


async def test_t22_a_program_that_answers_is_no_person_and_the_command_is_named(
    environ: dict[str, str], localnet: LocalNetwork, name: str, path: Path
) -> None:
    program = Person(after_s=0)
    request = {"model_path": str(path), "model_name": name, "version": "0.01"}
    async with Client(build_server(Session.from_env(environ)), elicitation_callback=program) as mcp:
        text = await refusal(mcp, "upload", **request)
        (call,) = (await answer(mcp, "list_calls", tool="upload"))["calls"]
        async with open_journal(Settings.from_env(environ)) as journal:
            asked = await journal.approval(call["call_id"])
            await journal.approve(call["call_id"])
        result = await answer(mcp, "upload", **request)

    assert f"og-mcp calls approve {call['call_id']}`" in text
    assert "which cannot be undone" in text
    assert asked.what.startswith("publish the file ")
    assert (asked.cap_wei, asked.cap_opg) == (0, 0)
    assert result["call_id"] == call["call_id"]
    assert uploads(localnet) == 1


async def test_what_was_agreed_to_is_this_content_alone(
    environ: dict[str, str], localnet: LocalNetwork, name: str, path: Path
) -> None:
    request = {"model_path": str(path), "model_name": name, "version": "0.01"}
    async with Client(
        build_server(Session.from_env(environ)), elicitation_callback=Person(after_s=0)
    ) as mcp:
        await refusal(mcp, "upload", **request)
        (call,) = (await answer(mcp, "list_calls", tool="upload"))["calls"]
        async with open_journal(Settings.from_env(environ)) as journal:
            await journal.approve(call["call_id"])
        rewrite(path)
        await refusal(mcp, "upload", **request)

    assert uploads(localnet) == 0


@pytest.mark.slow
async def test_a_long_upload_tells_its_progress_in_bytes(
    environ: dict[str, str], localnet: LocalNetwork, name: str, tmp_path: Path
) -> None:
    path, size = tmp_path / "weights.safetensors", 3 * 2**20
    path.write_bytes(os.urandom(size))
    heard: list[tuple[float, float | None, str | None]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total, message))

    localnet.fault("hub POST */files", "delay", service="hub", when="after", delay_s=2.5 * EVERY_S)
    async with Client(build_server(Session.from_env(environ))) as mcp:
        arguments = {"model_path": str(path), "model_name": name, "version": "0.01"}
        result = await mcp.call_tool("upload", arguments, progress_callback=hear)

    assert not result.is_error
    assert [int(progress) for progress, _, _ in heard] == [size, size]
    assert {total for _, total, _ in heard} == {size}
    assert all(str(message).startswith(f"{size} bytes") for _, _, message in heard)
