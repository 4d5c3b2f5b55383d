"""The fields that a receipt may have, and those that nothing proves (threats.md T39).

The lists are closed: a field that no release of og-mcp writes is a failed check.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from og_mcp import catalogue
from og_mcp.client.receipts.reading import MismatchError, NotKeptError, equal, named
from og_mcp.client.tee.canonical_request import read_body, tool_of
from og_mcp.errors import quote

if TYPE_CHECKING:
    from og_mcp.client.receipts.checks import ReceiptParts

SCHEMAS: Final = ("og-mcp/receipt/1", "og-mcp/receipt/2")
"""Schemas that are read; the last one is written."""

SCHEMA: Final = SCHEMAS[-1]
NEWER: Final = "or it was made by a newer og-mcp"

_FILE: Final = "uri mime_type width height size sha256"
_GATEWAY: Final = "tool inference_mode provider settlement_mode body"

_BOTH: Final[Mapping[str, str]] = MappingProxyType(
    {
        "": (
            "schema call_id network tool created_at digest request request_hash response "
            "response_hash chain tee payment"
        ),
        "chain": (
            "chain_id transaction_hash block_number block_hash contract raw_transaction logs "
            "signed_hash signature sender"
        ),
        "chain.logs": "address topics data",
        "tee": (
            "tee_id endpoint pcr_hash public_key canonical_request content request_hash "
            "output_hash timestamp signature registry digest mismatch answer"
        ),
        "tee.registry": "rpc chain_id block_number block_hash",
        "payment": (
            "scheme network asset payer pay_to spender nonce deadline max_opg cap_id amount_opg "
            "transaction_hash"
        ),
        "response.tool_calls": "id type function",
        "response.tool_calls.function": "name arguments",
        "response.images": f"{_FILE} original",
        "response.images.original": _FILE,
    }
)
"""Path of an object, or of the objects in a list -> its fields, separated by spaces."""

_OF_SCHEMA: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        SCHEMAS[0]: {"payment": "settlement", "payment.settlement": "processing_hash"},
        SCHEMAS[1]: {
            "": "claims",
            "claims": "finish_reason usage cost citations moderation settlement",
            "claims.usage": "prompt_tokens completion_tokens total_tokens",
            "claims.cost": "opg usd source",
            "claims.citations": "url title",
            "claims.settlement": "processing_hash",
            "request.attachments": "name size sha256",
        },
    }
)
"""Schema -> the fields that it has beside those."""

_OF_TOOL: Final[Mapping[tuple[str, str], Mapping[str, str]]] = MappingProxyType(
    {
        (SCHEMAS[0], "chat"): {"request": _GATEWAY, "response": "content tool_calls finish_reason"},
        (SCHEMAS[0], "completion"): {"request": _GATEWAY, "response": "text"},
        (SCHEMAS[0], "generate_image"): {
            "request": f"{_GATEWAY} width height",
            "response": "images",
        },
        (SCHEMAS[1], "chat"): {
            "request": f"{_GATEWAY} attachments",
            "response": "content tool_calls",
        },
        (SCHEMAS[1], "completion"): {"request": _GATEWAY, "response": "text"},
        (SCHEMAS[1], "web_search"): {
            "request": "tool settlement_mode body",
            "response": "content",
        },
        (SCHEMAS[1], "generate_image"): {
            "request": f"{_GATEWAY} width height attachments save_as",
            "response": "images",
        },
    }
)
"""Schema and tool of a gateway call -> fields of request and answer; on-chain ones are compared whole."""


def check_fields(parts: ReceiptParts) -> str:
    """Find every field that no release writes, in every object whose form is ours."""
    receipt = parts.receipt
    schema, tool = str(receipt.get("schema")), str(receipt.get("tool"))
    lists = {path: set(names.split()) for path, names in _BOTH.items()}
    for path, names in _OF_SCHEMA[schema].items():
        lists[path] = lists.get(path, set()) | set(names.split())
    if "tee" in receipt:
        of_tool = _OF_TOOL.get((schema, tool))
        if of_tool is None:
            raise MismatchError(f"{quote(tool)} is not a tool that gateways answer, {NEWER}")
        lists |= {path: set(names.split()) for path, names in of_tool.items()}
    unknown = list(_unknown(receipt, "", lists))
    if unknown:
        raise MismatchError(f"it has unknown fields: {named(unknown)}, {NEWER}")
    return "every field is one that receipts of this schema and tool have"


def _unknown(value: Any, path: str, lists: Mapping[str, set[str]]) -> Iterator[str]:  # noqa: ANN401 - JSON
    for one in value if isinstance(value, list) else [value]:
        if not isinstance(one, Mapping):
            raise MismatchError(f"{path} is not an object")
        for name, member in one.items():
            inner = f"{path}.{name}" if path else name
            if name not in lists[path]:
                yield inner
            elif inner in lists:
                yield from _unknown(member, inner, lists)


def check_tool(parts: ReceiptParts) -> str:
    """Compare the tool with the request, the function that is called, and the form of what a TEE signed."""
    tool, speaks = parts.part("tool"), []
    if "request" in parts.receipt:
        equal(tool, _mapping(parts, "request").get("tool"), "the tool at the receipt's head")
        speaks.append("the request")
    if "raw_transaction" in _mapping(parts, "chain"):
        equal(parts.function.tool, tool, "the tool that calls this function")
        speaks.append("the signed call data")
    if "tee" in parts.receipt:
        for what, tools in _tools_of(parts):
            if tool not in tools:
                raise MismatchError(f"{what} does not belong to {quote(tool)}")
            speaks.append(what)
    if not speaks:
        raise NotKeptError(f"nothing that is kept tells whether it was a call of {quote(tool)}")
    return f"that it was a call of {quote(tool)} fits {', '.join(speaks)}"


def check_provider(parts: ReceiptParts) -> str:
    """Compare the provider in the request with the catalogue's for that model."""
    provider = parts.part("request", "provider")
    model = str(read_body(str(parts.part("request", "body")).encode()).get("model"))
    entry = catalogue.find(model, "gateway")
    if entry is None:
        raise NotKeptError(f"the catalogue of this og-mcp does not have {quote(model)}")
    equal(entry.provider, provider, f"the provider of {quote(model)}")
    return f"{quote(model)} is a model of {provider}"


