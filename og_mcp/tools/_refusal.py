"""Arguments that a schema does not allow, told in short sentences.

The words come from the published schema, so the two always agree; a pattern's words are defined
beside it.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from typing import Any, Final

from pydantic import ValidationError

from og_mcp.errors import QUOTE_LIMIT, quote
from og_mcp.tools._arguments import FORMS

TOLD_AT_ONCE: Final = 5
"""Problems that one refusal lists; a wrong nested list could have thousands."""

_KINDS: Final = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "an array",
    "object": "an object",
}


def refusal(tool: str, schema: dict[str, Any], error: ValidationError) -> str:
    """Say which arguments of `tool` are wrong, why, and which ones it takes."""
    problems = error.errors(include_url=False, include_context=False)
    told = [
        _sentence(schema, problem["type"], problem["loc"], problem["input"])
        for problem in problems[:TOLD_AT_ONCE]
    ]
    if more := len(problems) - len(told):
        told.append(f"{more} more problem(s).")
    known = ", ".join(schema.get("properties", ()))
    takes = f"{tool} takes {known}." if known else f"{tool} takes no arguments."
    return " ".join([*told, takes])


def _sentence(schema: dict[str, Any], kind: str, path: Sequence[int | str], value: object) -> str:
    parent, name = _inside(schema, path[:-1]), str(path[-1])
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(name[:QUOTE_LIMIT], parent.get("properties", ()), n=1)
        nearest = f"; did you mean {near[0]}?" if near else "."
        return f"Unknown argument {quote(_dotted(path))}{nearest}"
    if kind == "missing":
        return f"Argument {_dotted(path)} is missing."
    return f"Argument {_dotted(path)} must be {_expected(_inside(schema, path))}, not {_shown_value(value)}."


def _inside(schema: dict[str, Any], path: Sequence[int | str]) -> dict[str, Any]:
    for step in path:
        schema = _first(schema)
        if isinstance(step, int):
            below = schema.get("items")
        else:
            below = schema.get("properties", {}).get(step) or schema.get("additionalProperties")
        schema = below if isinstance(below, dict) else {}
    return _first(schema)


def _first(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the first form that the schema allows for an argument."""
    first: dict[str, Any] = schema["anyOf"][0] if "anyOf" in schema else schema
    return first


def _dotted(path: Sequence[int | str]) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def _expected(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        left_out = " or left out" if schema.get("default") == "" else ""
        return f"one of {', '.join(map(str, schema['enum']))}{left_out}"
    words = _KINDS.get(schema.get("type", ""), "as its schema says")
    if "pattern" in schema:
        words = FORMS.get(schema["pattern"], words)
    for unit, kind in (("characters", "Length"), ("items", "Items")):
        words += _size(schema.get(f"min{kind}"), schema.get(f"max{kind}"), unit)
    return words + _bounds(schema.get("minimum"), schema.get("maximum"))


def _size(minimum: int | None, maximum: int | None, unit: str) -> str:
    if maximum is not None:
        return f" of {minimum or 0} to {maximum} {unit}"
    return f" of at least {minimum} {unit}" if minimum else ""


def _bounds(minimum: float | None, maximum: float | None) -> str:
    if minimum is not None and maximum is not None:
        return f" from {minimum} to {maximum}"
    if minimum is not None:
        return f" of at least {minimum}"
    return f" of at most {maximum}" if maximum is not None else ""


def _shown_value(value: object) -> str:
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"an array of {len(value)}"
    if isinstance(value, int) and value.bit_length() > 256:  # noqa: PLR2004 - a uint256 still reads well
        return f"a number of {value.bit_length()} bits"
    return json.dumps(value)
