"""What a receipt says beside its evidence: which of it something speaks for, and which nothing does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from og_mcp.client.receipts.reading import MismatchError, NotKeptError, equal, named
from og_mcp.client.tee.canonical_request import read_body, tool_of
from og_mcp.errors import quote

if TYPE_CHECKING:
    from og_mcp.client.receipts.checks import Evidence

KNOWN: Final = frozenset(
    {
        *("schema", "call_id", "network", "tool", "created_at", "digest"),
        *("request", "request_hash", "response", "response_hash", "chain", "tee", "payment"),
    },
)
"""Parts of a receipt that something is known about."""


def check_tool(evidence: Evidence) -> str:
    """Hold the tool to the request, to the function that is called, and to the form of what a TEE signed."""
    tool, speaks = evidence.part("tool"), []
    if "request" in evidence.receipt:
        equal(tool, evidence.part("request", "tool"), "the tool at the receipt's head")
        speaks.append("the request")
    if "raw_transaction" in _mapping(evidence, "chain"):
        equal(evidence.function.tool, tool, "the tool that calls this function")
        speaks.append("the signed call data")
    if "tee" in evidence.receipt:
        for what, tools in _tools_of(evidence):
            if tool not in tools:
                raise MismatchError(f"{what} is none of {quote(tool)}")
            speaks.append(what)
    if not speaks:
        raise NotKeptError(f"nothing that is kept tells whether it was a call of {quote(tool)}")
    return f"that it was a call of {quote(tool)} fits {', '.join(speaks)}"


def check_labels(evidence: Evidence) -> str:
    """Name what nothing in a receipt speaks for; it is never checked."""
    told = [f"{name} {quote(evidence.part(name))}" for name in ("call_id", "created_at")]
    payment = _mapping(evidence, "payment")
    told += [f"payment.{name}" for name in ("cap_id", "settlement") if name in payment]
    if "registry" in _mapping(evidence, "tee"):
        told.append("tee.registry.rpc")
    rest = [name for name in evidence.receipt if name not in KNOWN]
    if rest:
        told.append(f"anything in {named(rest)}")
    raise NotKeptError(f"nothing speaks for {', '.join(told)}")


def _tools_of(evidence: Evidence) -> Iterator[tuple[str, frozenset[str]]]:
    """Tell which tools make a request or an answer of the form that is kept."""
    for what, path in (
        ("the request that was sent", ("request", "body")),
        ("the request that was signed for", ("tee", "canonical_request")),
    ):
        text = _mapping(evidence, path[0]).get(path[1])
        if isinstance(text, str):
            tool = tool_of(read_body(text.encode()))
            yield what, frozenset({tool, "generate_image"} if tool == "chat" else {tool})
    answer = _mapping(evidence, "response")
    for name, tools in (
        ("images", {"generate_image"}),
        ("text", {"completion"}),
        ("content", {"chat", "web_search"}),
        ("tool_calls", {"chat"}),
    ):
        if name in answer:
            yield f"an answer with {name}", frozenset(tools)


def _mapping(evidence: Evidence, name: str) -> Mapping[str, Any]:
    part = evidence.receipt.get(name)
    return part if isinstance(part, Mapping) else {}
