"""The session: what callers see of the client. Its parts, and what they import, are in `parts`."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from anyio import to_thread

from og_mcp.calls import Journal
from og_mcp.client.session.calling import Terms
from og_mcp.client.session.inferring import Inferring
from og_mcp.client.session.interrupted import end_publication
from og_mcp.client.session.language import Language
from og_mcp.client.session.parts import Parts, load
from og_mcp.client.session.payment_parts import PaymentParts
from og_mcp.client.session.repositories import Repositories
from og_mcp.client.session.status import look
from og_mcp.client.wire.timeouts import Timeouts
from og_mcp.errors import InputError, NoWalletError, ServiceError, coins
from og_mcp.networks import shown
from og_mcp.settings import Settings
from og_mcp.types import (
    LOCAL_PRINCIPAL,
    Approval,
    Call,
    CallInfo,
    CallList,
    CallStatus,
    FileList,
    Finding,
    InferenceMode,
    InferenceResult,
    Model,
    ModelGraph,
    NetworkInfo,
    Pruned,
    Stage,
    Status,
    Verification,
)

if TYPE_CHECKING:
    from og_mcp.client.session.history import History

logger = logging.getLogger(__name__)


class Session(Language, Repositories):
    """One wallet on one network, shared by all callers of a process.

    Opens nothing until a call needs it, and closes what it opened. Safe for concurrent calls.

        async with Session.from_env() as og:
            result = await og.infer(model_cid, {"x": [1.0, 2.0]})

    Args:
        settings: The configuration; `from_env` reads it from the environment.
        timeouts: How long to wait for the network.
        journal: Where calls are recorded, opened by the caller; else the one of the settings.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        timeouts: Timeouts | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.settings = settings
        parts = Parts(settings, timeouts or Timeouts(), journal)
        Language.__init__(self, parts, PaymentParts(parts))
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
        await self._parts.look_back()

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
        asked = await self._inferring.ask(
            model_cid, model_input, inference_mode, max_retries=max_retries
        )
        if dry_run:
            return await self._inferring.price(asked)
        terms = Terms(principal, idempotency_key, wait_s)
        return await self._inferring.run(asked, terms)

    async def get_call(
        self, call_id: str, wait_s: float = 20.0, *, principal: str = LOCAL_PRINCIPAL
    ) -> CallInfo:
        """Return a call, waiting up to `wait_s` seconds for its end; a failed one is told here.

        Raises:
            CallNotFoundError: The principal has no such call.
        """
        journal = await self._parts.journal.get()
        call = await journal.wait(call_id, principal, wait_s)
        call = await self._look_again(call)
        if call.status != "running":
            await journal.deliver(call_id)
        return (await load("session.history")).info_of(call)  # type: ignore[no-any-return]  # a module put off

    async def list_calls(
        self,
        limit: int = 20,
        status: CallStatus | None = None,
        tool: str = "",
        *,
        principal: str = LOCAL_PRINCIPAL,
    ) -> CallList:
        """Return a principal's calls, the newest first, and what they cost in all."""
        journal = await self._parts.journal.get()
        calls = await journal.list_calls(principal, limit, status, tool)
        totals = await journal.totals(principal)
        spent_opg, open_opg = await journal.opg_totals(principal)
        info_of = (await load("session.history")).info_of
        return CallList(
            network=self.settings.network_name,
            calls=[info_of(call) for call in calls],
            spent_opg=coins(spent_opg),
            open_opg=coins(open_opg),
            fees_wei=sum(total.fees_wei for total in totals),
            open_wei=sum(total.open_wei for total in totals),
        )

    async def receipt(self, call_id: str, *, principal: str = LOCAL_PRINCIPAL) -> dict[str, Any]:
        """Return the receipt of a call (interface.md section 4).

        Raises:
            CallNotFoundError: The principal has no such call.
            InputError: It has no receipt: it is not done, or sent nothing.
        """
        call = await (await self._parts.journal.get()).get(call_id, principal)
        if not call.receipt:
            raise InputError(
                f"Call {call_id} has no receipt: it is {call.status} at stage {call.stage}.",
                "Only a call that is done has one.",
            )
        receipt: dict[str, Any] = (await load("session.history")).receipt_of(call)
        return receipt

    async def verify_receipt(
        self,
        receipt: Mapping[str, Any] | None = None,
        *,
        call_id: str = "",
        online: bool = False,
        principal: str = LOCAL_PRINCIPAL,
    ) -> Verification:
        """Check a receipt offline, or also ask the chain for its transaction.

        Args:
            receipt: The receipt itself, or
            call_id: the call whose receipt it is.
            online: Ask the chain too.
            principal: Whose call.

        Raises:
            InputError: Neither or both were given, or the call has no receipt.
        """
        if bool(receipt) == bool(call_id):
            raise InputError("A receipt or a call_id is needed, and not both.", "Give one of them.")
        checked = receipt or await self.receipt(call_id, principal=principal)
        receipts = await load("receipts.receipts")
        verified: Verification
        if online:
            network = await self._parts.network.get()
            payment_chain = await self._paying.chain.get()
            of_payments = _chain_id_of(checked) == payment_chain.chain_id
            verified = await receipts.confirm_online(
                checked,
                payment_chain if of_payments else await self._parts.chain.get(),
                tee_registry=network.tee_registry,
                settlement=(await load("receipts.settlement")).SettlementCheck(
                    payment_chain, network.opg_token
                ),
            )
        else:
            verified = await to_thread.run_sync(receipts.verify, checked)
        return verified

    async def reconcile(self) -> list[CallInfo]:
        """Settle what was interrupted, by hash and nonce; nothing is signed again.

        Raises:
            ServiceError: The chain cannot be asked.
        """
        journal = await self._parts.journal.get()
        chain_ids = {call.account.chain_id for call in await journal.unfinished() if call.account}
        settled = await (await self._parts.history.get()).reconcile()
        if (await self._parts.network.get()).base_chain_id in chain_ids:
            settled += await (await self._paying.history.get()).reconcile()
        if await journal.open_caps():
            await (await self._paying.caps.get()).look()
        info_of = (await load("session.history")).info_of
        return [info_of(call) for call in settled]

    async def speed_up(self, call_id: str, *, principal: str = LOCAL_PRINCIPAL) -> CallInfo:
        """Sign a stuck call's transaction again at a higher price, within the caps.

        Raises:
            CallStateError: It has no open transaction.
            ChainError: A cap is in the way, or the node did not take it.
        """
        return await self._replace(call_id, principal, cancel=False)

    async def cancel(self, call_id: str, *, principal: str = LOCAL_PRINCIPAL) -> CallInfo:
        """Use up a stuck call's nonce with a transfer of nothing to oneself; costs its gas.

        Raises:
            CallStateError: It has no open transaction.
            ChainError: A cap is in the way, or the node did not take it.
        """
        return await self._replace(call_id, principal, cancel=True)

    async def approval(self, call_id: str) -> Approval:
        """Return what a person is asked to agree to."""
        return await (await self._parts.journal.get()).approval(call_id)

    async def approve(self, call_id: str, shown: Approval | None = None) -> Approval:
        """Record that a person agreed; good for one try within an hour.

        Raises:
            CallStateError: What is asked is no longer what the person was shown.
        """
        return await (await self._parts.journal.get()).approve(call_id, shown)

    async def prune(self, before: datetime) -> Pruned:
        """Remove delivered calls that ended before a time, and images that none names any more."""
        journal, images = await self._parts.journal.get(), await self._parts.images.get()
        pruned: Pruned = await (await load("session.pruning")).prune(journal, images, before)
        return pruned

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
        await self._parts.learn(model_cids, told)

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

    async def _look_again(self, call: Call) -> Call:
        """Ask the chains about a call that is interrupted, in doubt, or not yet confirmed."""
        journal = await self._parts.journal.get()
        try:
            asked = [await self._look_at_payment(call), await self._look_at_transaction(call)]
        except ServiceError as exc:
            # What the journal has is still true; the chain is asked again next time.
            logger.info("call %s was not looked up: %s", call.id, exc)
            return call
        return await journal.get(call.id, call.principal) if any(asked) else call

    async def _look_at_payment(self, call: Call) -> bool:
        """Ask what became of the payment of a call; false where there is nothing to ask."""
        if call.cap is None or call.cap.status != "open" or call.status == "running":
            return False
        caps = await self._paying.caps.get()
        if call.cap.account.key != caps.account.key:
            return False
        await caps.look()
        return True

    async def _look_at_transaction(self, call: Call) -> bool:
        """Ask what became of the transaction of a call; false where there is nothing to ask."""
        doubtful = call.orphaned or call.stage is Stage.SENT_UNKNOWN
        if not call.transaction_hashes and not call.orphaned:
            return False
        if (call.status == "running" and not call.orphaned) or not (
            doubtful or call.stage is Stage.CHARGED
        ):
            return False
        if await end_publication(await self._parts.journal.get(), call):
            return True
        history = await self._history_of(call)
        await (history.look_again(call) if doubtful else history.confirm(call))
        return True

    async def _history_of(self, call: Call) -> History:
        """Return what knows the chain that a call's transaction went to."""
        base_chain_id = (await self._parts.network.get()).base_chain_id
        of_payments = call.account is not None and call.account.chain_id == base_chain_id
        return await (self._paying if of_payments else self._parts).history.get()

    async def _replace(self, call_id: str, principal: str, *, cancel: bool) -> CallInfo:
        journal = await self._parts.journal.get()
        call = await journal.get(call_id, principal)
        await (await self._history_of(call)).replace(call, cancel=cancel)
        return await self.get_call(call_id, 0.0, principal=principal)


def _chain_id_of(receipt: Mapping[str, Any]) -> object:
    """Read which chain a receipt's transaction is on; of any origin."""
    part = receipt.get("chain")
    return part.get("chain_id") if isinstance(part, Mapping) else None
