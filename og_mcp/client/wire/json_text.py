"""JSON text from outside, guarded before it is parsed."""

from __future__ import annotations

import re
from typing import Final

_TOKEN: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)
"""A string (perhaps cut off) or a bracket; reads each character once."""


def is_deeper(text: str, limit: int) -> bool:
    """Tell whether JSON text is nested deeper than so many arrays and objects.

    Python's parser recurses, and its own guard is only as good as the process's recursion limit:
    at the one that py-evm sets, 100,000 brackets end the process.
    """
    depth = 0
    for token in _TOKEN.finditer(text):
        first = text[token.start()]
        if first in "[{":
            depth += 1
            if depth > limit:
                return True
        elif first in "]}":
            depth -= 1
    return False
