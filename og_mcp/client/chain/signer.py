"""The signer: the one way to a signature, through the wallet's lane and the caps.

The fee is set aside, the transaction signed, and the signature recorded;
only after that do the bytes leave this class.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial

import anyio

from og_mcp.calls import Journal, Lane
from og_mcp.client.calls.context import CallContext
from og_mcp.client.chain.chain import Chain
from og_mcp.client.chain.unrecorded_costs import UnrecordedCosts
from og_mcp.client.chain.wallet import FeeGuard, Signed, Transaction, Wallet
from og_mcp.errors import CallStateError, FeeCapError, OGError
from og_mcp.types import Account, FeeCaps


class Signer:
    """Signs for one wallet on one chain.

    Args:
        chain: Shows what was spent if the journal is new.
        wallet: Holds the key.
        guard: Limits the cost of a signature and where it may go.
        journal: Every signature is on its disk before a byte leaves.
    """

    def __init__(self, chain: Chain, wallet: Wallet, guard: FeeGuard, journal: Journal) -> None:
        self._chain, self._wallet, self._guard, self._journal = chain, wallet, guard, journal
        self._turn = anyio.Lock()
        self._unrecorded: UnrecordedCosts | None = None

    async def address(self) -> str:
        """Return the wallet's EIP-55 address."""
        return await self._wallet.address()

    async def account(self) -> Account:
        """Return whose lane and budget are used; a local network counts by its genesis block."""
        await self._chain.check()
        network = self._guard.network
        name = f"{network.name}:{self._chain.genesis_hash}" if network.local else network.name
        return Account(
            network=name, chain_id=network.chain_id, address=await self._wallet.address()
        )

    @asynccontextmanager
    async def lane(self) -> AsyncGenerator[Lane]:
        """Wait for the sole right to sign, among all tasks and processes."""
        account = await self.account()
        async with self._turn, self._journal.lane(account) as lane:
            yield lane

    async def sign(
        self, call: CallContext, lane: Lane, transaction: Transaction, *, supersedes: str = ""
    ) -> Signed:
        """Set the fee aside, sign, and record the signature, in this order.

        Args:
            call: The call; takes the signature in.
            lane: Held.
            transaction: With its nonce.
            supersedes: Id of the call whose nonce is taken over.

        Raises:
            FeeCapError: A cap, or what a person agreed to, is in the way; nothing was signed.
            BudgetExceededError: The cap of 24 hours is.
            JournalError: It could not be recorded; nothing may be sent.
        """
        fee = transaction.max_fee
        caps = await self.caps(lane.account)
        self._guard.check(transaction)
        if call.max_wei is not None and fee > call.max_wei:
            raise FeeCapError("the approval", fee, call.max_wei)
        await lane.reserve(call.call_id, transaction.nonce, fee, caps, supersedes=supersedes)
        signed = await self._wallet.sign(transaction, self._guard, call.call_id)
        raw = "0x" + signed.raw.hex()
        call.committed = True
        try:
            await lane.signed(call.call_id, signed.nonce, signed.transaction_hash, raw, fee)
        except OGError:
            await self.undo(call, lane, signed)
            raise
        call.signed.append(signed)
        return signed

    @staticmethod
    async def undo(call: CallContext, lane: Lane, signed: Signed) -> None:
        """Take back a signature of which no byte left this process."""
        # It has none where nothing was recorded.
        with suppress(CallStateError):
            await lane.give_back(call.call_id, signed.transaction_hash)
        call.signed = [one for one in call.signed if one != signed]
        call.committed = bool(call.signed)

    async def caps(self, account: Account) -> FeeCaps:
        """Return the caps, with what the journal does not know of (threats.md T6).

        Raises:
            ServiceError: Neither chain nor journal tell.
        """
        caps = FeeCaps(per_call=self._guard.max_fee_per_call, per_day=self._guard.max_fee_per_day)
        recorded = partial(self._journal.budget, account, caps)

        async def shown() -> int:
            # What left the wallet may not have been fees; so it counts only if the journal is empty.
            new = (await recorded()).spent == 0
            return await self._chain.spent_in_a_day(account.address) if new else 0

        if self._unrecorded is None:
            name = f"unrecorded fees {account.key}"
            self._unrecorded = UnrecordedCosts(self._journal, name, recorded, shown)
        return replace(caps, unrecorded=await self._unrecorded.amount())
