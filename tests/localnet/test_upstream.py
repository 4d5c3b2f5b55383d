"""OG_LOCAL_LLM_URL names a server whose answers the gateway signs and passes on."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from anyio.from_thread import start_blocking_portal

from og_mcp.client.session.localnet import running_localnet
from tests.localnet.gateway_client import CHAT, COMPLETION, GatewayClient, gateway_client, problems
from tests.localnet_client import LocalNetwork

QUESTION = [{"role": "user", "content": "What is an option?"}]
COVERED = {"model": "gpt-5-mini", "messages": QUESTION, "temperature": 0.0}
USAGE = {"prompt_tokens": 11, "completion_tokens": 22, "total_tokens": 33}


class _LLM(BaseHTTPRequestHandler):
    """Answers as Ollama does: it has one model, under a name of its own."""

    asked: ClassVar[list[tuple[str, Any]]] = []
    answer: ClassVar[dict[str, Any]] = {}
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send({"object": "list", "data": [{"id": "tiny:1b"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append((self.path, body))
        self._send(self.answer)

    def log_message(self, *_args: object) -> None:
        pass

    def _send(self, answer: object) -> None:
        raw = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


@pytest.fixture(scope="module")
def llm_url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _LLM) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
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


def _answers(**choice: object) -> None:
    _LLM.asked.clear()
    _LLM.answer = {"choices": [choice], "usage": USAGE}


def test_a_chat_is_answered_by_the_server_under_its_own_models_name(
    gateway: GatewayClient,
) -> None:
    _answers(message={"role": "assistant", "content": "A right."}, finish_reason="stop")
    answer = gateway.chat(max_tokens=7, web_search=False)
    covered = {**COVERED, "max_tokens": 7}

    assert _LLM.asked == [
        ("/v1/chat/completions", {"messages": QUESTION, "max_tokens": 7, "model": "tiny:1b"})
    ]
    assert answer["choices"][0]["message"]["content"] == "A right."
    assert answer["usage"] == USAGE
    assert answer["model"] == "gpt-5-mini"
    assert problems(gateway.tee, answer, covered, "A right.") == []


def test_a_stream_is_made_of_the_whole_answer(gateway: GatewayClient) -> None:
    _answers(message={"role": "assistant", "content": "A right to buy."}, finish_reason="length")
    frames, done = gateway.frames(CHAT, {"model": "gpt-5-mini", "messages": QUESTION})
    deltas = [frame["choices"][0]["delta"].get("content", "") for frame in frames]

    assert done
    assert "stream" not in _LLM.asked[0][1]
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
    answer = gateway.post(COMPLETION, {"model": "o3", "prompt": "Once"}).json()

    assert answer["choices"][0]["text"] == " upon a time"


def test_an_image_is_still_drawn_here(gateway: GatewayClient) -> None:
    _answers()
    answer = gateway.chat(model="gpt-image-2", size="8x8")

    assert answer["choices"][0]["message"]["images"]
    assert _LLM.asked == []


@pytest.mark.parametrize("answer", [{}, {"choices": []}, {"choices": [{}]}, [1]])
def test_a_server_that_answers_something_else_is_a_bad_gateway(
    gateway: GatewayClient,
    answer: Any,  # noqa: ANN401 - JSON
) -> None:
    _LLM.answer = answer
    reply = gateway.post(CHAT, {"model": "gpt-5-mini", "messages": QUESTION})

    assert reply.status_code == 502
    assert "OG_LOCAL_LLM_URL" in reply.json()["error"]
