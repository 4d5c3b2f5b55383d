"""What calls need, checked: og-mcp doctor tells all of it, `status` what may keep calls from being paid.

Nothing is signed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryFile
from typing import Any, Final

import anyio
from anyio import move_on_after, to_thread

from og_mcp.client.budgets import (
    ASK_S,
    BudgetReport,
    Budgets,
    allowance_problem,
    balance_problem,
    fee_problem,
    opg_problem,
)
from og_mcp.client.chain.wallet import check_endpoint
from og_mcp.client.hub.search import search
from og_mcp.client.operations.models import Models
from og_mcp.client.payments.opg import Holdings
from og_mcp.client.receipts.receipts import confirm_online
from og_mcp.client.receipts.settlement import SettlementCheck
from og_mcp.client.resources import ChainResources, Resources
from og_mcp.client.tee.gateways import Gateway
from og_mcp.client.wire.http import map_httpx_errors
from og_mcp.errors import (
    ConfigurationError,
    NoGatewayError,
    NoWalletError,
    OGError,
    coins,
    quote,
)
from og_mcp.networks import shown
from og_mcp.types import Call, Diagnosis, Problem, Status, Verification

MAX_GATEWAYS: Final = 3
"""Gateways that are tried before it is said that none answers."""

UNSIGNED: Final = "answers that no gateway signed are shown (OG_ALLOW_UNSIGNED=1)"

NETWORK: Final = "network"
WALLET: Final = "wallet"

OF_GATEWAYS: Final = ("TEE registry", "gateway", "payment chain", "OPG", "allowance", "payments")
"""Checks of what only networks with gateways have."""

NAMED: Final = 3
"""Calls in doubt that are told by their ids."""

LANE_S: Final = 5.0
"""Seconds that a call which is being signed may hold doctor up."""

PROBE_BYTES: Final = 64 * 1024
"""Of the file that shows whether the disk takes any."""

MIN_FREE_BYTES: Final = 32 * 2**20
"""Below it a few answers, or one picture, may fill the disk."""

SILENT: Final = Problem(
    what=f"The payment chain did not answer within {ASK_S:g} s.",
    fix="Try again later, or set OG_BASE_RPC_URL to another RPC.",
)

BEHIND: Final = (
    "Another program used the wallet, which is fine, or the journal was restored from an older copy or "
    "is not the one in use: then repeat no earlier request before you have looked at what the wallet "
    "sent, since this journal does not know it and would pay again."
)


@dataclass(frozen=True)
class CheckResult:
    """What one check found, in words; what it has in figures is in `Examination.figures`."""

    told: str = ""
    """What is there; doctor tells it where nothing is wrong."""

    wrong: Sequence[Problem] = ()
    """What keeps calls from working."""

    odd: Sequence[Problem] = ()
    """What keeps nothing from working, and should be known all the same."""

    def rows(self, name: str) -> list[Diagnosis]:
        """Tell it as doctor does: a row for each thing, or none."""
        rows = [Diagnosis(name, held=False, detail=one.what, fix=one.fix) for one in self.wrong]
        rows += [Diagnosis(name, held=True, detail=one.what, fix=one.fix) for one in self.odd]
        return rows or ([Diagnosis(name, held=True, detail=self.told)] if self.told else [])


Check = Callable[[], Awaitable[CheckResult]]


async def status(resources: Resources) -> Status:
    """Look at wallets and budgets; what is wrong becomes a problem with its fix, never an error."""
    look = Examination(resources)
    for name in ("keys", "disk", WALLET):
        await look.check(name)
    if look.figures["address"]:
        async with anyio.create_task_group() as group:
            # One problem at a time: what the wallet does not hold, nobody can charge.
            for names in (("OPG", "allowance"), ("fees",), ("payments",)):
                group.start_soon(look.check_until_wrong, *names)
    return look.status()


async def examine(resources: Resources) -> list[Diagnosis]:
    """Look at everything that calls need, and settle what was interrupted."""
    look = Examination(resources)
    for name in look.checks:
        found = await look.check(name)
        if name == NETWORK and found.wrong:
            break
    return [row for name, found in look.found.items() for row in found.rows(name)]


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
    """One look at a session's network, wallets, gateways, hub and journal.

    Args:
        resources: What the session opens.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources, self._budgets = resources, Budgets(resources)
        self.checks: Mapping[str, Check] = {
            "keys": self._keys,
            "disk": self._disk,
            NETWORK: self._network,
            "chain": lambda: self._chain(resources.own),
            WALLET: self._wallet,
            "TEE registry": self._registry,
            "gateway": self._gateway,
            "payment chain": lambda: self._chain(resources.base),
            "OPG": self._opg,
            "allowance": self._allowance,
            "models": self._models,
            "hub": self._hub,
            "hub account": self._account,
            "journal": self._journal,
            "fees": self._fees,
            "payments": self._payments,
        }
        """Name -> check, in the order in which doctor tells them."""

        self.found: dict[str, CheckResult] = {}
        self.figures: dict[str, Any] = {"chain_id": 0, "address": "", "balances": {}}
        """Fields of `Status`, as far as they are known; also where a check then failed."""

        self._held: Holdings | None = None
        self._fees_left = self._base_fees_left = self._opg_left = BudgetReport()

    async def check(self, name: str) -> CheckResult:
        """Look at one thing; what is wrong with wallet or settings is told once."""
        try:
            found = await self._look(name)
        except (NoWalletError, ConfigurationError) as exc:
            problem = _problem_of(exc)
            is_told = any(problem in one.wrong for one in self.found.values())
            found = CheckResult() if is_told else CheckResult(wrong=[problem])
        except OGError as exc:
            found = CheckResult(wrong=[_problem_of(exc)])
        self.found[name] = found
        return found

    async def check_until_wrong(self, *names: str) -> None:
        """Look at one thing after the other, while nothing is wrong."""
        for name in names:
            if (await self.check(name)).wrong:
                break

    async def _look(self, name: str) -> CheckResult:
        if name in OF_GATEWAYS and not (await self._resources.network.get()).tee_registry:
            return CheckResult()
        return await self.checks[name]()

    def status(self) -> Status:
        """Tell what was found as the tool `status` does."""
        found = [self.found[name] for name in self.checks if name in self.found]
        wrong = [problem for one in found for problem in one.wrong]
        odd = [problem for one in found for problem in one.odd]
        settings, limits = self._resources.settings, self._resources.limits
        left = self._fees_left, self._base_fees_left, self._opg_left
        return Status(
            network=settings.network_name,
            budget={
                "max_fee_per_call_wei": str(settings.max_fee_per_call),
                "max_fee_per_day_wei": str(settings.max_fee_per_day),
                **self._fees_left.amounts("{}_fee_wei", str),
                **self._base_fees_left.amounts("base_{}_fee_wei", str),
                "max_opg_per_call": coins(limits.per_call),
                "max_opg_per_day": coins(limits.per_day),
                **self._opg_left.amounts("{}_opg", coins),
                "note": "; ".join(one.note for one in left if one.note),
            },
            ready=not wrong,
            # Several checks may have asked what does not answer.
            problems=[one for place, one in enumerate(wrong) if one not in wrong[:place]] + odd,
            **self.figures,
        )

    async def _keys(self) -> CheckResult:
        return CheckResult(odd=self._resources.settings.odd_keys())

    async def _disk(self) -> CheckResult:
        folder = self._resources.settings.data_dir
        return _found("", await to_thread.run_sync(_disk_problem, folder))

    async def _network(self) -> CheckResult:
        await self._resources.network.get()
        return CheckResult()

    async def _chain(self, resources: ChainResources) -> CheckResult:
        chain = await resources.chain.get()
        await chain.check()
        return CheckResult(f"{chain.rpc_shown} serves chain {chain.chain_id}")

    async def _wallet(self) -> CheckResult:
        resources, figures = self._resources, self.figures
        network = await resources.network.get()
        figures["chain_id"] = network.chain_id
        figures["address"] = address = await (await resources.own.wallet.get()).address()
        check_endpoint(network, allow_insecure=resources.settings.allow_insecure)
        wei = await (await resources.own.chain.get()).balance(address)
        figures["balances"]["native_wei"] = str(wei)
        if wei:
            return CheckResult(f"{address} holds {coins(wei)} coins")
        fix = "Send it some of the network's coin."
        if network.faucet_url:
            fix = f"Fund it at {network.faucet_url.format(address=address)}."
        what = f"Wallet {address} holds no coins to pay gas with."
        return CheckResult(wrong=[Problem(what=what, fix=fix)])

    async def _registry(self) -> CheckResult:
        tees = await (await self._resources.registry.get()).active()
        source = tees[0].source
        return CheckResult(f"{len(tees)} active, by {source.rpc} at block {source.block_number}")

    async def _gateway(self) -> CheckResult:
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
            unsigned = self._resources.settings.allow_unsigned
            return CheckResult(f"{told}; {UNSIGNED}" if unsigned else told)
        if tried:
            raise next(iter(tried.values()))
        raise NoGatewayError("the registry has none that is active")

    async def _connect(self, gateway: Gateway) -> None:
        """Hear any answer from a gateway; what it says is of no interest."""
        url = f"{gateway.tee.endpoint}/health"
        with map_httpx_errors("TEE gateway", url):
            async with gateway.http.stream("GET", url):
                return

    async def _opg(self) -> CheckResult:
        """Look at what the wallet that pays gateways holds."""
        try:
            with anyio.fail_after(ASK_S):
                address, held = await self._read_holdings()
                price = await self._budgets.price()
        except TimeoutError:
            return CheckResult(wrong=[SILENT])
        told = f"{address} holds {coins(held.opg)} OPG, and {coins(held.coins)} coins for gas"
        return _found(told, balance_problem(address, held, price))

    async def _read_holdings(self) -> tuple[str, Holdings]:
        figures, address = self.figures, await (await self._resources.base.wallet.get()).address()
        self._held = held = await (await self._resources.opg.get()).holdings(address)
        figures["balances"] |= {"opg": coins(held.opg), "base_native_wei": str(held.coins)}
        figures["allowance_opg"] = coins(held.allowance)
        if address != figures["address"]:
            figures["payer"] = address
        return address, held

    async def _allowance(self) -> CheckResult:
        held, settings = self._held, self._resources.settings
        if held is None:
            # The check of OPG told why.
            return CheckResult()
        address = await (await self._resources.base.wallet.get()).address()
        told = f"Permit2 may take {coins(held.allowance)} OPG"
        if held.allowance > 2 * settings.max_per_day and not settings.local:
            told += (
                f": more than twice OG_MAX_PER_DAY ({coins(settings.max_per_day)} OPG), though it is "
                "the last bound of a loss; approve_opg with less lowers it"
            )
        return _found(told, allowance_problem(address, held, await self._budgets.price()))

    async def _models(self) -> CheckResult:
        """Look the models up that the settings name."""
        settings, told = self._resources.settings, []
        models = Models(settings, await self._resources.network.get(), self._resources.today())
        if settings.chat_model:
            _, entry = models.to_llm("", "AUTO", lambda _: True)
            told.append(entry.notice or f"chats ask {entry.id}")
        if settings.image_model:
            entry = models.to_image_model("", lambda _: True)
            told.append(entry.notice or f"{entry.id} draws images")
        return CheckResult("; ".join(told))

    async def _hub(self) -> CheckResult:
        network, hub = await self._resources.network.get(), await self._resources.hub.get()
        wanted: dict[str, Any] = {"query": "", "kind": "onnx", "author": "", "page": 0, "limit": 1}
        await search(hub, network, today=self._resources.today(), **wanted)
        return CheckResult(f"{shown(network.hub_read_url)} lists models")

    async def _account(self) -> CheckResult:
        settings = self._resources.settings
        if not (settings.local or settings.email or settings.password):
            return CheckResult("none is configured; only publishing needs one")
        await (await self._resources.account.get()).id_token()
        return CheckResult("the sign-in takes it")

    async def _journal(self) -> CheckResult:
        """Open the journal, and settle by hash and nonce what an earlier process left behind."""
        journal = await self._resources.journal.get()
        await journal.look_through()
        kept = await journal.list_calls(None, 1)
        signs = self._resources.settings.wallet is not None or self._resources.settings.local
        settled = await self._resources.recovery.recover_all() if kept and signs else []
        told = (
            f"{len(settled)} interrupted call(s) settled{_unfinished(await journal.unfinished())}"
        )
        if kept and signs and (behind := await self._behind()):
            return CheckResult(odd=[Problem(what=f"{told}; {behind}", fix=BEHIND)])
        return CheckResult(told)

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

    async def _fees(self) -> CheckResult:
        """Look at what is left of the caps on fees, of each chain that transactions are sent on."""
        resources, settings = self._resources, self._resources.settings
        self._fees_left = await self._budgets.fees(resources.own)
        told = self._fees_left.told(settings.max_fee_per_day, "coins")
        if (await resources.network.get()).tee_registry:
            self._base_fees_left = await self._budgets.fees(resources.base)
            base = self._base_fees_left.told(settings.max_fee_per_day, "coins")
            told = f"{told}; on the payment chain {base}"
        return _found(told, fee_problem(settings, self._fees_left.budget))

    async def _payments(self) -> CheckResult:
        """Look at what is left of the caps on OPG, and for whom nothing is signed (threats.md T46)."""
        self._opg_left = left = await self._budgets.opg()
        limits = self._resources.limits
        try:
            with anyio.fail_after(ASK_S):
                price, tracker = (
                    await self._budgets.price(),
                    await self._resources.settlements.get(),
                )
        except TimeoutError:
            return CheckResult(wrong=[SILENT])
        overcharged = [
            Problem(
                what=f"Nothing more is signed for the recipient {recipient}: {what}.",
                fix=f"To pay it all the same, run og-mcp calls trust {recipient} at a terminal.",
            )
            for recipient, what in (await tracker.overcharges.all()).items()
        ]
        open_ = await (await self._resources.journal.get()).open_caps(tracker.account)
        signed = f"{len(open_)} open, at most {coins(sum(cap.max_opg for cap in open_))} OPG"
        told = f"{signed if open_ else 'none open'}; {left.told(limits.per_day, 'OPG')}"
        return _found(told, *overcharged, opg_problem(limits, left.budget, price))


