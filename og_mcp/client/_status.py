"""What `status` tells: the wallet, the caps, and what keeps calls from being paid."""

from __future__ import annotations

from typing import Any

from og_mcp.client._parts import Parts, load
from og_mcp.errors import NoWalletError, OGError
from og_mcp.networks import Network
from og_mcp.types import FeeCaps, Status, Trouble


async def look(parts: Parts) -> Status:
    """Look at wallet and chain; what is wrong becomes a problem with its mend, never an error."""
    settings = parts.settings
    problems: list[Trouble] = []
    found: dict[str, Any] = {"address": "", "balances": {}, "chain_id": 0}
    budget = {
        "max_fee_per_call_wei": str(settings.max_fee_per_call),
        "max_fee_per_day_wei": str(settings.max_fee_per_day),
    }
    try:
        network = await parts.network.get()
        found["chain_id"] = network.chain_id
        if settings.wallet is None and not network.local:
            raise NoWalletError("Signing", network.name)
        found["address"] = address = await (await parts.wallet.get()).address()
        check_endpoint = (await load("wallet")).check_endpoint
        check_endpoint(network, allow_insecure=settings.allow_insecure)
        wei = await (await parts.chain.get()).balance(address)
        found["balances"]["native_wei"] = str(wei)
        if wei == 0:
            problems.append(_no_coins(network, address))
        budget |= await _budget(parts)
    except OGError as exc:
        problems.append(Trouble(what=exc.args[0], fix=exc.hint))
    return Status(
        network=settings.network_name,
        budget=budget,
        ready=not problems,
        problems=problems,
        **found,
    )


async def _budget(parts: Parts) -> dict[str, str]:
    """Read what is spent and left of the last 24 hours; the RPC must serve the right chain."""
    account = await (await parts.sender.get()).account()
    caps = FeeCaps(per_call=parts.settings.max_fee_per_call, per_day=parts.settings.max_fee_per_day)
    kept = await (await parts.journal.get()).budget(account, caps)
    return {
        "spent_fee_wei": str(kept.spent),
        "open_fee_wei": str(kept.open),
        "left_fee_wei": str(kept.left),
    }


def _no_coins(network: Network, address: str) -> Trouble:
    fix = "Send it some of the network's coin."
    if network.faucet_url:
        fix = f"Fund it at {network.faucet_url.format(address=address)}."
    return Trouble(what=f"Wallet {address} holds no coins to pay gas with.", fix=fix)
