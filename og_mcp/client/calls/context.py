"""The state of one call while it runs; shared by the engine and the operation."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from og_mcp.types import LOCAL_PRINCIPAL

if TYPE_CHECKING:
    from og_mcp.client.calls.consent import Consent
    from og_mcp.client.chain.wallet import Signed
    from og_mcp.client.payments.gateway_session import GatewaySession
    from og_mcp.types import Account, Call, Cap


@dataclass(frozen=True)
class SentUnder:
    """Where a request was sent, and which session paid for it."""

    session: GatewaySession
    tee_id: str
    path: str


@dataclass
class CallContext:
    """A call that is recorded in the journal and runs now."""

    call_id: str
    principal: str = LOCAL_PRINCIPAL
    created_at: str = ""
    """When the call was opened, ISO 8601."""

    committed: bool = False
    """True once its effect has begun; from then on cancelling does not stop the work.

    For a transaction or a payment that is the signature, for a publication the end of the request."""

    record: Call | None = None
    """The call as the journal opened it; `None` where the call is only being recovered."""

    consent: Consent | None = None
    """Asks for a person's agreement to a payment, right before it is signed."""

    # A transaction.
    signed: list[Signed] = field(default_factory=list)
    """Transactions that were signed for the call, replacements last; all have one nonce."""

    rivals: list[Signed] = field(default_factory=list)
    """Transactions of other calls with the same nonce; at most one of all is mined."""

    is_superseded: bool = False
    """True once another call has taken the nonce over; nothing more is sent for this one."""

    max_wei: int | None = None
    """The most that a person agreed to, wei; `None`: the operator's caps alone."""

    # A payment to a gateway.
    is_keyed: bool = False
    """Whether the call has an idempotency key; if so, the disk knows that it is sent before it is."""

    cap: Cap | None = None
    """The newest payment authorization that pays for the call."""

    left: Cap | None = None
    """The authorization under which bytes may have been sent. Once set, no other TEE is tried (T9)."""

    signatures: int = 0
    sent: SentUnder | None = None
    """Where it was sent last."""

    attempts: int = 0
    """How many times it was sent."""

    repeats: bool = False
    """True while it is sent again under the same authorization, after an error of the gateway; nothing
    may be signed for it then (money.md section 5)."""

    until: float = math.inf
    """Until when og-mcp may send it again by itself (monotonic clock)."""

    async def agree_to_pay(self, payer: Account, max_opg: int) -> None:
        """Make sure that a person agreed to an authorization of so much OPG, base units.

        Raises:
            ApprovalRequiredError: A person has to agree first; the call waits for that.
        """
        if self.consent is not None and self.record is not None:
            await self.consent.to_payment(self.record, payer, max_opg)
