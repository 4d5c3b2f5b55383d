"""Chats that are paid, and what gateway, chain and journal say of them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from og_mcp.client import Session
from og_mcp.types import Account, ChatResult
from tests.books import Purse

OPG: Final = 10**18
CAP: Final = 10**17
CHAT: Final = "gateway POST /v1/chat/completions"
MODEL: Final = "openai/gpt-5.4-mini"


def units(amount_opg: str) -> int:
    """Read an amount of OPG, to the last base unit."""
    exact = Decimal(amount_opg).scaleb(18)
    assert exact == int(exact)
    return int(exact)


def opg(amount: int) -> str:
    """Write base units as OPG, to the last of them."""
    return f"{amount // OPG}.{amount % OPG:018}"


async def chat(og: Session, text: str = "Who are you?", **more: Any) -> ChatResult:  # noqa: ANN401 - as Session.chat
    return await og.chat(MODEL, [{"role": "user", "content": text}], **more)


def of_payer(purse: Purse, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in found if one["payer"].lower() == purse.address.lower()]


def paid(purse: Purse) -> int:
    """Settle what is open, and return what has left the wallet, OPG base units."""
    purse.localnet.settle()
    return 100 * OPG - purse.localnet.opg(purse.address)


def settled(purse: Purse) -> list[int]:
    """Return what each settlement of the wallet took."""
    return [int(one["amount"]) for one in of_payer(purse, purse.localnet.settlements())]


async def the_account(purse: Purse) -> Account:
    base = purse.localnet.ready
    genesis = purse.localnet.rpc("eth_getBlockByNumber", "0x0", False, url=base["base_rpc_url"])
    return Account(
        network=f"local:{genesis['hash']}", chain_id=base["base_chain_id"], address=purse.address
    )
