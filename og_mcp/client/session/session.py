"""The session: what callers see of the client. Its parts, and what they import, are in `parts`."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import date
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from og_mcp.calls import Journal
from og_mcp.catalogue import utc_today
from og_mcp.client.session.background import learn, look_back
from og_mcp.client.session.calling import Terms
from og_mcp.client.session.inferring import Inferring
from og_mcp.client.session.language import Language
from og_mcp.client.session.ledger import Ledger
from og_mcp.client.session.loading import load
from og_mcp.client.session.parts import Parts
from og_mcp.client.session.payment_parts import PaymentParts
from og_mcp.client.session.repositories import Repositories
from og_mcp.client.session.status import look
from og_mcp.client.wire.timeouts import Timeouts
from og_mcp.errors import NoWalletError
from og_mcp.networks import shown
from og_mcp.settings import Settings
from og_mcp.types import (
    LOCAL_PRINCIPAL,
    FileList,
    Finding,
    InferenceMode,
    InferenceResult,
    Model,
    ModelGraph,
    NetworkInfo,
    Status,
)

if TYPE_CHECKING:
    from og_mcp.client.payments.clock import Clock

logger = logging.getLogger(__name__)


class Session(Language, Ledger, Repositories):
    """One wallet on one network, shared by all callers of a process.

    Opens nothing until a call needs it, and closes what it opened. Safe for concurrent calls.

        async with Session.from_env() as og:
            result = await og.infer(model_cid, {"x": [1.0, 2.0]})

    Args:
        settings: The configuration; `from_env` reads it from the environment.
        timeouts: How long to wait for the network.
        journal: Where calls are recorded, opened by the caller; else the one of the settings.
        clock: Counts the age of payments; this machine's if not given.
        today: The day in UTC, by which models are retired.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        timeouts: Timeouts | None = None,
        journal: Journal | None = None,
        clock: Clock | None = None,
        today: Callable[[], date] = utc_today,
    ) -> None:
        self.settings = settings
        parts = Parts(settings, timeouts or Timeouts(), journal, today)
        paying = PaymentParts(parts, clock)
        Language.__init__(self, parts, paying)
        Ledger.__init__(self, parts, paying)
        Repositories.__init__(self, parts)
        self._inferring = Inferring(parts)

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

    async def look_back(self) -> None:
        """Begin to settle, in the background, what an earlier process left interrupted.

        For a server, which may wait long for its first call; nothing is signed. Where no journal
        was kept, or the network is one that this process starts itself, there is nothing to find.
        """
        await look_back(self._parts)

    async def end_calls(self, grace_s: float) -> None:
        """Take no new calls, end those that have signed nothing, and wait for the others.

        What has signed nothing ends at `not_sent`, and may be repeated under its key. What was
        told before, and the calls that were made, can still be read.

        Args:
            grace_s: Seconds to wait for the ends of calls that may be paid. What runs on then ends
                with the session; its end is looked up by the next one.
        """
        await self._parts.end_calls(grace_s)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close what was opened, the local network's process included."""
        await self._parts.aclose()

    async def infer(  # noqa: PLR0913 - what a caller may say, by name
        self,
        model_cid: str,
        model_input: Mapping[str, Any],
        inference_mode: InferenceMode | str = InferenceMode.VANILLA,
        *,
        max_retries: int = 5,
        idempotency_key: str = "",
        dry_run: bool = False,
        principal: str = LOCAL_PRINCIPAL,
        wait_s: float | None = None,
    ) -> InferenceResult:
        """Run an ONNX model in one transaction and wait until it is mined; costs gas.

        The call is journalled before anything is sent. The same request, repeated with the same
        key, or while its first answer is under way or was never delivered, is the same call.

        Args:
            model_cid: Content id of the ONNX file, as the Model Hub lists it.
            model_input: Tensor name -> number, string, nested lists, numpy array, or
                `{"file": path}` of a .npy, .json or .csv file below OG_UPLOAD_ROOTS.
            inference_mode: How the node proves its work.
            max_retries: Further tries after nonce or connection trouble, as long as the node has
                accepted nothing; 0 to 20.
            idempotency_key: Names the request; the same key never pays twice.
            dry_run: Check and price the call, and send nothing.
            principal: Who asks; calls of others are neither joined nor seen.
            wait_s: Seconds after which a running call is handed back; `None`: wait for its end.

        Raises:
            NoWalletError: No key is configured; also a RuntimeError.
            InputError: The input cannot go on the wire, or not into this model.
            ApprovalRequiredError: OG_CONFIRM_ABOVE asks for a person's consent first.
            ChainError: The chain, or a guard in front of it, refused; `stage` says whether gas was
                paid. After TransactionPendingError the transaction may still be mined.
            ServiceError: Journal or RPC cannot be used; nothing was sent.

        Source: protocol.md sections 3.1 to 3.3.
        """
        if self.settings.wallet is None and not self.settings.local:
            raise NoWalletError("infer", self.settings.network_name)
        terms = Terms(principal, idempotency_key, wait_s)
        asked = await self._inferring.ask(
            model_cid, model_input, inference_mode, max_retries=max_retries
        )
        if dry_run:
            return await self._inferring.price(asked)
        return await self._inferring.run(asked, terms)

    async def output(self, sha256: str, *, principal: str = LOCAL_PRINCIPAL) -> bytes:
        """Return the file of a large output of `infer`, whole: .npy, or JSON.

        Raises:
            NotFoundError: The principal has none of that hash.
        """
        content: bytes = await (await self._parts.outputs.get()).read(sha256, principal)
        return content

    def needs_consent(self, tool: str, *, max_opg: int = 0) -> bool:
        """Tell whether a person has to agree to a call first (OG_CONFIRM_ABOVE).

        Args:
            tool: Every tool that signs is asked about where the variable is 0.
            max_opg: The most OPG that it may cost, base units.
        """
        return self._parts.needs_consent(tool, max_opg=max_opg)

    async def list_files(self, model_name: str, version: str) -> FileList:
        """List the files of one version of a model repository.

        Raises:
            ModelNotFoundError: There is no such model or version.
            ServiceError: The hub cannot be used.
        """
        listed = await (await self._parts.hub.get()).list_files(model_name, version)
        await (await self._parts.graphs.get()).describe(listed.files)
        return listed

    async def get_model(self, model_name: str, author: str = "") -> Model:
        """Return a model repository: versions, files, content ids and tensors where known.

        Raises:
            ModelNotFoundError: There is no such model.
            AmbiguousModelError: Several authors have one of that name and none was given.
            ServiceError: The hub cannot be used.
        """
        model = await (await self._parts.hub.get()).get_model(model_name, author)
        await (await self._parts.graphs.get()).describe_model(model)
        return model

    async def model_names(self) -> list[str]:
        """Return names of models on the hub, to be offered; starts no network for it.

        Raises:
            ServiceError: The hub cannot be used.
        """
        return await (await self._parts.names.get()).get() if self._parts.has_network else []

    def known_graph(self, model_cid: str) -> ModelGraph | None:
        """Return what a model takes where that was learned before; asks nobody but the disk."""
        known = self._parts.known
        return known.load(model_cid) or known.get(model_cid)

    async def learn(
        self, model_cids: Iterable[str], told: Callable[[str, ModelGraph], Awaitable[None]]
    ) -> None:
        """Begin to find out, in the background, what models take; starts no network for it.

        Args:
            model_cids: Of published models.
            told: Hears each answer.
        """
        await learn(self._parts, model_cids, told)

    async def status(self) -> Status:
        """Tell whether calls can be paid, and what to do where they cannot. Never raises for that."""
        return await look(self._parts, self._paying)

    async def examine(self) -> list[Finding]:
        """Look at everything that calls need, and settle what was interrupted; nothing is signed."""
        examination = (await load("session.examining")).Examination(
            self._parts, self._paying, self.reconcile
        )
        findings: list[Finding] = await examination.findings()
        return findings

    async def network_info(self) -> NetworkInfo:
        """Describe the network in use; starts the local one where it is that."""
        network = await self._parts.network.get()
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
