"""The signing of a cap: checked, agreed to, within the limits, recorded, and only then signed."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import anyio
import anyio.lowlevel

from og_mcp.calls import Journal
from og_mcp.client.calls.context import CallContext
from og_mcp.client.calls.states import counts_until
from og_mcp.client.chain.wallet import check_endpoint
from og_mcp.client.payments.clock import Clock, Moment, check_clock
from og_mcp.client.payments.funds import Funds
from og_mcp.client.payments.gateway_session import GatewaySession
from og_mcp.client.payments.guarded_signer import Draft
from og_mcp.client.payments.opg import Holdings
from og_mcp.client.payments.payer import Payer
from og_mcp.client.payments.prices import Prices
from og_mcp.client.payments.request_sender import GatewayRequest
from og_mcp.client.payments.requirement import Requirement
from og_mcp.client.payments.settlement_tracker import SettlementTracker
from og_mcp.client.payments.spent_elsewhere import SpentElsewhere
from og_mcp.client.tee.gateways import Gateway
from og_mcp.errors import (
    AllowanceError,
    BudgetExceededError,
    ClockError,
    InsufficientOPGError,
    OPGCapError,
    OverchargedError,
    PaymentRefusedError,
    ServiceError,
    UnsafeEndpointError,
    in_opg,
)
from og_mcp.networks import Network, is_loopback, shown
from og_mcp.types import Account, Cap, CapRequest, OPGCaps

logger = logging.getLogger(__name__)

PER_CALL: Final = "OG_MAX_PER_CALL"
PER_DAY: Final = "OG_MAX_PER_DAY"

LOOK_S: Final = 5.0
"""Seconds between two looks at what is open, where the day's cap is in the way."""

WAIT_SHARE: Final = 0.8
"""Share of OG_WAIT_S that settlements are waited for, so that a refusal still reaches who asked."""

NEW_S: Final = 600
"""Seconds beyond its deadline for which a new journal signs for one payment at a time."""


def first_approval(account: Account) -> str:
    """Name the note that says that a journal has made a wallet's first approval."""
    return f"first approval {account.key}"


