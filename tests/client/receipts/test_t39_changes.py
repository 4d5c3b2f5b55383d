"""T39: receipts of the first schema go on verifying, and no changed receipt is shown as more than it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import pytest

from og_mcp.client import Session
from og_mcp.client.receipts import receipts
from og_mcp.client.tee.section import section_digest
from og_mcp.networks import UPTO_PROXY
from og_mcp.types import Verification
from tests.localnet_client import LocalNetwork

FIRST: Final[dict[str, dict[str, Any]]] = json.loads(
    Path(__file__).with_name("receipts_1.json").read_text(encoding="utf-8")
)
"""Receipts of every tool and form, as the last release that wrote the first schema made them."""

WITHHELD: Final = {"chat_withheld_other_text", "chat_withheld_wrong_signature", "chat_unsigned"}
"""Those whose answer no TEE signed: they never held."""

PASSES: Final = {
    "swapped response": "of an answer that is empty or claimed beside it",
    "swapped request": "one that differs in what older gateways do not sign, told as not covered",
    "swapped tee": "in a receipt of hashes, or of images from the same request: what it says is claimed",
    "swapped chain": "of another call of the same request, which is as genuine",
    "swapped tool": "in a receipt of hashes of a transaction, whose request is claimed",
    "call_id": "our own word, shown as what the file says",
    "created_at": "our own word; held to the times that are signed, within minutes",
    "network": "a network that og-mcp does not know: its parts prove nothing, which its checks say",
    "digest": "none in the first schema's first receipts",
    "claims": "the part of what nobody signs",
    "payment": "claimed until it settled, and held to the payment chain online",
    "chain.block": "held to the chain online",
    "chain.logs": "events beside the answer's; held to the chain online",
    "chain.contract": "in a receipt of hashes; held to the chain online",
    "chain.transaction_hash": "in a receipt of hashes; held to the chain online",
    "chain.chain_id": "in a receipt of hashes; held to the chain online",
    "chain.raw_transaction": "left out, so that request and answer are claimed",
    "chain.sender": "told by the signature beside it",
    "tool": "in a receipt of hashes of a transaction, whose request is claimed",
    "tee.endpoint": "held to the registry online",
    "tee.pcr_hash": "held to the registry online",
    "tee.registry": "held to the registry online",
    "tee.canonical_request": "left out: its hash is signed",
    "tee.content": "left out: its hash is signed",
    "request.settlement_mode": "told as not covered",
    "request.inference_mode": "told as not covered",
    "request.provider": "left out",
    "request.width": "told as not covered",
    "request.height": "told as not covered",
    "request.attachments": "told as not covered; the files themselves are in the body",
    "response.finish_reason": "told as not covered",
    "response.images": "claimed: no TEE signs images",
    "response.content": "empty, as it is beside tool calls",
    "response.tool_calls": "empty, as they are beside a text",
    "request_hash": "in a receipt of hashes: the request is claimed",
    "response_hash": "of an answer that is not kept, which is claimed",
    "response": "left out, so that the answer is claimed",
    "request": "left out, so that the request is claimed",
}
"""Beginning of a path -> why a change there is not found by the file alone."""


CLAIMED: Final = {
    "tool": "request",
    "swapped tool": "request",
    "swapped tee": "answer",
    "request_hash": "request",
    "response_hash": "answer",
    "response.images": "answer",
}
"""Beginning of a path -> the part that is claimed where a change there passes."""


def redone(receipt: dict[str, Any]) -> dict[str, Any]:
    """Make every hash fit again that whoever changes a receipt can."""
    made = deepcopy(receipt)
    for part in ("request", "response"):
        if part in made:
            made[f"{part}_hash"] = receipts.digest(made[part])
    if isinstance(made.get("tee"), dict):
        made["tee"]["digest"] = section_digest(made["tee"])
    return receipts.digested(made)


def _places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:  # noqa: ANN401 - JSON
    members = value.items() if isinstance(value, dict) else enumerate(value)
    for name, member in members:
        yield (*path, name)
        if isinstance(member, (dict, list)):
            yield from _places(member, (*path, name))


def _other(value: Any) -> Iterator[Any]:  # noqa: ANN401 - JSON
    """Give other values of the same kind, and one of another."""
    match value:
        case bool():
            yield not value
        case int():
            yield from (value + 1, value + 10**6, -1)
        case float():
            yield value + 1
        case str():
            yield f"{value[:-1]}{'0' if value[-1:] != '0' else '1'}"
            yield f"{value}0"
        case dict():
            yield {**value, "added": "paid and verified"}
        case list():
            yield [*value, *value[-1:], {"added": 1}]
    yield None
    yield {"added": 1}


def changes(receipt: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Change a receipt in every field: another value, none, another one beside it."""
    yield "added", {**receipt, "added": "paid and verified"}
    for place in _places(receipt):
        *above, last = place
        name = ".".join(map(str, place))
        at: Any = receipt
        for key in above:
            at = at[key]
        for other in _other(at[last]):
            made = deepcopy(receipt)
            inner: Any = made
            for key in above:
                inner = inner[key]
            inner[last] = other
            yield name, made
        made = inner = deepcopy(receipt)
        for key in above:
            inner = inner[key]
        del inner[last]
        yield name, made


