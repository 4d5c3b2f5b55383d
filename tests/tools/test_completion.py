"""Tool completion: what is its own; payment and errors are those of chat."""

from __future__ import annotations

from typing import Any, Final

from mcp import Client

from tests.localnet_client import LocalNetwork
from tests.tools.calls import answer, refusal

MODEL: Final = "openai/gpt-5.4-mini"
REQUEST: Final[dict[str, Any]] = {"model": MODEL, "prompt": "Once upon a time"}


def asked_of(localnet: LocalNetwork) -> int:
    """Count the completions that reached the gateway."""
    calls = localnet.counters("gateway")["calls"]
    return sum(count for name, count in calls.items() if name.endswith("/v1/completions"))


async def test_a_text_is_continued_paid_and_verified(mcp: Client) -> None:
    result = await answer(mcp, "completion", **REQUEST)

    assert (result["network"], result["status"], result["model"]) == ("local", "done", MODEL)
    assert "built-in responder" in result["text"]
    assert result["usage"]["completion_tokens"] > 0
    assert result["payment"]["max_opg"] == "0.1"
    assert result["verification"]["status"] == "local"


async def test_limits_are_passed_on(mcp: Client) -> None:
    result = await answer(mcp, "completion", **REQUEST, max_tokens=3)

    assert result["usage"]["completion_tokens"] == 3


async def test_a_dry_run_tells_the_most_it_may_cost(mcp: Client) -> None:
    dry = await answer(mcp, "completion", **REQUEST, dry_run=True)

    assert (dry["status"], "text" in dry, dry["max_opg"]) == ("dry_run", False, "0.1")


async def test_a_text_that_is_cut_off_says_so_and_what_to_raise(mcp: Client) -> None:
    result = await answer(mcp, "completion", **REQUEST | {"max_tokens": 3})

    assert list(result)[:2] == ["text", "note"]
    assert "max_tokens" in result["note"]


async def test_one_idempotency_key_is_one_request_to_the_gateway(
    mcp: Client, localnet: LocalNetwork
) -> None:
    first = await answer(mcp, "completion", **REQUEST, idempotency_key="text-1")
    before = asked_of(localnet)

    again = await answer(mcp, "completion", **REQUEST, idempotency_key="text-1")

    assert before > 0
    assert (again["call_id"], again["text"]) == (first["call_id"], first["text"])
    assert asked_of(localnet) == before


async def test_a_model_of_the_first_generation_continues_on_chain(mcp: Client) -> None:
    result = await answer(
        mcp,
        "completion",
        **{**REQUEST, "model": "meta-llama/Llama-3.1-70B-Instruct", "inference_mode": "VANILLA"},
    )

    assert result["transaction_hash"].startswith("0x")
    assert result["verification"]["status"] == "chain"


async def test_an_answer_that_cannot_be_verified_is_withheld(
    mcp: Client, localnet: LocalNetwork
) -> None:
    localnet.spoil("wrong_output_hash", "/v1/completions")

    text = await refusal(mcp, "completion", **REQUEST)

    assert "cannot be verified" in text
    assert "built-in responder" not in text


async def test_an_unknown_model_is_refused_with_the_nearest(mcp: Client) -> None:
    text = await refusal(mcp, "completion", model="gpt-5.4-minni", prompt="Once")

    assert MODEL in text
