"""The session: opens the parts of the client when they are first needed, owns and closes them.

Nothing heavy is imported with this module. web3, eth-account and numpy load in a worker thread
when the first call needs them, through `_load`: the one place where imports are put off.
"""

from __future__ import annotations

import importlib
import os
import re
import secrets
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

from anyio import Lock, to_thread
from pydantic import SecretStr

from og_mcp.client._localnet import read_ready_file, running_localnet
from og_mcp.client._timeouts import Timeouts
from og_mcp.errors import InputError, LocalnetError, NoWalletError, OGError, quote
from og_mcp.networks import Network, from_ready_file, shown
from og_mcp.settings import Settings, WalletSource
from og_mcp.types import (
    FileList,
    InferenceMode,
    InferenceResult,
    Model,
    NetworkInfo,
    Status,
    TensorSpec,
    Trouble,
)

if TYPE_CHECKING:
    import httpx

    from og_mcp.client.chain import Chain
    from og_mcp.client.files import FileRoots
    from og_mcp.client.hub import Hub
    from og_mcp.client.inference import Inference
    from og_mcp.client.lane import Lane
    from og_mcp.client.wallet import Wallet

T = TypeVar("T")

MAX_RETRIES: Final = 20
RECURSION_LIMIT: Final = 1000
"""Python's own default."""

MODEL_CID: Final = re.compile(r"[!-~]{1,256}")
"""A content id is printable ASCII without spaces; what it names only the network knows."""