def check_labels(parts: ReceiptParts) -> str:
    """List what nothing in a receipt proves; it is never checked."""
    told = [f"{name} {quote(parts.part(name))}" for name in ("call_id", "created_at")]
    payment = _mapping(parts, "payment")
    told += [f"payment.{name}" for name in ("cap_id", "settlement") if name in payment]
    if "registry" in _mapping(parts, "tee"):
        told.append("tee.registry.rpc")
    told += [f"claims.{name}" for name in _mapping(parts, "claims")]
    raise NotKeptError(f"the file says, and nothing else does: {', '.join(told)}")


def _tools_of(parts: ReceiptParts) -> Iterator[tuple[str, frozenset[str]]]:
    """Return the tools that make a request or an answer of the form that is kept."""
    for what, path in (
        ("the request that was sent", ("request", "body")),
        ("the request that was signed for", ("tee", "canonical_request")),
    ):
        text = _mapping(parts, path[0]).get(path[1])
        if isinstance(text, str):
            tool = tool_of(read_body(text.encode()))
            yield what, frozenset({tool, "generate_image"} if tool == "chat" else {tool})
    answer = _mapping(parts, "response")
    for name, tools in (
        ("images", {"generate_image"}),
        ("text", {"completion"}),
        ("content", {"chat", "web_search"}),
        ("tool_calls", {"chat"}),
    ):
        if name in answer:
            yield f"an answer with {name}", frozenset(tools)


def _mapping(parts: ReceiptParts, name: str) -> Mapping[str, Any]:
    part = parts.receipt.get(name)
    return part if isinstance(part, Mapping) else {}
