"""What `status` tells: the wallet, the caps, and what keeps calls from being paid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from og_mcp.client.session.loading import load
from og_mcp.client.session.parts import Parts
from og_mcp.client.session.payment_parts import PaymentParts
from og_mcp.errors import NoWalletError, OGError, coins
from og_mcp.networks import Network
from og_mcp.types import FeeCaps, Status, Trouble

if TYPE_CHECKING:
    from og_mcp.client.payments.opg import Holdings


async def look(parts: Parts, paying: PaymentParts) -> Status:
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
        check_endpoint = (await load("chain.wallet")).check_endpoint
        check_endpoint(network, allow_insecure=settings.allow_insecure)
        wei = await (await parts.chain.get()).balance(address)
        found["balances"]["native_wei"] = str(wei)
        if wei == 0:
            problems.append(no_coins(network, address))
        budget |= await _budget(parts)
    except OGError as exc:
        problems.append(_trouble(exc))
    if found["address"] and network.tee_registry:
        await _look_at_payments(parts, paying, found, budget, problems)
    return Status(
        network=settings.network_name,
        budget=budget,
        ready=not problems,
        problems=problems,
        **found,
    )


async def _look_at_payments(
    parts: Parts,
    paying: PaymentParts,
    found: dict[str, Any],
    budget: dict[str, str],
    problems: list[Trouble],
) -> None:
    """Look at what pays gateways: OPG, the allowance, and the coin that pays for changing it."""
    budget["max_opg_per_call"] = coins(paying.limits.per_call)
    budget["max_opg_per_day"] = coins(paying.limits.per_day)
    try:
        address = await (await paying.wallet.get()).address()
        held = await (await paying.opg.get()).holdings(address)
        found["balances"] |= {"opg": coins(held.opg), "base_native_wei": str(held.coins)}
        found["allowance_opg"] = coins(held.allowance)
        if address != found["address"]:
            found["payer"] = address
        caps = await paying.caps.get()
        await caps.look()
        journal = await parts.journal.get()
        kept = await journal.opg_budget(caps.account, paying.limits)
        budget |= {
            "spent_opg": coins(kept.spent),
            "open_opg": coins(kept.open),
            "left_opg": coins(kept.left),
        }
        problems += _payment_troubles(address, held)
    except OGError as exc:
        problems.append(_trouble(exc))


def _payment_troubles(address: str, held: Holdings) -> list[Trouble]:
    if held.opg == 0:
        return [no_opg(address)]
    return [no_allowance(address)] if held.allowance == 0 else []


def no_opg(address: str) -> Trouble:
    """Tell that a wallet can pay no gateway."""
    fix = "Send it OPG on the payment chain: chats, completions and images are paid with it."
    return Trouble(what=f"Wallet {address} holds no OPG.", fix=fix)


def no_allowance(address: str) -> Trouble:
    """Tell that nothing may be taken from a wallet to pay gateways."""
    what = f"Permit2 may take no OPG from wallet {address}, so that no gateway can be paid."
    return Trouble(what=what, fix="Call approve_opg with what may be spent from now on.")


def _trouble(error: OGError) -> Trouble:
    return Trouble(what=error.args[0], fix=error.hint)


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


def no_coins(network: Network, address: str) -> Trouble:
    """Tell that a wallet can pay no gas on the network's own chain."""
    fix = "Send it some of the network's coin."
    if network.faucet_url:
        fix = f"Fund it at {network.faucet_url.format(address=address)}."
    return Trouble(what=f"Wallet {address} holds no coins to pay gas with.", fix=fix)
