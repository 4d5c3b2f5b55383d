"""The parts of a session: opened when they are first needed, once, and closed with it."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import date
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup
from pydantic import SecretStr

from og_mcp.calls import Journal
from og_mcp.catalogue import utc_today
from og_mcp.client.hub.known import KnownGraphs
from og_mcp.client.session.background import quietly
from og_mcp.client.session.loading import load
from og_mcp.client.session.localnet import read_ready_file, running_localnet
from og_mcp.client.session.part import Part
from og_mcp.client.wire.timeouts import Timeouts
from og_mcp.errors import (
    LocalnetError,
    NoGatewayError,
    NoWalletError,
    ServiceError,
    quote,
)
from og_mcp.networks import Network, from_ready_file
from og_mcp.redaction import hide
from og_mcp.settings import Settings, WalletSource
from og_mcp.types import CANCEL_PAYMENT

if TYPE_CHECKING:
    import httpx

    from og_mcp.client.chain.chain import Chain
    from og_mcp.client.chain.inference import Inference
    from og_mcp.client.chain.onchain_llm import OnchainLLM
    from og_mcp.client.chain.sender import Sender
    from og_mcp.client.chain.wallet import Wallet
    from og_mcp.client.files.output_files import OutputFiles
    from og_mcp.client.files.roots import FileRoots
    from og_mcp.client.hub.graphs import Graphs
    from og_mcp.client.hub.hub import Hub
    from og_mcp.client.hub.names import ModelNames
    from og_mcp.client.hub.signin import SignIn
    from og_mcp.client.images.images import Images
    from og_mcp.client.session.history import History
    from og_mcp.client.session.runner import Runner
    from og_mcp.client.tee.gateways import Gateways
    from og_mcp.client.tee.registry import Registry

logger = logging.getLogger(__name__)

ALWAYS_ASKED: Final = frozenset({"approve_opg", CANCEL_PAYMENT})
"""What a person agrees to whatever it costs: what others may take from the wallet changes."""

JOURNAL_FILE: Final = "journal.db"
"""Where the journal is in the data folder, unless OG_JOURNAL_URL names another place."""

IMAGES_FOLDER: Final = "images"
"""Where in the data folder images are kept."""

OUTPUTS_FOLDER: Final = "outputs"
"""Where in the data folder large outputs are kept."""

KNOWN_FOLDER: Final = "models"
"""Where in the data folder models' tensors are kept."""