class Session:
    """One wallet on one network, shared by all callers of a process.

    Opens nothing until a call needs it, and closes what it opened. Safe for concurrent calls.

        async with Session.from_env() as og:
            result = await og.infer(model_cid, {"x": [1.0, 2.0]})

    Args:
        settings: The configuration; `from_env` reads it from the environment.
        timeouts: How long to wait for the network.
    """

    def __init__(self, settings: Settings, *, timeouts: Timeouts | None = None) -> None:
        self.settings = settings
        self._timeouts = timeouts or Timeouts()
        self._closing = AsyncExitStack()
        self._ready_file = _Part(self._open_ready_file)
        self._network = _Part(self._open_network)
        self._http = _Part(self._open_http)
        self._chain = _Part(self._open_chain)
        self._wallet = _Part(self._open_wallet)
        self._lane = _Part(self._open_lane)
        self._inference = _Part(self._open_inference)
        self._hub = _Part(self._open_hub)
        self._files = _Part(self._open_files)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Session:
        """Configure a session from environment variables (interface.md section 2).

        Raises:
            ConfigurationError: Lists everything that is wrong.
        """
        return cls(Settings.from_env(os.environ if environ is None else environ))

    async def __aenter__(self) -> Self:
        """Open nothing yet."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close what was opened, the local network's process included."""
        await self._closing.aclose()

    async def infer(
        self,
        model_cid: str,
        model_input: Mapping[str, Any],
        inference_mode: InferenceMode | str = InferenceMode.VANILLA,
        *,
        max_retries: int = 5,
    ) -> InferenceResult:
        """Run an ONNX model in one transaction and wait until it is mined; costs gas.

        Args:
            model_cid: Content id of the ONNX file, as the Model Hub lists it.
            model_input: Tensor name -> number, string, nested lists, numpy array, or
                `{"file": path}` of a .npy, .json or .csv file below OG_UPLOAD_ROOTS.
            inference_mode: How the node proves its work.
            max_retries: Further tries after nonce or connection trouble, as long as the node has
                accepted nothing; 0 to 20.

        Raises:
            NoWalletError: No key is configured; also a RuntimeError.
            InputError: The input cannot go on the wire, or not into this model.
            ChainError: The chain, or a guard in front of it, refused; `stage` says whether gas was
                paid. After TransactionPendingError the transaction may still be mined.
            ServiceError: The chain's RPC cannot be used; nothing was sent.

        Source: protocol.md sections 3.1 to 3.3.
        """
        if self.settings.wallet is None and not self.settings.local:
            raise NoWalletError("infer", self.settings.network_name)
        mode = _mode(inference_mode)
        _check_call(model_cid, max_retries)
        inputs = await self._read_input(model_cid, model_input)
        inference, network = await self._inference.get(), await self._network.get()
        done = await inference.run(model_cid, inputs, mode, max_retries=max_retries)
        to_json = (await _load("_tensors")).to_json
        return InferenceResult(
            call_id=secrets.token_hex(16),
            network=network.name,
            status="done",
            transaction_hash=done.receipt.transaction_hash,
            model_output=await to_thread.run_sync(to_json, done.output),
            inference_mode=mode.word,
            model_cid=model_cid,
            is_simulation_result=done.output.is_simulation_result,
            source=done.source,
            block_number=done.receipt.block_number,
            gas_used=done.receipt.gas_used,
            fee_wei=done.receipt.fee_wei,
            explorer_url=network.explorer_tx_url.format(hash=done.receipt.transaction_hash),
        )

    async def list_files(self, model_name: str, version: str) -> FileList:
        """List the files of one version of a model repository.

        Raises:
            ModelNotFoundError: There is no such model or version.
            ServiceError: The hub cannot be used.
        """
        return await (await self._hub.get()).list_files(model_name, version)

    async def get_model(self, model_name: str, author: str = "") -> Model:
        """Return a model repository: versions, files, content ids and tensors where known.

        Raises:
            ModelNotFoundError: There is no such model.
            AmbiguousModelError: Several authors have one of that name and none was given.
            ServiceError: The hub cannot be used.
        """
        return await (await self._hub.get()).get_model(model_name, author)

    async def status(self) -> Status:
        """Tell whether calls can be paid, and what to do where they cannot. Never raises for that."""
        problems: list[Trouble] = []
        address, balances, chain_id = "", {}, 0
        try:
            network = await self._network.get()
            chain_id = network.chain_id
            if self.settings.wallet is None and not network.local:
                raise NoWalletError("Signing", network.name)
            address = await (await self._wallet.get()).address()
            (await _load("wallet")).check_endpoint(
                network, allow_insecure=self.settings.allow_insecure
            )
            chain = await self._chain.get()
            await chain.check()
            wei = await chain.balance(address)
            balances["native_wei"] = str(wei)
            if wei == 0:
                problems.append(_no_coins(network, address))
        except OGError as exc:
            problems.append(Trouble(what=exc.args[0], fix=exc.hint))
        return Status(
            network=self.settings.network_name,
            chain_id=chain_id,
            address=address,
            balances=balances,
            budget={
                "max_fee_per_call_wei": str(self.settings.max_fee_per_call),
                "max_fee_per_day_wei": str(self.settings.max_fee_per_day),
            },
            ready=not problems,
            problems=problems,
        )

    async def network_info(self) -> NetworkInfo:
        """Describe the network in use; starts the local one where it is that."""
        network = await self._network.get()
        return NetworkInfo(
            network=network.name,
            chain_id=network.chain_id,
            rpc_url=shown(network.rpc_url),
            inference_contract=network.inference_contract,
            tee_registry=network.tee_registry,
            base_chain_id=network.base_chain_id,
            hub_url=shown(network.hub_url),
            explorer_url=network.explorer_tx_url,
            authenticated=network.authenticated,
            local=network.local,
            sample_models=[dict(sample) for sample in network.sample_models],
        )

    async def _read_input(self, model_cid: str, model_input: Mapping[str, Any]) -> Any:  # noqa: ANN401 - _tensors.Inputs, not imported here
        parse = (await _load("_tensors")).parse_inputs
        most = (await _load("_tensor_files")).MAX_FILE_BYTES
        open_file = partial((await self._files.get()).open, max_bytes=most)
        inputs = await to_thread.run_sync(partial(parse, model_input, open_file=open_file))
        specs = self._tensors_of(model_cid)
        if specs:
            inputs = (await _load("_specs")).check_against(inputs, specs)
        return inputs

    def _tensors_of(self, model_cid: str) -> list[TensorSpec]:
        """Return the model's inputs where a listing has shown them; asks nobody."""
        hub = self._hub.opened
        known = hub.tensors_of(model_cid) if hub is not None else None
        return known[0] if known else []

    async def _open_ready_file(self) -> dict[str, Any]:
        path = self.settings.localnet_ready_file
        if path is None:
            path = await self._closing.enter_async_context(running_localnet())
        return read_ready_file(path)

    async def _open_network(self) -> Network:
        if self.settings.network is not None:
            return self.settings.network
        ready = await self._ready_file.get()
        try:
            return from_ready_file(ready)
        except (KeyError, TypeError, ValueError) as exc:
            raise LocalnetError(
                f"The local network's ready file cannot be used: {quote(exc)}.",
                "Start `og-mcp localnet` of this version.",
            ) from exc

    async def _open_http(self) -> httpx.AsyncClient:
        local = (await self._network.get()).local
        client: httpx.AsyncClient = (await _load("_http")).open_http(local=local)
        return await self._closing.enter_async_context(client)

    async def _open_chain(self) -> Chain:
        network, http = await self._network.get(), await self._http.get()
        rpc = (await _load("_rpc")).RPC(
            http, network.rpc_url, f"{network.name} RPC", timeout_s=self._timeouts.rpc_s
        )
        chain: Chain = (await _load("chain")).Chain(rpc, network.chain_id)
        return chain

    async def _open_wallet(self) -> Wallet:
        source = self.settings.wallet
        if self.settings.local:
            # A configured key is for real networks; the local one has its own (threats.md T5).
            ready = await self._ready_file.get()
            key = SecretStr(ready["accounts"][0]["private_key"])
            source = WalletSource(kind="key", secret=key)
        if source is None:
            raise NoWalletError("Signing", self.settings.network_name)
        wallet: Wallet = (await _load("wallet")).Wallet(source)
        return wallet

    async def _open_lane(self) -> Lane:
        network = await self._network.get()
        guard = (await _load("wallet")).FeeGuard(
            network, self.settings.max_fee_per_call, self.settings.allow_insecure
        )
        chain, wallet = await self._chain.get(), await self._wallet.get()
        lane: Lane = (await _load("lane")).Lane(
            chain, wallet, guard, timeouts=self._timeouts, faucet_url=network.faucet_url
        )
        return lane

    async def _open_inference(self) -> Inference:
        network, lane, http = (
            await self._network.get(),
            await self._lane.get(),
            await self._http.get(),
        )
        inference: Inference = (await _load("inference")).Inference(network, lane, http)
        return inference

    async def _open_hub(self) -> Hub:
        network, http = await self._network.get(), await self._http.get()
        hub: Hub = (await _load("hub")).Hub(http, network)
        return hub

    async def _open_files(self) -> FileRoots:
        settings = self.settings
        files: FileRoots = (await _load("files")).FileRoots(
            settings.upload_roots, settings.secret_paths
        )
        return files