class PaymentSigner:
    """Signs caps of one wallet, within the operator's limits.

    Args:
        network: What may be paid with, and to whom.
        journal: Every payment is on its disk before it is signed.
        elsewhere: What was paid that the journal does not know.
        funds: Balance and allowance.
        payer: Signs.
        account: The payer's account on the payment chain.
        caps: Follows what was signed.
        prices: Who may be paid.
        limits: The operator's caps.
        allow_insecure: Whether an RPC that nobody vouches for will do (threats.md T30).
        wait_s: Seconds to wait for settlements where open payments alone are in the way.
        clock: Counts what was waited.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the parts it drives
        self,
        network: Network,
        journal: Journal,
        elsewhere: SpentElsewhere,
        funds: Funds,
        payer: Payer,
        account: Account,
        caps: SettlementTracker,
        prices: Prices,
        *,
        limits: OPGCaps,
        allow_insecure: bool,
        wait_s: float,
        clock: Clock,
    ) -> None:
        self._network, self._journal = network, journal
        self._funds, self._payer = funds, payer
        self._account, self._caps, self._prices = account, caps, prices
        self._limits, self._allow_insecure = limits, allow_insecure
        self._elsewhere = elsewhere
        self._wait_s, self._clock = wait_s * WAIT_SHARE, clock
        self._looked_at: Moment | None = None
        self._born: float | None = None

    async def sign(
        self,
        outgoing: GatewayRequest,
        call: CallContext,
        requirement: Requirement,
        asked_at: Moment | None = None,
    ) -> GatewaySession:
        """Sign for what a gateway asks; the session that begins with it has not left yet.

        Args:
            outgoing: The request that is to be paid.
            call: For whom.
            requirement: What is asked.
            asked_at: Where open payments alone are in the way, their settlement is waited for,
                for a while from this moment on; `None`: not at all.

        Raises:
            ApprovalRequiredError: A person has to agree first; nothing was signed.
            PaymentError: It must not or cannot be paid; nothing was signed.
            OPGCapError: A cap is in the way; nothing was signed. Also BudgetExceededError.
        """
        while True:
            try:
                return await self._try(outgoing, call, requirement)
            except BudgetExceededError as exc:
                if not exc.is_open_alone:
                    raise
                if await self._is_less_open():
                    continue
                if asked_at is None or self._clock.now().since(asked_at) >= self._wait_s:
                    raise
            await anyio.sleep(LOOK_S)

    async def _try(
        self, outgoing: GatewayRequest, call: CallContext, requirement: Requirement
    ) -> GatewaySession:
        self._check(outgoing.gateway, requirement)
        await self.check_recipient(requirement.pay_to)
        # A person is asked last, once nothing else is in the way.
        of_call = call.cap.max_opg if call.cap is not None and call.signatures else 0
        self._check_clock(await self._funds.holdings())
        await self.check_price(requirement.amount, requirement.timeout_s, of_call)
        await call.agree_to_pay(self._account, requirement.amount)
        return await self._sign(
            outgoing, call, requirement, await self._limits_now(requirement.timeout_s)
        )

    async def _is_less_open(self) -> bool:
        """Look whether what counts as open has settled, e.g. what an earlier process left."""
        now = self._clock.now()
        if self._looked_at is not None and now.since(self._looked_at) < LOOK_S:
            return False
        self._looked_at, before = now, await self._exposure()
        try:
            await self._caps.look(releases=False)
        except ServiceError as exc:
            logger.info("open payments were not looked up: %s", exc)
            return False
        return await self._exposure() < before

    async def _exposure(self) -> int:
        budget = await self._journal.opg_budget(self._account, self._limits)
        return budget.spent + budget.open

    async def _sign(
        self, outgoing: GatewayRequest, call: CallContext, requirement: Requirement, limits: OPGCaps
    ) -> GatewaySession:
        where = outgoing.where
        # Who gives the call up now still finds it free; the next moment nobody does.
        await anyio.lowlevel.checkpoint_if_cancelled()
        cap: Cap | None = None
        before = call.committed
        call.committed = True

        async def record(draft: Draft) -> None:
            nonlocal cap
            request = self._request(where + outgoing.path, call, requirement, draft)
            cap = await self._journal.open_cap(call.call_id, request, limits)

        # From the record on, its fate is found out, cancelled or not.
        with anyio.CancelScope(shield=True):
            try:
                signature = await self._payer.sign(where, requirement, record)
            except BaseException:
                if cap is not None:
                    await self._journal.drop_cap(cap.id)
                # What left before stands.
                call.committed = before
                raise
        assert cap is not None  # noqa: S101 - what is signed is recorded
        call.cap, call.signatures = cap, call.signatures + 1
        self._caps.watch()
        now = self._clock.now()
        return GatewaySession(cap, requirement, signature, now, now, call.call_id)

    async def check_price(self, amount: int, timeout_s: int, of_call: int = 0) -> None:
        """Check a price against caps, balance and allowance, as a signature over it would be.

        Args:
            amount: Base units.
            timeout_s: From its signature to its deadline.
            of_call: What is signed for the same call already, base units.

        Raises:
            OPGCapError: It is above the cap of one call.
            BudgetExceededError: It would pass the cap of 24 hours.
            PaymentError: Balance or allowance do not cover it.
        """
        limits = await self._limits_now(timeout_s)
        if of_call + amount > limits.per_call:
            raise OPGCapError(PER_CALL, of_call + amount, limits.per_call)
        budget = await self._journal.opg_budget(self._account, limits)
        is_alone = limits.alone_until is not None and budget.open > 0
        if is_alone or amount > budget.left:
            error = BudgetExceededError(
                PER_DAY,
                cap=budget.cap,
                spent=budget.spent,
                open_=budget.open,
                asked=amount,
                write=in_opg,
                alone_until=limits.alone_until if is_alone else None,
            )
            if error.is_open_alone:
                error.free_at(await self._frees_at(error.excess))
            raise error
        await self._check_holdings(amount)

    async def check_recipient(self, pay_to: str) -> None:
        """Refuse to pay who has overcharged.

        Raises:
            OverchargedError: It has (threats.md T46).
        """
        if what := (await self._caps.overcharges.all()).get(pay_to.lower()):
            raise OverchargedError(pay_to, what)

    async def _frees_at(self, amount: int) -> datetime:
        """Tell when so much of what is open, base units, counts no more, at the latest."""
        deadline = 0
        for cap in sorted(
            await self._journal.open_caps(self._account), key=lambda cap: cap.deadline
        ):
            deadline, amount = cap.deadline, amount - cap.max_opg
            if amount <= 0:
                break
        return counts_until(deadline)

    def _check(self, gateway: Gateway, requirement: Requirement) -> None:
        """Check once more, right before the signature.

        Raises:
            PaymentRefusedError: The requirement is not what the network's record allows (T3).
            UnsafeEndpointError: An endpoint is not fit for this network's signatures (T5, T30).
        """
        check_endpoint(self._network, allow_insecure=self._allow_insecure)
        for url in (gateway.tee.endpoint, self._network.base_rpc_url):
            if is_loopback(url) and not self._network.local:
                raise UnsafeEndpointError(
                    f"Network {self._network.name} does not pay by way of {shown(url)}, "
                    "which is this machine.",
                    "Use OG_NETWORK=local for a local network.",
                )
        flaw = self._prices.flaw(requirement, gateway)
        if flaw:
            raise PaymentRefusedError(shown(gateway.tee.endpoint), flaw)

    def _check_clock(self, held: Holdings) -> None:
        try:
            check_clock(held.ahead_s, is_idle=self._network.local)
        except ClockError:
            # A clock that was corrected is believed at once.
            self._funds.forget()
            raise

    async def _check_holdings(self, amount: int) -> None:
        """Refuse what balance or allowance would not cover; what was read before is read again."""
        for fresh in (False, True):
            held = await self._funds.holdings(anew=fresh)
            if held.opg >= amount and held.allowance >= amount:
                return
        if held.opg < amount:
            raise InsufficientOPGError(self._payer.address, amount, held.opg)
        raise AllowanceError(self._payer.address, amount, held.allowance)

    async def _limits_now(self, timeout_s: int) -> OPGCaps:
        """Return the caps, with what the journal does not know of (threats.md T6, T34)."""
        return replace(
            self._limits,
            unrecorded=await self._elsewhere.amount(),
            alone_until=await self._alone_until(timeout_s),
        )

    async def _alone_until(self, timeout_s: int) -> datetime | None:
        """Tell until when one payment may be open at a time; `None` where several may.

        Another data folder may have signed in the time before this one was made; what it signed is
        past its deadline by then, or shown by the chain.
        """
        if not self._network.limits_new_journals:
            return None
        if self._born is None:
            self._born = await self._born_at()
        until = self._born + timeout_s + NEW_S
        return datetime.fromtimestamp(until, UTC) if self._clock.now().wall < until else None

    async def _born_at(self) -> float:
        """Return when this journal was made, Unix seconds; 0 where no other can have signed before."""
        if await self._journal.recall(first_approval(self._account)):
            return 0.0
        name, now = f"born {self._account.key}", self._clock.now().wall
        written = await self._journal.recall(name)
        if not written:
            # One that paid before this was noted is older than any payment that is open.
            has_paid = any(await self._journal.opg_totals(account=self._account))
            written = "0" if has_paid else str(now)
            await self._journal.remember(name, written)
        return float(written)

    def _request(
        self, resource: str, call: CallContext, requirement: Requirement, draft: Draft
    ) -> CapRequest:
        return CapRequest(
            account=self._account,
            principal=call.principal,
            resource=resource,
            asset=requirement.asset,
            pay_to=requirement.pay_to,
            max_opg=requirement.amount,
            nonce=draft.nonce,
            deadline=draft.deadline,
            facilitator=requirement.facilitator,
        )
