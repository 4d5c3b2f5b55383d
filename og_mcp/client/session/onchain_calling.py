"""How a session makes a call of the inference contract: agreed to, carried out, settled."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from anyio import CancelScope

from og_mcp.client.session.calling import Calling, Terms
from og_mcp.client.session.consent_check import UNASKED, consent_check, use_approval
from og_mcp.client.session.part import Part
from og_mcp.client.session.parts import Parts
from og_mcp.errors import InputError, OGError, coins
from og_mcp.types import Call, Check, ConsentRequest, Stage

if TYPE_CHECKING:
    from og_mcp.client.chain.chain import Chain
    from og_mcp.client.chain.sender import Sender
    from og_mcp.client.chain.ticket import Ticket
    from og_mcp.client.chain.wallet import Transaction
    from og_mcp.client.session.history import History, Outcome

logger = logging.getLogger(__name__)

MAX_RETRIES: Final = 20

WITHIN_CAP: Final = "the most that it may cost is within the cap"

APPROVAL_MARGIN: Final = 2
"""What a person agrees to over what it would cost now: gas prices move until they have answered."""


class Books(Protocol):
    """What belongs to one chain: of the session's own, or of the payment chain."""

    @property
    def chain(self) -> Part[Chain]:
        """Where the calls go."""
        ...

    @property
    def sender(self) -> Part[Sender]:
        """Sends them."""
        ...

    @property
    def history(self) -> Part[History]:
        """Settles them."""
        ...

    @property
    def reconciled(self) -> Part[bool]:
        """Opened once what was interrupted has been looked up."""
        ...


class OnchainCalling:
    """The calls of one session that are transactions.

    Args:
        parts: What they are carried out with.
        books: Of another chain than the network's own.
    """

    def __init__(self, parts: Parts, books: Books | None = None) -> None:
        self._parts, self._books = parts, books or parts

    async def make(  # noqa: PLR0913 - each is told by name
        self,
        request: Mapping[str, Any],
        terms: Terms,
        *,
        price: Callable[[], Awaitable[Transaction]],
        ask: Callable[[Ticket], Awaitable[Outcome]],
        max_opg: int = 0,
        asks: bool = True,
    ) -> Call:
        """Journal a call, carry it out or join it, and return its end.

        Args:
            request: Canonical, with its `tool`.
            terms: Who asks.
            price: Says what it would cost.
            ask: Sends the transaction and reads what it gave.
            max_opg: What it lets others take, OPG base units.
            asks: False where a person need not agree whatever the settings say.

        Raises:
            ApprovalRequiredError: A person has to agree first.
            OGError: It failed.
        """
        most_wei: int | None = None

        async def consent(call: Call) -> None:
            nonlocal most_wei
            if asks and self._parts.needs_consent(request["tool"]):
                most_wei = await self._consented(call, price, max_opg)

        async def work(ticket: Ticket) -> None:
            ticket.most_wei = most_wei
            await self._carry_out(ticket, request, ask)

        calling = Calling(self._parts, self._find_end)
        return await calling.make(request, terms, work, consent=consent)

    async def checks(  # noqa: PLR0913 - as above
        self,
        tool: str,
        fee_wei: int,
        of_input: str,
        *,
        taken: str = "the contract and the model take the call",
        of_cap: str = WITHIN_CAP,
        asks: bool = True,
    ) -> list[Check]:
        """Tell what a dry run checked, once `price` has held.

        Args:
            tool: What would be called.
            fee_wei: The most that it may cost.
            of_input: What was checked of the input, in words.
            taken: What the simulation showed, in words.
            of_cap: How the cost lies to the cap of one call, in words.
            asks: As for `make`.

        Raises:
            BudgetExceededError: It would pass the cap of 24 hours.
            ServiceError: Chain or journal do not tell what was spent.
        """
        rpc = (await self._books.chain.get()).rpc_shown
        left = (await (await self._books.sender.get()).check_budget(fee_wei)).left
        found = (
            ("input", "this process", of_input),
            ("simulation", rpc, taken),
            ("balance", rpc, "the wallet holds the most that it may cost"),
            ("fee_cap", "OG_MAX_FEE_PER_CALL", of_cap),
            ("fee_budget", "OG_MAX_FEE_PER_DAY", f"{coins(left)} coins are left of this day's cap"),
        )
        return [
            *(
                Check(name=name, result="ok", source=source, detail=detail)
                for name, source, detail in found
            ),
            consent_check(self._parts, tool) if asks else UNASKED,
        ]

    async def _carry_out(
        self,
        ticket: Ticket,
        request: Mapping[str, Any],
        ask: Callable[[Ticket], Awaitable[Outcome]],
    ) -> None:
        """Carry an opened call out and record its end."""
        await self._books.reconciled.get()
        history = await self._books.history.get()
        try:
            outcome = await ask(ticket)
        except OGError as exc:
            if exc.stage is Stage.CHARGED:
                exc.receipt = await history.receipt_of_failure(ticket, request)
            raise
        with CancelScope(shield=True):
            await history.settle(ticket, request, outcome)
        await self._look_back()

    async def _find_end(self, call: Call, wait_s: float | None) -> None:
        await (await self._books.history.get()).resume(call, wait_s)

    async def _look_back(self) -> None:
        """Settle the interrupted calls that the sender came across in the lane."""
        sender = await self._books.sender.get()
        if not sender.left_open:
            return
        sender.left_open = False
        try:
            await (await self._books.history.get()).reconcile()
        except OGError as exc:
            # This call is settled; whether the others are is asked again.
            sender.left_open = True
            logger.info("interrupted calls were not looked up: %s", exc)

    async def _consented(
        self, call: Call, price: Callable[[], Awaitable[Transaction]], opg: int
    ) -> int:
        """Use up a person's approval; returns the most that they agreed to, wei.

        Raises:
            ApprovalRequiredError: Nobody has agreed; the call waits for it.
        """
        journal = await self._parts.journal.get()
        sender = await self._books.sender.get()
        try:
            # A person is asked only for what nothing else is in the way of.
            fee = (await price()).max_fee
            await sender.check_budget(fee)
        except OGError as exc:
            await journal.fail(call.id, Stage.NOT_SENT, str(exc))
            raise
        consent = ConsentRequest(
            request_hash=call.request_hash,
            network=self._parts.settings.network_name,
            payer=await sender.account(),
            cap_wei=fee,
            cap_opg=opg,
        )
        asked = replace(consent, cap_wei=fee * APPROVAL_MARGIN)
        await use_approval(self._parts, call, consent, asked)
        return (await journal.approval(call.id)).cap_wei


def check_retries(max_retries: int) -> None:
    """Refuse a number of retries that nobody means.

    Raises:
        InputError: It is not between 0 and MAX_RETRIES.
    """
    if not 0 <= max_retries <= MAX_RETRIES:
        raise InputError(f"max_retries is {max_retries}.", f"Use 0 to {MAX_RETRIES}.")
