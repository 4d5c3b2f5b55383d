"""What `status` tells: the wallet, the caps, and what keeps calls from being paid."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from og_mcp.client.session import troubles
from og_mcp.client.session.budgets import ASK_S, Budgets, Left
from og_mcp.client.session.loading import load
from og_mcp.client.session.parts import Parts
from og_mcp.client.session.payment_parts import PaymentParts
from og_mcp.errors import NoWalletError, OGError, coins
from og_mcp.types import Status, Trouble


async def look(parts: Parts, paying: PaymentParts) -> Status:
    """Look at wallet and chain; what is wrong becomes a problem with its mend, never an error."""
    return await _Look(parts, paying).status()


class _Look:
    """One look at a session's wallets and budgets."""

    def __init__(self, parts: Parts, paying: PaymentParts) -> None:
        self._parts, self._paying = parts, paying
        self._budgets = Budgets(parts, paying)
        self._fees = self._base_fees = self._opg = Left()
        self._found: dict[str, Any] = {"address": "", "balances": {}, "chain_id": 0}
        self._problems: list[Trouble] = []

    async def status(self) -> Status:
        disk = await anyio.to_thread.run_sync(troubles.of_disk, self._parts.settings.data_dir)
        if disk is not None:
            self._problems.append(disk)
        await self._try(self._look_at_wallet)
        if self._found["address"]:
            looks = [self._look_at_fees]
            if (await self._parts.network.get()).tee_registry:
                looks += [self._look_at_base_fees, self._look_at_opg]
            async with anyio.create_task_group() as group:
                for look in looks:
                    group.start_soon(self._try, look)
        problems = self._problems
        ready = not problems
        problems += troubles.of_keys(self._parts.settings)
        return Status(
            network=self._parts.settings.network_name,
            budget=self._told(),
            ready=ready,
            problems=[one for place, one in enumerate(problems) if one not in problems[:place]],
            **self._found,
        )

    async def _try(self, look: Callable[[], Awaitable[None]]) -> None:
        try:
            await look()
        except OGError as exc:
            self._problems.append(troubles.of(exc))

    async def _look_at_wallet(self) -> None:
        parts, found = self._parts, self._found
        settings, network = parts.settings, await parts.network.get()
        found["chain_id"] = network.chain_id
        if settings.wallet is None and not network.local:
            raise NoWalletError("Signing", network.name)
        found["address"] = address = await (await parts.wallet.get()).address()
        check_endpoint = (await load("chain.wallet")).check_endpoint
        check_endpoint(network, allow_insecure=settings.allow_insecure)
        wei = await (await parts.chain.get()).balance(address)
        found["balances"]["native_wei"] = str(wei)
        if wei == 0:
            self._problems.append(troubles.no_coins(network, address))

    async def _look_at_fees(self) -> None:
        self._fees = await self._budgets.fees()
        self._problems += troubles.of_fees(self._parts.settings, self._fees.budget)

    async def _look_at_base_fees(self) -> None:
        self._base_fees = await self._budgets.base_fees()

    async def _look_at_opg(self) -> None:
        """Look at what pays gateways."""
        self._opg = await self._budgets.opg()
        try:
            with anyio.fail_after(ASK_S):
                await self._look_at_holdings()
        except TimeoutError:
            self._problems.append(troubles.no_answer("payment chain", "OG_BASE_RPC_URL", ASK_S))

    async def _look_at_holdings(self) -> None:
        paying, found = self._paying, self._found
        address = await (await paying.wallet.get()).address()
        held = await (await paying.opg.get()).holdings(address)
        found["balances"] |= {"opg": coins(held.opg), "base_native_wei": str(held.coins)}
        found["allowance_opg"] = coins(held.allowance)
        if address != found["address"]:
            found["payer"] = address
        price = await self._budgets.price()
        overcharges = (await paying.caps.get()).overcharges
        self._problems += troubles.of_overcharges(await overcharges.all())
        self._problems += troubles.of_opg_caps(paying.limits, self._opg.budget, price)
        lacking = (
            troubles.of_opg(address, held, price),
            troubles.of_allowance(address, held, price),
        )
        # What is not held cannot be taken: one sentence at a time.
        self._problems += [one for one in lacking if one is not None][:1]

    def _told(self) -> dict[str, str]:
        """Write caps and budgets; the same keys each time, empty where something is not known."""
        settings, limits = self._parts.settings, self._paying.limits
        notes = (one.note for one in (self._fees, self._base_fees, self._opg))
        return {
            "max_fee_per_call_wei": str(settings.max_fee_per_call),
            "max_fee_per_day_wei": str(settings.max_fee_per_day),
            **_amounts(self._fees, "{}_fee_wei", str),
            **_amounts(self._base_fees, "base_{}_fee_wei", str),
            "max_opg_per_call": coins(limits.per_call),
            "max_opg_per_day": coins(limits.per_day),
            **_amounts(self._opg, "{}_opg", coins),
            "note": "; ".join(filter(None, notes)),
        }


def _amounts(left: Left, name: str, write: Callable[[int], str]) -> dict[str, str]:
    budget = left.budget
    return {
        name.format(part): write(getattr(budget, part)) if budget is not None else ""
        for part in ("spent", "open", "left")
    }