class Parts:
    """Everything a session consists of.

    Args:
        settings: The configuration.
        timeouts: How long to wait for the network.
        journal: Handed in by whoever has opened one; else the settings' own is opened.
        today: The day in UTC, by which models are retired.
    """

    def __init__(
        self,
        settings: Settings,
        timeouts: Timeouts,
        journal: Journal | None,
        today: Callable[[], date] = utc_today,
    ) -> None:
        self.settings, self.timeouts, self.today = settings, timeouts, today
        self.known = KnownGraphs(settings.data_dir / KNOWN_FOLDER, settings.network_name)
        self.is_ending = False
        """Whether no call is taken any more."""

        self._closing = AsyncExitStack()
        self._given_journal = journal
        self._end_tasks: Callable[[], Awaitable[None]] = _nothing
        self.ready_file = Part(self._open_ready_file)
        self.network = Part(self._open_network)
        self.http = Part(self._open_http)
        self.chain = Part(self._open_chain)
        self.witness = Part(self._open_witness)
        self.registry = Part(self._open_registry)
        self.gateways = Part(self._open_gateways)
        self.wallet = Part(self._open_wallet)
        self.journal = Part(self._open_journal)
        self.tasks = Part(self._open_tasks)
        self.runner = Part(self._open_runner)
        self.sender = Part(self._open_sender)
        self.inference = Part(self._open_inference)
        self.onchain_llm = Part(self._open_onchain_llm)
        self.history = Part(self._open_history)
        self.reconciled = Part(self._reconcile)
        self.account = Part(self._open_account)
        self.hub = Part(self._open_hub)
        self.graphs = Part(self._open_graphs)
        self.names = Part(self._open_names)
        self.files = Part(self._open_files)
        self.images = Part(self._open_images)
        self.outputs = Part(self._open_outputs)

    @property
    def has_past(self) -> bool:
        """Whether an earlier process can have left something to settle on this network."""
        settings = self.settings
        own_network = settings.local and settings.localnet_ready_file is None
        kept = settings.journal_url is not None or (settings.data_dir / JOURNAL_FILE).exists()
        return kept and not own_network and (settings.local or settings.wallet is not None)

    @property
    def has_network(self) -> bool:
        """Whether the network can be asked without one being started for it."""
        settings = self.settings
        started = self.network.opened is not None or settings.localnet_ready_file is not None
        return started or not settings.local

    def needs_consent(self, tool: str, *, max_opg: int = 0) -> bool:
        """Tell whether a person has to agree to a call first (OG_CONFIRM_ABOVE).

        Args:
            tool: Every tool that signs is asked about where the variable is 0.
            max_opg: The most OPG that it may cost, base units.
        """
        threshold = self.settings.confirm_above
        always = tool in ALWAYS_ASKED
        return always or (tool != "" and (threshold == 0 or max_opg > threshold))

    async def end_calls(self, grace_s: float) -> None:
        """Take no calls any more; end those that are free, and wait for the others."""
        self.is_ending = True
        if self.journal.opened is not None:
            # Also where it is still to be opened: a call may be on its way there.
            await (await self.runner.get()).end(grace_s)

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
        local = (await self.network.get()).local
        client: httpx.AsyncClient = (await load("wire.http")).open_http(local=local)
        return await self._closing.enter_async_context(client)

    async def _open_chain(self) -> Chain:
        network, http = await self.network.get(), await self.http.get()
        rpc = (await load("chain.rpc")).RPC(
            http, network.rpc_url, f"{network.name} RPC", timeout_s=self.timeouts.rpc_s
        )
        chain: Chain = (await load("chain.chain")).Chain(rpc, network.chain_id)
        return chain

    async def _open_witness(self) -> Chain | None:
        """Open a second RPC that has to tell the same outcomes (threats.md T35), where there is one."""
        network, http = await self.network.get(), await self.http.get()
        others = [url for url in self.settings.rpc_urls if url != network.rpc_url]
        if not others:
            return None
        rpc = (await load("chain.rpc")).RPC(
            http, others[0], f"second {network.name} RPC", timeout_s=self.timeouts.rpc_s
        )
        witness: Chain = (await load("chain.chain")).Chain(rpc, network.chain_id)
        return witness

    async def _open_registry(self) -> Registry:
        network, http = await self.network.get(), await self.http.get()
        if not network.tee_registry:
            raise NoGatewayError(f"network {network.name} has no TEE registry")
        rpc_of, wait_s = (await load("chain.rpc")).RPC, self.timeouts.rpc_s
        urls = dict.fromkeys((network.rpc_url, *self.settings.rpc_urls))
        rpcs = [rpc_of(http, url, f"{network.name} RPC", timeout_s=wait_s) for url in urls]
        registry: Registry = (await load("tee.registry")).Registry(
            rpcs, network, self.settings, await self.tasks.get()
        )
        return registry

    async def _open_gateways(self) -> Gateways:
        registry = await self.registry.get()
        gateways: Gateways = (await load("tee.gateways")).Gateways(
            registry, local=self.settings.local
        )
        self._closing.push_async_callback(gateways.aclose)
        return gateways

    async def _open_wallet(self) -> Wallet:
        source = self.settings.wallet
        if self.settings.local:
            # A configured key is for real networks; the local one has its own (threats.md T5).
            ready = await self.ready_file.get()
            key = SecretStr(ready["accounts"][0]["private_key"])
            source = WalletSource(kind="key", secret=key)
        if source is None:
            raise NoWalletError("Signing", self.settings.network_name)
        wallet: Wallet = (await load("chain.wallet")).Wallet(source)
        return wallet

    async def _open_journal(self) -> Journal:
        if self._given_journal is not None:
            return self._given_journal
        # The client knows the journal's protocol alone; here, where a session is assembled, its
        # implementation is named.
        package = await to_thread.run_sync(importlib.import_module, "og_mcp.journal")
        journal: Journal = await self._closing.enter_async_context(
            package.open_journal(self.settings)
        )
        return journal

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

    async def _open_runner(self) -> Runner:
        journal, tasks = await self.journal.get(), await self.tasks.get()
        runner: Runner = (await load("session.runner")).Runner(journal, tasks)
        return runner

    async def _open_sender(self) -> Sender:
        network = await self.network.get()
        guard = (await load("chain.wallet")).FeeGuard(
            network,
            self.settings.max_fee_per_call,
            self.settings.max_fee_per_day,
            self.settings.allow_insecure,
        )
        sender: Sender = (await load("chain.sender")).Sender(
            await self.chain.get(),
            await self.wallet.get(),
            guard,
            await self.journal.get(),
            timeouts=self.timeouts,
            faucet_url=network.faucet_url,
            witness=await self.witness.get(),
        )
        return sender

    async def _open_inference(self) -> Inference:
        network, sender, http, files = (
            await self.network.get(),
            await self.sender.get(),
            await self.http.get(),
            await self.outputs.get(),
        )
        make = (await load("chain.inference")).Inference
        inference: Inference = make(network, sender, http, files)
        return inference

    async def _open_onchain_llm(self) -> OnchainLLM:
        network, sender = await self.network.get(), await self.sender.get()
        llm: OnchainLLM = (await load("chain.onchain_llm")).OnchainLLM(network, sender)
        return llm

    async def _open_history(self) -> History:
        llm = await self.onchain_llm.get()
        history: History = (await load("session.history")).History(
            self.settings,
            await self.network.get(),
            await self.journal.get(),
            await self.chain.get(),
            await self.sender.get(),
            {"infer": await self.inference.get(), "chat": llm, "completion": llm},
        )
        return history

    async def _reconcile(self) -> bool:
        """Settle what an earlier process left behind, before this one signs its first."""
        history = await self.history.get()
        try:
            await history.reconcile()
        except ServiceError as exc:
            logger.warning("interrupted calls were not looked up: %s", exc)
        (await self.tasks.get()).start_soon(quietly, history.watch)
        return True

    async def _open_hub(self) -> Hub:
        network, http = await self.network.get(), await self.http.get()
        own = not network.local and (await load("session.account")).has_account(self.settings)
        # The local hub shows everything to everybody; a real one may keep what is one's own apart.
        account = await self.account.get() if own else None
        hub: Hub = (await load("hub.hub")).Hub(http, network, account, self.known)
        return hub

    async def _open_account(self) -> SignIn:
        account: SignIn = await (await load("session.account")).open_account(self)
        return account

    async def _open_names(self) -> ModelNames:
        names: ModelNames = (await load("hub.names")).ModelNames(await self.hub.get())
        return names

    async def _open_graphs(self) -> Graphs:
        graphs: Graphs = (await load("hub.graphs")).Graphs(
            self.known, await self.network.get(), await self.http.get()
        )
        return graphs

    async def _open_files(self) -> FileRoots:
        files: FileRoots = (await load("files.roots")).FileRoots(
            self.settings.upload_roots, self.settings.secret_paths
        )
        return files

    async def _open_images(self) -> Images:
        folder, local = self.settings.data_dir / IMAGES_FOLDER, self.settings.local
        images: Images = (await load("images.images")).Images(folder, local=local)
        return images

    async def _open_outputs(self) -> OutputFiles:
        folder = self.settings.data_dir / OUTPUTS_FOLDER
        files: OutputFiles = (await load("files.output_files")).OutputFiles(folder)
        return files


async def _nothing() -> None:
    """End no tasks: none was started."""
