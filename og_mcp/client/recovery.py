"""Finds out what became of calls that nobody runs any more, and records it. Signs nothing.

A call is interrupted where its process died, and in doubt where something was signed for it and no
answer is known. The chain decides both, by hash and nonce (money.md sections 1 and 2).
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, Protocol

import anyio

from og_mcp.calls import Journal
from og_mcp.client.calls.context import CallContext
from og_mcp.client.calls.operation import Outcome
from og_mcp.client.calls.recorder import CallRecorder
from og_mcp.client.calls.states import BROKEN_OFF, is_in_doubt
from og_mcp.client.chain.chain import Chain, Receipt
from og_mcp.client.chain.decisions import Reservation, SendResult, decide
from og_mcp.client.chain.sender import Sender
from og_mcp.client.chain.wallet import Signed
from og_mcp.client.payments.settlement_tracker import SettlementTracker
from og_mcp.client.receipts.receipts import request_of_transaction
from og_mcp.client.receipts.transaction_receipt import transaction_receipt
from og_mcp.client.wire.lazy import Lazy
from og_mcp.errors import (
    CallStateError,
    OGError,
    ServiceError,
    SupersededError,
    TransactionPendingError,
    coins,
)
from og_mcp.networks import Network
from og_mcp.types import CANCEL_PAYMENT, PUBLISHING_TOOLS, Call, Shape, Stage

logger = logging.getLogger(__name__)

WATCH_S: Final = 60.0
"""Seconds to wait for each unfinished call before it is looked up."""

NEVER_SENT: Final = "The process ended before anything was sent; nothing was paid."
VERSION_IN_DOUBT: Final = (
    "The process ended during the call. get_model shows whether the version was added; calling "
    "again adds one more."
)
ANSWER_GONE: Final = (
    "The process ended after the request was sent, and its answer is lost. What was paid for it "
    "shows once its payment settles; asking, and paying, again before that takes a new "
    "idempotency_key."
)
WITHOUT_EFFECT: Final = (
    "Ended without effect, by the word of RPC {rpc}: another transaction used its nonce. Its fee "
    "stays reserved for 24 hours. Repeat it with a new idempotency_key."
)
RELEASED: Final = (
    "Released by the operator: it may still be mined, and its fee stays reserved for 24 hours. "
    "Repeat it with a new idempotency_key."
)
MAY_BE_MINED: Final = (
    "The process ended after it had signed transaction {hash}, which is not mined yet; it may still "
    "be. The same request, repeated, signs nothing new: it sends the same transaction again where "
    "the chain does not have it."
)
NOTHING_TO_RELEASE: Final = (
    "Only a transaction that is signed and not mined can be; nothing was changed."
)
NOTHING_TO_REPLACE: Final = (
    "Only a transaction that is signed and not mined can be; nothing was signed now."
)


class MinedResult(Protocol):
    """What a mined call gave."""

    @property
    def receipt(self) -> Receipt:
        """The chain's own."""
        ...

    @property
    def response(self) -> Mapping[str, Any]:
        """The answer as our receipt keeps it."""
        ...

    def result(self, call_id: str, network: Network, request: Mapping[str, Any]) -> Shape:
        """Put together what the tool returns."""
        ...


class ResultReader(Protocol):
    """Reads what a mined call gave."""

    async def read_back(
        self, mined: Receipt, request: Mapping[str, Any], principal: str
    ) -> MinedResult:
        """Read it from the chain's receipt, and where that has it not, from where the node does.

        Raises:
            OGError: There is none.
        """
        ...


