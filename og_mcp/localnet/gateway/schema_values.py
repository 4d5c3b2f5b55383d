"""Builds values that a JSON schema accepts: arguments of tool calls and structured answers.

Known: `type`, `enum`, `const`, `default`, `properties`, `required`, `minProperties`, `items`,
`prefixItems`, `minItems`, `uniqueItems`, `minLength`, `maxLength`, `pattern`, numeric bounds,
`multipleOf`, `format` of common kinds, `anyOf`, `oneOf`, `allOf`, and references within the schema,
to itself too. Not known: `not`, conditions, `contains`, `patternProperties`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from og_mcp.localnet.gateway.patterns import PatternError, matching

Schema = Mapping[str, Any]

MAX_DEPTH: Final = 32
"""Levels; a schema that requires itself has no finite value."""

MAX_LENGTH: Final = 10_000
"""Letters of a text, or items of a list."""

MAX_PARTS: Final = 20_000
"""Of a value, those that were tried and dropped among them."""

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
_NUMERIC: Final = frozenset(
    {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
)
_TEXTUAL: Final = frozenset({"minLength", "maxLength", "format", "pattern"})
_TIGHTER: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), max),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems"), min),
}
"""Which of two bounds holds where both have to."""


class SchemaError(ValueError):
    """No value was found; the text says where in the schema."""


class _TooMuchError(SchemaError):
    """Looking further would take too long."""


def value_for(schema: Schema) -> Any:  # noqa: ANN401 - whatever the schema describes
    """Build a value: defaults and constants where there are some, else the simplest there is.

    Objects hold what is required and what has a default.

    Raises:
        SchemaError: The schema is none, or requires itself endlessly.
    """
    return _Builder(schema).value(schema)


class _Builder:
    def __init__(self, root: Schema) -> None:
        self._root = root
        self._parts = 0

    def value(self, schema: Any, within: frozenset[str] = frozenset(), depth: int = 0) -> Any:  # noqa: ANN401, PLR0911 - one return a keyword
        """Build a value for a part of the schema.

        Args:
            schema: The part.
            within: References that lead here; what leads back is avoided where it can be.
            depth: Levels above.
        """
        self._count(depth)
        if schema is True:
            return {}
        if not isinstance(schema, Mapping):
            raise SchemaError(f"{str(schema)[:100]!r} is not a JSON schema")
        if "const" in schema:
            return schema["const"]
        if "default" in schema:
            return schema["default"]
        if schema.get("enum"):
            return schema["enum"][0]
        if "$ref" in schema:
            return self._all_of(schema, "$ref", [schema], within, depth)
        if schema.get("allOf"):
            return self._all_of(schema, "allOf", schema["allOf"], within, depth)
        for keyword in ("anyOf", "oneOf"):
            if schema.get(keyword):
                return self._any_of(schema, keyword, within, depth)
        return self._of_type(schema, within, depth)

    def _count(self, depth: int) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise _TooMuchError(f"has more than {MAX_PARTS} parts")
        if depth > MAX_DEPTH:
            raise SchemaError(f"nested more than {MAX_DEPTH} deep")

    def _any_of(self, schema: Schema, keyword: str, within: frozenset[str], depth: int) -> Any:  # noqa: ANN401 - as above
        """Take the first alternative that has a value; those that lead back come last."""
        error = SchemaError(f"{keyword} has no alternative")
        for option in sorted(schema[keyword], key=lambda each: _leads_back(each, within)):
            try:
                return self._all_of(schema, keyword, [option], within, depth)
            except _TooMuchError:
                raise
            except SchemaError as exc:
                error = exc
        raise error

    def _all_of(
        self, schema: Schema, keyword: str, parts: list[Any], within: frozenset[str], depth: int
    ) -> Any:  # noqa: ANN401 - as above
        """Build a value that the rest of a schema and all of its parts accept."""
        merged = {name: value for name, value in schema.items() if name != keyword}
        for each in parts:
            part, within = self._followed(each, within)
            merged = _merged(merged, part)
        return self.value(merged, within, depth + 1)

    def _followed(self, part: Any, within: frozenset[str]) -> tuple[Any, frozenset[str]]:  # noqa: ANN401 - as above
        """Go where references lead, each once."""
        while isinstance(part, Mapping) and "$ref" in part:
            reference, part = part["$ref"], _resolve(part["$ref"], self._root)
            if reference in within:
                break
            within |= {reference}
        return part, within

    def _of_type(self, schema: Schema, within: frozenset[str], depth: int) -> Any:  # noqa: ANN401 - as above
        kind = _kind(schema)
        if kind == "object":
            return self._object(schema, within, depth)
        if kind == "array":
            return self._array(schema, within, depth)
        if kind in {"integer", "number"}:
            return _number(schema, whole=kind == "integer")
        return _text(schema) if kind == "string" else {"boolean": False}.get(kind)

    def _object(self, schema: Schema, within: frozenset[str], depth: int) -> dict[str, Any]:
        properties, required = schema.get("properties") or {}, schema.get("required") or []
        rest = schema.get("additionalProperties")
        free = rest if isinstance(rest, Mapping) else {"type": "string"}
        wanted = [
            name
            for name, each in properties.items()
            if name in required or (isinstance(each, Mapping) and "default" in each)
        ]
        wanted += [name for name in required if name not in properties]
        least = _length(schema.get("minProperties", 0))
        more = [*properties, *(f"{_TEXT}{n}" for n in range(least))]
        wanted = list(dict.fromkeys(wanted))
        wanted += [name for name in more if name not in wanted][: max(least - len(wanted), 0)]
        return {name: self.value(properties.get(name, free), within, depth + 1) for name in wanted}

    def _array(self, schema: Schema, within: frozenset[str], depth: int) -> list[Any]:
        prefix = schema.get("prefixItems") or []
        first = [self.value(place, within, depth + 1) for place in prefix]
        items = schema.get("items")
        described = isinstance(items, Mapping)
        each: Schema = items if isinstance(items, Mapping) else {"type": "string"}
        # Lists end a schema that refers to itself: they may be empty.
        ends = not described or depth >= MAX_DEPTH // 2 or _leads_back(items, within)
        least = schema.get("minItems", 0 if ends else 1)
        count = _length(min(least, schema.get("maxItems", least))) - len(first)
        if schema.get("uniqueItems"):
            return first + [self._nth(each, n, within, depth + 1) for n in range(count)]
        return first + [self.value(each, within, depth + 1) for _ in range(count)]

    def _nth(self, schema: Schema, n: int, within: frozenset[str], depth: int) -> Any:  # noqa: ANN401 - as above
        """Build another value for each number, as far as the kind is one that it is easy for."""
        if "$ref" in schema:
            return self._nth(_resolve(schema["$ref"], self._root), n, within, depth + 1)
        if schema.get("enum"):
            return schema["enum"][n % len(schema["enum"])]
        value = self.value(schema, within, depth)
        if isinstance(value, dict) and value:
            name = next(iter(value))
            described = (schema.get("properties") or {}).get(name, {"type": "string"})
            return {**value, name: self._nth(described, n, within, depth + 1)}
        return _varied(schema, value, n)


def _varied(schema: Schema, value: Any, n: int) -> Any:  # noqa: ANN401 - JSON
    """Change a number or a text into the one that comes `n` places after it."""
    if isinstance(value, bool):
        return bool(n)
    if isinstance(value, (int, float)):
        further = n * (schema.get("multipleOf") or 1)
        return value + further if _fits(schema, value + further) else value - further
    if isinstance(value, str) and n:
        most = schema.get("maxLength", MAX_LENGTH) - len(str(n))
        return f"{value[:most]}{n}"
    return value


def _leads_back(schema: Any, within: frozenset[str]) -> bool:  # noqa: ANN401 - JSON
    return isinstance(schema, Mapping) and schema.get("$ref") in within


def _kind(schema: Schema) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), "null")
    if kind is not None:
        return str(kind)
    if "items" in schema or "prefixItems" in schema:
        return "array"
    if _NUMERIC & schema.keys():
        return "number"
    return "string" if _TEXTUAL & schema.keys() else "object"


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


def _fits(schema: Schema, value: float) -> bool:
    return bool(
        value <= schema.get("maximum", math.inf)
        and value < schema.get("exclusiveMaximum", math.inf)
    )


def _text(schema: Schema) -> str:
    least, most = _length(schema.get("minLength", 0)), schema.get("maxLength")
    if "pattern" in schema:
        try:
            return matching(schema["pattern"], least, most)
        except PatternError as exc:
            raise SchemaError(str(exc)) from exc
    text = _FORMATS.get(str(schema.get("format")), _TEXT)
    return (text + "." * (least - len(text)))[:most]


def _length(asked: int) -> int:
    if asked > MAX_LENGTH:
        raise SchemaError(f"asks for a length of more than {MAX_LENGTH}")
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


def _merged(schema: Schema, other: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Join two schemas that both have to hold, as far as their keywords can be joined."""
    if other is True:
        return dict(schema)
    if not isinstance(other, Mapping):
        raise SchemaError(f"{str(other)[:100]!r} is not a JSON schema that a value fits")
    merged: dict[str, Any] = {**schema, **other}
    for name in schema.keys() & other.keys():
        mine, theirs = schema[name], other[name]
        if name in _TIGHTER:
            merged[name] = _TIGHTER[name](mine, theirs)
        elif name == "required":
            merged[name] = [*mine, *theirs]
        elif name == "properties":
            merged[name] = {**mine, **theirs}
            for each in mine.keys() & theirs.keys():
                merged[name][each] = {"allOf": [mine[each], theirs[each]]}
        elif name == "enum":
            merged[name] = [each for each in mine if each in theirs]
        elif name in {"anyOf", "oneOf", "allOf"}:
            merged["allOf"] = [*merged.get("allOf", []), {name: mine}]
    return merged
