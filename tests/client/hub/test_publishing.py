"""Publishing through a session: what is done, what is not, and what is said when a step fails."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest

from og_mcp.client import Session, Timeouts
from og_mcp.client.session.interrupted import BROKEN_OFF, VERSION_IN_DOUBT
from og_mcp.client.session.publication import UNANSWERED
from og_mcp.client.session.runner import CANCELLED
from og_mcp.errors import (
    ApprovalRequiredError,
    CallFailedError,
    InputError,
    ModelNotFoundError,
    NameTakenError,
    PublishingStoppedError,
    ServiceRejectedError,
    ServiceReplyError,
    UnfitFileError,
    UploadFailedError,
)
from og_mcp.settings import Settings
from og_mcp.types import Stage
from tests import onnx_files, server_process
from tests.client.secret_texts import SECRETS
from tests.localnet_client import LocalNetwork

FILES = "hub POST */files"
SIZE = 3 * 2**20 + 17


class Tally:
    """Progress that a test looks at."""

    def __init__(self) -> None:
        self.count = 0
        self.total: int | None = None

    async def counts(self) -> bool:
        """Whether anything was sent."""
        return self.count > 0


@pytest.fixture
def environ(localnet: LocalNetwork, tmp_path: Path) -> dict[str, str]:
    localnet.reset_counters("hub")
    localnet.reset_counters("auth")
    return {**localnet.environ, "OG_UPLOAD_ROOTS": str(tmp_path)}


@pytest.fixture
async def og(environ: dict[str, str]) -> AsyncIterator[Session]:
    async with Session.from_env(environ) as session:
        yield session


@pytest.fixture
def name() -> str:
    return f"model-{uuid4().hex}"


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "doubling.onnx"
    path.write_bytes(onnx_files.small())
    return str(path)


@pytest.fixture
def weights(tmp_path: Path) -> str:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(os.urandom(SIZE))
    return str(path)


@pytest.fixture
def large(tmp_path: Path) -> str:
    """More than what the connection's buffers take, so that the middle of it is the middle."""
    path = tmp_path / "large.safetensors"
    path.write_bytes(os.urandom(24 * 2**20))
    return str(path)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Look again and again, at most ten seconds."""
    with anyio.fail_after(10):
        while not await holds():  # noqa: ASYNC110 - the other process tells no event
            await anyio.sleep(0.01)


def journal_files(environ: dict[str, str]) -> list[Path]:
    """List what the journal has on disk."""
    return list(Path(environ["OG_DATA_DIR"]).rglob("*.db*"))


def rewrite(path: str) -> None:
    """Give a file another content of the same size."""
    Path(path).write_bytes(os.urandom(SIZE))


def uploads(localnet: LocalNetwork, name: str) -> int:
    """Count the uploads that reached the hub for a model."""
    calls = localnet.counters("hub")["calls"]
    return sum(
        n
        for call, n in calls.items()
        if call.startswith("hub POST") and "/files" in call and name in call
    )


async def files(og: Session, name: str, version: str = "0.01") -> dict[str, int]:
    """Names and sizes of what is published."""
    listed = await og.list_files(name, version)
    return {file.name: file.size for file in listed.files}


async def test_a_model_is_created_with_a_version_and_its_file(
    og: Session, localnet: LocalNetwork, name: str, model: str
) -> None:
    created = await og.create_model(name, "Doubles.", model)
    shown = await og.get_model(name)

    assert (created.status, created.version, created.already_there) == ("done", "0.01", False)
    assert shown.description == "Doubles."
    (file,) = shown.versions[0].files
    assert created.upload["model_cid"] == file.model_cid
    assert created.upload["inputs"] == [{"name": "x", "dtype": "float", "shape": [1, 3]}]
    result = await og.infer(file.model_cid, {"x": [[1.0, 2.0, 3.0]]})
    assert result.model_output == {"y": [[2.0, 4.0, 6.0]]}
    assert localnet.counters("auth")["http_requests"] == 1


async def test_a_model_without_a_file_has_a_version_to_upload_to(og: Session, name: str) -> None:
    created = await og.create_model(name, "")

    assert (created.version, created.upload) == ("0.01", {})
    assert await files(og, name) == {}


async def test_versions_are_counted_up(og: Session, name: str) -> None:
    await og.create_model(name, "")
    minor = await og.create_version(name, "better")
    major = await og.create_version(name, is_major=True)

    assert (minor.version, major.version) == ("0.02", "1.00")
    versions = {v.version: v.notes for v in (await og.get_model(name)).versions}
    assert versions == {"0.01": "", "0.02": "better", "1.00": ""}


async def test_a_version_that_the_hub_does_not_tell_is_looked_up(
    og: Session, localnet: LocalNetwork, name: str
) -> None:
    localnet.fault("hub POST */versions", "result", service="hub", when="after", result=[])

    assert (await og.create_model(name, "")).version == "0.01"


async def test_a_version_of_no_model_or_another_s_is_refused(og: Session) -> None:
    with pytest.raises(ModelNotFoundError):
        await og.create_version(f"nobody-{uuid4().hex}")


async def test_an_upload_is_streamed_counted_and_its_bytes_are_the_file_s(
    og: Session, name: str, weights: str
) -> None:
    await og.create_model(name, "")
    tally = Tally()
    result = await og.upload(weights, name, "0.01", progress=tally)

    assert (tally.count, tally.total) == (SIZE, SIZE)
    assert (result.size, result.format, result.checked_by) == (SIZE, "safetensors", "")
    assert await files(og, name) == {"weights.safetensors": SIZE}
    call = await og.get_call(result.call_id)
    assert (call.tool, call.status, call.stage, call.fee_wei) == ("upload", "done", "confirmed", 0)
    assert call.result == result.model_dump(mode="json")


async def test_the_same_file_to_the_same_version_is_sent_once(
    og: Session, localnet: LocalNetwork, name: str, weights: str
) -> None:
    await og.create_model(name, "")
    first = await og.upload(weights, name, "0.01")
    again = await og.upload(weights, name, "v0.01")
    await og.create_version(name)
    other = await og.upload(weights, name, "0.02")

    assert (first.already_there, again.already_there, other.already_there) == (False, True, False)
    assert again.model_cid == first.model_cid == other.model_cid
    assert again.sha256 == first.sha256
    assert again.call_id != first.call_id
    assert uploads(localnet, name) == 2


HELLO = "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"
EMPTY = "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH"


@pytest.mark.parametrize("cid", [HELLO, EMPTY], ids=["this very file", "another one"])
async def test_a_file_that_somebody_else_published_is_known_by_its_id_on_ipfs(
    og: Session, localnet: LocalNetwork, name: str, tmp_path: Path, cid: str
) -> None:
    await og.create_model(name, "")
    path = tmp_path / "hello.txt"
    path.write_bytes(b"hello world\n")
    listed = [{"name": "hello.txt", "size": 12, "ipfsCid": cid}]
    localnet.fault("hub GET */files", "result", service="hub", result=listed)
    result = await og.upload(str(path), name, "0.01")

    assert result.already_there is (cid == HELLO)
    assert (result.model_cid == HELLO) is (cid == HELLO)
    assert uploads(localnet, name) == (0 if cid == HELLO else 1)


async def test_another_content_of_the_same_name_is_sent(
    og: Session, localnet: LocalNetwork, name: str, weights: str
) -> None:
    await og.create_model(name, "")
    first = await og.upload(weights, name, "0.01")
    rewrite(weights)
    second = await og.upload(weights, name, "0.01")

    assert second.model_cid != first.model_cid
    assert uploads(localnet, name) == 2


async def test_uploads_of_one_file_at_once_are_one(
    og: Session, localnet: LocalNetwork, name: str, weights: str
) -> None:
    await og.create_model(name, "")
    call_ids: list[str] = []

    async def one() -> None:
        call_ids.append((await og.upload(weights, name, "0.01")).call_id)

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(one)

    assert len(set(call_ids)) == 1
    assert uploads(localnet, name) == 1


@pytest.mark.parametrize("body", ["", "null"])
async def test_an_empty_answer_is_resolved_by_the_list(
    og: Session, localnet: LocalNetwork, name: str, weights: str, body: str
) -> None:
    await og.create_model(name, "")
    localnet.fault(FILES, "status", service="hub", when="after", status=201, body=body)
    result = await og.upload(weights, name, "0.01")

    (file,) = (await og.list_files(name, "0.01")).files
    assert result.model_cid == file.model_cid


async def test_an_empty_answer_to_what_was_not_stored_is_an_error(
    og: Session, localnet: LocalNetwork, name: str, weights: str
) -> None:
    await og.create_model(name, "")
    localnet.fault(FILES, "status", service="hub", when="before", status=201, body="")

    with pytest.raises(UploadFailedError, match="names no content id"):
        await og.upload(weights, name, "0.01")


@pytest.mark.parametrize("when", ["before", "midway"])
async def test_a_401_is_answered_with_a_new_token_and_the_whole_file_again(
    og: Session, localnet: LocalNetwork, name: str, weights: str, when: str
) -> None:
    await og.create_model(name, "")
    localnet.fault(
        FILES, "error", service="hub", when=when, after_bytes=2**20, status=401, message="expired"
    )
    result = await og.upload(weights, name, "0.01")

    assert await files(og, name) == {"weights.safetensors": SIZE}
    assert result.size == SIZE
    assert uploads(localnet, name) == 2
    assert localnet.counters("auth")["calls"]["auth POST /v1/token"] == 1


async def test_tokens_that_ended_are_renewed(
    og: Session, localnet: LocalNetwork, name: str, model: str
) -> None:
    await og.create_model(name, "")
    localnet.expire_tokens()
    await og.create_version(name)
    localnet.expire_tokens()

    assert (await og.upload(model, name, "0.02")).status == "done"
    assert localnet.counters("auth")["http_requests"] == 3


@pytest.mark.parametrize("status", [413, 500])
async def test_a_refusal_midway_publishes_nothing_and_is_told(
    og: Session, localnet: LocalNetwork, name: str, weights: str, status: int
) -> None:
    await og.create_model(name, "")
    fault: dict[str, Any] = {"when": "midway", "after_bytes": 2**20, "status": status}
    localnet.fault(FILES, "error", service="hub", **fault, message="no room")

    with pytest.raises(UploadFailedError) as told:
        await og.upload(weights, name, "0.01")

    assert told.value.stage is Stage.NOT_SENT
    assert "The file is not published; the call can be repeated." in str(told.value)
    assert await files(og, name) == {}
    assert (await og.upload(weights, name, "0.01")).status == "done"


async def test_a_500_after_everything_came_is_looked_up(
    og: Session, localnet: LocalNetwork, name: str, weights: str
) -> None:
    await og.create_model(name, "")
    localnet.fault(FILES, "error", service="hub", when="after", status=500)
    stored = await og.upload(weights, name, "0.01")
    localnet.fault(FILES, "error", service="hub", when="before", status=500)
    rewrite(weights)
    with pytest.raises(UploadFailedError) as told:
        await og.upload(weights, name, "0.01")

    assert stored.status == "done"
    assert told.value.stage is Stage.NOT_SENT
    assert "answered 500" in str(told.value)


async def test_a_connection_that_is_cut_midway_publishes_nothing(
    og: Session, localnet: LocalNetwork, name: str, large: str
) -> None:
    await og.create_model(name, "")
    localnet.fault(FILES, "drop", service="hub", when="midway", after_bytes=2**20)

    with pytest.raises(UploadFailedError, match="connection broke") as told:
        await og.upload(large, name, "0.01")
    assert told.value.stage is Stage.NOT_SENT
    assert await files(og, name) == {}
    assert (await og.upload(large, name, "0.01")).already_there is False


async def test_a_connection_that_is_cut_before_the_answer_is_looked_up(
    og: Session, localnet: LocalNetwork, name: str, weights: str
) -> None:
    await og.create_model(name, "")
    localnet.fault(FILES, "drop", service="hub", when="after")
    result = await og.upload(weights, name, "0.01")

    (file,) = (await og.list_files(name, "0.01")).files
    assert result.model_cid == file.model_cid


async def test_what_cannot_be_looked_up_stays_in_doubt(
    og: Session, localnet: LocalNetwork, name: str, weights: str
) -> None:
    await og.create_model(name, "")
    localnet.fault(FILES, "drop", service="hub", when="after")
    localnet.fault("hub GET */files", "error", service="hub", skip=1, status=503)

    with pytest.raises(UploadFailedError) as told:
        await og.upload(weights, name, "0.01")
    assert told.value.stage is Stage.SENT_UNKNOWN
    assert "list_files shows it" in told.value.hint
    assert (await og.upload(weights, name, "0.01")).already_there is True


async def test_an_upload_that_takes_too_long_is_given_up(
    environ: dict[str, str], localnet: LocalNetwork, name: str, large: str
) -> None:
    timeouts = Timeouts(upload_s=0.5)
    async with Session(Settings.from_env(environ), timeouts=timeouts) as og:
        await og.create_model(name, "")
        localnet.fault(FILES, "delay", service="hub", when="midway", delay_s=0.2)
        with pytest.raises(UploadFailedError, match="did not answer within") as told:
            await og.upload(large, name, "0.01")

        assert told.value.stage is Stage.NOT_SENT
        assert await files(og, name) == {}


async def test_a_cancelled_upload_publishes_nothing(
    og: Session, localnet: LocalNetwork, name: str, large: str
) -> None:
    await og.create_model(name, "")
    localnet.fault(FILES, "delay", service="hub", when="midway", after_bytes=2**20, delay_s=0.1)
    tally = Tally()
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: og.upload(large, name, "0.01", progress=tally))
        await until(tally.counts)
        group.cancel_scope.cancel()
    localnet.reset()

    async def ended() -> bool:
        return (await og.list_calls(1, tool="upload")).calls[0].status != "running"

    await until(ended)
    (call,) = (await og.list_calls(1, tool="upload")).calls
    assert (call.status, call.stage) == ("failed", "not_sent")
    assert call.error == "The call was cancelled; nothing was published."
    assert call.error != CANCELLED
    assert await files(og, name) == {}
    assert (await og.upload(large, name, "0.01")).status == "done"


async def test_a_call_that_is_cancelled_does_not_read_its_file_to_the_end(
    og: Session, name: str, tmp_path: Path
) -> None:
    path = tmp_path / "zeros.pt"
    path.touch()
    os.truncate(path, 2**37)

    with anyio.fail_after(20), anyio.move_on_after(0.2) as cancelled:
        # A person is asked about a hash, and this one would take minutes.
        await og.upload(str(path), name, "0.01", ask=True)

    assert cancelled.cancelled_caught


async def test_a_session_that_ends_before_the_answer_leaves_the_upload_in_doubt(
    environ: dict[str, str], og: Session, localnet: LocalNetwork, name: str, weights: str
) -> None:
    localnet.fault(FILES, "delay", service="hub", when="after", delay_s=30)

    async def stored() -> bool:
        return await files(og, name) == {"weights.safetensors": SIZE}

    await og.create_model(name, "")
    async with Session.from_env(environ) as ending:
        running = await ending.upload(weights, name, "0.01", wait_s=0.0)
        await until(stored)
    localnet.reset()
    call = await og.get_call(running.call_id)
    again = await og.upload(weights, name, "0.01")

    assert (call.status, call.stage, call.error) == ("failed", "sent_unknown", UNANSWERED)
    assert again.already_there is True


async def test_a_refusal_of_what_came_whole_is_no_doubt(
    og: Session, localnet: LocalNetwork, name: str, weights: str
) -> None:
    await og.create_model(name, "")
    localnet.fault(FILES, "error", service="hub", when="after", status=401, message="expired")
    localnet.fault("auth POST /v1/token", "error", service="auth", status=503)
    with pytest.raises(UploadFailedError, match="sign-in answered 503") as told:
        await og.upload(weights, name, "0.01")

    assert told.value.stage is Stage.NOT_SENT


async def test_a_slow_upload_is_handed_back_running_and_its_end_is_kept(
    og: Session, localnet: LocalNetwork, name: str, weights: str
) -> None:
    await og.create_model(name, "")
    localnet.fault(FILES, "delay", service="hub", when="midway", delay_s=0.02)
    running = await og.upload(weights, name, "0.01", wait_s=0.0)
    done = await og.get_call(running.call_id, 30)

    assert (running.status, running.model_cid) == ("running", "")
    assert done.status == "done"
    assert done.result["size"] == SIZE


async def test_a_name_that_is_taken_is_continued_with(
    og: Session, localnet: LocalNetwork, name: str, model: str
) -> None:
    localnet.fault(FILES, "error", service="hub", status=413, message="too large")
    with pytest.raises(PublishingStoppedError) as told:
        await og.create_model(name, "Doubles.", model)
    again = await og.create_model(name, "Doubles.", model)
    once_more = await og.create_model(name, "Doubles.", model)

    assert str(told.value).startswith(f"Model '{name}' was created, with version 0.01; the next")
    assert "answered 413: 'too large'" in str(told.value)
    assert "The same call again continues from there." in told.value.hint
    assert (again.already_there, again.version) == (True, "0.01")
    assert again.upload["already_there"] is False
    assert once_more.upload["already_there"] is True
    assert [version.version for version in (await og.get_model(name)).versions] == ["0.01"]


async def test_creating_at_once_is_one_call(og: Session, localnet: LocalNetwork, name: str) -> None:
    made = []

    async def one() -> None:
        made.append(await og.create_model(name, "Doubles."))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(one)

    assert {(each.call_id, each.version, each.already_there) for each in made} == {
        (made[0].call_id, "0.01", False)
    }
    assert localnet.counters("hub")["calls"][f"hub POST /api/v0/models/{name}/versions"] == 1


async def test_a_model_whose_answer_is_lost_is_looked_up_and_gone_on_with(
    og: Session, localnet: LocalNetwork, name: str, model: str
) -> None:
    localnet.fault("hub POST */models/", "drop", service="hub", when="after")
    created = await og.create_model(name, "Doubles.", model)

    assert (created.version, created.upload["file_name"]) == ("0.01", "doubling.onnx")
    assert (await og.get_model(name)).description == "Doubles."


@pytest.mark.parametrize("status", [400, 409, 422, 500])
async def test_whatever_the_hub_answers_to_one_s_own_name_it_is_gone_on_with(
    og: Session, localnet: LocalNetwork, name: str, status: int
) -> None:
    await og.create_model(name, "Doubles.")
    localnet.fault("hub POST */models/", "error", service="hub", status=status, message="exists")
    again = await og.create_model(name, "Halves.")

    assert (again.version, again.already_there) == ("0.01", True)


async def of_another_author(localnet: LocalNetwork, name: str) -> str:
    """Give another author a model with a version."""
    author = f"author-{uuid4().hex[:8]}"
    email = f"{author}@example.com"
    localnet.add_account(author, email=email, password="correct horse")
    key = localnet.ready["hub_login"]["firebase_api_key"]
    answer = localnet.http.post(
        localnet.ready["auth_url"],
        params={"key": key},
        json={"email": email, "password": "correct horse"},
    )
    models = f"{localnet.ready['hub_url']}/api/v0/models/"
    headers = {"Authorization": f"Bearer {answer.json()['idToken']}"}
    localnet.http.post(models, json={"name": name}, headers=headers).raise_for_status()
    localnet.http.post(f"{models}{name}/versions", json={}, headers=headers).raise_for_status()
    return author


async def test_a_name_of_another_author_is_not_taken_for_one_s_own(
    og: Session, localnet: LocalNetwork, name: str, model: str
) -> None:
    author = await of_another_author(localnet, name)
    localnet.fault("hub POST */models/", "error", service="hub", status=409, message="exists")
    with pytest.raises(NameTakenError) as taken:
        await og.create_model(name, "", model)
    localnet.fault("hub POST */models/", "error", service="hub", status=422, message="too short")
    with pytest.raises(ServiceRejectedError, match="422: 'too short'"):
        await og.create_model(name, "", model)

    assert str(taken.value).startswith(
        f"The Model Hub has a model '{name}' already, of '{author}'. Choose another name."
    )
    assert uploads(localnet, name) == 0


async def test_a_step_that_fails_says_what_was_done_before(
    og: Session, localnet: LocalNetwork, name: str
) -> None:
    localnet.fault("hub POST */versions", "error", service="hub", status=500, message="no disk")
    with pytest.raises(PublishingStoppedError, match=f"Model '{name}' was created; the next step"):
        await og.create_model(name, "")
    again = await og.create_model(name, "")

    assert (again.already_there, again.version) == (True, "0.01")


async def test_a_version_whose_answer_is_lost_is_in_doubt(
    og: Session, localnet: LocalNetwork, name: str
) -> None:
    await og.create_model(name, "")
    localnet.fault("hub POST */versions", "drop", service="hub", when="after")
    with pytest.raises(ServiceReplyError, match="connection broke") as told:
        await og.create_version(name)

    assert told.value.stage is Stage.SENT_UNKNOWN
    assert "look before it is repeated" in told.value.hint
    (call,) = (await og.list_calls(1, tool="create_version")).calls
    assert (call.status, call.stage) == ("failed", "sent_unknown")
    assert len((await og.get_model(name)).versions) == 2


async def test_another_file_for_a_published_model_gets_a_version_of_its_own(
    og: Session, name: str, model: str, weights: str
) -> None:
    await og.create_model(name, "", model)
    more = await og.create_model(name, "", weights)

    assert more.version == "0.02"
    assert set(await files(og, name)) == {"doubling.onnx"}
    assert set(await files(og, name, "0.02")) == {"weights.safetensors"}


async def test_another_content_of_the_same_name_and_size_replaces_nothing(
    og: Session, name: str, weights: str
) -> None:
    first = await og.create_model(name, "", weights)
    rewrite(weights)
    second = await og.create_model(name, "", weights)

    assert (first.version, second.version) == ("0.01", "0.02")
    (kept,) = (await og.list_files(name, "0.01")).files
    assert kept.model_cid == first.upload["model_cid"] != second.upload["model_cid"]


async def test_a_file_whose_version_is_told_nowhere_is_not_called_published(
    og: Session, localnet: LocalNetwork, name: str, model: str
) -> None:
    bare: dict[str, Any] = {"name": name, "versions": []}
    localnet.fault("hub POST */versions", "result", service="hub", when="after", result=[])
    localnet.fault(f"hub_read GET */{name}", "result", service="hub_read", result=bare)
    with pytest.raises(PublishingStoppedError) as told:
        await og.create_model(name, "", model)
    again = await og.create_model(name, "", model)

    assert str(told.value) == (
        f"Model '{name}' was created, with a version whose name is not known; the next step "
        "failed: The Model Hub gave an answer that cannot be used: it does not tell the version "
        "that it made. The same call again continues from there."
    )
    assert (again.version, again.upload["already_there"]) == ("0.01", False)


async def test_a_version_that_is_not_told_is_the_one_of_the_highest_number(
    og: Session, localnet: LocalNetwork, name: str
) -> None:
    await og.create_model(name, "")
    shown = [{"versionString": version} for version in ("10.00", "9.02", "0.01")]
    document = {"name": name, "versions": shown}
    localnet.fault("hub POST */versions", "result", service="hub", when="after", result=[])
    localnet.fault(f"hub_read GET */{name}", "result", service="hub_read", result=document)

    assert (await og.create_version(name)).version == "10.00"


async def test_a_model_that_cannot_be_created_is_refused_in_the_hub_s_words(og: Session) -> None:
    with pytest.raises(ServiceRejectedError, match="422: 'Model name must be"):
        await og.create_model("/", "")


async def test_what_is_no_unicode_is_refused_before_anything_is_recorded(
    og: Session, localnet: LocalNetwork, name: str, model: str
) -> None:
    half = "a\ud800"
    with pytest.raises(InputError, match="model_name holds half a surrogate pair"):
        await og.create_model(half, "")
    with pytest.raises(InputError, match="model_desc holds half a surrogate pair"):
        await og.create_model(name, half)
    with pytest.raises(InputError, match="notes holds half a surrogate pair"):
        await og.create_version(name, half)
    with pytest.raises(InputError, match="version holds half a surrogate pair"):
        await og.upload(model, name, half)

    assert localnet.counters("hub")["http_requests"] == 0


async def test_a_file_that_is_refused_creates_nothing(
    og: Session, localnet: LocalNetwork, name: str, tmp_path: Path
) -> None:
    bad = tmp_path / "key.onnx"
    bad.write_text(SECRETS["pem"], encoding="utf-8")
    with pytest.raises(UnfitFileError):
        await og.create_model(name, "", str(bad))
    with pytest.raises(ModelNotFoundError):
        await og.get_model(name)

    assert localnet.counters("hub")["http_requests"] == 0


async def test_t26_a_secret_found_midway_ends_the_request_before_its_last_boundary(
    og: Session, localnet: LocalNetwork, name: str, tmp_path: Path
) -> None:
    await og.create_model(name, "")
    content, secret = bytearray(os.urandom(SIZE)), SECRETS["pem"].encode()
    content[SIZE // 2 : SIZE // 2 + len(secret)] = secret
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(UnfitFileError, match="holds a private key"):
        await og.upload(str(path), name, "0.01")

    assert uploads(localnet, name) == 1
    assert await files(og, name) == {}


@pytest.mark.parametrize("change", ["grows", "shrinks"])
async def test_t26_a_file_that_changes_while_it_is_sent_is_not_published(
    og: Session, localnet: LocalNetwork, name: str, tmp_path: Path, change: str
) -> None:
    await og.create_model(name, "")
    path, size = tmp_path / "weights.pt", 12 * 2**20
    path.write_bytes(os.urandom(size))
    localnet.fault(FILES, "delay", service="hub", when="midway", after_bytes=2**20, delay_s=0.05)
    tally = Tally()

    async def change_it() -> None:
        await until(tally.counts)
        os.truncate(path, size + 1 if change == "grows" else size - 1)
        localnet.reset()

    told = "longer" if change == "grows" else "shorter"
    async with anyio.create_task_group() as group:
        group.start_soon(change_it)
        with pytest.raises(UnfitFileError, match=f"became {told} while it was read"):
            await og.upload(str(path), name, "0.01", progress=tally)
    assert await files(og, name) == {}


async def test_an_upload_to_what_is_not_there_is_refused_before_it_is_sent(
    og: Session, localnet: LocalNetwork, name: str, model: str
) -> None:
    await og.create_model(name, "")
    with pytest.raises(ModelNotFoundError, match=r"version '7\.00'"):
        await og.upload(model, name, "7.00")
    with pytest.raises(ModelNotFoundError):
        await og.upload(model, f"no-{name}", "0.01")
    with pytest.raises(InputError, match="not a name on the Model Hub"):
        await og.upload(model, "..", "0.01")

    assert uploads(localnet, name) == 0


async def test_the_journal_keeps_no_token_and_no_password(
    og: Session, environ: dict[str, str], localnet: LocalNetwork, name: str, model: str
) -> None:
    await og.create_model(name, "", model)
    await og.__aexit__(None, None, None)
    kept = b"".join(map(Path.read_bytes, journal_files(environ)))

    login = localnet.ready["hub_login"]
    assert name.encode() in kept
    assert login["password"].encode() not in kept
    assert login["firebase_api_key"].encode() not in kept


async def test_t29_tokens_are_in_no_error_no_log_and_not_in_the_journal(
    og: Session,
    environ: dict[str, str],
    localnet: LocalNetwork,
    name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tokens = {kind: f"{kind}-{uuid4().hex}" for kind in ("idToken", "refreshToken")}
    signed_in = {**tokens, "expiresIn": "3600"}
    localnet.fault("auth POST */accounts*", "result", service="auth", result=signed_in)
    said = f"The token {tokens['idToken']} may not do this"
    localnet.fault("hub POST */models/", "error", service="hub", status=403, message=said)
    with caplog.at_level("DEBUG"), pytest.raises(ServiceRejectedError) as told:
        await og.create_model(name, "")
    await og.__aexit__(None, None, None)
    kept = b"".join(map(Path.read_bytes, journal_files(environ)))

    assert str(told.value).startswith(
        "The Model Hub answered 403: 'The token [secret] may not do this'."
    )
    assert b"The token [secret] may not do this" in kept
    for token in tokens.values():
        assert token.encode() not in kept
        assert token not in caplog.text


async def test_models_are_found_by_words_author_and_kind(og: Session, name: str) -> None:
    for number in range(3):
        await og.create_model(f"{name}-{number}", f"Tells the weather, number {number}.")
    found = await og.search_models(f"{name} WEATHER", "onnx", page=0, limit=2)
    rest = await og.search_models(f"{name} weather", "onnx", page=found.next_page, limit=2)
    language = await og.search_models("gpt-5", "llm", "OpenAI", limit=3)
    images = await og.search_models(kind="image", limit=100)
    everything = await og.search_models(name)

    assert [model.name for model in found.models] == [f"{name}-0", f"{name}-1"]
    assert (found.next_page, found.complete) == (1, True)
    assert [model.name for model in rest.models] == [f"{name}-2"]
    assert rest.next_page == 0
    assert language.models[0].name == "openai/gpt-5"
    assert {model.author for model in language.models} == {"openai"}
    assert {model.kind for model in images.models} == {"image"}
    assert len(everything.models) == 3
    assert (await og.search_models(name, author="nobody")).models == []


async def test_a_hub_that_cannot_be_reached_still_leaves_the_catalogue(
    og: Session, localnet: LocalNetwork
) -> None:
    localnet.close_service("hub_read")
    try:
        found = await og.search_models("claude", "llm")
    finally:
        localnet.open_service("hub_read")

    assert found.models


PUBLISHING = """
import os, sys, anyio
from og_mcp.client import Session

