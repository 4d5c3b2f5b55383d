"""Publishing where a step fails: what is published then, what is said, and how it goes on."""

from __future__ import annotations

import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest

from og_mcp.client import Session, Timeouts
from og_mcp.client.calls.engine import CANCELLED
from og_mcp.client.calls.states import BROKEN_OFF
from og_mcp.client.operations.publish import UNANSWERED
from og_mcp.client.recovery import VERSION_IN_DOUBT
from og_mcp.errors import (
    CallFailedError,
    NameTakenError,
    PublishingStoppedError,
    ServiceRejectedError,
    ServiceReplyError,
    UploadFailedError,
)
from og_mcp.settings import Settings
from og_mcp.types import CallInfo, Stage
from tests.client.hub.publications import (
    FILES,
    SIZE,
    Tally,
    files,
    journal_files,
    killed_meanwhile,
    of_another_author,
    rewrite,
    until,
    uploads,
)
from tests.localnet_client import LocalNetwork


async def test_a_version_that_the_hub_does_not_tell_is_looked_up(
    og: Session, localnet: LocalNetwork, name: str
) -> None:
    localnet.fault("hub POST */versions", "result", service="hub", when="after", result=[])

    assert (await og.create_model(name, "")).version == "0.01"


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


@pytest.mark.parametrize("step", ["hub POST */models/", "hub POST */versions"])
async def test_what_is_being_created_is_told_though_its_caller_has_left(
    og: Session, localnet: LocalNetwork, name: str, step: str
) -> None:
    localnet.fault(step, "delay", service="hub", when="after", delay_s=0.3)

    call = await _left_meanwhile(og, localnet, og.create_model(name, ""))

    assert (call.status, call.stage) == ("done", Stage.CONFIRMED)
    assert (call.result["model_name"], call.result["version"]) == (name, "0.01")
    assert [version.version for version in (await og.get_model(name)).versions] == ["0.01"]


async def test_a_version_that_is_being_added_is_told_though_its_caller_has_left(
    og: Session, localnet: LocalNetwork, name: str
) -> None:
    await og.create_model(name, "")
    localnet.fault("hub POST */versions", "delay", service="hub", when="after", delay_s=0.3)

    call = await _left_meanwhile(og, localnet, og.create_version(name))

    assert (call.status, call.stage, call.result["version"]) == ("done", Stage.CONFIRMED, "0.02")


async def _left_meanwhile(
    og: Session, localnet: LocalNetwork, asking: Coroutine[Any, Any, object]
) -> CallInfo:
    """Give a call up once the hub is at it; returns its end."""

    async def ask() -> None:
        await asking

    async def is_asked() -> bool:
        return not localnet.pending_faults("hub")

    async def has_ended() -> bool:
        return (await og.list_calls(1)).calls[0].status != "running"

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await until(is_asked)
        group.cancel_scope.cancel()
    await until(has_ended)
    return await og.get_call((await og.list_calls(1)).calls[0].call_id)


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
    localnet.fault(FILES, "delay", service="hub", when="after", delay_s=60)

    async def stored() -> bool:
        return await files(og, name) == {"weights.safetensors": SIZE}

    await og.create_model(name, "")
    async with Session.from_env(environ) as ending:
        running = await ending.upload(weights, name, "0.01", wait_s=0.0)
        await until(stored)
    localnet.reset()
    call = await og.get_call(running.call_id)
    again = await og.upload(weights, name, "0.01")

    # Done where the look-up in the version's list came before the end of the session.
    assert (call.status, call.stage, call.error) in {
        ("failed", "sent_unknown", UNANSWERED),
        ("done", "confirmed", ""),
    }
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
    assert "already_there" not in again.upload
    assert once_more.upload["already_there"] is True
    assert [version.version for version in (await og.get_model(name)).versions] == ["0.01"]


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
        "that it made. Repeat the call later; if that does not help, the URL of the Model Hub, which "
        "og-mcp doctor shows, may be another service's. The same call again continues from there."
    )
    assert (again.version, "already_there" in again.upload) == ("0.01", False)


async def test_a_version_that_is_not_told_is_the_one_of_the_highest_number(
    og: Session, localnet: LocalNetwork, name: str
) -> None:
    await og.create_model(name, "")
    shown = [{"versionString": version} for version in ("10.00", "9.02", "0.01")]
    document = {"name": name, "versions": shown}
    localnet.fault("hub POST */versions", "result", service="hub", when="after", result=[])
    localnet.fault(f"hub_read GET */{name}", "result", service="hub_read", result=document)

    assert (await og.create_version(name)).version == "10.00"


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
    localnet.fault("hub POST */versions", "delay", service="hub", when="after", delay_s=60)

    async def added() -> bool:
        return len((await og.get_model(name)).versions) == 2

    await killed_meanwhile(environ, added, "create_version", name, "second")
    localnet.reset()
    with pytest.raises(CallFailedError) as told:
        await og.create_version(name, "second")

    assert str(told.value) == VERSION_IN_DOUBT
    assert told.value.stage is Stage.SENT_UNKNOWN
    assert len((await og.get_model(name)).versions) == 2
