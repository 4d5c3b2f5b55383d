"""Messages that no client should send: each one with an id is answered, and nothing is given away.

Seeded, so that a run can be repeated: `SEED` and the number of a message make the message.
"""

from __future__ import annotations

import json
import random
import subprocess
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from copy import deepcopy
from io import TextIOWrapper
from typing import Any, Final, cast

import httpx
import pytest

from tests.localnet_client import LocalNetwork, http_client
from tests.server_process import END_S, ending, over_http, start

pytestmark = pytest.mark.process

SEED: Final = 20261201
TOKEN: Final = "a-token-that-nobody-may-see-7f3b"
ERA: Final = "2025-11-25"
ANSWER_S: Final = 300.0

INITIALIZE: Final[dict[str, Any]] = {
    "protocolVersion": ERA,
    "capabilities": {},
    "clientInfo": {"name": "fuzz", "version": "1"},
}
CALLS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("infer", {"model_cid": "QmX", "model_input": {"x": [1.5, 2]}, "dry_run": True}),
    ("chat", {"messages": [{"role": "user", "content": "Hi"}], "dry_run": True, "max_tokens": 5}),
    ("completion", {"prompt": "Once", "dry_run": True, "temperature": 0.5}),
    ("web_search", {"query": "rain", "num_results": 2, "dry_run": True}),
    ("generate_image", {"prompt": "a cat", "count": 1, "dry_run": True, "images": []}),
    ("search_models", {"query": "vision", "kind": "llm", "limit": 2}),
    ("get_model", {"model_name": "none"}),
    ("list_files", {"model_name": "none", "version": "0.01"}),
    ("list_calls", {"limit": 1, "since": "24h"}),
    ("get_call", {"call_id": "0123abcd", "wait_s": 0}),
    ("verify_receipt", {"receipt": {"schema": "og-mcp/receipt/1"}}),
    ("status", {}),
)
METHODS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    *(("tools/call", {"name": name, "arguments": arguments}) for name, arguments in CALLS),
    ("tools/list", {}),
    ("resources/list", {}),
    ("resources/read", {"uri": "og://models"}),
    ("resources/read", {"uri": "og://calls/0123abcd"}),
    ("prompts/get", {"name": "run_model", "arguments": {"model_name": "none"}}),
    ("ping", {}),
    ("no/such/method", {"x": 1}),
)
ODD: Final[tuple[Any, ...]] = (
    *(None, True, -1, 0, 2**63, 10**40, 1e308, "", "\x00", "\ud800", "é" * 300, [], {}, [[[]]]),
    *({"file": "/etc/passwd"}, {"": ""}, "' OR 1=1 --", "../../..", "og://receipts/x", "\u202e"),
)


def message(number: int) -> bytes:
    """Make one message: a request that is sound, changed in one or two places, or broken."""
    chance = random.Random(SEED * 1_000_000 + number)  # noqa: S311 - to be repeated
    method, params = chance.choice(METHODS)
    request = {
        "jsonrpc": "2.0",
        "id": chance.choice((number, f"id-{number}")),
        "method": method,
        "params": json.loads(json.dumps(params)),
    }
    for _ in range(chance.randrange(3)):
        change(request["params"], chance)
    if chance.random() < 0.1:
        request["params"] = deepcopy(chance.choice(ODD))
    if chance.random() < 0.05:
        request[chance.choice(("jsonrpc", "method"))] = deepcopy(chance.choice(ODD))
    if chance.random() < 0.02:
        request["params"] = nested(chance.randrange(1, 3000))
    text = json.dumps(request).encode()
    if chance.random() < 0.1:
        at = chance.randrange(len(text))
        text = chance.choice(
            (text[:at], text[:at] + bytes([chance.randrange(256)]) + text[at + 1 :])
        )
    return text.replace(b"\n", b" ").replace(b"\r", b" ")


def change(place: Any, chance: random.Random) -> None:  # noqa: ANN401 - JSON
    """Put something odd somewhere into a JSON object."""
    while isinstance(place, dict) and place:
        name = chance.choice(sorted(place))
        if isinstance(place[name], dict) and place[name] and chance.random() < 0.8:
            place = place[name]
        elif chance.random() < 0.2:
            place[chance.choice(("dryrun", "", name * 3))] = place.pop(name)
            return
        else:
            place[name] = deepcopy(chance.choice(ODD))
            return


def nested(depth: int) -> Any:  # noqa: ANN401 - JSON
    inner: Any = 1
    for _ in range(depth):
        inner = {"x": inner}
    return inner


