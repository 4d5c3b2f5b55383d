"""What a session opens: each when first needed, once, and closed with the session.

Imported by `session` and `diagnostics` alone: operations get what they need, calls get nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import date
from typing import Any, Final

import anyio
import httpx
from anyio import to_thread
from anyio.abc import TaskGroup
from pydantic import SecretStr

from og_mcp.calls import Journal
from og_mcp.catalogue import utc_today
from og_mcp.client.calls.engine import CallEngine
from og_mcp.client.calls.recorder import CallRecorder
from og_mcp.client.chain.chain import Chain
from og_mcp.client.chain.inference import Inference
from og_mcp.client.chain.onchain_llm import OnchainLLM
from og_mcp.client.chain.rpc import RPC
from og_mcp.client.chain.sender import Sender
from og_mcp.client.chain.wallet import FeeGuard, Wallet
from og_mcp.client.files.output_files import OutputFiles
from og_mcp.client.files.publishable_files import PublishableFiles
from og_mcp.client.files.roots import FileRoots
from og_mcp.client.hub.graphs import Graphs
from og_mcp.client.hub.hub import Hub
from og_mcp.client.hub.known import KnownGraphs
from og_mcp.client.hub.names import ModelNames
from og_mcp.client.hub.publisher import HubPublisher
from og_mcp.client.hub.signin import Login, SignIn, login_of
from og_mcp.client.images.images import Images
from og_mcp.client.llm.gateway_llm import GatewayLLM
from og_mcp.client.local_network import read_ready_file, running_localnet
from og_mcp.client.operations.transaction import ChainAccess
from og_mcp.client.payments.allowance import Allowance
from og_mcp.client.payments.cancellation import Cancellations
from og_mcp.client.payments.clock import Clock
from og_mcp.client.payments.data_folders import note_folder
from og_mcp.client.payments.funds import Funds
from og_mcp.client.payments.ledger import Ledger
from og_mcp.client.payments.opg import OPG
from og_mcp.client.payments.payer import Payer
from og_mcp.client.payments.payments import Payments
from og_mcp.client.payments.settlement_tracker import SettlementTracker
from og_mcp.client.payments.settlements import SettlementReader
from og_mcp.client.payments.spent_elsewhere import SpentElsewhere
from og_mcp.client.payments.told import OPGPrice
from og_mcp.client.recovery import ChainRecovery, Recovery, ResultReader
from og_mcp.client.tee.gateways import Gateways
from og_mcp.client.tee.registry import Registry
from og_mcp.client.wire.http import open_http
from og_mcp.client.wire.lazy import Lazy
from og_mcp.client.wire.timeouts import Timeouts
from og_mcp.errors import (
    LocalnetError,
    NoAccountError,
    NoGatewayError,
    NoWalletError,
    OGError,
    ServiceError,
    quote,
)
from og_mcp.journal import open_journal
from og_mcp.networks import Network, from_ready_file
from og_mcp.redaction import hide, secrets_in
from og_mcp.settings import Settings, WalletSource
from og_mcp.types import CANCEL_PAYMENT, OPGCaps

logger = logging.getLogger(__name__)

IMAGES_FOLDER: Final = "images"
"""Where in the data folder images are kept."""

OUTPUTS_FOLDER: Final = "outputs"
"""Where in the data folder large outputs are kept."""


class Resources:
    """Everything a session opens.

    Args:
        settings: The configuration.
        timeouts: How long to wait for the network.
        known: What is known of models' tensors.
        journal: Handed in by whoever has opened one; else the settings' own is opened.
        clock: Counts the age of payments; this machine's if not given.
        today: The day in UTC, by which models are retired.
    """

    def __init__(  # noqa: PLR0913 - what a session is made with
        self,
        settings: Settings,
        timeouts: Timeouts,
        known: KnownGraphs,
        *,
        journal: Journal | None = None,
        clock: Clock | None = None,
        today: Callable[[], date] = utc_today,
    ) -> None:
        self.settings, self.timeouts, self.today, self.known = settings, timeouts, today, known
        self.clock, self.opg_price = clock or Clock(), OPGPrice()
        self._closing = AsyncExitStack()
        self._given_journal = journal
        self._end_tasks: Callable[[], Awaitable[None]] = _nothing

        self.ready_file = Lazy(self._open_ready_file)
        self.network = Lazy(self._open_network)
        self.http = Lazy(self._open_http)
        self.journal = Lazy(self._open_journal)
        self.tasks = Lazy(self._open_tasks)
        self.recorder = Lazy(self._open_recorder)
        self.engine = Lazy(self._open_engine)

        self.own = ChainResources(self, of_payments=False)
        """The network's own chain."""

        self.base = ChainResources(self, of_payments=True)
        """The payment chain."""

        self.inference = Lazy(self._open_inference)
        self.onchain_llm = Lazy(self._open_onchain_llm)
        self.registry = Lazy(self._open_registry)
        self.gateways = Lazy(self._open_gateways)
        self.opg = Lazy(self._open_opg)
        self.settlements = Lazy(self._open_settlements)
        self.elsewhere = Lazy(self._open_elsewhere)
        self.funds = Lazy(self._open_funds)
        self.payments = Lazy(self._open_payments)
        self.allowance = Lazy(self._open_allowance)
        self.cancellations = Lazy(self._open_cancellations)
        self.llm = Lazy(self._open_llm)
        self.recovery = Recovery(
            self.network, self.journal, self.own.recovery, self.base.recovery, self.settlements
        )
        self.account = Lazy(self._open_account)
        self.hub = Lazy(self._open_hub)
        self.publisher = Lazy(self._open_publisher)
        self.graphs = Lazy(self._open_graphs)
        self.names = Lazy(self._open_names)
        self.files = Lazy(self._open_files)
        self.publishable_files = Lazy(self._open_publishable_files)
        self.images = Lazy(self._open_images)
        self.outputs = Lazy(self._open_outputs)

    @property
    def limits(self) -> OPGCaps:
        """The operator's caps on OPG."""
        return OPGCaps(per_call=self.settings.max_per_call, per_day=self.settings.max_per_day)

    async def aclose(self) -> None:
        """Close what was opened, the last first; the calls that still run before all else."""
        await self._end_tasks()
        await self._closing.aclose()

    async def _open_ready_file(self) -> dict[str, Any]:
        path = self.settings.localnet_ready_file
        if path is None:
            path = await self._closing.enter_async_context(
                running_localnet(self.settings.local_llm_url)
            )
        ready = read_ready_file(path)
        accounts = [one for one in ready["accounts"] if isinstance(one, Mapping)]
        hide(*(str(account.get("private_key", "")) for account in accounts))
        return ready

    async def _open_network(self) -> Network:
        if self.settings.network is not None:
            return self.settings.network
        ready = await self.ready_file.get()
        try:
            return from_ready_file(ready)
        except (KeyError, TypeError, ValueError) as exc:
            raise LocalnetError(
                f"The local network's ready file cannot be used: {quote(exc)}.",
                "Start `og-mcp localnet` of this version.",
            ) from exc

    async def _open_http(self) -> httpx.AsyncClient:
        client = open_http(local=(await self.network.get()).local)
        return await self._closing.enter_async_context(client)

    async def _open_journal(self) -> Journal:
        if self._given_journal is not None:
            return self._given_journal
        return await self._closing.enter_async_context(open_journal(self.settings))

    async def _open_tasks(self) -> TaskGroup:
        # A task group must be left by the task that entered it, and a session may be closed by
        # another task than the one whose call came first: so the group has a task of its own.
        opened, closing = asyncio.get_running_loop().create_future(), anyio.Event()

        async def keep() -> None:
            async with anyio.create_task_group() as group:
                opened.set_result(group)
                await closing.wait()
                group.cancel_scope.cancel()

        keeper = asyncio.create_task(keep(), name="og-mcp calls")

        async def end() -> None:
            closing.set()
            await keeper

        self._end_tasks = end
        group: TaskGroup = await opened
        return group

    async def _open_recorder(self) -> CallRecorder:
        return CallRecorder(await self.journal.get(), await self.tasks.get())

    async def _open_engine(self) -> CallEngine:
        return CallEngine(
            self.settings,
            await self.journal.get(),
            await self.tasks.get(),
            await self.recorder.get(),
            self.recovery.resume,
        )

    async def _open_inference(self) -> Inference:
        return Inference(await self.network.get(), await self.http.get(), await self.outputs.get())

    async def _open_onchain_llm(self) -> OnchainLLM:
        return OnchainLLM(await self.network.get())

    async def _open_registry(self) -> Registry:
        network, http = await self.network.get(), await self.http.get()
        if not network.tee_registry:
            raise NoGatewayError(f"network {network.name} has no TEE registry")
        urls = dict.fromkeys((network.rpc_url, *self.settings.rpc_urls))
        wait_s = self.timeouts.rpc_s
        rpcs = [RPC(http, url, f"{network.name} RPC", timeout_s=wait_s) for url in urls]
        return Registry(rpcs, network, self.settings, await self.tasks.get())

    async def _open_gateways(self) -> Gateways:
        gateways = Gateways(await self.registry.get(), local=self.settings.local)
        self._closing.push_async_callback(gateways.aclose)
        return gateways

    async def _open_opg(self) -> OPG:
        return OPG(await self.base.rpc.get(), await self.base.chain.get(), await self.network.get())

    async def _other_settlement_readers(self) -> list[SettlementReader]:
        """Return readers for the further RPCs of the payment chain."""
        network, http = await self.network.get(), await self.http.get()
        urls = self.settings.base_rpc_urls or network.base_rpc_urls
        others = [url for url in dict.fromkeys(urls) if url != network.base_rpc_url]
        rpcs = [RPC(http, url, BASE_RPC, timeout_s=self.timeouts.rpc_s) for url in others]
        return [
            SettlementReader(Ledger(rpc, network.opg_token), network.settlement_depth)
            for rpc in rpcs
        ]

    async def _open_settlements(self) -> SettlementTracker:
        opg = await self.opg.get()
        account = await opg.account(await (await self.base.wallet.get()).address())
        journal, tasks = await self.journal.get(), await self.tasks.get()
        return SettlementTracker(
            journal, opg, await self._other_settlement_readers(), account, tasks, self.clock
        )

    async def _open_elsewhere(self) -> SpentElsewhere:
        elsewhere = SpentElsewhere(
            await self.journal.get(),
            (await self.opg.get()).ledger,
            (await self.settlements.get()).account,
            await self.tasks.get(),
            self.clock,
        )
        elsewhere.prefetch()
        return elsewhere

    async def _open_funds(self) -> Funds:
        address = await (await self.base.wallet.get()).address()
        return Funds(await self.opg.get(), address, await self.tasks.get())

    async def _open_payments(self) -> Payments:
        funds = await self.funds.get()
        # Both ask the payment chain, and neither needs the other's answer.
        funds.prefetch()
        network, tracker = await self.network.get(), await self.settlements.get()
        payer = Payer(await (await self.base.wallet.get()).account(), network)
        payments = Payments(
            network,
            await self.journal.get(),
            await self.elsewhere.get(),
            funds,
            payer,
            tracker.account,
            tracker,
            limits=self.limits,
            allow_insecure=self.settings.allow_insecure,
            answer_s=self.timeouts.gateway_s,
            wait_s=self.settings.wait_s,
            clock=self.clock,
        )
        # An earlier process may have left some open.
        tracker.watch()
        if not self.settings.local:
            await to_thread.run_sync(note_folder, tracker.account.address, self.settings.data_dir)
        return payments

    async def _open_allowance(self) -> Allowance:
        return Allowance(
            await self.opg.get(),
            await self.funds.get(),
            await self.journal.get(),
            (await self.settlements.get()).account,
        )

    async def _open_cancellations(self) -> Cancellations:
        return Cancellations(
            await self.opg.get(), await self.settlements.get(), await self.journal.get()
        )

    async def _open_llm(self) -> GatewayLLM:
        registry = await self.registry.get()
        # It is read while the payment chain is asked.
        registry.prefetch()
        return GatewayLLM(
            registry,
            await self.gateways.get(),
            await self.payments.get(),
            local=self.settings.local,
            allow_unsigned=self.settings.allow_unsigned,
        )

    async def _open_account(self) -> SignIn:
        """Sign in: with the settings' account, or the local network's own.

        Raises:
            NoAccountError: A part of the account is missing.
        """
        network, http, settings = await self.network.get(), await self.http.get(), self.settings
        if network.local:
            return SignIn(http, network, login_of((await self.ready_file.get()).get("hub_login")))
        if settings.password is None or settings.firebase_api_key is None or not settings.email:
            raise NoAccountError("Publishing", settings.network_name, _missing_account(settings))
        login = Login(
            email=settings.email,
            password=settings.password,
            firebase_api_key=settings.firebase_api_key,
        )
        return SignIn(http, network, login)

    async def _open_hub(self) -> Hub:
        network, http = await self.network.get(), await self.http.get()
        # The local hub shows everything to everybody; a real one may keep what is one's own apart.
        own = not network.local and not _missing_account(self.settings)
        return Hub(http, network, await self.account.get() if own else None, self.known)

    async def _open_publisher(self) -> HubPublisher:
        return HubPublisher(
            await self.http.get(),
            await self.network.get(),
            await self.account.get(),
            await self.hub.get(),
            upload_s=self.timeouts.upload_s,
        )

    async def _open_graphs(self) -> Graphs:
        return Graphs(self.known, await self.network.get(), await self.http.get())

    async def _open_names(self) -> ModelNames:
        return ModelNames(await self.hub.get())

    async def _open_files(self) -> FileRoots:
        return FileRoots(self.settings.upload_roots, self.settings.secret_paths)

    async def _open_publishable_files(self) -> PublishableFiles:
        secrets = set(secrets_in(self.settings))
        if self.settings.local:
            accounts = (await self.ready_file.get())["accounts"]
            secrets |= {str(one.get("private_key", "")) for one in accounts}
        return PublishableFiles(
            await self.files.get(), await self.journal.get(), tuple(sorted(secrets))
        )

    async def _open_images(self) -> Images:
        return Images(self.settings.data_dir / IMAGES_FOLDER, local=self.settings.local)

    async def _open_outputs(self) -> OutputFiles:
        return OutputFiles(self.settings.data_dir / OUTPUTS_FOLDER)


