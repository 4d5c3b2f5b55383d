"""A question to a gateway: what is asked, the bytes that are sent, and what may be hashed of them.

Source: protocol.md section 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

from og_mcp.client.llm.gateway_answer import ENCODINGS, MAX_TEXT_BYTES
from og_mcp.client.tee.canonical_request import encode_body
from og_mcp.client.tee.evidence import chat_request, completion_request, search_request
from og_mcp.client.tee.hashed_forms import HashedForms

CHAT: Final = "/v1/chat/completions"
COMPLETION: Final = "/v1/completions"
SEARCH: Final = "/v1/web_search"

SettlementMode = Literal["private", "batch"]

HASHED: Final = {CHAT: chat_request, COMPLETION: completion_request, SEARCH: search_request}
"""Path -> what a TEE hashes of a request to it."""

LETTERS_OF_A_TOKEN: Final = 4
LETTERS_OF_A_FILE: Final = 4000
"""Letters that an image or a file counts as: about a thousand tokens."""

ANYONE: Final = "Bearer og-mcp"
"""Gateways require `Authorization` and ignore its value: the payment counts."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A request as a gateway takes it."""

    path: str
    body: Mapping[str, Any]
    settlement: SettlementMode = "batch"
    streams: bool = False
    max_bytes: int = MAX_TEXT_BYTES
    """Of the answer."""

    @cached_property
    def asked(self) -> bytes:
        """What is asked, as bytes that are hashed; however the answer is to travel.

        Raises:
            InputError: It holds what JSON cannot carry alike (threats.md T19).
        """
        return encode_body(self.body)

    @property
    def raw(self) -> bytes:
        """The bytes that are sent; `stream` is not part of what is hashed.

        Raises:
            InputError: As `asked`.
        """
        return self.asked[:-1] + b',"stream":true}' if self.streams else self.asked

    @cached_property
    def hashed(self) -> HashedForms:
        """What the answer is verified against."""
        return HASHED[self.path](self.raw)

    @property
    def estimated_tokens(self) -> int:
        """Estimated tokens of the request, by its letters; each image counts the same."""
        counted = len(str(self.body.get("prompt", ""))) + len(str(self.body.get("tools", "")))
        for message in self.body.get("messages", ()):
            content = message.get("content") or ""
            parts = [{"text": content}] if isinstance(content, str) else content
            counted += sum(len(part.get("text", "x" * LETTERS_OF_A_FILE)) for part in parts)
        return -(-counted // LETTERS_OF_A_TOKEN)

    @property
    def headers(self) -> dict[str, str]:
        """Beside those that pay."""
        return {
            "Authorization": ANYONE,
            "X-SETTLEMENT-TYPE": self.settlement,
            "Accept-Encoding": ", ".join(ENCODINGS),
        }
