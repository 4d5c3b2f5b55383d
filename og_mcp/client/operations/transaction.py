"""A call that is one transaction: what such calls share."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from og_mcp.client.calls.context import CallContext
from og_mcp.client.calls.operation import Operation, Outcome, Quote
from og_mcp.client.chain.chain import Receipt
from og_mcp.client.chain.sender import GAS_MARGIN, Read, Sender
from og_mcp.client.receipts.transaction_receipt import transaction_receipt
from og_mcp.client.recovery import ChainRecovery, MinedResult
from og_mcp.client.wire.lazy import Lazy
from og_mcp.errors import (
    FeeCapError,
    InputError,
    OGError,
    ServiceError,
    SupersededError,
    coins,
    fee_text,
)
from og_mcp.networks import Network
from og_mcp.types import Call, Check, Shape, Stage

logger = logging.getLogger(__name__)

R = TypeVar("R", bound=Shape)

MAX_RETRIES: Final = 20
WITHIN_CAP: Final = "the most that it may cost is within the cap"


def check_retries(max_retries: int) -> None:
    """Check the number of retries.

    Raises:
        InputError: It is not between 0 and MAX_RETRIES.
    """
    if not 0 <= max_retries <= MAX_RETRIES:
        raise InputError(f"max_retries is {max_retries}.", f"Use 0 to {MAX_RETRIES}.")


@dataclass(frozen=True, kw_only=True)
class ChainAccess:
    """What transactions on one chain need."""

    network: Network
    """Of the chain."""

    sender: Lazy[Sender]
    recovery: Lazy[ChainRecovery]
    recovered: Lazy[bool]
    """Open once interrupted calls are settled; before that nothing is signed."""

    keep_content: bool
    """Whether receipts keep requests and answers."""


class TransactionOperation(Operation[R]):
    """A call that is one transaction.

    Args:
        chain: What it is carried out with.
        max_retries: Further tries after trouble with nonce or connection; 0 to 20.
    """

    checked_input: str
    """What was checked of the input, in words."""

    taken: str = "the contract and the model take the call"
    """What the simulation showed, in words."""

    gas_margin: float = GAS_MARGIN
    read: Read | None = None
    """Checks what the simulated call returns."""

    leaves_receipt: bool = True
    max_opg: int = 0
    """What it lets others take, OPG base units."""

    def __init__(self, chain: ChainAccess, *, max_retries: int) -> None:
        check_retries(max_retries)
        self._chain, self._max_retries = chain, max_retries

    @abstractmethod
    async def call_data(self) -> tuple[str, bytes]:
        """Return the contract's address and the call data."""

    @abstractmethod
    async def read_result(self, call: CallContext, mined: Receipt) -> MinedResult:
        """Read what the mined call gave."""

    def over_cap(self, error: FeeCapError) -> None:
        """Add to the error how the fee can be lowered."""

    def within_cap(self, fee_wei: int) -> str:
        """Say how the cost compares with the cap of one call."""
        del fee_wei
        return WITHIN_CAP

    async def more_checks(self) -> Sequence[Check]:
        """Tell what else was checked in a dry run."""
        return ()

    async def quote(self) -> Quote:
        """Simulate the call and price it against the caps.

        Raises:
            ChainError: It would be refused.
            ServiceError: The chain cannot be asked.
        """
        sender = await self._chain.sender.get()
        to, data = await self.call_data()
        try:
            _, transaction = await sender.offer(
                to,
                data,
                max_retries=self._max_retries,
                gas_margin=self.gas_margin,
                read=self.read,
            )
        except FeeCapError as exc:
            self.over_cap(exc)
            raise
        fee = transaction.max_fee
        left = (await sender.check_budget(fee)).left
        found = (
            ("input", "this process", self.checked_input),
            ("simulation", sender.rpc_shown, self.taken),
            ("balance", sender.rpc_shown, "the wallet holds the most that it may cost"),
            ("fee_cap", "OG_MAX_FEE_PER_CALL", self.within_cap(fee)),
            ("fee_budget", "OG_MAX_FEE_PER_DAY", f"{coins(left)} coins are left of this day's cap"),
        )
        checks = [
            Check(name=name, result="ok", source=source, detail=detail)
            for name, source, detail in found
        ]
        return Quote(
            max_wei=fee,
            max_opg=self.max_opg,
            payer=await sender.account(),
            fields={"fee": fee_text(fee), "fee_wei": fee},
            checks=[*await self.more_checks(), *checks],
        )

    async def execute(self, call: CallContext) -> Outcome[R]:
        """Send the transaction, wait until it is mined, and read what it gave.

        Raises:
            ChainError: It was refused, reverted, or is not known to be mined; `stage` tells.
            ServiceError: The node cannot be used; nothing was sent.
        """
        await self._chain.recovered.get()
        sender, (to, data) = await self._chain.sender.get(), await self.call_data()
        try:
            mined = await sender.send(
                call,
                to,
                data,
                max_retries=self._max_retries,
                gas_margin=self.gas_margin,
                read=self.read,
            )
            return await self._outcome(call, mined)
        except OGError as exc:
            if isinstance(exc, FeeCapError):
                self.over_cap(exc)
            if exc.stage is Stage.CHARGED:
                exc.receipt = await self._receipt_of_failure(call, sender)
            raise

    async def _outcome(self, call: CallContext, mined: Receipt) -> Outcome[R]:
        found = await self.read_result(call, mined)
        result = found.result(call.call_id, self._chain.network, self.request)
        return Outcome(
            result=cast("R", result),
            stage=Stage.CHARGED,
            receipt=self._receipt(call, mined, found.response),
            fee_wei=mined.fee_wei,
        )

    async def _receipt_of_failure(self, call: CallContext, sender: Sender) -> str:
        """Make the receipt of a call that was paid for and gave nothing; empty if the chain does not answer."""
        try:
            mined = await sender.tracker.find_receipt(call)
        except (ServiceError, SupersededError) as exc:
            logger.info("call %s has no receipt: %s", call.call_id, exc)
            return ""
        return "" if mined is None else self._receipt(call, mined, None)

    def _receipt(
        self, call: CallContext, mined: Receipt, response: Mapping[str, Any] | None
    ) -> str:
        if not self.leaves_receipt:
            return ""
        network, keep = self._chain.network, self._chain.keep_content
        return transaction_receipt(call, network, self.request, mined, response, keep_content=keep)

    async def settled(self, call: CallContext) -> None:
        """Settle interrupted calls that were found in the lane."""
        sender = await self._chain.sender.get()
        if not sender.left_open:
            return
        sender.left_open = False
        try:
            await (await self._chain.recovery.get()).recover_all()
        except OGError as exc:
            # This call is settled; others are checked again.
            sender.left_open = True
            logger.info("after call %s, others were not looked up: %s", call.call_id, exc)

    def progress(self, call: Call) -> dict[str, Any]:
        """Tell the newest transaction of a call that runs, and what it costs so far."""
        return {
            "transaction_hash": call.transaction_hashes[-1] if call.transaction_hashes else "",
            "fee": fee_text(call.fee_wei),
            "fee_wei": call.fee_wei,
        }
