"""Builds values that a JSON schema accepts: arguments of tool calls and structured answers.

Known: `type`, `enum`, `const`, `default`, `properties`, `required`, `items`, `prefixItems`,
`minItems`, `minLength`, `maxLength`, numeric bounds, `multipleOf`, `format` of common kinds,
`anyOf`, `oneOf`, `allOf`, and references within the schema. Not known: `pattern`, `not`,
conditions, `patternProperties`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

Schema = Mapping[str, Any]

DEEPEST: Final = 32
"""Levels; a schema that requires itself has no finite value."""

LONGEST: Final = 10_000
"""Letters of a text, or items of a list."""

_TEXT: Final = "local"
_FORMATS: Final = {
    "date": "2025-01-01",
    "time": "00:00:00Z",
    "date-time": "2025-01-01T00:00:00Z",
    "duration": "P1D",
    "email": "local@example.invalid",
    "hostname": "example.invalid",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
    "uri": "https://example.invalid/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


class SchemaError(ValueError):
    """No value was found; the text says where in the schema."""


def value_for(schema: Schema) -> Any:  # noqa: ANN401 - whatever the schema describes
    """Build a value: defaults and constants where there are some, else the simplest there is.

    Objects hold what is required and what has a default.

    Raises:
        SchemaError: The schema is none, or requires itself endlessly.
    """
    return _value(schema, schema, 0)


def _value(schema: Any, root: Schema, depth: int) -> Any:  # noqa: ANN401, PLR0911 - one return a keyword
    if schema is True:
        return {}
    if not isinstance(schema, Mapping):
        raise SchemaError(f"{str(schema)[:100]!r} is no JSON schema")
    if depth > DEEPEST:
        raise SchemaError(f"nested more than {DEEPEST} deep")
    if "const" in schema:
        return schema["const"]
    if "default" in schema:
        return schema["default"]
    if schema.get("enum"):
        return schema["enum"][0]
    if "$ref" in schema:
        return _value(_resolve(schema["$ref"], root), root, depth + 1)
    if parts := _parts(schema):
        return _value(_merged(parts, root), root, depth + 1)
    return _of_type(schema, root, depth)


def _parts(schema: Schema) -> list[Any]:
    """List the schemas that have to hold together; of alternatives, the first."""
    for keyword, count in (("anyOf", 1), ("oneOf", 1), ("allOf", None)):
        if schema.get(keyword):
            rest = {name: value for name, value in schema.items() if name != keyword}
            return [rest, *schema[keyword][:count]]
    return []


def _of_type(schema: Schema, root: Schema, depth: int) -> Any:  # noqa: ANN401 - as above
    kind = _kind(schema)
    if kind == "object":
        return _object(schema, root, depth)
    if kind == "array":
        return _array(schema, root, depth)
    if kind in {"integer", "number"}:
        return _number(schema, whole=kind == "integer")
    return {"string": _text(schema), "boolean": False, "null": None}.get(kind)


def _kind(schema: Schema) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), "null")
    if kind is not None:
        return str(kind)
    if "items" in schema or "prefixItems" in schema:
        return "array"
    numeric = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
    if numeric & schema.keys():
        return "number"
    return "string" if {"minLength", "maxLength", "format"} & schema.keys() else "object"


def _object(schema: Schema, root: Schema, depth: int) -> dict[str, Any]:
    properties, required = schema.get("properties") or {}, schema.get("required") or []
    wanted = [
        name
        for name, each in properties.items()
        if name in required or (isinstance(each, Mapping) and "default" in each)
    ]
    undescribed = [name for name in required if name not in properties]
    rest = schema.get("additionalProperties")
    free = rest if isinstance(rest, Mapping) else {"type": "string"}
    return {name: _value(properties[name], root, depth + 1) for name in wanted} | {
        name: _value(free, root, depth + 1) for name in undescribed
    }


def _array(schema: Schema, root: Schema, depth: int) -> list[Any]:
    first = [_value(each, root, depth + 1) for each in schema.get("prefixItems") or []]
    items, least = schema.get("items"), schema.get("minItems", 1)
    if not isinstance(items, Mapping):
        items, least = {"type": "string"}, schema.get("minItems", 0)
    most = schema.get("maxItems", least)
    if depth >= DEEPEST // 2:
        # Lists end a schema that refers to itself: they may be empty.
        least = schema.get("minItems", 0)
    more = _length(min(least, most)) - len(first)
    return first + [_value(items, root, depth + 1) for _ in range(more)]


def _number(schema: Schema, *, whole: bool) -> float:
    step: float = schema.get("multipleOf") or 1
    low: float = schema.get("minimum", -math.inf)
    above: float = schema.get("exclusiveMinimum", -math.inf)
    high: float = schema.get("maximum", math.inf)
    below: float = schema.get("exclusiveMaximum", math.inf)
    if low <= 0 <= high and above < 0 < below:
        return 0
    if max(low, above) == -math.inf:
        ceiling = min(high, below)
        value = math.floor(ceiling / step) * step
        return value - step if value >= below else value
    floor = max(low, above)
    value = math.ceil(floor / step) * step
    value = value + step if value <= above else value
    if not whole and not (value <= high and value < below):
        return (floor + min(high, below)) / 2
    return value


def _text(schema: Schema) -> str:
    text = _FORMATS.get(str(schema.get("format")), _TEXT)
    text += "." * (_length(schema.get("minLength", 0)) - len(text))
    return text[: schema.get("maxLength")]


def _length(asked: int) -> int:
    if asked > LONGEST:
        raise SchemaError(f"asks for a length of more than {LONGEST}")
    return asked


def _resolve(reference: Any, root: Schema) -> Any:  # noqa: ANN401 - JSON
    found: Any = root
    if not isinstance(reference, str) or not reference.startswith("#"):
        raise SchemaError(f"{str(reference)[:100]!r} leads out of the schema")
    for step in reference.removeprefix("#").split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, Mapping) or name not in found:
            raise SchemaError(f"{reference[:100]!r} leads nowhere")
        found = found[name]
    return found


def _merged(schemas: list[Any], root: Schema) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for each in schemas:
        schema = _resolve(each["$ref"], root) if "$ref" in each else each
        properties = {**merged.get("properties", {}), **schema.get("properties", {})}
        required = [*merged.get("required", []), *schema.get("required", [])]
        merged |= schema
        if properties:
            merged["properties"] = properties
        if required:
            merged["required"] = required
    return merged
