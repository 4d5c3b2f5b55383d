"""LangChain's chat model works against `og-mcp serve --openai` unchanged."""

from __future__ import annotations

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr

pytestmark = pytest.mark.process

MODEL = "anthropic/claude-haiku-4-5"
SENTENCE = "This is the built-in responder of the local network"


class Verdict(BaseModel):
    """A verdict on a text."""

    is_true: bool
    reason: str


@tool
def add(first: int, second: int) -> int:
    """Add two whole numbers."""
    return first + second


def chat_model(address: str, model: str = MODEL) -> ChatOpenAI:
    return ChatOpenAI(
        model=model, base_url=f"{address}/v1", api_key=SecretStr("anything"), temperature=0
    )


def test_messages_are_answered(address: str) -> None:
    answer = chat_model(address).invoke([SystemMessage("Be short."), HumanMessage("Who are you?")])

    assert isinstance(answer, AIMessage)
    assert answer.text.startswith(SENTENCE)
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["total_tokens"] > 0


def test_a_stream_adds_up(address: str) -> None:
    pieces = [piece.text for piece in chat_model(address).stream("Who are you?")]

    assert "".join(pieces).startswith(SENTENCE)
    assert len(pieces) > 3


def test_a_tool_goes_round(address: str) -> None:
    model = chat_model(address).bind_tools([add], tool_choice="add")
    question = HumanMessage("Add two and three.")

    call = model.invoke([question])
    assert isinstance(call, AIMessage)
    [wanted] = call.tool_calls
    result = ToolMessage(str(add.invoke(wanted["args"])), tool_call_id=wanted["id"])
    answer = chat_model(address).bind_tools([add]).invoke([question, call, result])

    assert wanted["name"] == "add"
    assert answer.text.startswith(SENTENCE)


def test_an_answer_has_the_structure_that_was_asked_for(address: str) -> None:
    model = chat_model(address).with_structured_output(Verdict, method="json_schema")

    assert isinstance(model.invoke("Is water wet?"), Verdict)


async def test_it_works_in_async_programs_too(address: str) -> None:
    model = chat_model(address)

    answer = await model.ainvoke("Who are you?")
    pieces = [piece.text async for piece in model.astream("Who are you?")]

    assert answer.text == "".join(pieces)
    assert answer.text.startswith(SENTENCE)


def test_a_streamed_tool_call_adds_up(address: str) -> None:
    model = chat_model(address).bind_tools([add], tool_choice="any")

    pieces = [one for one in model.stream("Add two and three.") if isinstance(one, AIMessageChunk)]
    whole = add_ai_message_chunks(*pieces)

    [wanted] = whole.tool_calls
    assert wanted["name"] == "add"
    assert wanted["args"].keys() == {"first", "second"}


def test_an_answer_has_its_structure_by_way_of_a_tool_too(address: str) -> None:
    model = chat_model(address).with_structured_output(Verdict, method="function_calling")

    assert isinstance(model.invoke("Is water wet?"), Verdict)


def test_an_answer_is_a_json_object_where_that_was_asked_for(address: str) -> None:
    model = chat_model(address, "openai/gpt-5.4-mini")

    answer = model.with_structured_output(method="json_mode").invoke("Answer in JSON.")

    assert isinstance(answer, dict)


def test_an_image_travels_in_a_message(address: str) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    question = HumanMessage([{"type": "text", "text": "What is this?"}, image])

    assert chat_model(address).invoke([question]).text.startswith(SENTENCE)
