"""What the engine runs: one operation is one call of one tool."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from og_mcp.errors import OGError
from og_mcp.types import Call, Check, Shape, Stage

if TYPE_CHECKING:
    from og_mcp.client.calls.context import CallContext
    from og_mcp.types import Account

R = TypeVar("R", bound=Shape)


@dataclass(frozen=True)
class Terms:
    """Who asks for a call, and on what terms."""

    principal: str
    idempotency_key: str = ""
    wait_s: float | None = None
    """Seconds after which a running call is handed back; `None`: wait for its end."""

    asked_at: float = field(default_factory=time.monotonic)
    """When they asked; the wait includes what is loaded and looked up before the call begins."""

    @property
    def left_s(self) -> float | None:
        """What is left of `wait_s`."""
        if self.wait_s is None:
            return None
        return max(0.0, self.wait_s - (time.monotonic() - self.asked_at))

    @property
    def until(self) -> float:
        """When the wait ends, by the monotonic clock."""
        return self.asked_at + (math.inf if self.wait_s is None else self.wait_s)


@dataclass(frozen=True, kw_only=True)
class Quote:
    """The highest cost of a call, what of it cannot be undone, and what was checked."""

    max_wei: int = 0
    max_opg: int = 0
    """OPG base units."""

    effect: str = ""
    """What cannot be undone, in words."""

    payer: Account | None = None
    is_signed: bool = True
    """Whether something has to be signed; an open payment authorization can pay for more calls."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the dry run's result."""

    checks: Sequence[Check] = ()


@dataclass(frozen=True, kw_only=True)
class Outcome(Generic[R]):
    """The good end of a call."""

    result: R
    stage: Stage
    receipt: str = ""
    """Canonical JSON; empty if the call leaves no receipt."""

    fee_wei: int = 0
    told_opg: int | None = None
    """What the gateway says that its answer cost, OPG base units."""


class Operation(ABC, Generic[R]):
    """One call of one tool, checked; nothing of it is recorded or sent yet."""

    tool: str
    request: Mapping[str, Any]
    """Canonical: hashed, journalled, compared with a repetition."""

    result: type[R]
    """Its shape; the engine reads it back from the journal."""

    consent_at: Literal["start", "signature", "never"] = "start"
    """When a person has to agree, where the settings ask for one."""

    can_ask: bool = False
    """Whether a person is there to be asked."""

    @property
    def fields(self) -> dict[str, Any]:
        """Fields of the result that are known from the start."""
        return {}

    @abstractmethod
    async def quote(self) -> Quote:
        """Check the call and price it; sends nothing, signs nothing.

        Raises:
            OGError: It would be refused, in the same words.
        """

    @abstractmethod
    async def execute(self, call: CallContext) -> Outcome[R]:
        """Carry the call out. The only method with effects.

        Raises:
            OGError: It failed. `stage` says whether it was paid; if it was, `receipt` proves that.
        """

    async def prepare(self) -> None:
        """Make ready what is recorded, and check what has to hold before that.

        Raises:
            OGError: It does not.
        """

    async def take_again(self, call_id: str) -> CallContext | None:
        """Take over a call in doubt that may be sent again under what was signed for it.

        Returns:
            `None` where it may not.
        """
        del call_id
        return None

    def progress(self, call: Call) -> dict[str, Any]:
        """Return fields of the result of a call that runs."""
        del call
        return {}

    def present(self, result: R, call: Call) -> R:
        """Add to a result what has become known since."""
        del call
        return result

    async def settled(self, call: CallContext) -> None:
        """Do what is left to do once a good end is recorded."""

    def cancelled(self, call: CallContext) -> OGError | None:
        """Return the error of a cancelled call; `None` if nothing was done."""
        del call
        return None

    async def close(self) -> None:
        """Close what was opened for the call, e.g. its file; once."""
