"""Payments as the client layer makes them, in few words."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Final

from og_mcp.calls import Journal
from og_mcp.types import Account, Call, Cap, CapRequest, OPGCaps
from tests.journal.steps import ACCOUNT, opened

PAYER: Final = replace(ACCOUNT, chain_id=8453)
OPG: Final = 10**18
MOST: Final = OPG // 10
"""What the public gateway asks a signature for."""

LIMITS: Final = OPGCaps(per_call=OPG // 2, per_day=5 * OPG)


def wanting(
    *, max_opg: int = MOST, principal: str = "local", account: Account = PAYER, nonce: str = ""
) -> CapRequest:
    """Describe a payment; each one has another nonce, unless it is given."""
    return CapRequest(
        account=account,
        principal=principal,
        resource="https://gateway.test/v1/chat/completions",
        asset=f"0x{'Fb' * 20}",
        pay_to=f"0x{'9a' * 20}",
        max_opg=max_opg,
        nonce=nonce or str(secrets.randbits(256)),
        deadline=1_800_000_000,
    )


async def cap_for(  # noqa: PLR0913 - a payment has that many facts
    journal: Journal,
    call: Call,
    *,
    max_opg: int = MOST,
    account: Account = PAYER,
    nonce: str = "",
    limits: OPGCaps = LIMITS,
) -> Cap:
    """Sign a maximum for a call."""
    request = wanting(max_opg=max_opg, principal=call.principal, account=account, nonce=nonce)
    return await journal.open_cap(call.id, request, limits)


async def paid_call(journal: Journal, *, max_opg: int = MOST) -> tuple[Call, Cap]:
    """Open a call and sign a maximum for it."""
    call = await opened(journal, tool="chat")
    cap = await cap_for(journal, call, max_opg=max_opg)
    return await journal.get(call.id, call.principal), cap
