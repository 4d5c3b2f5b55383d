"""The form in which tools publish their schemas."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


def without(keywords: Collection[str], schema: dict[str, Any]) -> dict[str, Any]:
    """Drop keywords from a schema and from every schema inside it.

    Titles are what pydantic makes from names: they say nothing and cost tokens. Defaults say
    nothing in the schema of a result. Only schemas are walked, so a property that is itself called
    `title` stays. The empty text leaves every enum: it means "not given", and Gemini refuses a whole
    list of tools for it.
    """
    kept = {key: value for key, value in schema.items() if key not in keywords}
    if kept.get("additionalProperties") is True:
        # JSON Schema's own default.
        del kept["additionalProperties"]
    if "enum" in kept:
        kept["enum"] = [value for value in kept["enum"] if value]
    for key in ("properties", "$defs"):
        if key in kept:
            kept[key] = {name: without(keywords, part) for name, part in kept[key].items()}
    if "anyOf" in kept:
        kept["anyOf"] = [without(keywords, part) for part in kept["anyOf"]]
    for key in ("items", "additionalProperties"):
        if isinstance(kept.get(key), dict):
            kept[key] = without(keywords, kept[key])
    return kept


def of_result(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the published form of a result's schema: its fields, and what each one means.

    What describes a class is written for engineers. The schema is open at its root and requires
    nothing there: clients of the older generation hold an error's structured part to it, too.
    """
    kept = without({"title", "default", "additionalProperties"}, schema)
    for part in (kept, *kept.get("$defs", {}).values()):
        part.pop("description", None)
    kept.pop("required", None)
    return kept
