"""The seam of every tool, shown on tools made for it."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import pytest
from mcp import Client
from mcp.server import MCPServer
from pydantic import Field

from og_mcp.errors import InputError
from og_mcp.tools._tool import Tool, tool
from og_mcp.types import Problem
from tests.tools.calls import answer, refusal

Rows = Annotated[list[list[int]], Field(min_length=1, max_length=3, description="Rows.")]
Mode = Annotated[Literal["TEE", "ZKML"], Field(description="How.")]
Prices = Annotated[dict[str, float], Field(description="Name -> price.")]


def made(title: str) -> Tool:
    """Make the tool `work`, which does what its argument says."""

    @tool(
        title=title,
        toolset="models",
        read_only=True,
        destructive=False,
        idempotent=True,
        open_world=False,
    )
    async def work(rows: Rows, prices: Prices = {}, mode: Mode = "TEE") -> Problem:  # noqa: B006 - pydantic copies it
        """Work.

        Indented in its source.
        """
        if rows == [[1]]:
            raise InputError("One is wrong.", "Take two.")
        if rows == [[2]]:
            raise KeyError("0x-a-key-that-must-not-leave")
        return Problem(what=str(rows), fix=f"{prices} {mode}")

    return work


def server() -> MCPServer[None]:
    return MCPServer("seam", tools=[made("Work")])


async def test_the_tool_is_what_the_coroutine_says() -> None:
    async with Client(server()) as mcp:
        (listed,) = (await mcp.list_tools()).tools

    assert (listed.name, listed.title) == ("work", "Work")
    assert listed.description == "Work.\n\nIndented in its source."
    assert listed.input_schema["properties"]["prices"] == {
        "type": "object",
        "additionalProperties": {"type": "number"},
        "default": {},
        "description": "Name -> price.",
    }


async def test_an_error_of_ours_reaches_the_model_whole() -> None:
    async with Client(server()) as mcp:
        assert await refusal(mcp, "work", rows=[[1]]) == "One is wrong. Take two."


async def test_any_other_error_does_not_leave() -> None:
    async with Client(server()) as mcp:
        assert await refusal(mcp, "work", rows=[[2]]) == "Error executing tool work"


async def test_a_place_inside_an_argument_is_told() -> None:
    async with Client(server()) as mcp:
        text = await refusal(mcp, "work", rows=[[1], ["x"], 5, []], prices={"a": "free", "b": [1]})
        nested = await refusal(mcp, "work", rows=[[1], ["x"]], prices={"a": "free", "b": [1]})

    assert text.startswith("Argument rows must be an array of 1 to 3 items, not an array of 4.")
    assert nested == (
        "Argument rows[1][0] must be a whole number, not 'x'. "
        "Argument prices.a must be a number, not 'free'. "
        "Argument prices.b must be a number, not an array of 1. "
        "work takes rows, prices, mode."
    )


async def test_arrays_and_numbers_sent_as_text_are_repaired() -> None:
    async with Client(server()) as mcp:
        result = await answer(mcp, "work", rows="[[3], [4]]", prices='{"a": "1.5"}')

    assert result == {"what": "[[3], [4]]", "fix": "{'a': 1.5} TEE"}


async def test_null_for_an_optional_argument_means_not_given() -> None:
    async with Client(server()) as mcp:
        result = await answer(mcp, "work", rows=[[3]], prices=None, mode=None)
        needed = await refusal(mcp, "work", rows=None)
        unknown = await refusal(mcp, "work", rows=[[3]], price=None)

    assert result == {"what": "[[3]]", "fix": "{} TEE"}
    assert needed.startswith("Argument rows must be an array of 1 to 3 items, not null.")
    assert unknown.startswith("Unknown argument 'price'; did you mean prices?")


async def test_words_of_an_enum_are_taken_in_any_case() -> None:
    async with Client(server()) as mcp:
        results = [await answer(mcp, "work", rows=[[3]], mode=mode) for mode in ("zkml", " Zkml")]
        other = await refusal(mcp, "work", rows=[[3]], mode="zk")

    assert [result["fix"] for result in results] == ["{} ZKML", "{} ZKML"]
    assert other.startswith("Argument mode must be one of TEE, ZKML, not 'zk'.")


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("infer", {"model_cid": "no-such-model", "model_input": {"x": 1.0}}),
        ("infer", {"model_cid": "word-sentiment", "model_input": {"words": [1]}}),
        ("infer", {"model_cid": "word-sentiment", "model_input": {"nope": ["up"]}}),
        ("chat", {"model": "zai/glm-image", "messages": "Hello"}),
        ("web_search", {"query": "x" * 2_000_000}),
        ("generate_image", {"prompt": "a cat", "count": 11}),
        ("create_model", {"model_name": "m"}),
        ("upload", {"model_path": "nope.onnx", "model_name": "m", "version": "1"}),
    ],
)
async def test_a_refusal_of_what_costs_or_publishes_says_that_nothing_was_sent(
    mcp: Client, tool: str, arguments: dict[str, Any]
) -> None:
    text = await refusal(mcp, tool, **arguments)

    assert len(re.findall("othing was (?:sent|paid)", text)) == 1
