"""JSON in the one form that is hashed: sorted keys, no spaces, UTF-8, SHA-256."""

from __future__ import annotations

import hashlib
import json
from typing import Final

_ENCODER: Final = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)


def canonical(value: object) -> str:
    """Write JSON in the one form that is hashed.

    Raises:
        ValueError: It holds NaN or infinities, which JSON does not know.
    """
    return _ENCODER.encode(value)


def digest(value: object) -> str:
    """Return the SHA-256 of the canonical JSON, 64 hexadecimal digits.

    Raises:
        ValueError: It holds NaN, infinities or half a surrogate pair.
    """
    return hashlib.sha256(canonical(value).encode()).hexdigest()