async def main():
    async with Session.from_env(os.environ) as og:
        await getattr(og, sys.argv[1])(*sys.argv[2:])

anyio.run(main)
"""


async def killed_meanwhile(
    environ: dict[str, str], began: Callable[[], Awaitable[bool]], *arguments: str
) -> None:
    """Publish in a process of its own, and kill it once the hub is at it."""
    process = subprocess.Popen(  # noqa: ASYNC220, S603 - our own program
        [sys.executable, "-c", PUBLISHING, *arguments], env=server_process.clean(environ)
    )
    with process:
        await until(began)
        process.kill()


@pytest.mark.slow
async def test_an_upload_whose_process_is_killed_is_gone_on_with(
    environ: dict[str, str], og: Session, localnet: LocalNetwork, name: str, large: str
) -> None:
    await og.create_model(name, "")
    localnet.fault(FILES, "delay", service="hub", when="midway", after_bytes=2**20, delay_s=0.5)

    async def began() -> bool:
        return uploads(localnet, name) == 1

    await killed_meanwhile(environ, began, "upload", large, name, "0.01")
    localnet.reset()
    again = await og.upload(large, name, "0.01")
    done, killed = (await og.list_calls(2, tool="upload")).calls

    assert (killed.status, killed.stage, killed.error) == ("failed", "sent_unknown", BROKEN_OFF)
    assert (again.status, again.already_there, again.call_id) == ("done", False, done.call_id)


@pytest.mark.slow
async def test_a_version_whose_process_is_killed_is_not_added_twice_unasked(
    environ: dict[str, str], og: Session, localnet: LocalNetwork, name: str
) -> None:
    await og.create_model(name, "")
    localnet.fault("hub POST */versions", "delay", service="hub", when="after", delay_s=30)

    async def added() -> bool:
        return len((await og.get_model(name)).versions) == 2

    await killed_meanwhile(environ, added, "create_version", name, "second")
    localnet.reset()
    with pytest.raises(CallFailedError) as told:
        await og.create_version(name, "second")

    assert str(told.value) == VERSION_IN_DOUBT
    assert told.value.stage is Stage.SENT_UNKNOWN
    assert len((await og.get_model(name)).versions) == 2


@pytest.fixture
def real(localnet: LocalNetwork, tmp_path: Path) -> dict[str, str]:
    """A real network's configuration, without a wallet, whose hub is the local one."""
    ready = localnet.ready
    return {
        "OG_NETWORK": "opengradient",
        "OG_HUB_URL": ready["hub_url"],
        "OG_HUB_READ_URL": ready["hub_read_url"],
        "OG_AUTH_URL": ready["auth_url"],
        "OG_TOKEN_URL": ready["token_url"],
        "OG_EMAIL": ready["hub_login"]["email"],
        "OG_PASSWORD": ready["hub_login"]["password"],
        "FIREBASE_API_KEY": ready["hub_login"]["firebase_api_key"],
        "OG_DATA_DIR": str(localnet.data_dir),
        "OG_UPLOAD_ROOTS": str(tmp_path),
    }


