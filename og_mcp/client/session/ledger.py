"""What a session offers of the calls there were: the public methods, in one place."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from og_mcp.calls import Journal
from og_mcp.client.session.interrupted import PUBLISHING, end_publication
from og_mcp.client.session.loading import load
from og_mcp.client.session.parts import Parts
from og_mcp.client.session.payment_parts import PaymentParts
from og_mcp.client.session.since import since_of
from og_mcp.errors import InputError, OGError, ServiceError, coins, fee_text, quote
from og_mcp.networks import LOCAL_BASE_CHAIN_ID, NETWORKS
from og_mcp.types import (
    CANCEL_PAYMENT,
    LOCAL_PRINCIPAL,
    Approval,
    Call,
    CallInfo,
    CallList,
    CallStatus,
    CancellationOffer,
    Pruned,
    Stage,
    Totals,
    Verification,
)

if TYPE_CHECKING:
    from og_mcp.client.session.history import History

logger = logging.getLogger(__name__)


class Ledger:
    """Calls, what they cost, what they left as proof, and the mending of what is stuck.

    `Session` is one.

    Args:
        parts: What a session consists of.
        paying: Its part that pays gateways.
    """

    def __init__(self, parts: Parts, paying: PaymentParts) -> None:
        self._parts, self._paying = parts, paying

    async def get_call(
        self, call_id: str, wait_s: float = 20.0, *, principal: str = LOCAL_PRINCIPAL
    ) -> CallInfo:
        """Return a call, waiting up to `wait_s` seconds for its end; a failed one is told here.

        Args:
            call_id: Its id, or the first characters of it.
            wait_s: How long to wait.
            principal: Whose.

        Raises:
            CallNotFoundError: The principal has no such call.
            AmbiguousCallError: Several begin so.
        """
        journal = await self._parts.journal.get()
        call_id = await journal.full_id(call_id, principal)
        call = await journal.wait(call_id, principal, wait_s)
        call = await self._look_again(call)
        if call.status != "running":
            await journal.deliver(call_id)
        return (await load("session.telling")).info_of(call)  # type: ignore[no-any-return]  # a module put off

    async def is_delivered(self, call_id: str, *, principal: str = LOCAL_PRINCIPAL) -> bool:
        """Tell whether the end of a call was handed over already.

        Raises:
            CallNotFoundError: The principal has no such call.
        """
        journal = await self._parts.journal.get()
        call = await journal.get(await journal.full_id(call_id, principal), principal)
        return call.delivered_at is not None

    async def list_calls(  # noqa: PLR0913 - what may be asked for, by name
        self,
        limit: int = 20,
        status: CallStatus | None = None,
        tool: str = "",
        *,
        since: str = "",
        page: int = 0,
        principal: str = LOCAL_PRINCIPAL,
    ) -> CallList:
        """Return a principal's calls, the newest first, and what all of them cost.

        Args:
            limit: Calls on a page.
            status: Only those.
            tool: Only that tool's.
            since: Only calls from then on, as `since_of` reads it.
            page: From 0.
            principal: Whose.

        Raises:
            InputError: `since` is not a time of the past.
        """
        after = since_of(since)
        journal = await self._parts.journal.get()
        found = await journal.list_calls(
            principal, limit + 1, status, tool, since=after, skip=page * limit
        )
        own, base = await self._totals(journal, principal)
        spent_opg, open_opg = await journal.opg_totals(principal)
        info_of = (await load("session.telling")).info_of
        fees_wei = sum(total.fees_wei for total in own)
        return CallList(
            network=self._parts.settings.network_name,
            calls=[info_of(call, is_whole=False) for call in found[:limit]],
            next_page=page + 1 if len(found) > limit else 0,
            spent_opg=coins(spent_opg),
            open_opg=coins(open_opg),
            fees=fee_text(fees_wei),
            fees_wei=fees_wei,
            open_wei=sum(total.open_wei for total in own),
            base_fees_wei=sum(total.fees_wei for total in base),
            base_open_wei=sum(total.open_wei for total in base),
        )

    async def _totals(self, journal: Journal, principal: str) -> tuple[list[Totals], list[Totals]]:
        """Sum up what calls of the network in use cost: on its own chain, and on the payment chain.

        Their coins are two, and those of other networks are others again.
        """
        chains = {LOCAL_BASE_CHAIN_ID, *(network.base_chain_id for network in NETWORKS.values())}
        with suppress(OGError):
            # What was spent is told without a network, too; then by the chain ids that are known.
            if self._parts.has_network:
                chains.add((await self._parts.network.get()).base_chain_id)
        name = self._parts.settings.network_name
        # A local network's accounts have the hash of its first block behind the name.
        found = [
            total
            for total in await journal.totals(principal)
            if total.network.partition(":")[0] == name
        ]
        own = [total for total in found if total.chain_id not in chains]
        return own, [total for total in found if total.chain_id in chains]

    async def receipt(self, call_id: str, *, principal: str = LOCAL_PRINCIPAL) -> dict[str, Any]:
        """Return the receipt of a call (interface.md section 4).

        Raises:
            CallNotFoundError: The principal has no such call.
            InputError: It has no receipt: it published, or has not paid for anything yet.
        """
        journal = await self._parts.journal.get()
        call = await journal.get(await journal.full_id(call_id, principal), principal)
        if not call.receipt:
            raise InputError(*_without_receipt(call))
        receipt: dict[str, Any] = (await load("session.telling")).receipt_of(call)
        return receipt

    async def verify_receipt(
        self,
        receipt: Mapping[str, Any] | None = None,
        *,
        call_id: str = "",
        online: bool = False,
        principal: str = LOCAL_PRINCIPAL,
    ) -> Verification:
        """Check a receipt offline, or also ask the chain for its transaction.

        A file that has a key twice in an object is refused. Of a receipt that is given itself, that
        cannot be seen: its JSON was parsed before, and the last one counts.

        Args:
            receipt: The receipt itself, or `{"file": path}` below OG_UPLOAD_ROOTS; or
            call_id: the call whose receipt it is.
            online: Ask the chain too.
            principal: Whose call.

        Raises:
            InputError: Neither or both were given, the call has no receipt, or the file is none or
                may not be read.
        """
        if bool(receipt) == bool(call_id):
            raise InputError("A receipt or a call_id is needed, and not both.", "Give one of them.")
        checked = receipt or await self.receipt(call_id, principal=principal)
        if set(checked) == {"file"}:
            checked = await self._saved_receipt(checked["file"])
        receipts = await load("receipts.receipts")
        verified: Verification
        if online:
            network = await self._parts.network.get()
            payment_chain = await self._paying.chain.get()
            of_payments = _chain_id_of(checked) == payment_chain.chain_id
            # Another RPC than the one by whose word it was made, where there is one (T35).
            chain = await self._parts.witness.get() or await self._parts.chain.get()
            payments = await self._paying.witness.get() or payment_chain
            verified = await receipts.confirm_online(
                checked,
                payments if of_payments else chain,
                network=network,
                tee_registry=network.tee_registry,
                settlement=(await load("receipts.settlement")).SettlementCheck(
                    payments, network.opg_token
                ),
            )
        else:
            known = self._parts.settings.network
            verified = await to_thread.run_sync(receipts.verify, checked, known)
        name = verified.network or self._parts.settings.network_name
        return verified.model_copy(update={"network": name})

    async def _saved_receipt(self, path: object) -> Any:  # noqa: ANN401 - JSON of any origin
        """Read a receipt from a file below the roots."""
        if not isinstance(path, str):
            raise InputError(
                f"receipt's file is {quote(path)}, which is not a path.",
                'Give {"file": "/path/receipt.json"}, or the receipt itself.',
            )
        saved, files = await load("receipts.saved"), await self._parts.files.get()

        def read() -> Any:  # noqa: ANN401 - as above
            with files.open(path, max_bytes=saved.MAX_BYTES) as stream:
                return saved.read_receipt(stream, path)

        return await to_thread.run_sync(read)

    async def reconcile(self) -> list[CallInfo]:
        """Settle what was interrupted, by hash and nonce; nothing is signed again.

        Raises:
            ServiceError: The chain cannot be asked.
        """
        journal = await self._parts.journal.get()
        chain_ids = {call.account.chain_id for call in await journal.unfinished() if call.account}
        settled = await (await self._parts.history.get()).reconcile()
        if (await self._parts.network.get()).base_chain_id in chain_ids:
            settled += await (await self._paying.history.get()).reconcile()
        if await journal.open_caps():
            await (await self._paying.caps.get()).look()
        info_of = (await load("session.telling")).info_of
        return [info_of(call) for call in settled]

    async def speed_up(self, call_id: str, *, principal: str = LOCAL_PRINCIPAL) -> CallInfo:
        """Sign a stuck call's transaction again at a higher price, within the caps.

        Raises:
            CallStateError: It has no open transaction.
            ChainError: A cap is in the way, or the node did not take it.
        """
        return await self._replace(call_id, principal, cancel=False)

    async def cancel(
        self,
        call_id: str,
        *,
        principal: str = LOCAL_PRINCIPAL,
        max_fee_wei: int | None = None,
    ) -> CallInfo:
        """Cancel what was signed for a call and has no end yet; costs gas.

        The nonce of a stuck transaction is used up by a transfer of nothing to oneself. The payment
        authorization of a gateway's call is made void for every call that it pays for, by a call of
        its own, which is returned; a person has to agree to that first (`cancellation`).

        Args:
            call_id: The call.
            principal: Whose.
            max_fee_wei: What a person agreed that cancelling a payment may cost; `None`: the caps
                alone.

        Raises:
            CallStateError: It has neither open transaction nor open payment.
            ChainError: A cap is in the way, or the node did not take it.
        """
        call = await self._own(call_id, principal)
        if call.cap is None:
            return await self._replace(call_id, principal, cancel=True)
        module = await load("session.payment_cancellation")
        cancelling = await module.cancel(self._parts, self._paying, call, max_fee_wei)
        return await self.get_call(cancelling.id, 0.0, principal=principal)

    async def cancellation(
        self, call_id: str, *, principal: str = LOCAL_PRINCIPAL
    ) -> CancellationOffer:
        """Tell what it means to cancel the payment authorization of a call; sends nothing.

        Raises:
            CallStateError: It has no open payment.
            ServiceError: The payment chain cannot be asked.
        """
        call = await self._own(call_id, principal)
        module = await load("session.payment_cancellation")
        offer: CancellationOffer = await module.offer(self._parts, self._paying, call)
        return offer

    async def release(self, call_id: str, *, principal: str = LOCAL_PRINCIPAL) -> str:
        """Give a call up that is not mined: it may still be, and its fee counts for 24 hours more.

        Returns:
            The most that it may still cost, in coins.

        Raises:
            CallStateError: It has no open transaction.
        """
        call = await (await self._parts.journal.get()).get(call_id, principal)
        return await (await self._history_of(call)).release(call)

    async def approval(self, call_id: str) -> Approval:
        """Return what a person is asked to agree to."""
        return await (await self._parts.journal.get()).approval(call_id)

    async def approve(self, call_id: str, shown: Approval | None = None) -> Approval:
        """Record that a person agreed; good for one try within an hour.

        Raises:
            CallStateError: What is asked is no longer what the person was shown.
        """
        return await (await self._parts.journal.get()).approve(call_id, shown)

    async def decline(self, call_id: str) -> datetime:
        """Record that a person said no; returns until when the same request is refused (T48).

        Raises:
            CallStateError: The call does not wait for an answer.
        """
        return await (await self._parts.journal.get()).decline(call_id)

    async def trust(self, recipient: str) -> str:
        """Sign again for a recipient that overcharged; returns what it had done.

        Raises:
            InputError: It has not.
        """
        found: str = await (await self._paying.caps.get()).overcharges.forgive(recipient)
        if not found:
            raise InputError(
                f"{quote(recipient)} is not a recipient that overcharged.",
                "The tool status and og-mcp doctor name those for whom nothing is signed.",
            )
        return found

    async def prune(self, before: datetime) -> Pruned:
        """Remove delivered calls that ended before a time, and files that none names any more."""
        journal = await self._parts.journal.get()
        files = await self._parts.images.get(), await self._parts.outputs.get()
        pruned: Pruned = await (await load("session.pruning")).prune(journal, files, before)
        return pruned

    async def _look_again(self, call: Call) -> Call:
        """Ask the chains about a call that is interrupted, in doubt, or not yet confirmed."""
        journal = await self._parts.journal.get()
        try:
            asked = [await self._look_at_payment(call), await self._look_at_transaction(call)]
        except ServiceError as exc:
            # What the journal has is still true; the chain is asked again next time.
            logger.info("call %s was not looked up: %s", call.id, exc)
            return call
        return await journal.get(call.id, call.principal) if any(asked) else call

    async def _look_at_payment(self, call: Call) -> bool:
        """Ask what became of the payment of a call; false where there is nothing to ask."""
        if call.cap is None or call.cap.status != "open" or call.status == "running":
            return False
        caps = await self._paying.caps.get()
        if call.cap.account.key != caps.account.key:
            return False
        await caps.look()
        return True

    async def _look_at_transaction(self, call: Call) -> bool:
        """Ask what became of the transaction of a call; false where there is nothing to ask."""
        doubtful = call.orphaned or call.stage is Stage.SENT_UNKNOWN
        if not call.transaction_hashes and not call.orphaned:
            return False
        if (call.status == "running" and not call.orphaned) or not (
            doubtful or call.stage is Stage.CHARGED
        ):
            return False
        if await end_publication(await self._parts.journal.get(), call):
            return True
        history = await self._history_of(call)
        await (history.look_again(call) if doubtful else history.confirm(call))
        return True

    async def _history_of(self, call: Call) -> History:
        """Return what knows the chain that a call's transaction went to."""
        base_chain_id = (await self._parts.network.get()).base_chain_id
        of_payments = call.account is not None and call.account.chain_id == base_chain_id
        return await (self._paying if of_payments else self._parts).history.get()

    async def _own(self, call_id: str, principal: str) -> Call:
        journal = await self._parts.journal.get()
        return await journal.get(await journal.full_id(call_id, principal), principal)

    async def _replace(self, call_id: str, principal: str, *, cancel: bool) -> CallInfo:
        call = await self._own(call_id, principal)
        await (await self._history_of(call)).replace(call, cancel=cancel)
        return await self.get_call(call.id, 0.0, principal=principal)


def _chain_id_of(receipt: Mapping[str, Any]) -> object:
    """Read which chain a receipt's transaction is on; of any origin."""
    part = receipt.get("chain")
    return part.get("chain_id") if isinstance(part, Mapping) else None


def _without_receipt(call: Call) -> tuple[str, str]:
    """Say why a call has no receipt, and what to do instead."""
    if call.tool in PUBLISHING:
        why = f"{call.tool} publishes on the Model Hub, and only calls that pay leave receipts"
        hint = "list_files and get_model show what is published."
    elif call.tool == CANCEL_PAYMENT:
        why = "it cancelled a payment, and only calls that get something leave receipts"
        hint = "get_call shows its transaction."
    else:
        ends = "a receipt is made once a call was answered or paid for"
        why = f"it is {call.status} at stage {call.stage}, and {ends}"
        hint = "get_call shows how far it has come."
    return f"Call {call.id} has no receipt: {why}.", hint