def _found(told: str, *wrong: Problem | None) -> CheckResult:
    return CheckResult(told, [one for one in wrong if one is not None])


def _problem_of(error: OGError) -> Problem:
    """Tell what an error is about."""
    if isinstance(error, ConfigurationError):
        variables = [problem.variable for problem in error.problems]
        if "OG_KEYSTORE" in variables:
            variables.append("OG_KEYSTORE_PASSWORD")
        what = "; ".join(map(str, error.problems))
        return Problem(what=f"{what}.", fix=f"Correct {' or '.join(variables)}, and start again.")
    return Problem(what=str(error.args[0]), fix=error.hint)


def _unfinished(calls: Sequence[Call]) -> str:
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


def _disk_problem(folder: Path) -> Problem | None:
    """Tell that no call can be recorded in the data folder; writes a small file there, and removes it.

    Blocks.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with TemporaryFile(dir=folder) as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
        free = disk_usage(folder).free
    except OSError as exc:
        return Problem(
            what=f"Nothing can be written to the data folder {quote(folder)}: {exc.strerror}.",
            fix="Make room there, or set OG_DATA_DIR to a folder of yours; no call is made before it "
            "is recorded.",
        )
    if free >= MIN_FREE_BYTES:
        return None
    return Problem(
        what=f"The disk of the data folder {quote(folder)} has {free // 2**20} MiB left.",
        fix="Make room there: no call is made before it is recorded.",
    )
