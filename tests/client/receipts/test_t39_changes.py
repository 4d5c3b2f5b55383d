"""T39: receipts of the first schema go on verifying, and no changed receipt is shown as more than it is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
from mcp import Client
from mcp.types import TextResourceContents

from og_mcp.client import Session
from og_mcp.client.receipts import receipts
from og_mcp.client.receipts.chain_signature import kept_signature
from og_mcp.client.tee.section import section_digest
from og_mcp.networks import UPTO_PROXY
from og_mcp.server import build_server
from og_mcp.types import Verification
from tests.books import Purse
from tests.localnet_client import LocalNetwork
from tests.tools.calls import answer
from tests.tools.person import Person

FIRST: Final[dict[str, dict[str, Any]]] = json.loads(
    Path(__file__).with_name("receipts_1.json").read_text(encoding="utf-8")
)
"""Receipts of every tool and form, as the last release that wrote the first schema made them."""

WITHHELD: Final = {"chat_withheld_other_text", "chat_withheld_wrong_signature", "chat_unsigned"}
"""Those whose answer no TEE signed: they never held."""

PASSES: Final = {
    "call_id": "our own word, shown as what the file says",
    "created_at": "our own word; held to the times that are signed, within minutes",
    "network": "a network that og-mcp does not know: its parts prove nothing, which its checks say",
    "tool": "in a receipt of hashes of a transaction, whose request is claimed",
    "request": "left out, so that the request is claimed",
    "request.height": "told as not covered",
    "request.inference_mode": "told as not covered",
    "request.provider": "left out",
    "request.settlement_mode": "told as not covered",
    "request.width": "told as not covered",
    "request_hash": "in a receipt of hashes: the request is claimed",
    "response": "left out, so that the answer is claimed",
    "response.content": "empty, as it is beside tool calls",
    "response.finish_reason": "of the first schema; told as not covered",
    "response.tool_calls": "empty, as they are beside a text",
    "response.tool_calls.*.type": "left out: calls are of functions",
    "response_hash": "of an answer that is not kept, which is claimed",
    "chain.block_hash": "held to the chain online",
    "chain.block_number": "held to the chain online",
    "chain.chain_id": "in a receipt of hashes; held to the chain online",
    "chain.contract": "in a receipt of hashes; held to the chain online",
    "chain.logs": "left out where they hold no answer",
    "chain.logs.*": "events beside the answer's; held to the chain online",
    "chain.logs.*.address": "of an event beside the answer's; held to the chain online",
    "chain.logs.*.data": "of an event beside the answer's; held to the chain online",
    "chain.logs.*.topics": "of an event beside the answer's; held to the chain online",
    "chain.logs.*.topics.*": "of an event beside the answer's; held to the chain online",
    "chain.transaction_hash": "in a receipt of hashes; held to the chain online",
    "tee.endpoint": "held to the registry online",
    "tee.pcr_hash": "held to the registry online",
    "tee.registry": "left out; needed online",
    "tee.registry.block_hash": "held to the registry online",
    "tee.registry.block_number": "held to the registry online",
    "tee.registry.chain_id": "held to the network online",
    "tee.registry.rpc": "told as what the file says",
    "payment": "left out: nothing is said of it",
    "payment.amount_opg": "held to the payment chain online, once it settled",
    "payment.asset": "held to the network online",
    "payment.cap_id": "told as what the file says",
    "payment.deadline": "within the hour; held to the payment chain online, once it settled",
    "payment.max_opg": "held to the payment chain online, once it settled",
    "payment.network": "held to the network online",
    "payment.nonce": "held to the payment chain online, once it settled",
    "payment.pay_to": "held to the payment chain online, once it settled",
    "payment.payer": "held to the payment chain online, once it settled",
    "payment.settlement": "of the first schema; told as what the file says",
    "payment.settlement.processing_hash": "of the first schema; told as what the file says",
    "payment.transaction_hash": "held to the payment chain online",
    **dict.fromkeys(
        (
            *("claims", "claims.finish_reason", "claims.settlement"),
            *("claims.citations", "claims.citations.*", "claims.citations.*.title"),
            *("claims.citations.*.url", "claims.settlement.processing_hash"),
            *("claims.cost", "claims.cost.opg", "claims.cost.source", "claims.cost.usd"),
            *("claims.usage", "claims.usage.completion_tokens", "claims.usage.prompt_tokens"),
            "claims.usage.total_tokens",
        ),
        "of the part of what nobody signs, told as what the file says",
    ),
    **dict.fromkeys(
        (
            "response.images.*",
            *(
                f"response.images.*.{part}{name}"
                for part in ("", "original.")
                for name in ("height", "mime_type", "sha256", "size", "uri", "width")
            ),
            "response.images.*.original",
        ),
        "claimed: no TEE signs images",
    ),
    "swapped chain": "in a receipt of hashes, or of another call of the same request, as genuine",
    "swapped request": "one that differs in what older gateways do not sign, told as not covered",
    "swapped response": "the same text before its stop sequence; or images, which are claimed",
    "swapped tee": "in a receipt of hashes, or of images from the same request: claimed",
    "swapped tool": "in a receipt of hashes of a transaction, whose request is claimed",
}
"""Exact path, `*` for each of a list -> why a change there is not found by the file alone."""

SAID: Final = {
    *("call_id", "created_at", "payment.cap_id", "tee.registry.rpc"),
    *("request.inference_mode", "request.settlement_mode"),
    *("request.provider", "response.tool_calls"),
}
"""Those that stay even online, beside `claims`: told as what the file says or not covered, or left out."""

_AT: Final = re.compile(r"\.[0-9]+(?=\.|$)")


ORDER: Final = ("claimed", "consistent", "confirmed")


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
            yield from (value + 1, value + 10**6, -1, 0, str(value))
        case float():
            yield value + 1
        case str():
            yield f"{value[:-1]}{'7' if value[-1:] != '7' else '8'}"
            middle = len(value) // 2
            yield f"{value[:middle]}{'5' if value[middle : middle + 1] != '5' else '6'}{value[middle + 1 :]}"
            yield from (f"{value}0", value[1:], "")
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


def level_of(verification: Verification, part: str) -> str:
    return next((one.level for one in verification.parts if one.name == part), "claimed")


def assert_shown_as_it_is(
    path: str, made: dict[str, Any], verification: Verification, genuine: Verification
) -> None:
    """A change that is not found stands in the list, and nothing is shown as more than it was."""
    assert path in PASSES, f"{path} is {verification.level}: {verification.shows}"
    assert verification.level == "consistent"
    for part in verification.parts:
        assert ORDER.index(part.level) <= ORDER.index(level_of(genuine, part.name)), path
    if path in {"tool", "swapped tool", "request_hash"} or "request" not in made:
        assert level_of(verification, "request") == "claimed", path
    if path == "response_hash" or path.startswith("response.images") or "response" not in made:
        assert level_of(verification, "answer") == "claimed", path
    if path == "swapped tee":
        assert level_of(verification, "answer") == "claimed", path


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


@pytest.fixture(scope="module")
def second(
    _one_localnet: LocalNetwork, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """Receipts of every tool that leaves one; no test changes them."""
    return anyio.run(_second, _one_localnet, tmp_path_factory.mktemp("second"))


async def _second(localnet: LocalNetwork, folder: Path) -> dict[str, dict[str, Any]]:
    """Call every tool, let payments settle, and read the receipts as a host does."""
    purse = Purse(localnet, folder)
    localnet.fund_opg(purse.address, 10**19)
    localnet.fund(purse.address, chain="base_rpc")
    sample = localnet.ready["sample_models"][0]
    words = [{"role": "user", "content": "Who are you?"}]
    llama = {"model": "meta-llama/Llama-3.1-70B-Instruct", "inference_mode": "VANILLA"}
    asked: dict[str, dict[str, Any]] = {
        "approve_opg": {"amount_opg": "5"},
        "infer": {"model_cid": sample["cid"], "model_input": sample["model_input"]},
        "chat": {"model": "openai/gpt-5.4-mini", "messages": words},
        "completion": {"model": "openai/gpt-5.4-mini", "prompt": "Once"},
        "web_search": {"query": "What is an option?"},
        "generate_image": {"model": "openai/gpt-image-2", "prompt": "a boat", "count": 2},
        "chat on chain": {**llama, "messages": words, "stop_sequence": ["###"]},
        "completion on chain": {**llama, "prompt": "Once"},
    }
    server = build_server(Session.from_env(purse.environ))
    async with Client(server, elicitation_callback=Person()) as mcp:
        made = {name: await answer(mcp, tool_of(name), **of) for name, of in asked.items()}
        localnet.settle()
        found = {}
        for name, result in made.items():
            await answer(mcp, "get_call", call_id=result["call_id"])
            (read,) = (await mcp.read_resource(f"og://receipts/{result['call_id']}")).contents
            assert isinstance(read, TextResourceContents)
            found[name] = json.loads(read.text)
    return found


def tool_of(name: str) -> str:
    """Return the tool that made a receipt."""
    return name.partition(" ")[0]


def test_t39_resources_serve_receipts_of_the_second_schema_that_verify(
    second: dict[str, dict[str, Any]],
) -> None:
    for name, receipt in second.items():
        genuine = receipts.verify(receipt)
        assert (receipt["schema"], receipt["tool"]) == ("og-mcp/receipt/2", tool_of(name))
        assert ("tee" in receipt) == ("payment" in receipt)
        assert (genuine.level, "failed" in str(genuine.checks)) == ("consistent", False), genuine
        assert "payment" not in receipt or level_of(genuine, "payment") == "consistent"
    assert second["web_search"]["claims"]["citations"]
    assert second["chat"]["claims"]["finish_reason"] == "stop"


@pytest.mark.parametrize("step", [50, pytest.param(1, marks=pytest.mark.slow)])
def test_t39_no_change_of_a_receipt_is_shown_as_more_than_it_is(
    second: dict[str, dict[str, Any]], step: int
) -> None:
    passed: set[str] = set()
    for of in (FIRST, second):
        for name, receipt in of.items():
            genuine, whole, count = receipts.verify(receipt), redone(receipt), 0
            for path, changed in islice(_changed(of, name), 0, None, step):
                made = redone(changed)
                if made != whole:
                    count += 1
                    if (found := receipts.verify(made)).valid:
                        assert_shown_as_it_is(path, made, found, genuine)
                        passed.add(path)
            assert count >= 200 // step, name
    assert step > 1 or passed == PASSES.keys()


def _changed(of: dict[str, dict[str, Any]], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, changed in chain(changes(of[name]), swaps(of, name)):
        yield _AT.sub(".*", path), changed


@pytest.mark.sweep(quick=2)
@pytest.mark.parametrize("name", ["chat", "infer", "infer of hashes"])
@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
async def test_t39_what_is_consistent_and_forged_is_not_confirmed_online(
    second: dict[str, dict[str, Any]], localnet: LocalNetwork, name: str, step: int
) -> None:
    tool, _, hashes = name.partition(" of ")
    receipt = _of_hashes(second[tool]) if hashes else second[tool]
    of, confirmed, held = second | {tool: receipt}, set[str](), 0
    forged = [
        (path, made)
        for path, changed in islice(_changed(of, tool), 0, None, step)
        if changed.keys() == receipt.keys()
        and (made := redone(changed)) != redone(receipt)
        and receipts.verify(made).valid
        and path not in SAID
        and not path.startswith("claims")
    ]
    async with Session.from_env(localnet.environ) as og:
        assert (await og.verify_receipt(receipt, online=True)).level == "confirmed"
        for path, made in forged:
            if (await og.verify_receipt(made, online=True)).level == "confirmed":
                confirmed.add(path)
            else:
                held += 1
    assert (confirmed, held >= 30 // step) == (set(), True), held


def _of_hashes(receipt: dict[str, Any]) -> dict[str, Any]:
    """Leave out what OG_RECEIPTS=hashes does."""
    part = dict(receipt["chain"])
    del part["logs"]
    part |= kept_signature(bytes.fromhex(part.pop("raw_transaction")[2:]))
    kept = {name: receipt[name] for name in receipt if name not in {"request", "response"}}
    return receipts.digested({**kept, "chain": part})


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
        assert found.shows == "The receipt is not valid."


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
