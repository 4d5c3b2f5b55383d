"""Calls as the client layer makes them, in few words."""

from __future__ import annotations

import itertools
import secrets

from og_mcp.calls import Journal
from og_mcp.types import Account, Call, CallRequest, FeeCaps, Opened, Stage

ACCOUNT = Account(network="local:0xabc", chain_id=7, address=f"0x{'Ab' * 20}")
CAPS = FeeCaps(per_call=10**16, per_day=5 * 10**16)
FEE = 10**15

_numbers = itertools.count(secrets.randbits(40))


def asking(
    *,
    request_hash: str = "",
    idempotency_key: str = "",
    tool: str = "infer",
    principal: str = "local",
    network: str = "local",
) -> CallRequest:
    """Describe a call; each one is another request, unless `request_hash` is given."""
    return CallRequest(
        tool=tool,
        principal=principal,
        network=network,
        request_hash=request_hash or f"{next(_numbers):064x}",
        request='{"model_cid": "Qm"}',
        idempotency_key=idempotency_key,
    )


async def opened(journal: Journal, **changes: str) -> Call:
    """Open a new call."""
    result: Opened = await journal.open_call(asking(**changes))
    assert not result.joined
    return result.call


async def reserve(
    journal: Journal,
    call: Call,
    *,
    fee: int = FEE,
    caps: FeeCaps = CAPS,
    account: Account = ACCOUNT,
) -> int:
    """Reserve the lane's next nonce and leave the lane without a signature; returns the nonce."""
    async with journal.lane(account) as lane:
        nonce = lane.next_nonce or 0
        await lane.reserve(call.id, nonce, fee, caps)
    return nonce


async def sign(
    journal: Journal,
    call: Call,
    *,
    fee: int = FEE,
    caps: FeeCaps = CAPS,
    account: Account = ACCOUNT,
) -> str:
    """Reserve and sign in the lane; returns the transaction's hash."""
    transaction_hash = new_hash()
    async with journal.lane(account) as lane:
        nonce = lane.next_nonce or 0
        await lane.reserve(call.id, nonce, fee, caps)
        await lane.signed(call.id, nonce, transaction_hash, "0x02f8", fee)
    return transaction_hash


async def signed_call(journal: Journal, **changes: str) -> Call:
    """Open a call and sign for it."""
    call = await opened(journal, **changes)
    await sign(journal, call)
    return call


async def settled_call(journal: Journal, *, fee: int = FEE, **changes: str) -> Call:
    """Open a call, sign for it and settle it."""
    call = await opened(journal, **changes)
    await sign(journal, call, fee=fee)
    await journal.settle(call.id, Stage.CHARGED, fee, '{"y": 1}', '{"schema": "og-mcp/receipt/1"}')
    return await journal.get(call.id, call.principal)


async def give_back(journal: Journal, call: Call) -> None:
    """Take back all that was signed for a call, as if no byte of it had left."""
    signed = await journal.transactions(call.id)
    async with journal.lane(ACCOUNT) as lane:
        for one in reversed(signed):
            await lane.give_back(call.id, one.transaction_hash)


async def taken_over(journal: Journal, older: Call, *, fee: int = FEE) -> Call:
    """Open a call and sign for it under the nonce of another one."""
    call = await opened(journal)
    found = await journal.get(older.id, older.principal)
    assert found.nonce is not None
    async with journal.lane(ACCOUNT) as lane:
        await lane.reserve(call.id, found.nonce, fee, CAPS, supersedes=older.id)
        await lane.signed(call.id, found.nonce, new_hash(), "0x02f9", fee)
    return await journal.get(call.id, call.principal)


def new_hash() -> str:
    """Make up a transaction hash."""
    return f"0x{secrets.token_hex(32)}"