class _Part(Generic[T]):
    """Something that is opened once, by whoever needs it first; a failure is tried again."""

    def __init__(self, opening: Callable[[], Awaitable[T]]) -> None:
        self._opening = opening
        self._lock = Lock()
        self.opened: T | None = None

    async def get(self) -> T:
        async with self._lock:
            if self.opened is None:
                self.opened = await self._opening()
            return self.opened


async def _load(module: str) -> Any:  # noqa: ANN401 - a module
    """Import a module of the client off the event loop: web3 and numpy take about a second."""
    return await to_thread.run_sync(_import, f"og_mcp.client.{module}")


def _import(name: str) -> ModuleType:
    """Import, and take back what py_ecc, which web3 loads, does to the whole process.

    It raises the recursion limit to 100,000: nested JSON from outside would then end the
    interpreter where it should raise RecursionError.
    """
    module = importlib.import_module(name)
    sys.setrecursionlimit(min(sys.getrecursionlimit(), RECURSION_LIMIT))
    return module


def _mode(value: InferenceMode | str) -> InferenceMode:
    if isinstance(value, InferenceMode):
        return value
    try:
        return InferenceMode[value.upper()]
    except (KeyError, AttributeError) as exc:
        names = ", ".join(mode.name for mode in InferenceMode)
        raise InputError(f"There is no inference mode {quote(value)}.", f"Use {names}.") from exc


def _check_call(model_cid: str, max_retries: int) -> None:
    if not MODEL_CID.fullmatch(model_cid):
        raise InputError(
            f"{quote(model_cid)} is no model CID.", "get_model and list_files show model CIDs."
        )
    if not 0 <= max_retries <= MAX_RETRIES:
        raise InputError(f"max_retries is {max_retries}.", f"Use 0 to {MAX_RETRIES}.")


def _no_coins(network: Network, address: str) -> Trouble:
    fix = "Send it some of the network's coin."
    if network.faucet_url:
        fix = f"Fund it at {network.faucet_url.format(address=address)}."
    return Trouble(what=f"Wallet {address} holds no coins to pay gas with.", fix=fix)
