"""The public SDK's interfaces of LLM calls fit the local network, and our own call data."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tests.localnet.llm_calls import LLAMA, chat_data, completion_data
from tests.localnet_client import LocalNetwork

SCRIPT: Final = Path(__file__).with_name("public_sdk_llm.py")

pytestmark = pytest.mark.slow

MESSAGE = {"role": "user", "content": "Hi", "name": "", "tool_call_id": "", "tool_calls": []}
TOOL = {"description": "Tells the time", "name": "get_time", "parameters": '{"type":"object"}'}
LIMITS = {"max_tokens": 100, "stop_sequence": ["END"], "temperature": 70}


def ask(python: str, localnet: LocalNetwork, *calls: tuple[str, Any]) -> list[dict[str, Any]]:
    told = {
        **{name: localnet.ready[name] for name in ("rpc_url", "inference_contract")},
        "private_key": localnet.ready["accounts"][0]["private_key"],
        "calls": calls,
    }
    done = subprocess.run(  # noqa: S603 - the SDK's Python with a script of ours
        [python, str(SCRIPT)],
        input=json.dumps(told),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
        timeout=120,
    )
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def test_the_sdks_interfaces_make_our_call_data_and_read_the_answers(
    sdk_python: str, localnet: LocalNetwork
) -> None:
    chat = {"mode": 0, "modelCID": LLAMA, "messages": [MESSAGE], "tools": [], "tool_choice": ""}
    completion = {"mode": 1, "modelCID": LLAMA, "prompt": "Once"}
    calls = [
        ("runLLMChat", {**chat, **LIMITS}),
        ("runLLMChat", {**chat, "tools": [TOOL], "tool_choice": "get_time", **LIMITS}),
        ("runLLMCompletion", {**completion, **LIMITS}),
    ]

    chatted, called, completed = ask(sdk_python, localnet, *calls)

    messages = [("user", "Hi", "", "", ())]
    rest: dict[str, Any] = {"stop": ["END"], "temperature": 70}
    tools = [("Tells the time", "get_time", '{"type":"object"}')]
    with_tools = chat_data(messages, tools=tools, tool_choice="get_time", **rest)
    assert chatted["call_data"] == "0x" + chat_data(messages, **rest).hex()
    assert called["call_data"] == "0x" + with_tools.hex()
    assert completed["call_data"] == "0x" + completion_data("Once", mode=1, **rest).hex()
    assert chatted["result"]["finish_reason"] == "stop"
    assert "built-in responder" in chatted["result"]["message"]["content"]
    assert called["result"]["message"]["tool_calls"][0]["name"] == "get_time"
    assert "built-in responder" in completed["result"]["answer"]
    for answer in (chatted, called, completed):
        assert answer["event"] == answer["result"]
