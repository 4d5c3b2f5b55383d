"""Reads receipts that were saved as files: strictly, and in bounded time and memory."""

from __future__ import annotations

import json
from typing import IO, Any, Final

from og_mcp.client.wire.json_text import is_deeper
from og_mcp.errors import InputError, quote

MAX_BYTES: Final = 512 * 2**20
"""Bytes of a file: several times the largest receipt."""

MAX_MEMBERS: Final = 8_000_000
"""Highest number of commas and opening brackets in a file: each may become a value of 100 bytes.

Verification takes half as many values; texts hold commas, too.
"""

MAX_DEPTH: Final = 200
"""Nesting that is parsed; verification itself refuses less."""

HINT: Final = "og-mcp receipt ID -o FILE saves the receipt of a call."


def read_receipt(stream: IO[bytes], name: object) -> Any:  # noqa: ANN401 - JSON
    """Read the JSON of a receipt.

    Args:
        stream: Its bytes, UTF-8 with or without a byte order mark.
        name: The name in errors.

    Raises:
        InputError: It is not readable JSON, too large, or has a key twice in an object.
    """
    try:
        content = stream.read(MAX_BYTES + 1)
        text = content.decode("utf-8-sig")
        members = sum(map(text.count, ",[{"))
        if len(content) > MAX_BYTES or members > MAX_MEMBERS or is_deeper(text, MAX_DEPTH):
            raise InputError(
                f"{quote(name)} is too large or nested too deep to be a receipt.", HINT
            )
        return json.loads(text, object_pairs_hook=_object)
    except (OSError, ValueError) as exc:
        reason = str(exc) if isinstance(exc, _DoubleError) else "it is not readable JSON"
        raise InputError(f"{quote(name)} is not a receipt: {reason}.", HINT) from exc


class _DoubleError(ValueError):
    """An object has a key twice: readers would disagree which one counts."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise _DoubleError("an object in it has a key twice")
    return made