def swaps(of: dict[str, dict[str, Any]], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Put parts of the others in, and call it what they are."""
    receipt = of[name]
    for theirs in of.values():
        for part in ("request", "response", "chain", "tee", "tool", "schema"):
            if part in theirs and theirs[part] != receipt.get(part):
                yield f"swapped {part}", {**receipt, part: theirs[part]}


def assert_shown_as_it_is(path: str, verification: Verification) -> None:
    """A change is found, or it is one of those that a file alone cannot show."""
    if not verification.valid:
        return
    # Of request and answer as a whole only that they are left out; what is in them has its own line.
    known = [
        why
        for begins, why in PASSES.items()
        if path == begins
        or (begins not in {"request", "response"} and path.startswith((f"{begins}.", f"{begins}_")))
    ]
    assert known, f"{path} was changed, and is {verification.level}: {verification.shows}"
    assert verification.level == "consistent"
    levels: dict[str, str] = {part.name: part.level for part in verification.parts}
    for begins, part in CLAIMED.items():
        if path.startswith(begins):
            assert levels.get(part, "claimed") == "claimed", path


@pytest.mark.parametrize("name", FIRST)
def test_t39_receipts_of_the_first_schema_go_on_verifying(name: str) -> None:
    found = receipts.verify(FIRST[name])

    assert found.level == ("none" if name in WITHHELD else "consistent"), found
    levels = {part.name: part.level for part in found.parts}
    if name in {"chat_settled", "hashes_chat"}:
        assert levels["payment"] == "consistent"
    elif "payment" in FIRST[name]:
        assert levels["payment"] == "claimed"
        assert name in WITHHELD or "payment" in found.shows
    if "image" in name:
        assert levels["answer"] == "claimed"


@pytest.mark.parametrize("name", sorted(FIRST.keys() - WITHHELD))
def test_t39_no_change_of_a_first_receipt_is_shown_as_more_than_it_is(name: str) -> None:
    count = 0
    for path, made in changes(FIRST[name]):
        count += 1
        if redone(made) != redone(FIRST[name]):
            assert_shown_as_it_is(path, receipts.verify(redone(made)))
    assert count > 60


@pytest.mark.parametrize("name", sorted(FIRST.keys() - WITHHELD))
def test_t39_parts_of_other_receipts_do_not_fit(name: str) -> None:
    for path, made in swaps(FIRST, name):
        assert_shown_as_it_is(path, receipts.verify(redone(made)))


async def _second(localnet: LocalNetwork, folder: Path) -> dict[str, dict[str, Any]]:
    """Make a receipt of the second schema with every tool that leaves one."""
    environ = {**localnet.environ, "OG_DATA_DIR": str(folder)}
    sample = localnet.ready["sample_models"][0]
    model, words = "openai/gpt-5.4-mini", [{"role": "user", "content": "Who are you?"}]
    async with Session.from_env(environ) as og:
        made: dict[str, Any] = {
            "infer": await og.infer(sample["cid"], sample["model_input"]),
            "chat": await og.chat(model, words),
            "completion": await og.completion(model, "Once"),
            "web_search": await og.web_search("What is an option?"),
            "generate_image": await og.generate_image("openai/gpt-image-2", "a boat", count=2),
        }
        localnet.settle()
        for one in made.values():
            await og.get_call(one.call_id)
        return {name: await og.receipt(one.call_id) for name, one in made.items()}


async def test_t39_no_change_of_a_receipt_is_shown_as_more_than_it_is(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    of = await _second(localnet, tmp_path)

    for name, receipt in of.items():
        assert receipt["schema"] == "og-mcp/receipt/2"
        genuine = receipts.verify(receipt)
        assert (genuine.level, "failed" in str(genuine.checks)) == ("consistent", False), genuine
        made = [*changes(receipt), *swaps(of, name)]
        for path, changed in made:
            if redone(changed) != redone(receipt):
                assert_shown_as_it_is(path, receipts.verify(redone(changed)))
        assert len(made) >= 60, name
    assert of["web_search"]["claims"]["citations"]
    assert of["chat"]["claims"]["finish_reason"] == "stop"


PAYMENTS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("amount without settlement", {"transaction_hash": None}),
    ("settlement without amount", {"amount_opg": None}),
    ("an amount with an empty settlement", {"transaction_hash": ""}),
    ("more than the maximum", {"amount_opg": "9"}),
    ("a deadline long after", {"deadline": 2**40}),
    ("a deadline before", {"deadline": 1}),
    ("no payer", {"payer": "nobody"}),
)


@pytest.mark.parametrize("schema", [1, 2])
@pytest.mark.parametrize(("what", "change"), PAYMENTS)
def test_t39_terms_of_a_payment_that_do_not_go_together_are_found(
    what: str, change: dict[str, Any], schema: int
) -> None:
    receipt = deepcopy(FIRST["chat_settled"])
    receipt["payment"] |= change
    receipt["payment"] = {k: v for k, v in receipt["payment"].items() if v is not None}
    if schema == 2:
        receipt["schema"] = "og-mcp/receipt/2"
        del receipt["payment"]["settlement"], receipt["response"]["finish_reason"]

    verified = receipts.verify(redone(receipt))

    found = {check.name: check.result for check in verified.checks}
    tried_again = schema == 1 and what == "a deadline long after"
    assert found["payment_terms"] == ("not_checked" if tried_again else "failed")
    if tried_again:
        assert {part.name: part.level for part in verified.parts}["payment"] == "claimed"
    else:
        assert not verified.valid


def test_t39_a_void_payment_is_genuine_and_claimed() -> None:
    receipt = deepcopy(FIRST["chat_settled"])
    receipt["payment"] |= {"amount_opg": "0", "transaction_hash": ""}

    verified = receipts.verify(redone(receipt))

    assert verified.level == "consistent"
    assert [part.level for part in verified.parts] == ["consistent", "consistent", "claimed"]


def test_t39_a_payment_beside_a_transaction_fails() -> None:
    payment = FIRST["chat_settled"]["payment"]
    assert payment["spender"] == UPTO_PROXY

    for name in ("infer_TEE", "onchain_chat", "approve_opg"):
        assert not receipts.verify(redone({**FIRST[name], "payment": payment})).valid, name


def test_t39_an_unknown_field_is_named_and_a_newer_schema_is_told() -> None:
    added = receipts.verify(redone({**FIRST["chat_settled"], "paid_by": "the network"}))
    newer = receipts.verify({**FIRST["chat_settled"], "schema": "og-mcp/receipt/3"})

    for found, words in ((added, "'paid_by'"), (newer, "'og-mcp/receipt/3'")):
        failed = [check.detail for check in found.checks if check.result == "failed"]
        assert any(words in one and "made by a newer og-mcp" in one for one in failed)
        assert found.shows == "The receipt does not hold."


def test_t39_the_provider_and_the_time_are_held_to_what_was_signed() -> None:
    other = deepcopy(FIRST["chat_settled"])
    other["request"]["provider"] = "acme"
    early = {**FIRST["chat_settled"], "created_at": "2031-01-01T00:00:00+00:00"}

    for made, name in ((other, "provider"), (early, "tee_time")):
        found = {check.name: check.result for check in receipts.verify(redone(made)).checks}
        assert found[name] == "failed"


@pytest.mark.parametrize(
    ("name", "other"), [("infer_TEE", "infer_ZKML"), ("onchain_chat", "onchain_chat_tools")]
)
def test_t39_an_event_of_another_request_does_not_speak_for_this_one(name: str, other: str) -> None:
    receipt, theirs = deepcopy(FIRST[name]), FIRST[other]["chain"]["logs"]
    precompile = "0x00000000000000000000000000000000000000f4"
    (at,) = [i for i, log in enumerate(receipt["chain"]["logs"]) if log["address"] == precompile]
    (foreign,) = [log for log in theirs if log["address"] == precompile]
    receipt["chain"]["logs"][at] = foreign

    found = {check.name: check for check in receipts.verify(redone(receipt)).checks}

    assert found["output"].result == "failed"
    assert "not the one that was signed for" in found["output"].detail


@pytest.mark.parametrize("topic", [1, 2])
def test_t39_an_approval_of_another_owner_or_spender_does_not_pass(topic: int) -> None:
    receipt = deepcopy(FIRST["approve_opg"])
    receipt["chain"]["logs"][0]["topics"][topic] = f"0x{'11' * 20:0>64}"

    assert not receipts.verify(redone(receipt)).valid
