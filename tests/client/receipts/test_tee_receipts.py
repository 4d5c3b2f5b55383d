"""Receipts of gateway calls: what belongs together offline, what the registry tells, and no more."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread
from hypothesis import given, settings
from hypothesis import strategies as st

from og_mcp.client import Session
from og_mcp.client.chain.chain import Chain
from og_mcp.client.chain.rpc import RPC
from og_mcp.client.receipts import receipts
from og_mcp.client.tee.evidence import Evidence, chat_request, encode_body, verify_chat
from og_mcp.client.tee.registry import TEE, Registry
from og_mcp.client.tee.section import without_content
from og_mcp.client.wire.http import open_http
from og_mcp.errors import VerificationError
from og_mcp.networks import NETWORKS, UPTO_PROXY, from_ready_file
from og_mcp.settings import Settings
from og_mcp.types import Check, Verification
from tests.client.enclave import NOW, Enclave, chat_answer
from tests.localnet.gateway_client import gateway_client
from tests.localnet_client import LocalNetwork

ENCLAVE = Enclave()
REQUEST: dict[str, Any] = {
    "model": "gpt-5.4",
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "ü"}, {"type": "image_url"}]}
    ],
    "max_tokens": 7,
}
CANONICAL = REQUEST | {"temperature": 0.0}
CALLS = [{"id": "c", "type": "function", "function": {"name": "sum", "arguments": "{}"}}]
PAYMENT = {
    "scheme": "upto",
    "network": f"eip155:{NETWORKS['opengradient'].base_chain_id}",
    "asset": NETWORKS["opengradient"].opg_token,
    "payer": "0x" + "22" * 20,
    "pay_to": "0x" + "33" * 20,
    "spender": UPTO_PROXY,
    "nonce": "1",
    "deadline": NOW + 600,
    "max_opg": "0.1",
    "cap_id": "cap",
}

REQUEST_CHECKS = {"request_hash", "tee_request"}


def built(
    evidence: Evidence,
    body: bytes = encode_body(REQUEST),
    *,
    network: str = "opengradient",
    keep_content: bool = True,
    **response: object,
) -> dict[str, Any]:
    shown = {"content": evidence.text, "tool_calls": list(evidence.tool_calls)} | response
    return put_together(evidence.tee, body, shown, network=network, keep_content=keep_content)


def put_together(  # noqa: PLR0913 - the facts of one call, each told by name
    tee: Mapping[str, Any],
    body: bytes,
    response: dict[str, Any] | None,
    *,
    tool: str = "chat",
    network: str = "opengradient",
    keep_content: bool = True,
) -> dict[str, Any]:
    """Make a receipt as interface.md section 4 says, and as it is stored: keys in order."""
    request = {"tool": tool, "inference_mode": "TEE", "body": body.decode()}
    content = {"request": request} | ({} if response is None else {"response": response})
    receipt = {
        "schema": "og-mcp/receipt/1",
        "call_id": "call",
        "network": network,
        "tool": tool,
        "created_at": datetime.fromtimestamp(NOW, UTC).isoformat(),
        **(content if keep_content else {}),
        **{f"{name}_hash": receipts.digest(value) for name, value in content.items()},
        "tee": dict(tee) if keep_content else without_content(tee),
        "payment": PAYMENT,
    }
    stored: dict[str, Any] = json.loads(receipts.canonical(receipt))
    return stored


def answered(text: str = "Hallo", **fields: object) -> Evidence:
    answer = chat_answer(text) | fields | ENCLAVE.signed(CANONICAL, text)
    return verify_chat(
        chat_request(encode_body(REQUEST)), answer, ENCLAVE.tee, now=NOW, local=False
    )


def called() -> Evidence:
    answer = chat_answer("beside", "tool_calls", tool_calls=CALLS)
    answer |= ENCLAVE.signed(CANONICAL, json.dumps(CALLS, sort_keys=True))
    return verify_chat(
        chat_request(encode_body(REQUEST)), answer, ENCLAVE.tee, now=NOW, local=False
    )


def results(verification: Verification) -> dict[str, str]:
    return {check.name: check.result for check in verification.checks}


def failed(verification: Verification) -> set[str]:
    return {name for name, result in results(verification).items() if result == "failed"}


def detail(verification: Verification, name: str) -> str:
    return next(check.detail for check in verification.checks if check.name == name)


@pytest.mark.parametrize("evidence", [answered(), answered(""), called()])
def test_t14_offline_a_receipt_is_consistent_and_no_more(evidence: Evidence) -> None:
    verification = receipts.verify(built(evidence, finish_reason="stop"))

    assert verification.valid
    assert verification.level == "consistent"
    assert results(verification) == {
        "schema": "ok",
        "fields": "ok",
        "digest": "not_checked",
        "request_hash": "ok",
        "response_hash": "ok",
        "tool": "ok",
        "labels": "not_checked",
        "tee_digest": "ok",
        "tee_id": "ok",
        "tee_request": "ok",
        "tee_request_hash": "ok",
        "tee_output_hash": "ok",
        "tee_response": "ok",
        "tee_signature": "ok",
        "tee_time": "ok",
        "tee_network": "ok",
        "provider": "not_checked",
        "payment": "ok",
        "payment_terms": "not_checked",
        "tee_registry": "not_checked",
        "settlement": "not_checked",
    }
    assert "'finish_reason'" in detail(verification, "tee_response")
    assert "'inference_mode'" in detail(verification, "tee_request")


def test_t14_a_forged_receipt_with_a_key_of_its_own_is_consistent_too() -> None:
    forger = Enclave()
    answer = chat_answer("forged") | forger.signed(CANONICAL, "forged")
    evidence = verify_chat(
        chat_request(encode_body(REQUEST)), answer, forger.tee, now=NOW, local=False
    )

    verification = receipts.verify(built(evidence))

    assert verification.level == "consistent"
    assert results(verification)["tee_registry"] == "not_checked"


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        for key, member in value.items():
            yield from leaves(member, (*path, key))
    else:
        yield path, value


def flipped(value: Any) -> Iterator[Any]:  # noqa: ANN401 - JSON
    """Change a value at every place that a flipped bit can change."""
    if isinstance(value, int):
        yield from (value + 1, value ^ 1 << 20)
    else:
        step = max(1, len(value) // 64)
        for place in range(0, len(value), step):
            yield value[:place] + chr(ord(value[place]) ^ 1) + value[place + 1 :]
        yield value + "0"


@pytest.mark.parametrize("keep_content", [True, False])
def test_a_flipped_byte_anywhere_in_the_evidence_is_found(keep_content: bool) -> None:
    kept = built(answered(), keep_content=keep_content)
    changes = 0
    for path, value in leaves(kept["tee"]):
        for other in flipped(value):
            receipt = deepcopy(kept)
            place = receipt["tee"]
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = other
            changes += 1

            assert not receipts.verify(receipt).valid, (path, other)
    for key in kept["tee"]:
        receipt = deepcopy(kept)
        receipt["tee"][key + "x"] = receipt["tee"].pop(key)
        assert not receipts.verify(receipt).valid, key
    assert changes > 300


@pytest.mark.parametrize(
    ("name", "value", "found_by"),
    [
        ("signature", "0x00", "tee_signature"),
        ("timestamp", NOW + 1, "tee_signature"),
        ("timestamp", float(NOW), "tee_signature"),
        ("public_key", "0x" + Enclave().public_key.hex(), "tee_id"),
        ("tee_id", "0x" + "00" * 32, "tee_id"),
        ("request_hash", "0x" + "00" * 32, "tee_request_hash"),
        ("output_hash", "0x" + "00" * 32, "tee_output_hash"),
        ("content", "other", "tee_response"),
        ("canonical_request", "{}", "tee_request"),
        ("canonical_request", 5, "tee_request"),
        ("content", None, "tee_output_hash"),
    ],
)
def test_what_a_forger_digests_anew_does_not_belong_together(
    name: str, value: object, found_by: str
) -> None:
    receipt = built(answered())
    part = {**receipt["tee"], name: value}
    part["digest"] = receipts.digest({key: part[key] for key in part if key != "digest"})

    verification = receipts.verify({**receipt, "tee": part})

    assert found_by in failed(verification)
    assert verification.level == "none"


SIGNED = built(answered())
"""A receipt whose signed fields are changed, and whose digests are made anew."""

PLACES = [
    (name, place)
    for name in (
        *("public_key", "tee_id", "canonical_request", "content"),
        *("request_hash", "output_hash", "signature"),
    )
    for place in range(len(SIGNED["tee"][name]))
]


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(PLACES), st.integers(0, 6))
def test_each_bit_flipped_in_what_a_tee_signed_is_found_whatever_is_digested_anew(
    where: tuple[str, int], bit: int
) -> None:
    name, place = where
    text = SIGNED["tee"][name]
    part = {
        **SIGNED["tee"],
        name: text[:place] + chr(ord(text[place]) ^ 1 << bit) + text[place + 1 :],
    }
    part["digest"] = receipts.digest({key: part[key] for key in part if key != "digest"})

    verification = receipts.verify(receipts.digested({**SIGNED, "tee": part}))

    assert not verification.valid
    assert failed(verification) - {"tee_digest", "digest"}


def test_another_request_or_answer_does_not_fit_the_evidence() -> None:
    receipt = built(answered())
    body = json.dumps(REQUEST | {"max_tokens": 8})
    other_request = {**receipt["request"], "body": body}
    for part, other, found_by in (
        ("request", other_request, "tee_request"),
        ("response", {"content": "Adieu"}, "tee_response"),
        ("response", {"content": "", "tool_calls": CALLS}, "tee_response"),
        ("response", {"content": "Hallo", "text": "more"}, "tee_response"),
        ("response", {"text": ""}, "tee_response"),
    ):
        hashed = {part: other, f"{part}_hash": receipts.digest(other)}
        assert failed(receipts.verify({**receipt, **hashed})) - {"tool", "fields"} == {found_by}


@pytest.mark.parametrize(
    ("shown", "holds"), [("Ha", True), ("Hallo", True), ("H", False), ("", False)]
)
def test_an_answer_is_the_signed_text_up_to_the_request_s_stop_sequence(
    shown: str, holds: bool
) -> None:
    request = REQUEST | {"stop": ["l", "o"]}
    answer = chat_answer("Hallo") | ENCLAVE.signed(CANONICAL | {"stop": ["l", "o"]}, "Hallo")
    body = encode_body(request)
    evidence = verify_chat(chat_request(body), answer, ENCLAVE.tee, now=NOW, local=False)

    assert evidence.text == "Ha"
    assert receipts.verify(built(evidence, body, content=shown)).valid is holds


@pytest.mark.parametrize("part", ["request", "response"])
def test_a_request_or_answer_may_be_kept_back_and_is_named_then(part: str) -> None:
    whole = built(answered())
    without = {name: whole[name] for name in whole if name != part}

    verification = receipts.verify(without)

    assert (verification.valid, verification.level) == (True, "consistent")
    assert results(verification)[f"{part}_hash"] == "not_checked"


def test_t17_text_beside_tool_calls_does_not_pass_for_signed() -> None:
    verification = receipts.verify(built(called(), content="trust me"))

    assert "text beside tool calls" in detail(verification, "tee_response")
    assert failed(verification) == {"tee_response"}


def test_an_answer_of_nothing_that_can_be_signed_is_not_called_bound() -> None:
    receipt = built(answered())
    response = {"remark": "Hallo"}
    hashed = {"response": response, "response_hash": receipts.digest(response)}

    verification = receipts.verify({**receipt, **hashed})

    assert (verification.valid, verification.level) == (False, "none")
    assert failed(verification) == {"fields"}
    assert results(verification)["tee_response"] == "not_checked"


@pytest.mark.parametrize("text", ["", "Hi"])
def test_t17_images_are_not_called_proven_by_a_signature_that_leaves_them_out(text: str) -> None:
    images = {"images": [{"sha256": "00"}]}
    receipt = put_together(answered(text).tee, encode_body(REQUEST), images, tool="generate_image")

    verification = receipts.verify(receipt)
    as_chat = receipts.verify({**receipt, "tool": "chat"})
    others = receipts.verify({**receipt, "response": {"images": []}})

    assert (verification.valid, verification.level) == (True, "consistent")
    assert results(verification)["tee_response"] == "not_checked"
    assert "does not cover images" in detail(verification, "tee_response")
    assert failed(as_chat) == {"tool", "fields"}
    assert failed(others) == {"response_hash"}


def test_t29_hashes_alone_still_show_the_signature() -> None:
    receipt = built(answered("a secret"), keep_content=False)

    verification = receipts.verify(receipt)

    assert "secret" not in json.dumps(receipt)
    assert not {"request", "response"} & receipt.keys()
    assert not {"canonical_request", "content"} & receipt["tee"].keys()
    assert (verification.valid, verification.level) == (True, "consistent")
    assert results(verification)["tee_signature"] == "ok"
    assert results(verification)["tee_request"] == "not_checked"


def mismatched() -> VerificationError:
    answer = chat_answer("altered") | ENCLAVE.signed(CANONICAL, "Hallo")
    with pytest.raises(VerificationError) as caught:
        verify_chat(chat_request(encode_body(REQUEST)), answer, ENCLAVE.tee, now=NOW, local=False)
    return caught.value


@pytest.mark.parametrize("keep_content", [True, False])
def test_the_receipt_of_a_mismatch_keeps_the_evidence_and_does_not_hold(
    keep_content: bool,
) -> None:
    error = mismatched()
    receipt = put_together(error.evidence, encode_body(REQUEST), None, keep_content=keep_content)

    verification = receipts.verify(receipt)

    assert ("altered" in json.dumps(receipt)) is keep_content
    assert failed(verification) == {"tee_signature"}
    assert "output hash" in detail(verification, "tee_signature")


def test_an_unsigned_answer_proves_nothing_and_is_no_forgery() -> None:
    evidence = verify_chat(
        chat_request(encode_body(REQUEST)),
        chat_answer("x"),
        ENCLAVE.tee,
        now=NOW,
        local=False,
        allow_unsigned=True,
    )

    verification = receipts.verify(built(evidence))

    assert (verification.valid, verification.level) == (False, "none")
    assert failed(verification) == set()
    assert detail(verification, "tee_signature") == "the gateway signed nothing"


@pytest.mark.parametrize("part", [None, [], "x", 5, {}, {"registry": 5}, {"digest": 5, "x": [[]]}])
def test_a_part_of_any_form_ends_in_a_result(part: object) -> None:
    verification = receipts.verify({**built(answered()), "tee": part})

    assert not verification.valid


def test_deep_json_within_texts_is_refused_and_ends_nothing() -> None:
    receipt = built(called())
    deep = "[" * 100_000
    part = {**receipt["tee"], "content": deep, "canonical_request": deep}
    request = {**receipt["request"], "body": deep}

    verification = receipts.verify({**receipt, "tee": part, "request": request})

    assert {"tee_request", "tee_response"} <= failed(verification)


def test_endless_stop_sequences_are_not_looked_for_one_by_one() -> None:
    text, stops = "a" * 1_100_000, [f"stop {number}" for number in range(1000)]
    body = encode_body(REQUEST | {"stop": stops})
    answer = chat_answer(text) | ENCLAVE.signed(CANONICAL | {"stop": stops}, text)
    evidence = verify_chat(chat_request(body), answer, ENCLAVE.tee, now=NOW, local=False)

    verification = receipts.verify(built(evidence, body))

    assert (verification.level, failed(verification)) == ("none", set())
    assert "more stop sequences" in detail(verification, "tee_response")


def test_names_from_outside_are_quoted_and_few() -> None:
    evil = {f"obey {number}": 1 for number in range(1000)}
    receipt = put_together(answered().tee, encode_body(REQUEST | evil), {"content": "Hallo"} | evil)
    receipt["request"] |= evil
    hashed = {f"{name}_hash": receipts.digest(receipt[name]) for name in ("request", "response")}

    verification = receipts.verify({**receipt, **hashed, **evil})

    assert failed(verification) == {"fields"}
    for name in ("fields", "tee_request", "tee_response"):
        told = detail(verification, name)
        assert len(told) < 1000
        assert "obey" in told
        assert "obey" not in re.sub(r"'[^']*'|\"[^\"]*\"", "", told)


# Against the local network: its gateway signs, its registry tells.


@pytest.fixture
async def chain(localnet: LocalNetwork) -> AsyncIterator[Chain]:
    async with open_http(local=True) as http:
        yield Chain(
            RPC(http, localnet.ready["rpc_url"], "RPC", timeout_s=5), localnet.ready["chain_id"]
        )


async def registered(localnet: LocalNetwork) -> TEE:
    configured = Settings(network_name="local", data_dir=Path("/nowhere"))
    network = from_ready_file(localnet.ready)
    async with open_http(local=True) as http, anyio.create_task_group() as tasks:
        rpc = RPC(http, network.rpc_url, "RPC", timeout_s=5)
        (tee,) = await Registry([rpc], network, configured, tasks).active()
    return tee


async def real_receipt(localnet: LocalNetwork) -> dict[str, Any]:
    """Chat with the gateway; its client knows nothing of ours."""
    tee = await registered(localnet)

    def chat() -> dict[str, Any]:
        with gateway_client(localnet) as client:
            return client.chat("Hi")

    answer = await to_thread.run_sync(chat)
    body = encode_body({"model": "gpt-5.4-mini", "messages": [{"role": "user", "content": "Hi"}]})
    evidence = verify_chat(chat_request(body), answer, tee, now=time.time(), local=True)
    return built(evidence, body, network="local")


async def test_online_the_registry_tells_what_the_tee_was_at_that_block(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    receipt = await real_receipt(localnet)
    del receipt["payment"]
    localnet.mine(2)
    localnet.change_tee(enabled=False)
    environ = {**localnet.environ, "OG_DATA_DIR": str(tmp_path / "data")}

    async with Session.from_env(environ) as og:
        offline = await og.verify_receipt(receipt)
        online = await og.verify_receipt(receipt, online=True)

    assert offline.level == "consistent"
    assert results(offline)["tee_network"] == "not_checked"
    assert online.level == "confirmed"
    assert results(online)["tee_registry"] == "ok"
    assert str(receipt["tee"]["registry"]["block_number"]) in detail(online, "tee_registry")


async def test_t14_online_a_tee_that_the_registry_did_not_have_is_found(
    localnet: LocalNetwork, chain: Chain
) -> None:
    receipt = await real_receipt(localnet)
    registry = localnet.ready["tee_registry"]
    told = receipt["tee"]
    for change, words in (
        ({"tee_id": "0x" + "00" * 32}, "does not have this TEE"),
        ({"endpoint": "https://127.0.0.1:1"}, "its endpoint is"),
        ({"pcr_hash": "0x" + "ee" * 32}, "its pcr_hash is"),
        ({"registry": {**told["registry"], "block_hash": "0x" + "00" * 32}}, "is 0x"),
        ({"registry": {**told["registry"], "block_number": 0}}, "does not have this TEE"),
        ({"registry": {**told["registry"], "block_number": -1}}, "is malformed"),
        ({"registry": {**told["registry"], "chain_id": 1}}, "is on chain '1'"),
        ({"registry": None}, "is on chain 'None'"),
    ):
        part = {**told, **change}
        part["digest"] = receipts.digest({key: part[key] for key in part if key != "digest"})

        forged = {**receipt, "tee": part}
        verification = await receipts.confirm_online(forged, chain, tee_registry=registry)

        assert words in detail(verification, "tee_registry"), change
        assert not verification.valid


async def test_a_block_whose_state_is_gone_is_not_called_checked(
    localnet: LocalNetwork, chain: Chain
) -> None:
    receipt = await real_receipt(localnet)
    registry = localnet.ready["tee_registry"]
    localnet.fault("eth_call", "error", code=-32000, message="missing trie node")

    verification = await receipts.confirm_online(receipt, chain, tee_registry=registry)

    assert results(verification)["tee_registry"] == "not_checked"
    assert "missing trie node" in detail(verification, "tee_registry")
    assert "its entry matches" in detail(verification, "tee_registry")
    assert verification.level == "consistent"


async def test_a_network_without_registry_can_confirm_nothing(
    localnet: LocalNetwork, chain: Chain
) -> None:
    verification = await receipts.confirm_online(await real_receipt(localnet), chain)

    assert results(verification)["tee_registry"] == "not_checked"


async def test_the_payment_is_asked_about_where_somebody_can_be_asked(
    localnet: LocalNetwork, chain: Chain
) -> None:
    asked: list[object] = []

    async def settlement(part: object) -> Check:
        asked.append(part)
        return Check(name="settlement", result="failed", source="RPC", detail="never settled")

    verification = await receipts.confirm_online(
        await real_receipt(localnet),
        chain,
        tee_registry=localnet.ready["tee_registry"],
        settlement=settlement,
    )

    assert asked == [PAYMENT]
    assert failed(verification) == {"settlement"}
    assert verification.level == "none"
