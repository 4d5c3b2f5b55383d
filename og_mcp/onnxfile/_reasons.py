"""Errors of onnxruntime in words that a person can use."""

from __future__ import annotations

import re
from typing import Final

_CODE_OR_PLACE: Final = re.compile(
    r"^\[ONNXRuntimeError\] : \d+ : \w+ : "
    r"|/onnxruntime_src/\S+ [^(]*\((?:[^()]|\([^()]*\))*\)(?: const)?(?: \[[^\]]*\])? "
)


def runtime_reason(text: str) -> str:
    """Return the reason alone, on one line: code and place in the source would stand before it."""
    return " ".join(_CODE_OR_PLACE.sub("", text).split()).rstrip(".")
