"""The form in which tools publish their schemas."""

from __future__ import annotations

from typing import Any


def without_titles(schema: dict[str, Any]) -> dict[str, Any]:
    """Drop the titles that pydantic makes from names: they say nothing and cost tokens.

    Only schemas are walked, so a property that is itself called `title` stays.
    """
    kept = {key: value for key, value in schema.items() if key != "title"}
    for key in ("properties", "$defs"):
        if key in kept:
            kept[key] = {name: without_titles(part) for name, part in kept[key].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(kept.get(key), dict):
            kept[key] = without_titles(kept[key])
    return kept
