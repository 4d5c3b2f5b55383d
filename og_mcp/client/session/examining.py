"""What `og-mcp doctor` finds: each thing that calls need, looked at by itself. Nothing is signed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from anyio import move_on_after

from og_mcp.client.session import troubles
from og_mcp.client.session.budgets import Budgets, Left
from og_mcp.client.session.loading import load
from og_mcp.client.session.parts import Parts
from og_mcp.client.session.payment_parts import PaymentParts
from og_mcp.client.session.routes import Routes
from og_mcp.errors import ConfigurationError, NoGatewayError, NoWalletError, OGError, coins
from og_mcp.networks import Network, shown
from og_mcp.types import Call, CallInfo, Finding, Trouble

if TYPE_CHECKING:
    from og_mcp.client.payments.opg import Holdings
    from og_mcp.client.tee.gateways import Gateway

MOST_GATEWAYS: Final = 3
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

Check = Callable[[], Awaitable[str | Trouble | Finding]]
"""Looks at one thing: what is there, or what is wrong with it."""


class Examination:
    """Looks at one session's network, wallets, gateways, hub and journal.

    Args:
        parts: What a session consists of.
        paying: Its part that pays gateways.
        reconcile: Settles what was interrupted.
    """

    def __init__(
        self,
        parts: Parts,
        paying: PaymentParts,
        reconcile: Callable[[], Awaitable[list[CallInfo]]],
    ) -> None:
        self._parts, self._paying, self._reconcile = parts, paying, reconcile
        self._budgets = Budgets(parts, paying)
        self._told: set[str] = set()
        """Variables whose value was told to be wrong."""

    async def findings(self) -> list[Finding]:
        """Look at everything, the next thing also where one is wrong."""
        try:
            network = await self._parts.network.get()
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
        if self._parts.settings.chat_model or self._parts.settings.image_model:
            yield "models", self._models
        yield "hub", self._hub
        yield "hub account", self._account
        yield "journal", self._journal
        yield "fees", self._fees
        if network.tee_registry:
            yield "payments", self._payments

    async def _chain(self) -> str:
        chain = await self._parts.chain.get()
        await chain.check()
        return f"{chain.rpc_shown} serves chain {chain.chain_id}"

    async def _wallet(self) -> str | Trouble:
        network, settings = await self._parts.network.get(), self._parts.settings
        if settings.wallet is None and not network.local:
            raise NoWalletError("Signing", network.name)
        address = await (await self._parts.wallet.get()).address()
        (await load("chain.wallet")).check_endpoint(network, allow_insecure=settings.allow_insecure)
        wei = await (await self._parts.chain.get()).balance(address)
        return f"{address} holds {coins(wei)} coins" if wei else troubles.no_coins(network, address)

    async def _registry(self) -> str:
        tees = await (await self._parts.registry.get()).active()
        vouched = tees[0].vouched
        return f"{len(tees)} active, by {vouched.rpc} at block {vouched.block_number}"

    async def _gateway(self) -> str:
        gateways = await self._parts.gateways.get()
        tried: dict[str, OGError] = {}
        while len(tried) < MOST_GATEWAYS:
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
            return f"{told}; {UNSIGNED}" if self._parts.settings.allow_unsigned else told
        if tried:
            raise next(iter(tried.values()))
        raise NoGatewayError("the registry has none that is active")

    async def _connect(self, gateway: Gateway) -> None:
        """Hear any answer from a gateway; what it says is of no interest."""
        url = f"{gateway.tee.endpoint}/health"
        with (await load("wire.http")).mapped("TEE gateway", url):
            async with gateway.http.stream("GET", url):
                return

    async def _payment_chain(self) -> str:
        chain = await self._paying.chain.get()
        await chain.check()
        return f"{chain.rpc_shown} serves chain {chain.chain_id}"

    async def _opg(self) -> str | Trouble:
        address, held = await self._held()
        if wrong := troubles.of_opg(address, held, await self._budgets.price()):
            return wrong
        return f"{address} holds {coins(held.opg)} OPG, and {coins(held.coins)} coins for gas"

    async def _allowance(self) -> str | Trouble:
        address, held = await self._held()
        if wrong := troubles.of_allowance(address, held, await self._budgets.price()):
            return wrong
        told = f"Permit2 may take {coins(held.allowance)} OPG"
        day = self._parts.settings.max_per_day
        if held.allowance <= 2 * day or self._parts.settings.local:
            return told
        return (
            f"{told}: more than twice OG_MAX_PER_DAY ({coins(day)} OPG), though it is the last bound "
            "of a loss; approve_opg with less lowers it"
        )

    async def _held(self) -> tuple[str, Holdings]:
        settings = self._parts.settings
        if settings.wallet is None and settings.base_key is None and not settings.local:
            raise NoWalletError("Paying", settings.network_name)
        address = await (await self._paying.wallet.get()).address()
        return address, await (await self._paying.opg.get()).holdings(address)

    async def _models(self) -> str:
        """Look the models up that the settings name."""
        settings, routes = self._parts.settings, Routes(self._parts)
        told = []
        if settings.chat_model:
            _, entry = await routes.to_llm("", "AUTO", lambda _: True)
            told.append(entry.notice or f"chats ask {entry.id}")
        if settings.image_model:
            entry = await routes.to_image_model("", lambda _: True)
            told.append(entry.notice or f"{entry.id} draws images")
        return "; ".join(told)

    async def _hub(self) -> str:
        network = await self._parts.network.get()
        wanted: dict[str, Any] = {"query": "", "kind": "onnx", "author": "", "page": 0, "limit": 1}
        wanted["today"] = self._parts.today()
        await (await load("hub.search")).search(await self._parts.hub.get(), network, **wanted)
        return f"{shown(network.hub_read_url)} lists models"

    async def _account(self) -> str:
        settings = self._parts.settings
        if not (settings.local or settings.email or settings.password):
            return "none is configured; only publishing needs one"
        await (await self._parts.account.get()).id_token()
        return "the sign-in takes it"

    async def _journal(self) -> str | Finding:
        """Open the journal, and settle by hash and nonce what an earlier process left behind."""
        journal = await self._parts.journal.get()
        await journal.look_through()
        kept = await journal.list_calls(None, 1)
        signs = self._parts.settings.wallet is not None or self._parts.settings.local
        settled = await self._reconcile() if kept and signs else []
        told = f"{len(settled)} interrupted call(s) settled{_left(await journal.unfinished())}"
        if kept and signs and (behind := await self._behind()):
            return Finding("journal", held=True, detail=f"{told}; {behind}", fix=BEHIND)
        return told

    async def _behind(self) -> str:
        """Compare the journal with the chain; empty where it knows of every transaction."""
        account = await (await self._parts.sender.get()).account()
        mined = (await (await self._parts.chain.get()).counts(account.address)).latest
        known: int | None = None
        with move_on_after(LANE_S):
            async with (await self._parts.journal.get()).lane(account) as lane:
                known = lane.next_nonce
        if known is None or mined <= known:
            return ""
        return f"the chain has {mined} transactions of the wallet, and the journal ends at {known}"

    async def _fees(self) -> str | Trouble:
        """Tell what is left of the caps on fees, of each chain that transactions are sent on."""
        network, settings = await self._parts.network.get(), self._parts.settings
        if settings.wallet is None and not network.local:
            raise NoWalletError("Signing", network.name)
        left = await self._budgets.fees()
        wrong = troubles.of_fees(settings, left.budget)
        if wrong:
            return wrong[0]
        told = _left_of(left, settings.max_fee_per_day, "coins")
        if network.tee_registry:
            base = _left_of(await self._budgets.base_fees(), settings.max_fee_per_day, "coins")
            told = f"{told}; on the payment chain {base}"
        return told

    async def _payments(self) -> str | Trouble:
        await self._held()
        left, limits = await self._budgets.opg(), self._paying.limits
        wrong = troubles.of_opg_caps(limits, left.budget, await self._budgets.price())
        if wrong:
            return wrong[0]
        caps = await self._paying.caps.get()
        account = caps.account
        if overcharged := troubles.of_overcharges(await caps.overcharges.all()):
            return overcharged[0]
        open_ = await (await self._parts.journal.get()).open_caps(account)
        signed = f"{len(open_)} open, at most {coins(sum(cap.max_opg for cap in open_))} OPG"
        return f"{signed if open_ else 'none open'}; {_left_of(left, limits.per_day, 'OPG')}"

    async def _finding(self, name: str, check: Check) -> Finding | None:
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
            seen = Finding(name, held=True, detail=seen)
        elif isinstance(seen, Trouble):
            seen = Finding(name, held=False, detail=seen.what, fix=seen.fix)
        return seen


def _left_of(left: Left, cap: int, unit: str) -> str:
    known = left.budget
    amount = coins(known.left) if known is not None else "an unknown part"
    note = f" ({left.note})" if left.note else ""
    return f"{amount} of {coins(cap)} {unit} left of this day's cap{note}"


def _wrong(name: str, error: OGError) -> Finding:
    wrong = troubles.of(error)
    return Finding(name, held=False, detail=wrong.what, fix=wrong.fix)


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