async def test_publishing_on_a_real_network_takes_the_configured_account_and_no_wallet(
    real: dict[str, str], localnet: LocalNetwork, name: str, model: str
) -> None:
    author = localnet.ready["sample_models"][0]["author"]
    async with Session.from_env(real) as og:
        created = await og.create_model(name, "", model)
        call = await og.get_call(created.call_id)
        localnet.reset_counters("hub_read")
        listed = await files(og, name)

    assert created.url == f"https://hub.opengradient.ai/models/{author}/{name}"
    assert (call.status, call.result["version"]) == ("done", "0.01")
    assert set(listed) == {"doubling.onnx"}
    assert localnet.counters("hub_read")["http_requests"] == 0


async def test_on_a_real_network_0_waits_for_a_person_where_none_can_be_asked(
    real: dict[str, str], name: str
) -> None:
    async with Session.from_env({**real, "OG_CONFIRM_ABOVE": "0"}) as og:
        with pytest.raises(ApprovalRequiredError) as told:
            await og.create_model(name, "")
        with pytest.raises(ModelNotFoundError):
            await og.get_model(name)
        await og.approve(told.value.approval_of)
        created = await og.create_model(name, "")

    assert f"would publish the model repository '{name}'" in str(told.value)
    assert created.call_id == told.value.approval_of