class Recovery:
    """Looks up interrupted calls of one session, on both chains and at the hub.

    Args:
        network: The session's.
        journal: Where the calls are.
        own: Knows the network's own chain.
        base: Knows the payment chain.
        settlements: Knows what became of payment authorizations.
    """

    def __init__(
        self,
        network: Lazy[Network],
        journal: Lazy[Journal],
        own: Lazy[ChainRecovery],
        base: Lazy[ChainRecovery],
        settlements: Lazy[SettlementTracker],
    ) -> None:
        self._network, self._journal, self._settlements = network, journal, settlements
        self._own, self._base = own, base

    async def chain_of(self, call: Call) -> ChainRecovery:
        """Return the recovery of the chain that a call's transaction went to."""
        base_chain_id = (await self._network.get()).base_chain_id
        of_payments = call.account is not None and call.account.chain_id == base_chain_id
        return await (self._base if of_payments else self._own).get()

    async def resume(self, call: Call, wait_s: float | None) -> None:
        """Find out what became of a call, for whoever repeats it, and help it along.

        Args:
            call: It; nobody runs it.
            wait_s: How long to wait for what is on its way; `None`: as for a call's own.

        Raises:
            ServiceError: The chain cannot be asked, or does not take what is sent again.
        """
        if call.tool in PUBLISHING_TOOLS:
            await self._end_publication(call)
        elif call.cap is not None:
            await (await self._settlements.get()).look()
            await (await self.chain_of(call)).refresh(call)
        else:
            await (await self.chain_of(call)).resume(call, wait_s)

    async def refresh(self, call: Call) -> bool:
        """Ask the chains about a call that is interrupted, in doubt, or not yet confirmed.

        Returns:
            Whether anything was asked.

        Raises:
            ServiceError: A chain cannot be asked.
        """
        return any([await self._refresh_payment(call), await self._refresh_transaction(call)])

    async def recover_all(self) -> list[Call]:
        """Settle everything that was interrupted; returns the calls whose end was found.

        Raises:
            ServiceError: The chain cannot be asked.
        """
        journal = await self._journal.get()
        chain_ids = {call.account.chain_id for call in await journal.unfinished() if call.account}
        settled = await (await self._own.get()).recover_all()
        if (await self._network.get()).base_chain_id in chain_ids:
            settled += await (await self._base.get()).recover_all()
        if await journal.open_caps():
            await (await self._settlements.get()).look()
        return settled

    async def _refresh_payment(self, call: Call) -> bool:
        if call.cap is None or call.cap.status != "open" or call.status == "running":
            return False
        tracker = await self._settlements.get()
        if call.cap.account.key != tracker.account.key:
            return False
        await tracker.look()
        return True

    async def _refresh_transaction(self, call: Call) -> bool:
        doubtful = call.orphaned or call.stage is Stage.SENT_UNKNOWN
        if not call.transaction_hashes and not call.orphaned:
            return False
        if (call.status == "running" and not call.orphaned) or not (
            doubtful or call.stage is Stage.CHARGED
        ):
            return False
        if call.tool in PUBLISHING_TOOLS:
            await self._end_publication(call)
            return True
        chain = await self.chain_of(call)
        await (chain.refresh(call) if doubtful else chain.confirm(call))
        return True

    async def _end_publication(self, call: Call) -> None:
        """End a publication whose process died; the hub may have what was sent."""
        journal = await self._journal.get()
        if not call.orphaned:
            return
        with suppress(CallStateError):
            # Another process may have been faster.
            if await journal.adopt(call.id):
                await journal.fail(call.id, *_end_of(call))


