"""Whether calls can be paid: `status` in short, `examine` (og-mcp doctor) all of it. Nothing is signed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import anyio
from anyio import move_on_after

from og_mcp.client import problems
from og_mcp.client.budgets import ASK_S, Budgets, Left
from og_mcp.client.chain.wallet import check_endpoint
from og_mcp.client.hub.search import search
from og_mcp.client.operations.models import Models
from og_mcp.client.payments.opg import Holdings
from og_mcp.client.receipts.receipts import confirm_online
from og_mcp.client.receipts.settlement import SettlementCheck
from og_mcp.client.resources import Resources
from og_mcp.client.tee.gateways import Gateway
from og_mcp.client.wire.http import map_httpx_errors
from og_mcp.errors import ConfigurationError, NoGatewayError, NoWalletError, OGError, coins
from og_mcp.networks import Network, shown
from og_mcp.types import Call, Diagnosis, Status, Trouble, Verification

MAX_GATEWAYS: Final = 3
"""Gateways that are tried before it is said that none answers."""

UNSIGNED: Final = "answers that no gateway signed are shown (OG_ALLOW_UNSIGNED=1)"

NAMED: Final = 3
"""Calls in doubt that are told by their ids."""

WALLET: Final = "wallet"

LANE_S: Final = 5.0
"""Seconds that a call which is being signed may hold doctor up."""

BEHIND: Final = (
    "Another program used the wallet, which is fine, or the journal was restored from an older copy or "
    "is not the one in use: then repeat no earlier request before you have looked at what the wallet "
    "sent, since this journal does not know it and would pay again."
)

Check = Callable[[], Awaitable[str | Trouble | Diagnosis]]
"""Looks at one thing: what is there, or what is wrong with it."""


async def status(resources: Resources) -> Status:
    """Look at wallet and chain; what is wrong becomes a problem with its fix, never an error."""
    return await StatusLook(resources).status()


async def examine(resources: Resources) -> list[Diagnosis]:
    """Look at everything that calls need, and settle what was interrupted."""
    return await Examination(resources).findings()


async def verify_online(resources: Resources, receipt: Mapping[str, Any]) -> Verification:
    """Check a receipt, and ask the chains.

    Another RPC is asked than the one by whose word it was made, where there is one (threats.md T35).

    Raises:
        ServiceError: An RPC cannot be used.
    """
    network, payment_chain = await resources.network.get(), await resources.base.chain.get()
    part = receipt.get("chain")
    chain_id = part.get("chain_id") if isinstance(part, Mapping) else None
    chain = await resources.own.witness.get() or await resources.own.chain.get()
    payments = await resources.base.witness.get() or payment_chain
    return await confirm_online(
        receipt,
        payments if chain_id == payment_chain.chain_id else chain,
        network=network,
        tee_registry=network.tee_registry,
        settlement=SettlementCheck(payments, network.opg_token),
    )


class Examination:
    """Looks at one session's network, wallets, gateways, hub and journal.

    Args:
        resources: What the session opens.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources, self._budgets = resources, Budgets(resources)
        self._told: set[str] = set()
        """Variables whose value was told to be wrong."""

    async def findings(self) -> list[Diagnosis]:
        """Look at everything, the next thing also where one is wrong."""
        try:
            network = await self._resources.network.get()
        except OGError as exc:
            return [_wrong("network", exc)]
        found = [await self._finding(name, check) for name, check in self._checks(network)]
        return [finding for finding in found if finding is not None]

    def _checks(self, network: Network) -> Iterator[tuple[str, Check]]:
        yield "chain", self._chain
        yield WALLET, self._wallet
        if network.tee_registry:
            yield "TEE registry", self._registry
            yield "gateway", self._gateway
            yield "payment chain", self._payment_chain
            yield "OPG", self._opg
            yield "allowance", self._allowance
        if self._resources.settings.chat_model or self._resources.settings.image_model:
            yield "models", self._models
        yield "hub", self._hub
        yield "hub account", self._account
        yield "journal", self._journal
        yield "fees", self._fees
        if network.tee_registry:
            yield "payments", self._payments

    async def _chain(self) -> str:
        chain = await self._resources.own.chain.get()
        await chain.check()
        return f"{chain.rpc_shown} serves chain {chain.chain_id}"

    async def _wallet(self) -> str | Trouble:
        network, settings = await self._resources.network.get(), self._resources.settings
        if settings.wallet is None and not network.local:
            raise NoWalletError("Signing", network.name)
        address = await (await self._resources.own.wallet.get()).address()
        check_endpoint(network, allow_insecure=settings.allow_insecure)
        wei = await (await self._resources.own.chain.get()).balance(address)
        return f"{address} holds {coins(wei)} coins" if wei else problems.no_coins(network, address)

    async def _registry(self) -> str:
        tees = await (await self._resources.registry.get()).active()
        vouched = tees[0].source
        return f"{len(tees)} active, by {vouched.rpc} at block {vouched.block_number}"

    async def _gateway(self) -> str:
        gateways = await self._resources.gateways.get()
        tried: dict[str, OGError] = {}
        while len(tried) < MAX_GATEWAYS:
            try:
                gateway = await gateways.pick(but=tried)
            except NoGatewayError:
                break
            try:
                await self._connect(gateway)
            except OGError as exc:
                gateways.failed(gateway.tee.tee_id)
                tried[gateway.tee.tee_id] = exc
                continue
            told = f"{shown(gateway.tee.endpoint)} answers with its registered certificate"
            return f"{told}; {UNSIGNED}" if self._resources.settings.allow_unsigned else told
        if tried:
            raise next(iter(tried.values()))
        raise NoGatewayError("the registry has none that is active")

    async def _connect(self, gateway: Gateway) -> None:
        """Hear any answer from a gateway; what it says is of no interest."""
        url = f"{gateway.tee.endpoint}/health"
        with map_httpx_errors("TEE gateway", url):
            async with gateway.http.stream("GET", url):
                return

    async def _payment_chain(self) -> str:
        chain = await self._resources.base.chain.get()
        await chain.check()
        return f"{chain.rpc_shown} serves chain {chain.chain_id}"

    async def _opg(self) -> str | Trouble:
        address, held = await self._held()
        if wrong := problems.of_opg(address, held, await self._budgets.price()):
            return wrong
        return f"{address} holds {coins(held.opg)} OPG, and {coins(held.coins)} coins for gas"

    async def _allowance(self) -> str | Trouble:
        address, held = await self._held()
        if wrong := problems.of_allowance(address, held, await self._budgets.price()):
            return wrong
        told = f"Permit2 may take {coins(held.allowance)} OPG"
        day = self._resources.settings.max_per_day
        if held.allowance <= 2 * day or self._resources.settings.local:
            return told
        return (
            f"{told}: more than twice OG_MAX_PER_DAY ({coins(day)} OPG), though it is the last bound "
            "of a loss; approve_opg with less lowers it"
        )

    async def _held(self) -> tuple[str, Holdings]:
        settings = self._resources.settings
        if settings.wallet is None and settings.base_key is None and not settings.local:
            raise NoWalletError("Paying", settings.network_name)
        address = await (await self._resources.base.wallet.get()).address()
        return address, await (await self._resources.opg.get()).holdings(address)

    async def _models(self) -> str:
        """Look the models up that the settings name."""
        settings = self._resources.settings
        models = Models(settings, await self._resources.network.get(), self._resources.today())
        told = []
        if settings.chat_model:
            _, entry = models.to_llm("", "AUTO", lambda _: True)
            told.append(entry.notice or f"chats ask {entry.id}")
        if settings.image_model:
            entry = models.to_image_model("", lambda _: True)
            told.append(entry.notice or f"{entry.id} draws images")
        return "; ".join(told)

    async def _hub(self) -> str:
        network = await self._resources.network.get()
        wanted: dict[str, Any] = {"query": "", "kind": "onnx", "author": "", "page": 0, "limit": 1}
        wanted["today"] = self._resources.today()
        await search(await self._resources.hub.get(), network, **wanted)
        return f"{shown(network.hub_read_url)} lists models"

    async def _account(self) -> str:
        settings = self._resources.settings
        if not (settings.local or settings.email or settings.password):
            return "none is configured; only publishing needs one"
        await (await self._resources.account.get()).id_token()
        return "the sign-in takes it"

    async def _journal(self) -> str | Diagnosis:
        """Open the journal, and settle by hash and nonce what an earlier process left behind."""
        journal = await self._resources.journal.get()
        await journal.look_through()
        kept = await journal.list_calls(None, 1)
        signs = self._resources.settings.wallet is not None or self._resources.settings.local
        settled = await self._resources.recovery.recover_all() if kept and signs else []
        told = f"{len(settled)} interrupted call(s) settled{_left(await journal.unfinished())}"
        if kept and signs and (behind := await self._behind()):
            return Diagnosis("journal", held=True, detail=f"{told}; {behind}", fix=BEHIND)
        return told

    async def _behind(self) -> str:
        """Compare the journal with the chain; empty where it knows of every transaction."""
        account = await (await self._resources.own.sender.get()).account()
        mined = (await (await self._resources.own.chain.get()).counts(account.address)).latest
        known: int | None = None
        with move_on_after(LANE_S):
            async with (await self._resources.journal.get()).lane(account) as lane:
                known = lane.next_nonce
        if known is None or mined <= known:
            return ""
        return f"the chain has {mined} transactions of the wallet, and the journal ends at {known}"

    async def _fees(self) -> str | Trouble:
        """Tell what is left of the caps on fees, of each chain that transactions are sent on."""
        network, settings = await self._resources.network.get(), self._resources.settings
        if settings.wallet is None and not network.local:
            raise NoWalletError("Signing", network.name)
        left = await self._budgets.fees(self._resources.own)
        wrong = problems.of_fees(settings, left.budget)
        if wrong:
            return wrong[0]
        told = _left_of(left, settings.max_fee_per_day, "coins")
        if network.tee_registry:
            base = _left_of(
                await self._budgets.fees(self._resources.base), settings.max_fee_per_day, "coins"
            )
            told = f"{told}; on the payment chain {base}"
        return told

    async def _payments(self) -> str | Trouble:
        await self._held()
        left, limits = await self._budgets.opg(), self._resources.limits
        wrong = problems.of_opg_caps(limits, left.budget, await self._budgets.price())
        if wrong:
            return wrong[0]
        caps = await self._resources.settlements.get()
        account = caps.account
        if overcharged := problems.of_overcharges(await caps.overcharges.all()):
            return overcharged[0]
        open_ = await (await self._resources.journal.get()).open_caps(account)
        signed = f"{len(open_)} open, at most {coins(sum(cap.max_opg for cap in open_))} OPG"
        return f"{signed if open_ else 'none open'}; {_left_of(left, limits.per_day, 'OPG')}"

    async def _finding(self, name: str, check: Check) -> Diagnosis | None:
        """Look at one thing; what its own row has told of wallet and settings is told once."""
        try:
            seen = await check()
        except NoWalletError as exc:
            return _wrong(name, exc) if name == WALLET else None
        except ConfigurationError as exc:
            variables = {problem.variable for problem in exc.problems}
            if variables <= self._told:
                return None
            self._told |= variables
            return _wrong(name, exc)
        except OGError as exc:
            return _wrong(name, exc)
        if isinstance(seen, str):
            seen = Diagnosis(name, held=True, detail=seen)
        elif isinstance(seen, Trouble):
            seen = Diagnosis(name, held=False, detail=seen.what, fix=seen.fix)
        return seen


