"""The calls that were made: looking them up, settling what was interrupted, mending what is stuck."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio
import stamina

from og_mcp.calls import Journal
from og_mcp.client.chain.chain import Chain, Receipt
from og_mcp.client.chain.decisions import Held, Said, decide
from og_mcp.client.chain.sender import Sender
from og_mcp.client.chain.ticket import Ticket
from og_mcp.client.chain.wallet import Signed
from og_mcp.client.receipts import receipts
from og_mcp.client.session.doubt import is_in_doubt
from og_mcp.client.session.interrupted import end_of
from og_mcp.errors import (
    CallStateError,
    JournalError,
    OGError,
    ServiceError,
    SupersededError,
    TransactionPendingError,
    coins,
)
from og_mcp.networks import Network
from og_mcp.types import CANCEL_PAYMENT, Call, Shape, Stage

if TYPE_CHECKING:
    from og_mcp.settings import Settings

logger = logging.getLogger(__name__)

WATCH_S: Final = 60.0
"""How long a call may run before its process is taken for alive and well."""

ANSWER_GONE = (
    "The process ended after the request was sent, and its answer is lost. What was paid for it "
    "shows once its payment settles; asking, and paying, again before that takes a new "
    "idempotency_key."
)
WITHOUT_EFFECT = (
    "Ended without effect, by the word of RPC {rpc}: another transaction used its nonce. Its fee "
    "stays reserved for 24 hours. Repeat it with a new idempotency_key."
)
RELEASED = (
    "Released by the operator: it may still be mined, and its fee stays reserved for 24 hours. "
    "Repeat it with a new idempotency_key."
)
MAY_BE_MINED = (
    "The process ended after it had signed transaction {hash}, which is not mined yet; it may still "
    "be. The same request, repeated, signs nothing new: it sends the same transaction again where "
    "the chain does not have it."
)
NOTHING_TO_RELEASE = "Only a transaction that is signed and not mined can be; nothing was changed."
NOTHING_TO_MEND = "Only a transaction that is signed and not mined can be; nothing was signed now."


class Outcome(Protocol):
    """What an on-chain call gave."""

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


class Reader(Protocol):
    """Reads what a mined call gave."""

    async def read_back(
        self, mined: Receipt, request: Mapping[str, Any], principal: str
    ) -> Outcome:
        """Read it from the chain's receipt, and where that has it not, from where the node does.

        Raises:
            OGError: There is none.
        """
        ...


class History:
    """What became of journalled calls, by the chain's own word.

    Args:
        settings: Whether receipts keep requests and answers.
        network: Where the calls went.
        journal: Where they are recorded.
        chain: What tells their fate.
        sender: Knows their transactions.
        readers: Tool -> what reads the outcome of its calls.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the parts it puts together
        self,
        settings: Settings,
        network: Network,
        journal: Journal,
        chain: Chain,
        sender: Sender,
        readers: Mapping[str, Reader],
    ) -> None:
        self._keep = settings.receipts == "full"
        self._network, self._journal, self._chain = network, journal, chain
        self._sender, self._readers = sender, readers
        self._outcomes, self._look_again_s = sender.outcomes, sender.look_again_s

    async def settle(self, ticket: Ticket, request: Mapping[str, Any], outcome: Outcome) -> None:
        """Record the good end of an on-chain call: its result and its receipt.

        Args:
            ticket: The call.
            request: Its canonical request.
            outcome: What it gave.
        """
        result = outcome.result(ticket.call_id, self._network, request)
        receipt = self._receipt(ticket, request, outcome.receipt, outcome.response)
        fee_wei = outcome.receipt.fee_wei
        await self.record(ticket, Stage.CHARGED, result.shown_json(), receipt, fee_wei=fee_wei)

    async def record(  # noqa: PLR0913 - the facts of an end
        self,
        ticket: Ticket,
        stage: Stage,
        result: str,
        receipt: str,
        *,
        fee_wei: int = 0,
        told_opg: int | None = None,
    ) -> None:
        """Record the good end of a call; tries again while the journal's database restarts."""
        end = (ticket.call_id, stage, fee_wei, result, receipt)
        try:
            await self._journal.settle(*end, told_opg=told_opg)
        except JournalError as exc:
            if not _is_lost_journal(exc):
                raise
            # What was paid for must not be forgotten.
            async for attempt in stamina.retry_context(_is_lost_journal, attempts=4, timeout=60.0):
                with attempt:
                    await self._journal.settle(*end, told_opg=told_opg)
        ticket.result = result

    async def receipt_of_failure(self, ticket: Ticket, request: Mapping[str, Any]) -> str:
        """Make the receipt of a call that was paid for and gave nothing; empty without the chain."""
        try:
            mined = await self._outcomes.find_receipt(ticket)
        except (ServiceError, SupersededError) as exc:
            logger.info("call %s has no receipt: %s", ticket.call_id, exc)
            return ""
        return "" if mined is None else self._receipt(ticket, request, mined, None)

    def _receipt(
        self,
        ticket: Ticket,
        request: Mapping[str, Any],
        mined: Receipt,
        response: Mapping[str, Any] | None,
    ) -> str:
        if request["tool"] == CANCEL_PAYMENT:
            # It proves nothing of a model, and what it takes back the chain alone can tell.
            return ""
        signed = next(s for s in ticket.signed if s.transaction_hash == mined.transaction_hash)
        receipt = receipts.build(
            call_id=ticket.call_id,
            network=self._network.name,
            tool=request["tool"],
            created_at=ticket.created_at,
            request=request,
            response=response,
            raw_transaction=signed.raw,
            receipt=mined,
            contract=signed.transaction.to,
            chain_id=self._network.chain_id,
            keep_content=self._keep,
        )
        return receipts.canonical(receipt)

    async def reconcile(self) -> list[Call]:
        """Settle what was interrupted, by hash and nonce; nothing is signed.

        Returns:
            The calls whose end was found.

        Raises:
            ServiceError: Chain or journal cannot be used.
        """
        return [
            await self._journal.get(call.id, call.principal)
            for call in await self._journal.unfinished()
            if await self.look_again(call)
        ]

    async def watch(self) -> None:
        """Settle the calls that run now once they turn out to be interrupted.

        A process that has just died counts as alive for some seconds more, and whoever is started
        in its place comes too early to see it.
        """
        for call in await self._journal.unfinished():
            await self._journal.wait(call.id, call.principal, WATCH_S)
        await self.reconcile()

    async def look_again(self, call: Call) -> bool:
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
        """Find the end of a call for whoever repeats it, as `look_again`, and help it along.

        Where the chain knows nothing of what was signed and its nonce is free, the very same bytes
        go out once more; nothing is signed.

        Args:
            call: It.
            wait_s: How long to wait for what is on its way; `None`: as for a call's own.

        Raises:
            ServiceError: The chain cannot be asked, or does not take them.
        """
        if await self.look_again(call):
            return
        found = await self._journal.get(call.id, call.principal)
        if not (found.transaction_hashes and is_in_doubt(found) and await self._is_ours(found)):
            return
        ticket = await self._ticket(found)
        heard = await self._outcomes.send_again(ticket)
        with anyio.move_on_after(inf if wait_s is None else wait_s):
            with suppress(TransactionPendingError, SupersededError):
                await self._outcomes.wait(ticket, heard, may_sign=False)
        await self.look_again(found)

    async def confirm(self, call: Call) -> bool:
        """Move a charged call to `confirmed` once the chain calls its block safe (T12).

        Where its receipt has vanished, the same bytes are sent again.
        """
        if not await self._is_ours(call):
            return False
        ticket = await self._ticket(call)
        mined = await self._outcomes.find_receipt(ticket) if ticket.signed else None
        if mined is None:
            if ticket.signed and ticket.signed[-1].raw:
                await self._outcomes.send_again(ticket, was_mined=True)
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
        ticket = await self._undecided(
            call, "be cancelled" if cancel else "be sped up", NOTHING_TO_MEND
        )
        return await self._outcomes.replace(ticket, cancel=cancel)

    async def release(self, call: Call) -> str:
        """End a call that is not mined, by its owner's word; returns what may still be taken, coins.

        Its fee counts for 24 hours more, and its nonce is free for others.

        Raises:
            CallStateError: It has no open transaction.
            ServiceError: The chain cannot be asked.
        """
        ticket = await self._undecided(call, "be released", NOTHING_TO_RELEASE)
        async with self._journal.lane(await self._sender.account()) as lane:
            await lane.release(call.id, RELEASED)
        return coins(max(one.max_fee for one in ticket.signed))

    async def _undecided(self, call: Call, step: str, hint: str) -> Ticket:
        """Return what was signed for a call that is neither mined nor given up.

        Raises:
            CallStateError: It is; or another call has its nonce.
        """
        ticket = await self._ticket(call)
        if not ticket.signed or call.stage is not Stage.SENT_UNKNOWN:
            raise CallStateError(call.id, step, f"its stage is {call.stage}", hint)
        if call.fee_state != "open":
            why = f"its nonce is {call.fee_state}"
            if call.superseded_by:
                why = f"its nonce was taken over by call {call.superseded_by}"
            raise CallStateError(call.id, step, why, hint)
        if decide(Said.REFUSED, await self._outcomes.look(ticket)).held is Held.CHARGED:
            raise CallStateError(call.id, step, "it is mined already", hint)
        return ticket

    async def _is_ours(self, call: Call) -> bool:
        """Whether this session's chain and wallet are the ones that can tell of a call."""
        if call.account is None:
            return True
        return call.account.key == (await self._sender.account()).key

    async def _find_end(self, call: Call) -> bool:
        ticket = await self._ticket(call)
        if not ticket.signed:
            return await self._find_end_off_chain(call)
        try:
            mined = await self._outcomes.find_receipt(ticket)
        except SupersededError as exc:
            return await self._find_rival(call, exc)
        if mined is None:
            return await self._find_loss(call, ticket)
        request = _request_of(call, ticket)
        try:
            await self._outcomes.judge(ticket, mined)
            outcome = await self._readers[request["tool"]].read_back(mined, request, call.principal)
        except OGError as exc:
            if isinstance(exc, ServiceError):
                raise
            fee = getattr(exc, "fee_wei", mined.fee_wei)
            receipt = await self.receipt_of_failure(ticket, request)
            await self._journal.fail(call.id, Stage.CHARGED, str(exc), fee_wei=fee, receipt=receipt)
            return True
        await self.settle(ticket, request, outcome)
        return True

    async def _find_end_off_chain(self, call: Call) -> bool:
        """End a call without a transaction, whose answer went with its process."""
        if call.status != "running":
            return False
        if call.stage is Stage.NOT_SENT:
            await self._journal.fail(call.id, *end_of(call))
        else:
            await self._journal.fail(call.id, Stage.SENT_UNKNOWN, ANSWER_GONE)
        return True

    async def _find_rival(self, call: Call, superseded: SupersededError) -> bool:
        """Settle the call whose transaction took the nonce, which ends this one."""
        if call.status == "running":
            await self._journal.fail(call.id, Stage.SENT_UNKNOWN, str(superseded))
        return await self.look_again(await self._journal.get(superseded.rival, None))

    async def _find_loss(self, call: Call, ticket: Ticket) -> bool:
        """End a call whose nonce another transaction has used for good; else it stays in doubt."""
        async with self._journal.lane(await self._sender.account()) as lane:
            if call.fee_state == "open":
                seen = await self._outcomes.look(ticket)
                if decide(Said.REFUSED, seen, look_again_s=self._look_again_s).held is Held.DAY:
                    rpc = self._chain.rpc_shown
                    await lane.release(call.id, WITHOUT_EFFECT.format(rpc=rpc))
                    return True
        if call.status == "running":
            error = MAY_BE_MINED.format(hash=ticket.signed[-1].transaction_hash)
            await self._journal.fail(call.id, Stage.SENT_UNKNOWN, error)
        return False

    async def _ticket(self, call: Call) -> Ticket:
        return Ticket(
            call.id,
            committed=True,
            created_at=call.created_at.isoformat(),
            principal=call.principal,
            signed=[Signed.recorded(one) for one in await self._journal.transactions(call.id)],
        )


def _request_of(call: Call, ticket: Ticket) -> dict[str, Any]:
    """Return what was asked, as far as it is known."""
    if call.request:
        request: dict[str, Any] = json.loads(call.request)
        return request
    if call.tool == CANCEL_PAYMENT:
        return {"tool": CANCEL_PAYMENT}
    # OG_RECEIPTS=hashes keeps no request; the signed call data holds it all the same.
    return receipts.request_of_transaction(ticket.signed[0].raw)


def _is_lost_journal(exc: Exception) -> bool:
    return isinstance(exc, JournalError) and not isinstance(exc, CallStateError)
