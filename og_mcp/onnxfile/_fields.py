"""Names for the places of a vector, where an ONNX file gives them in its metadata."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final

from og_mcp.types import TensorSpec

FIELDS_KEY: Final = re.compile(r"feature_names(?:\.(?P<input>.+))?")
"""Properties that name fields: of a model's only input, or of the one that is named."""

_FIELD_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


def field_names(
    inputs: Sequence[TensorSpec], properties: Mapping[str, str]
) -> dict[str, list[str]]:
    """Read which values a vector's places hold, where the file says it.

    The property `feature_names` does that for a model of one input, `feature_names.<input>` for
    any: a JSON list of names, or names that commas separate, one for each place of the last axis.
    """
    fields = {}
    for key, text in properties.items():
        match = FIELDS_KEY.fullmatch(key)
        wanted = match["input"] if match else None
        for spec in inputs:
            if spec.name == wanted or (wanted is None and len(inputs) == 1):
                names = _names(text)
                if names and spec.shape and spec.shape[-1] == len(names):
                    fields[spec.name] = names
    return fields


def _names(text: str) -> list[str]:
    """Read a list of names; empty where it is none, since names stand in tools' schemas."""
    try:
        names = json.loads(text) if text.lstrip().startswith("[") else text.split(",")
    except (ValueError, RecursionError):
        return []
    names = [name.strip() if isinstance(name, str) else "" for name in names]
    fit = all(_FIELD_NAME.fullmatch(name) for name in names) and len(set(names)) == len(names)
    return names if fit else []