BASE_RPC: Final = "payment chain's RPC"


class ChainResources:
    """What speaks to one chain: the network's own, or the payment chain.

    Args:
        resources: The rest of what a session opens.
        of_payments: Which of the two.
    """

    def __init__(self, resources: Resources, *, of_payments: bool) -> None:
        self._resources, self._of_payments = resources, of_payments
        self.rpc = Lazy(self._open_rpc)
        self.chain = Lazy(self._open_chain)
        self.witness = Lazy(self._open_witness)
        self.wallet = Lazy(self._open_wallet)
        self.sender = Lazy(self._open_sender)
        self.recovery = Lazy(self._open_recovery)
        self.recovered = Lazy(self._recover)

    async def network(self) -> Network:
        """Describe the chain as guards and receipts take it."""
        network = await self._resources.network.get()
        if not self._of_payments:
            return network
        return replace(
            network,
            chain_id=network.base_chain_id,
            rpc_url=network.base_rpc_url,
            explorer_tx_url="",
            faucet_url="",
        )

    async def access(self) -> ChainAccess:
        """Return what transactions need."""
        return ChainAccess(
            network=await self.network(),
            sender=self.sender,
            recovery=self.recovery,
            recovered=self.recovered,
            keep_content=self._resources.settings.receipts == "full",
        )

    async def _rpc_of(self, url: str, *, second: bool = False) -> RPC:
        name = (await self._resources.network.get()).name
        if self._of_payments:
            service = "payment chain's second RPC" if second else BASE_RPC
        else:
            service = f"second {name} RPC" if second else f"{name} RPC"
        http = await self._resources.http.get()
        return RPC(http, url, service, timeout_s=self._resources.timeouts.rpc_s)

    async def _open_rpc(self) -> RPC:
        return await self._rpc_of((await self.network()).rpc_url)

    async def _open_chain(self) -> Chain:
        return await self._chain_at(await self.rpc.get())

    async def _chain_at(self, rpc: RPC) -> Chain:
        chain_id = (await self.network()).chain_id
        return Chain(rpc, chain_id, takes_l1_fees=self._of_payments)

    async def _open_witness(self) -> Chain | None:
        """Open the second RPC that has to confirm outcomes (T35), if one is configured."""
        settings, used = self._resources.settings, (await self.network()).rpc_url
        urls = settings.base_rpc_urls if self._of_payments else settings.rpc_urls
        others = [url for url in urls if url != used]
        return await self._chain_at(await self._rpc_of(others[0], second=True)) if others else None

    async def _open_wallet(self) -> Wallet:
        settings = self._resources.settings
        if self._of_payments:
            if settings.base_key is None or settings.local:
                # A signature made for a local chain may be good on a real one (threats.md T5).
                return await self._resources.own.wallet.get()
            return Wallet(WalletSource(kind="key", secret=settings.base_key))
        source = settings.wallet
        if settings.local:
            # A configured key is for real networks; the local one has its own (threats.md T5).
            ready = await self._resources.ready_file.get()
            key = SecretStr(ready["accounts"][0]["private_key"])
            source = WalletSource(kind="key", secret=key)
        if source is None:
            raise NoWalletError("Signing", settings.network_name)
        return Wallet(source)

    async def _open_sender(self) -> Sender:
        network, settings = await self.network(), self._resources.settings
        guard = FeeGuard(
            network, settings.max_fee_per_call, settings.max_fee_per_day, settings.allow_insecure
        )
        return Sender(
            await self.chain.get(),
            await self.wallet.get(),
            guard,
            await self._resources.journal.get(),
            timeouts=self._resources.timeouts,
            faucet_url=network.faucet_url,
            witness=await self.witness.get(),
        )

    async def _open_recovery(self) -> ChainRecovery:
        resources = self._resources
        readers: dict[str, ResultReader]
        if self._of_payments:
            readers = {
                "approve_opg": await resources.allowance.get(),
                CANCEL_PAYMENT: await resources.cancellations.get(),
            }
        else:
            llm = await resources.onchain_llm.get()
            readers = {"infer": await resources.inference.get(), "chat": llm, "completion": llm}
        return ChainRecovery(
            await self.network(),
            await resources.journal.get(),
            await self.chain.get(),
            await self.sender.get(),
            await resources.recorder.get(),
            readers,
            keep_content=resources.settings.receipts == "full",
        )

    async def _recover(self) -> bool:
        """Settle what an earlier process left behind, before this one signs its first."""
        recovery = await self.recovery.get()
        try:
            await recovery.recover_all()
        except ServiceError as exc:
            logger.warning("interrupted calls were not looked up: %s", exc)
        if not self._of_payments:
            (await self._resources.tasks.get()).start_soon(log_errors, recovery.watch)
        return True


async def log_errors(work: Callable[[], Awaitable[None]], what: str = "interrupted calls") -> None:
    """Look something up in the background; what fails is logged, and the calls go on.

    Args:
        work: Looks it up.
        what: What it looks up, for the log.
    """
    try:
        await work()
    except OGError as exc:
        logger.warning("%s were not looked up: %s", what, exc)
    except Exception:
        # The top of a background task: a mistake of ours here must not end the task group.
        logger.exception("%s were not looked up", what)


def _missing_account(settings: Settings) -> list[str]:
    """List the missing settings of the hub account."""
    given = {
        "OG_EMAIL": settings.email,
        "OG_PASSWORD": settings.password,
        "FIREBASE_API_KEY": settings.firebase_api_key,
    }
    return [name for name, value in given.items() if not value]


async def _nothing() -> None:
    """Nothing to end: no task was started."""
