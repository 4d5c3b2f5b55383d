"""Publishing through a session: repositories, versions, files."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

import anyio
import pytest

from og_mcp.client import Session
from og_mcp.errors import (
    ApprovalRequiredError,
    InputError,
    ModelNotFoundError,
    ServiceRejectedError,
    SignInError,
    UnfitFileError,
)
from tests.client.hub.publications import FILES, SIZE, Tally, files, rewrite, until, uploads
from tests.client.secret_texts import SECRETS
from tests.localnet_client import LocalNetwork


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
    assert call.result == result.shown()


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


@pytest.mark.slow
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


async def test_models_are_found_by_words_author_and_kind(og: Session, name: str) -> None:
    for number in range(3):
        await og.create_model(f"{name}-{number}", f"Tells the weather, number {number}.")
    found = await og.search_models(f"{name} WEATHER", "onnx", page=0, limit=2)
    rest = await og.search_models(f"{name} weather", "onnx", page=found.next_page, limit=2)
    language = await og.search_models("gpt-5.4", "llm", "OpenAI", limit=3)
    images = await og.search_models(kind="image", limit=100)
    everything = await og.search_models(name)

    assert [model.name for model in found.models] == [f"{name}-0", f"{name}-1"]
    assert (found.next_page, found.complete) == (1, True)
    assert [model.name for model in rest.models] == [f"{name}-2"]
    assert rest.next_page == 0
    assert language.models[0].name == "openai/gpt-5.4-nano"
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
    async with Session.from_env({**real, "OG_PUBLISH": "allow"}) as og:
        created = await og.create_model(name, "", model)
        call = await og.get_call(created.call_id)
        localnet.reset_counters("hub_read")
        listed = await files(og, name)

    assert created.url == f"https://hub.opengradient.ai/models/{author}/{name}"
    assert (call.status, call.result["version"]) == ("done", "0.01")
    assert set(listed) == {"doubling.onnx"}
    assert localnet.counters("hub_read")["http_requests"] == 0


async def test_a_password_that_is_wrong_records_no_call_and_asks_nobody(
    real: dict[str, str], localnet: LocalNetwork, name: str, model: str
) -> None:
    localnet.reset_counters("hub")
    async with Session.from_env({**real, "OG_PASSWORD": "wrong"}) as og:
        with pytest.raises(SignInError):
            await og.create_model(name, "", model)
        with pytest.raises(SignInError):
            await og.upload(model, name, "0.01")
        calls = (await og.list_calls(100)).calls

    assert calls == []
    assert localnet.counters("hub")["http_requests"] == 0


async def test_t41_on_a_real_network_publishing_waits_for_a_person_where_none_can_be_asked(
    real: dict[str, str], name: str
) -> None:
    async with Session.from_env(real) as og:
        with pytest.raises(ApprovalRequiredError) as told:
            await og.create_model(name, "")
        with pytest.raises(ModelNotFoundError):
            await og.get_model(name)
        await og.approve(told.value.approval_of)
        created = await og.create_model(name, "")
        with pytest.raises(ApprovalRequiredError) as existing:
            await og.create_model(name, "Other words.")

    assert f"would publish the model repository '{name}'" in str(told.value)
    assert f"og-mcp calls approve {told.value.approval_of}`" in str(told.value)
    assert created.call_id == told.value.approval_of
    assert f"would go on with version 0.01 of your existing model '{name}'" in str(existing.value)


async def test_on_the_local_network_ask_waits_for_a_person_and_allow_asks_nobody(
    localnet: LocalNetwork, name: str
) -> None:
    async with Session.from_env({**localnet.environ, "OG_PUBLISH": "ask"}) as og:
        with pytest.raises(ApprovalRequiredError):
            await og.create_model(name, "")
    async with Session.from_env({**localnet.environ, "OG_PUBLISH": "allow"}) as og:
        created = await og.create_model(name, "", ask=True)

    assert created.status == "done"