def id_of(text: bytes) -> int | str | None:
    """Return the id of a message that is to be answered; `None` where it is not one."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(parsed, dict) or "method" not in parsed:
        return None
    found = parsed.get("id")
    return found if isinstance(found, (int, str)) and not isinstance(found, bool) else None


def secrets(localnet: LocalNetwork) -> list[str]:
    keys = [account["private_key"].removeprefix("0x") for account in localnet.ready["accounts"]]
    return [TOKEN, localnet.ready["hub_login"]["password"], *keys]


def halves(count: int) -> list[tuple[str, range]]:
    """Give each second message to a server at DEBUG."""
    return [("INFO", range(0, count, 2)), ("DEBUG", range(1, count, 2))]


@pytest.mark.parametrize("count", [300, pytest.param(8_000, marks=pytest.mark.slow)])
def test_every_message_on_stdio_is_answered_and_nothing_is_given_away(
    localnet: LocalNetwork, count: int
) -> None:
    for level, numbers in halves(count):
        sent = [message(number) for number in numbers]
        environ = {**localnet.environ, "OG_HTTP_TOKEN": TOKEN, "OG_LOG_LEVEL": level}
        with ending(start(environ, "serve")) as process:
            first = request_line("first", "initialize", INITIALIZE)
            last = request_line("last", "ping", {})
            out, log = talk(process, [first, *sent, last])
        answers = [json.loads(line) for line in out.splitlines()]
        named = [answer["id"] for answer in answers if answer.get("id") is not None]

        wanted = [one for one in map(id_of, [first, *sent, last]) if one is not None]
        assert Counter(wanted) <= Counter(named)
        assert len(answers) <= len(sent) + 2
        broken = [one for one in sent if not is_json(one) and one.strip()]
        parse_errors = [one for one in answers if one.get("error", {}).get("code") == -32700]
        # The server's parser takes less than Python's, e.g. no lone surrogates.
        assert len(parse_errors) >= len(broken)
        assert not [secret for secret in secrets(localnet) if secret in out or secret in log]
        assert "Traceback" not in log or level == "DEBUG"


def test_a_frame_that_is_no_json_is_answered_under_its_own_id(localnet: LocalNetwork) -> None:
    frames = {
        '{"jsonrpc":"2.0","id":71,"method":"ping"': 71,
        '{"jsonrpc":"2.0","id":"a-b","method":"ping",}': "a-b",
        '{"method":"tools/call","params":{"id":73,"x":}': None,
        '{"params":{"id":74},"id":75,"method":': 75,
        '{"note":"\\"id\\": 76","method":': None,
        '{"jsonrpc":"2.0","id":77': None,
        "not JSON at all": None,
    }
    with ending(start({**localnet.environ}, "serve")) as process:
        first = request_line("first", "initialize", INITIALIZE)
        last = request_line("last", "ping", {})
        out, _ = talk(process, [first, *(frame.encode() for frame in frames), b"   ", last])
    answers = [json.loads(line) for line in out.splitlines()]

    errors = [answer for answer in answers if "error" in answer]
    assert [(one["id"], one["error"]["code"]) for one in errors] == [
        (named, -32700) for named in frames.values()
    ]


@pytest.mark.parametrize("count", [100, pytest.param(2_000, marks=pytest.mark.slow)])
def test_every_message_over_http_is_answered_and_nothing_is_given_away(
    localnet: LocalNetwork, count: int
) -> None:
    for level, numbers in halves(count):
        environ = {**localnet.environ, "OG_HTTP_TOKEN": TOKEN, "OG_LOG_LEVEL": level}
        log: list[str] = []
        seen: list[str] = []
        with over_http(environ, log=log) as url, http_client(url, token=TOKEN) as http:
            for number in numbers:
                text = message(number)
                answer = http.post(
                    "/mcp",
                    content=text,
                    headers={
                        "Content-Type": "application/json",
                        "Accept": "application/json, text/event-stream",
                        "MCP-Protocol-Version": ERA,
                    },
                    timeout=ANSWER_S,
                )
                assert answer.status_code < 500, (number, text[:300], answer.text[:300])
                seen.append(answer.text)
                if (named := id_of(text)) is not None and answer.status_code == 200:
                    assert named in {one.get("id") for one in told(answer)}, (number, text[:300])
            assert http.get("/mcp", timeout=ANSWER_S).status_code < 500
        everything = "".join([*seen, *log])
        assert not [secret for secret in secrets(localnet) if secret in everything]


def told(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    """Read the JSON-RPC messages of an answer, plain or as events."""
    if answer.headers.get("content-type", "").startswith("application/json"):
        yield answer.json()
        return
    for line in answer.text.splitlines():
        if line.startswith("data:") and line[5:].strip():
            yield json.loads(line[5:])


def is_json(text: bytes) -> bool:
    try:
        json.loads(text.decode(errors="replace"))
    except ValueError:
        return False
    except RecursionError:
        return True
    return True


def request_line(named: str, method: str, params: dict[str, Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": named, "method": method, "params": params}).encode()


def talk(process: subprocess.Popen[str], lines: list[bytes]) -> tuple[str, str]:
    """Send lines, wait until each with an id is answered, end the server; returns stdout, stderr."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    open_ids = {one for one in map(id_of, lines) if one is not None}
    out: list[str] = []
    log: list[str] = []
    is_answered = threading.Event()

    def listen(stdout: Iterable[str]) -> None:
        for line in stdout:
            out.append(line)
            open_ids.discard(json.loads(line).get("id"))
            if not open_ids:
                is_answered.set()

    listeners = [
        threading.Thread(target=listen, args=(process.stdout,), daemon=True),
        threading.Thread(target=log.extend, args=(process.stderr,), daemon=True),
    ]
    for listener in listeners:
        listener.start()
    pipe = cast("TextIOWrapper", process.stdin).buffer
    pipe.write(b"\n".join([*lines, b""]))
    pipe.flush()
    assert is_answered.wait(ANSWER_S), f"not answered: {sorted(map(str, open_ids))[:5]}"
    process.stdin.close()
    assert process.wait(END_S) == 0
    for listener in listeners:
        listener.join(END_S)
    return "".join(out), "".join(log)
