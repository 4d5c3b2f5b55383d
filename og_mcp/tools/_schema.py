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