class ChainRecovery:
    """What became of the calls that sent a transaction to one chain.

    Args:
        network: Of the chain.
        journal: Where the calls are.
        chain: Tells what became of them.
        sender: Knows their transactions.
        recorder: Records their ends.
        readers: Tool -> what reads the result of its calls.
        keep_content: Whether receipts keep requests and answers.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the parts it puts together
        self,
        network: Network,
        journal: Journal,
        chain: Chain,
        sender: Sender,
        recorder: CallRecorder,
        readers: Mapping[str, ResultReader],
        *,
        keep_content: bool,
    ) -> None:
        self._network, self._journal, self._chain = network, journal, chain
        self._sender, self._recorder, self._readers = sender, recorder, readers
        self._keep_content, self._tracker = keep_content, sender.tracker

    async def recover_all(self) -> list[Call]:
        """Settle what was interrupted, by hash and nonce; returns the calls whose end was found.

        Raises:
            ServiceError: Chain or journal cannot be used.
        """
        return [
            await self._journal.get(call.id, call.principal)
            for call in await self._journal.unfinished()
            if await self.refresh(call)
        ]

    async def watch(self) -> None:
        """Settle the calls that run now once they turn out to be interrupted.

        A process that has just died counts as alive for some seconds more, and a process that starts
        in its place may be too early to see it.
        """
        for call in await self._journal.unfinished():
            await self._journal.wait(call.id, call.principal, WATCH_S)
        await self.recover_all()

    async def refresh(self, call: Call) -> bool:
        """Find the end of a call that nobody runs; tells whether it was found."""
        if not await self._is_ours(call):
            return False
        if call.status == "running" and not (call.orphaned and await self._journal.adopt(call.id)):
            return False
        try:
            return await self._find_end(call)
        except CallStateError:
            # Another process found it first.
            return True

    async def resume(self, call: Call, wait_s: float | None) -> None:
        """Find the end of a call for whoever repeats it, as `refresh`, and help it along.

        Where the chain knows nothing of what was signed and its nonce is free, the very same bytes
        go out once more; nothing is signed.

        Args:
            call: It.
            wait_s: How long to wait for what is on its way; `None`: as for a call's own.

        Raises:
            ServiceError: The chain cannot be asked, or does not take them.
        """
        if await self.refresh(call):
            return
        found = await self._journal.get(call.id, call.principal)
        if not (found.transaction_hashes and is_in_doubt(found) and await self._is_ours(found)):
            return
        context = await self._context(found)
        report = await self._tracker.send_again(context)
        with anyio.move_on_after(math.inf if wait_s is None else wait_s):
            with suppress(TransactionPendingError, SupersededError):
                await self._tracker.wait(context, report, may_sign=False)
        await self.refresh(found)

    async def confirm(self, call: Call) -> bool:
        """Move a charged call to `confirmed` once the chain calls its block safe (T12).

        Where its receipt has vanished, the same bytes are sent again.
        """
        if not await self._is_ours(call):
            return False
        context = await self._context(call)
        mined = await self._tracker.find_receipt(context) if context.signed else None
        if mined is None:
            if context.signed and context.signed[-1].raw:
                await self._tracker.send_again(context, was_mined=True)
            return False
        if not await self._chain.is_safe(mined):
            return False
        await self._journal.confirm(call.id)
        return True

    async def replace(self, call: Call, *, cancel: bool) -> Signed:
        """Speed a stuck call up, or cancel it (T11).

        Raises:
            CallStateError: It has no open transaction.
            ChainError: A cap is in the way, or the node did not take it.
        """
        step = "be cancelled" if cancel else "be sped up"
        context = await self._undecided(call, step, NOTHING_TO_REPLACE)
        return await self._tracker.replace(context, cancel=cancel)

    async def release(self, call: Call) -> str:
        """End a call that is not mined, by its owner's word; returns what may still be taken, coins.

        Its fee counts for 24 hours more, and its nonce is free for others.

        Raises:
            CallStateError: It has no open transaction.
            ServiceError: The chain cannot be asked.
        """
        context = await self._undecided(call, "be released", NOTHING_TO_RELEASE)
        async with self._journal.lane(await self._sender.account()) as lane:
            await lane.release(call.id, RELEASED)
        return coins(max(one.max_fee for one in context.signed))

    async def _undecided(self, call: Call, step: str, hint: str) -> CallContext:
        """Return what was signed for a call that is neither mined nor given up.

        Raises:
            CallStateError: It is; or another call has its nonce.
        """
        context = await self._context(call)
        if not context.signed or call.stage is not Stage.SENT_UNKNOWN:
            raise CallStateError(call.id, step, f"its stage is {call.stage}", hint)
        if call.fee_state != "open":
            why = f"its nonce is {call.fee_state}"
            if call.superseded_by:
                why = f"its nonce was taken over by call {call.superseded_by}"
            raise CallStateError(call.id, step, why, hint)
        if (
            decide(SendResult.REFUSED, await self._tracker.read_nonce(context)).held
            is Reservation.CHARGED
        ):
            raise CallStateError(call.id, step, "it is mined already", hint)
        return context

    async def _is_ours(self, call: Call) -> bool:
        """Whether a call belongs to this session's chain and wallet."""
        if call.account is None:
            return True
        return call.account.key == (await self._sender.account()).key

    async def _find_end(self, call: Call) -> bool:
        context = await self._context(call)
        if not context.signed:
            return await self._find_end_off_chain(call)
        try:
            mined = await self._tracker.find_receipt(context)
        except SupersededError as exc:
            return await self._find_rival(call, exc)
        if mined is None:
            return await self._find_loss(call, context)
        await self._settle(call, context, mined, _request_of(call, context))
        return True

    async def _settle(
        self, call: Call, context: CallContext, mined: Receipt, request: Mapping[str, Any]
    ) -> None:
        """Record what a mined call gave, or that it was paid for and gave nothing."""
        try:
            await self._tracker.judge(context, mined)
            found = await self._readers[request["tool"]].read_back(mined, request, call.principal)
        except OGError as exc:
            if isinstance(exc, ServiceError):
                raise
            fee = getattr(exc, "fee_wei", mined.fee_wei)
            receipt = self._receipt(context, request, mined, None)
            await self._journal.fail(call.id, Stage.CHARGED, str(exc), fee_wei=fee, receipt=receipt)
            return
        outcome = Outcome[Shape](
            result=found.result(call.id, self._network, request),
            stage=Stage.CHARGED,
            receipt=self._receipt(context, request, mined, found.response),
            fee_wei=mined.fee_wei,
        )
        await self._recorder.record(call.id, outcome)

    def _receipt(
        self,
        context: CallContext,
        request: Mapping[str, Any],
        mined: Receipt,
        response: Mapping[str, Any] | None,
    ) -> str:
        if request["tool"] == CANCEL_PAYMENT:
            # It proves nothing of a model, and what it takes back the chain alone can tell.
            return ""
        keep = self._keep_content
        return transaction_receipt(
            context, self._network, request, mined, response, keep_content=keep
        )

    async def _find_end_off_chain(self, call: Call) -> bool:
        """End a call without a transaction; its answer was lost with its process."""
        if call.status != "running":
            return False
        if call.stage is Stage.NOT_SENT:
            await self._journal.fail(call.id, *_end_of(call))
        else:
            await self._journal.fail(call.id, Stage.SENT_UNKNOWN, ANSWER_GONE)
        return True

    async def _find_rival(self, call: Call, superseded: SupersededError) -> bool:
        """Settle the call whose transaction took the nonce, which ends this one."""
        if call.status == "running":
            await self._journal.fail(call.id, Stage.SENT_UNKNOWN, str(superseded))
        return await self.refresh(await self._journal.get(superseded.rival, None))

    async def _find_loss(self, call: Call, context: CallContext) -> bool:
        """End a call whose nonce another transaction has used for good; else it stays in doubt."""
        async with self._journal.lane(await self._sender.account()) as lane:
            if call.fee_state == "open":
                seen = await self._tracker.read_nonce(context)
                again_s = self._sender.recheck_s
                if decide(SendResult.REFUSED, seen, recheck_s=again_s).held is Reservation.DAY:
                    rpc = self._chain.rpc_shown
                    await lane.release(call.id, WITHOUT_EFFECT.format(rpc=rpc))
                    return True
        if call.status == "running":
            error = MAY_BE_MINED.format(hash=context.signed[-1].transaction_hash)
            await self._journal.fail(call.id, Stage.SENT_UNKNOWN, error)
        return False

    async def _context(self, call: Call) -> CallContext:
        return CallContext(
            call.id,
            call.principal,
            call.created_at.isoformat(),
            committed=True,
            signed=[Signed.recorded(one) for one in await self._journal.transactions(call.id)],
        )


def _request_of(call: Call, context: CallContext) -> dict[str, Any]:
    """Return what was asked, as far as it is known."""
    if call.request:
        request: dict[str, Any] = json.loads(call.request)
        return request
    if call.tool == CANCEL_PAYMENT:
        return {"tool": CANCEL_PAYMENT}
    # OG_RECEIPTS=hashes keeps no request; the signed call data holds it all the same.
    return request_of_transaction(context.signed[0].raw)


def _end_of(call: Call) -> tuple[Stage, str]:
    """Return stage and error of a call whose process died before it signed anything."""
    if call.tool not in PUBLISHING_TOOLS:
        return Stage.NOT_SENT, NEVER_SENT
    # What it had sent went to the hub, and was not recorded here.
    return Stage.SENT_UNKNOWN, VERSION_IN_DOUBT if call.tool == "create_version" else BROKEN_OFF
