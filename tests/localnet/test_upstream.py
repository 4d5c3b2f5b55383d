"""OG_LOCAL_LLM_URL names a server whose answers the gateway signs and passes on."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from anyio.from_thread import start_blocking_portal

from og_mcp.client.local_network import running_localnet
from og_mcp.localnet.gateway import requests
from og_mcp.localnet.gateway.upstream import Upstream
from tests.localnet.gateway_client import CHAT, COMPLETION, GatewayClient, gateway_client, problems
from tests.localnet_client import LocalNetwork

pytestmark = pytest.mark.process

QUESTION = [{"role": "user", "content": "What is an option?"}]
COVERED = {"model": "gpt-5.4-mini", "messages": QUESTION, "temperature": 0.0}
PASSWORD = "an-upstream-password"
USAGE = {"prompt_tokens": 11, "completion_tokens": 22, "total_tokens": 33}


class _LLM(BaseHTTPRequestHandler):
    """Answers as Ollama does: it has one model, under a name of its own."""

    asked: ClassVar[list[tuple[str, Any]]] = []
    answer: ClassVar[Any] = {}
    status: ClassVar[int] = 200
    """0: the connection closes without an answer."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.startswith("/unlisted/"):
            self._send({"error": "no such path"}, 404)
            return
        self._send({"object": "list", "data": [{"id": "tiny:1b"}, {"object": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append((self.path, body))
        if not self.status:
            self.close_connection = True
            return
        self._send(self.answer, self.status)

    def log_message(self, *_args: object) -> None:
        pass

    def _send(self, answer: object, status: int = 200) -> None:
        raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


@pytest.fixture(scope="module")
def llm_url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _LLM) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://me:{PASSWORD}@127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def gateway(llm_url: str) -> Iterator[GatewayClient]:
    """A network that og-mcp itself starts, which hands on the URL and little else."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(running_localnet(llm_url)) as ready_file,
    ):
        network = LocalNetwork(Path(ready_file), None)  # type: ignore[arg-type] # its process is not ours to end
        with gateway_client(network) as client:
            yield client
        network.close()


@pytest.fixture(autouse=True)
def _works() -> None:
    _LLM.status = 200


def _answers(**choice: object) -> None:
    _LLM.asked.clear()
    _LLM.answer = {"choices": [choice], "usage": USAGE}


def _refusal(gateway: GatewayClient, answer: object, status: int = 200) -> str:
    """Let the server answer something, and return what the gateway makes of it."""
    _LLM.answer, _LLM.status = answer, status
    reply = gateway.post(CHAT, {"model": "gpt-5.4-mini", "messages": QUESTION})
    assert reply.status_code == 502
    said: str = reply.json()["error"]
    assert said.startswith("the server behind OG_LOCAL_LLM_URL: ")
    return said


@pytest.mark.slow
def test_a_chat_is_answered_by_the_server_under_its_own_models_name(
    gateway: GatewayClient,
) -> None:
    _answers(message={"role": "assistant", "content": "A right."}, finish_reason="stop")
    answer = gateway.chat(max_tokens=7, web_search=False)
    covered = {**COVERED, "max_tokens": 7}

    assert _LLM.asked == [
        (
            "/v1/chat/completions",
            {
                "model": "tiny:1b",
                "messages": QUESTION,
                "max_tokens": 7,
                "temperature": 0.0,
                "stream": False,
            },
        )
    ]
    assert answer["choices"][0]["message"]["content"] == "A right."
    assert answer["usage"] == USAGE
    assert answer["model"] == "gpt-5.4-mini"
    assert problems(gateway.tee, answer, covered, "A right.") == []


def test_a_stream_is_made_of_the_whole_answer(gateway: GatewayClient) -> None:
    _answers(message={"role": "assistant", "content": "A right to buy."}, finish_reason="length")
    frames, done = gateway.frames(CHAT, {"model": "gpt-5.4-mini", "messages": QUESTION})
    deltas = [frame["choices"][0]["delta"].get("content", "") for frame in frames]

    assert done
    assert _LLM.asked[0][1]["stream"] is False
    assert _LLM.asked[0][1]["max_tokens"] == 4096
    assert "".join(deltas) == "A right to buy."
    assert frames[-1]["choices"][0]["finish_reason"] == "length"


def test_tool_calls_are_passed_on_and_signed(gateway: GatewayClient) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    tools = [{"type": "function", "function": {"name": "f"}}]
    _answers(message={"content": None, "tool_calls": [{**call, "index": 0}]}, finish_reason="stop")
    answer = gateway.chat(tools=tools)
    signed = json.dumps([call], sort_keys=True)

    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    assert problems(gateway.tee, answer, {**COVERED, "tools": tools}, signed) == []


def test_a_completion_is_answered_by_the_server(gateway: GatewayClient) -> None:
    _answers(text=" upon a time", finish_reason="stop")
    answer = gateway.post(COMPLETION, {"model": "gpt-5.5", "prompt": "Once"}).json()

    assert answer["choices"][0]["text"] == " upon a time"


def test_an_image_is_still_drawn_here(gateway: GatewayClient) -> None:
    _answers()
    answer = gateway.chat(model="gpt-image-2", size="8x8")

    assert answer["choices"][0]["message"]["images"]
    assert _LLM.asked == []


def test_what_is_asked_means_to_the_server_what_it_means_to_a_gateway(
    gateway: GatewayClient,
) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    messages = [{"role": "developer", "content": "Be brief."}, *QUESTION]
    _answers(message={"content": "x"})
    gateway.chat(messages=messages, tools=tools, tool_choice="f", temperature=1.5, stop=["."])
    gateway.chat(tool_choice="none")
    (_, first), (_, second) = _LLM.asked

    assert first["messages"][0] == {"role": "system", "content": "Be brief."}
    assert first["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert (first["tools"], first["temperature"], first["stop"]) == (tools, 1.5, ["."])
    assert "tool_choice" not in second


def test_tool_calls_of_other_shapes_become_those_of_openai(gateway: GatewayClient) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    function = {"name": "f", "arguments": {"day": "to\u00adday"}}
    _answers(message={"content": "", "tool_calls": [{"function": function}]})
    answer = gateway.chat(tools=tools)
    (call,) = answer["choices"][0]["message"]["tool_calls"]

    assert call["id"].startswith("call_")
    assert json.loads(call["function"]["arguments"]) == function["arguments"]
    assert (
        problems(
            gateway.tee, answer, {**COVERED, "tools": tools}, json.dumps([call], sort_keys=True)
        )
        == []
    )


def test_a_finish_reason_of_calls_that_are_not_there_is_none(gateway: GatewayClient) -> None:
    _answers(message={"content": "x", "tool_calls": []}, finish_reason="tool_calls")
    answer = gateway.chat()

    assert answer["choices"][0]["finish_reason"] == "stop"
    assert problems(gateway.tee, answer, COVERED, "x") == []


def test_without_a_count_of_its_own_tokens_are_counted_here(gateway: GatewayClient) -> None:
    _LLM.answer = {"choices": [{"message": {"content": "A right."}}]}

    assert gateway.chat()["usage"] == {
        "prompt_tokens": 5,
        "completion_tokens": 3,
        "total_tokens": 8,
    }


@pytest.mark.parametrize(
    "answer",
    [
        *({}, {"choices": []}, {"choices": [{}]}, [1], b"<html>", b"data: {}\n\n", b"[" * 10**5),
        {"choices": [{"message": {"content": "half a character: \ud83d"}}]},
        {"choices": [{"message": {"tool_calls": "f"}}]},
        {"choices": [{"message": {"tool_calls": [{"name": "f"}]}}]},
    ],
)
def test_a_server_that_answers_something_else_is_a_bad_gateway(
    gateway: GatewayClient, answer: object
) -> None:
    assert _refusal(gateway, answer)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"error": {"message": 'model "x" not found', "type": "api_error"}}, 'model "x" not'),
        ({"error": {"code": 503, "message": "Loading model"}}, "503: 'Loading model'"),
        ({"error": "no such path"}, "503: 'no such path'"),
        ({"error": "x" * 5000}, "503: 'xxx"),
        (b"Bad Gateway", "it answered 503"),
    ],
)
def test_what_the_server_says_is_wrong_is_passed_on_and_not_charged(
    gateway: GatewayClient, answer: object, said: str
) -> None:
    text = _refusal(gateway, answer, 503)

    assert said in text
    assert len(text) < 300


async def test_a_server_that_lists_no_models_is_asked_for_the_one_that_was_named(
    llm_url: str,
) -> None:
    _answers(message={"content": "A right."})
    upstream = Upstream(llm_url.replace("/v1", "/unlisted/v1"))
    answer = await upstream.chat(
        requests.chat({"model": "gpt-5.4-mini", "messages": QUESTION}, date.min)
    )
    await upstream.close()
    ((path, body),) = _LLM.asked

    assert (path, body["model"]) == ("/unlisted/v1/chat/completions", "gpt-5.4-mini")
    assert answer.content == "A right."


def test_a_server_that_is_gone_is_told_without_its_password(gateway: GatewayClient) -> None:
    said = _refusal(gateway, {}, status=0)

    assert "it cannot be reached (RemoteProtocolError)" in said
    assert PASSWORD not in said
