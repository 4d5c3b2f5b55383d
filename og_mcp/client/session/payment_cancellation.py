"""How a session cancels an open payment authorization: offered, journalled, sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from og_mcp.client.session.calling import Terms
from og_mcp.client.session.loading import load
from og_mcp.client.session.onchain_calling import APPROVAL_MARGIN, OnchainCalling
from og_mcp.client.session.parts import Parts
from og_mcp.client.session.payment_parts import PaymentParts
from og_mcp.types import Call, CancellationOffer

if TYPE_CHECKING:
    from og_mcp.client.chain.ticket import Ticket
    from og_mcp.client.chain.wallet import Transaction
    from og_mcp.client.payments.cancellation import Cancelled


async def offer(parts: Parts, paying: PaymentParts, call: Call) -> CancellationOffer:
    """Tell what cancelling the payment of a call would mean; sends nothing.

    Raises:
        CallStateError: It cannot be cancelled.
        BudgetExceededError: The fee would pass the cap of 24 hours. Also FeeCapError.
        ServiceError: The chain cannot be asked.
    """
    cancellations, journal = await paying.cancellations.get(), await parts.journal.get()
    cap = await cancellations.check(call)
    fee = (await cancellations.price(cap)).max_fee
    await (await paying.sender.get()).check_budget(fee)
    return CancellationOffer(
        call_id=call.id,
        cap=cap,
        calls=await journal.paid_calls(cap.id),
        max_fee_wei=fee * APPROVAL_MARGIN,
    )


async def cancel(parts: Parts, paying: PaymentParts, call: Call, max_fee_wei: int | None) -> Call:
    """Cancel the payment of a call; returns the call that the cancellation is.

    Raises:
        CallStateError: It cannot be cancelled.
        ChainError: As `Sender.send`.
        ServiceError: The chain cannot be asked; nothing was sent.
    """
    cancellations = await paying.cancellations.get()
    cap = await cancellations.check(call)

    async def price() -> Transaction:
        return await cancellations.price(cap)

    async def carry_out(ticket: Ticket) -> Cancelled:
        ticket.most_wei = max_fee_wei
        return await cancellations.cancel(ticket, cap)

    request = (await load("payments.cancellation")).request_of(cap)
    calling = OnchainCalling(parts, paying)
    return await calling.make(
        request, Terms(call.principal), price=price, ask=carry_out, asks=False
    )
