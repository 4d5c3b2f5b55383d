"""What a caller may say of an answer: how it is made, what it may hold, on what terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from og_mcp.client.session.calling import Terms
from og_mcp.errors import InputError
from og_mcp.types import DEFAULT_MAX_TOKENS, LLMModeName, SettlementModeName

if TYPE_CHECKING:
    from og_mcp.client.llm.gateway_answer import Counted

MOST_TOKENS: Final = 2**20
HOTTEST: Final = 2.0
MOST_STOPS: Final = 16


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How an answer is to be made."""

    max_tokens: int = DEFAULT_MAX_TOKENS
    stop_sequence: Sequence[str] = ()
    temperature: float = 0.0

    def sent(self) -> dict[str, Any]:
        """Check it, and write it as gateways are sent it.

        Raises:
            InputError: A value is out of bounds.
        """
        if not 1 <= self.max_tokens <= MOST_TOKENS:
            raise InputError(f"max_tokens is {self.max_tokens}.", f"Use 1 to {MOST_TOKENS}.")
        if not 0 <= self.temperature <= HOTTEST:
            raise InputError(f"temperature is {self.temperature}.", f"Use 0 to {HOTTEST}.")
        stops = list(self.stop_sequence)
        if len(stops) > MOST_STOPS or not all(stops):
            raise InputError(
                f"stop_sequence has {len(stops)} texts, or an empty one.",
                f"Use up to {MOST_STOPS}.",
            )
        sent: dict[str, Any] = {
            "max_tokens": self.max_tokens,
            # Zero has one form in what is hashed, whatever sign it came with.
            "temperature": float(self.temperature) or 0.0,
        }
        return sent | ({"stop": stops} if stops else {})


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What a chat may ask for beside an answer."""

    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: str = ""
    response_format: Mapping[str, Any] = field(default_factory=dict)
    web_search: bool = False


@dataclass(frozen=True, kw_only=True)
class How:
    """On what terms a call is made."""

    terms: Terms
    mode: LLMModeName = "AUTO"
    settlement: SettlementModeName = "batch"
    max_retries: int = 5
    dry_run: bool = False
    counted: Counted | None = None