def _left_of(left: Left, cap: int, unit: str) -> str:
    known = left.budget
    amount = coins(known.left) if known is not None else "an unknown part"
    note = f" ({left.note})" if left.note else ""
    return f"{amount} of {coins(cap)} {unit} left of this day's cap{note}"


def _wrong(name: str, error: OGError) -> Diagnosis:
    wrong = problems.of(error)
    return Diagnosis(name, held=False, detail=wrong.what, fix=wrong.fix)


def _left(calls: Sequence[Call]) -> str:
    """Name the calls that have no end yet, and what helps those whose transaction is not mined."""
    running = sum(call.status == "running" for call in calls)
    told = f", {running} under way" if running else ""
    # One whose nonce was taken over ends with the call that has it.
    stuck = [
        call.id for call in calls if call.status != "running" and call.fee_state != "superseded"
    ]
    if not stuck:
        return told
    ids, more = ", ".join(stuck[:NAMED]), len(stuck) - NAMED
    if more > 0:
        ids += f" and {more} more"
    return (
        f"{told}, {len(stuck)} in doubt, whose transaction is not mined: {ids}; repeating the same "
        "request sends it again, og-mcp calls speed-up ID raises its price, cancel ID uses its nonce "
        "up, release ID goes on without it"
    )


class StatusLook:
    """One look at a session's wallets and budgets."""

    def __init__(self, resources: Resources) -> None:
        self._resources, self._budgets = resources, Budgets(resources)
        self._fees = self._base_fees = self._opg = Left()
        self._found: dict[str, Any] = {"address": "", "balances": {}, "chain_id": 0}
        self._problems: list[Trouble] = []

    async def status(self) -> Status:
        """Look, and tell."""
        disk = await anyio.to_thread.run_sync(problems.of_disk, self._resources.settings.data_dir)
        if disk is not None:
            self._problems.append(disk)
        await self._try(self._look_at_wallet)
        if self._found["address"]:
            looks = [self._look_at_fees]
            if (await self._resources.network.get()).tee_registry:
                looks += [self._look_at_base_fees, self._look_at_opg]
            async with anyio.create_task_group() as group:
                for look in looks:
                    group.start_soon(self._try, look)
        found = self._problems
        ready = not found
        found += problems.of_keys(self._resources.settings)
        return Status(
            network=self._resources.settings.network_name,
            budget=self._told(),
            ready=ready,
            problems=[one for place, one in enumerate(found) if one not in found[:place]],
            **self._found,
        )

    async def _try(self, look: Callable[[], Awaitable[None]]) -> None:
        try:
            await look()
        except OGError as exc:
            self._problems.append(problems.of(exc))

    async def _look_at_wallet(self) -> None:
        resources, found = self._resources, self._found
        settings, network = resources.settings, await resources.network.get()
        found["chain_id"] = network.chain_id
        if settings.wallet is None and not network.local:
            raise NoWalletError("Signing", network.name)
        found["address"] = address = await (await resources.own.wallet.get()).address()
        check_endpoint(network, allow_insecure=settings.allow_insecure)
        wei = await (await resources.own.chain.get()).balance(address)
        found["balances"]["native_wei"] = str(wei)
        if wei == 0:
            self._problems.append(problems.no_coins(network, address))

    async def _look_at_fees(self) -> None:
        self._fees = await self._budgets.fees(self._resources.own)
        self._problems += problems.of_fees(self._resources.settings, self._fees.budget)

    async def _look_at_base_fees(self) -> None:
        self._base_fees = await self._budgets.fees(self._resources.base)

    async def _look_at_opg(self) -> None:
        """Look at what pays gateways."""
        self._opg = await self._budgets.opg()
        try:
            with anyio.fail_after(ASK_S):
                await self._look_at_holdings()
        except TimeoutError:
            self._problems.append(problems.no_answer("payment chain", "OG_BASE_RPC_URL", ASK_S))

    async def _look_at_holdings(self) -> None:
        resources, found = self._resources, self._found
        address = await (await resources.base.wallet.get()).address()
        held = await (await resources.opg.get()).holdings(address)
        found["balances"] |= {"opg": coins(held.opg), "base_native_wei": str(held.coins)}
        found["allowance_opg"] = coins(held.allowance)
        if address != found["address"]:
            found["payer"] = address
        price = await self._budgets.price()
        overcharges = (await resources.settlements.get()).overcharges
        self._problems += problems.of_overcharges(await overcharges.all())
        self._problems += problems.of_opg_caps(resources.limits, self._opg.budget, price)
        lacking = (
            problems.of_opg(address, held, price),
            problems.of_allowance(address, held, price),
        )
        # What is not held cannot be taken: one sentence at a time.
        self._problems += [one for one in lacking if one is not None][:1]

    def _told(self) -> dict[str, str]:
        """Write caps and budgets; the same keys each time, empty where something is not known."""
        settings, limits = self._resources.settings, self._resources.limits
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
