"""The way of a call through the house: how long it is, and that its table in the documents is right."""

from __future__ import annotations

import ast
import asyncio
import re
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any, Final

import httpx
import pytest
from mcp import Client

import og_mcp
from og_mcp.client import Session, operations
from og_mcp.server import build_server
from tests.localnet_client import LocalNetwork

ROOT: Final = Path(og_mcp.__file__).parent
ARCHITECTURE: Final = ROOT.parent / "docs" / "architecture.md"

MAX_HOPS: Final = 14
MAX_FILES: Final = 9

Hop = tuple[str, str]
"""A file of ours and a function in it: one frame on the awaiting chain."""


def hop(frame: FrameType | None) -> list[Hop]:
    if frame is None or not frame.f_code.co_filename.startswith(str(ROOT)):
        return []
    return [(str(Path(frame.f_code.co_filename).relative_to(ROOT)), frame.f_code.co_name)]


def running_now() -> list[Hop]:
    """Return the frames of this task, the outermost first."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - what the interpreter offers
    found: list[Hop] = []
    while frame is not None:
        found = hop(frame) + found
        frame = frame.f_back
    return found


def awaiting(task: asyncio.Task[Any]) -> list[Hop]:
    """Return the frames of another task, which waits, the outermost first."""
    found: list[Hop] = []
    step: Any = task.get_coro()
    while step is not None:
        kinds = ("cr", "gi", "ag")
        frame = next((f for k in kinds if (f := getattr(step, f"{k}_frame", None))), None)
        found += hop(frame)
        names = ("cr_await", "gi_yieldfrom", "ag_await")
        step = next((s for n in names if (s := getattr(step, n, None)) is not None), None)
    return found


class Recorder:
    """Records the awaiting chain of the first request that carries something."""

    def __init__(self, carries: Callable[[httpx.Request], bool]) -> None:
        self.carries, self.hops = carries, list[Hop]()

    def look(self, request: httpx.Request) -> None:
        if self.hops or not self.carries(request):
            return
        mine = running_now()
        engine = mine[0][0]
        others = (t for t in asyncio.all_tasks() if t is not asyncio.current_task())
        # Both sides of the task's boundary: who waits in the engine, and who is carried out there.
        (waiting,) = [w for task in others if (w := awaiting(task)) and w[-1][0] == engine]
        tool = next(at for at, (file, _) in enumerate(waiting) if file == "tools/_tool.py")
        self.hops = waiting[tool:] + mine


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Any], bool]], Recorder]:
    send = httpx.AsyncClient.send

    def record(carries: Callable[[httpx.Request], bool]) -> Recorder:
        recorder = Recorder(carries)

        async def watched(
            self: httpx.AsyncClient,
            request: httpx.Request,
            **how: Any,  # noqa: ANN401 - as httpx has it
        ) -> httpx.Response:
            recorder.look(request)
            return await send(self, request, **how)

        monkeypatch.setattr(httpx.AsyncClient, "send", watched)
        return recorder

    return record


def carries_a_transaction(request: httpx.Request) -> bool:
    return b"eth_sendRawTransaction" in request.content


def carries_a_payment(request: httpx.Request) -> bool:
    return "payment-signature" in request.headers


def is_short(hops: list[Hop]) -> bool:
    return len(hops) <= MAX_HOPS and len({file for file, _ in hops}) <= MAX_FILES


async def test_an_inference_takes_few_hops_to_the_request_with_its_transaction(
    localnet: LocalNetwork, recorded: Callable[[Callable[[Any], bool]], Recorder]
) -> None:
    recorder, sample = recorded(carries_a_transaction), localnet.ready["sample_models"][0]
    async with Client(build_server(Session.from_env(localnet.environ))) as mcp:
        asked = {"model_cid": sample["cid"], "model_input": sample["model_input"]}
        result = await mcp.call_tool("infer", asked)

    assert not result.is_error
    assert ("tools/infer.py", "infer") in recorder.hops
    assert is_short(recorder.hops), recorder.hops


async def test_a_chat_takes_few_hops_to_the_request_with_its_payment(
    localnet: LocalNetwork, recorded: Callable[[Callable[[Any], bool]], Recorder]
) -> None:
    recorder = recorded(carries_a_payment)
    async with Client(build_server(Session.from_env(localnet.environ))) as mcp:
        messages = [{"role": "user", "content": "Hello"}]
        result = await mcp.call_tool("chat", {"model": "gpt-5.4-mini", "messages": messages})

    assert not result.is_error
    assert ("tools/chat.py", "chat") in recorder.hops
    assert is_short(recorder.hops), recorder.hops


STEP: Final = re.compile(
    r"^\| \d+ \| `([\w.]+)` \| \[[^\]]*\]\(\.\./og_mcp/([^)]*)\)", re.MULTILINE
)


def paths() -> Iterator[list[tuple[str, str]]]:
    """Give the steps of each path that the document tells: function and file."""
    section = ARCHITECTURE.read_text(encoding="utf-8").split("## The path of one call")[1]
    steps = STEP.findall(section.split("\n## ")[0])
    starts = [at for at, (name, _) in enumerate(steps) if "." not in name]
    for start, end in zip(starts, [*starts[1:], len(steps)], strict=True):
        yield steps[start:end]


def function(name: str, file: str) -> ast.AST:
    """Find a function, or one of a class, in a file."""
    found: ast.AST = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    for part in name.split("."):
        body: list[ast.stmt] = getattr(found, "body", [])
        (found,) = [one for one in body if getattr(one, "name", None) == part]
    return found


def names_in(node: ast.AST) -> set[str]:
    each = list(ast.walk(node))
    names = {one.id for one in each if isinstance(one, ast.Name)}
    return names | {one.attr for one in each if isinstance(one, ast.Attribute)}


@pytest.mark.parametrize(
    ("path", "signs"), list(zip(paths(), ("sign_transaction", "sign_typed_data"), strict=True))
)
def test_the_line_that_signs_is_reached_by_names_alone(
    path: list[tuple[str, str]], signs: str
) -> None:
    for (name, file), (after, _) in pairwise(path):
        names = names_in(function(name, file))
        made, _, called = after.rpartition(".")

        # By its own name, or where its class is made and handed on.
        assert called in names or made in names, f"{name} does not lead to {after}"
    assert signs in names_in(function(*path[-1]))


@pytest.mark.parametrize(
    ("method", "operation", "base"),
    [
        ("infer", operations.Infer, "TransactionOperation"),
        ("chat", operations.Chat, "GatewayOperation"),
    ],
)
def test_the_session_names_the_operation_whose_execute_comes_next(
    method: str, operation: type, base: str
) -> None:
    made = names_in(function(f"Session.{method}", "client/session.py"))
    (defines,) = [one for one in operation.__mro__ if "execute" in vars(one)][:1]

    assert operation.__name__ in made
    assert defines.__name__ == base


def test_calls_and_operations_hand_few_closures_on() -> None:
    """A function made inside another one and handed on is a hop that no editor follows."""
    found = [
        f"{path.name}:{inner.lineno}"
        for room in ("calls", "operations")
        for path in (ROOT / "client" / room).glob("*.py")
        for outer in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(outer)
        if inner is not outer and isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
    ]

    assert len(found) <= 5, found
