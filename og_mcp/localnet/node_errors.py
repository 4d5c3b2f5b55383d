"""Errors that the node answers with, in geth's words and codes (protocol.md section 3.3).

Clients match on these words; they are not ours to choose.
"""

from __future__ import annotations

from typing import Any, Final

SERVER_ERROR: Final = -32000
REVERTED: Final = 3
PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602

_ERROR_STRING: Final = bytes.fromhex("08c379a0")


class NodeError(Exception):
    """One JSON-RPC error."""

    code: int
    message: str
    data: Any
    """Left out of the answer when None."""

    def __init__(self, message: str, code: int = SERVER_ERROR, data: object = None) -> None:
        super().__init__(message)
        self.message, self.code, self.data = message, code, data

    def as_json(self) -> dict[str, Any]:
        """Write the `error` member of a response."""
        error = {"code": self.code, "message": self.message}
        return error if self.data is None else {**error, "data": self.data}


def reverted(output: bytes) -> NodeError:
    """Describe a revert by what the contract returned; `Error(string)` is put into words."""
    reason = _reason(output)
    words = f"execution reverted: {reason}" if reason else "execution reverted"
    return NodeError(words, REVERTED, "0x" + output.hex())


def _reason(output: bytes) -> str:
    if not output.startswith(_ERROR_STRING):
        return ""
    size = int.from_bytes(output[36:68], "big")
    return output[68 : 68 + size].decode(errors="replace")
