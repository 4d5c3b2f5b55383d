"""The session: what callers see of the client.

This is the light face. What is behind it (web3, numpy, SQLAlchemy and their like) is imported once, in a
thread, when it is first needed or `Session.preload` is called: `_import` below is the one place for that.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from anyio import to_thread

from og_mcp import catalogue
from og_mcp.calls import Journal
from og_mcp.catalogue import utc_today
from og_mcp.client.calls.consent import APPROVAL_MARGIN, needs_consent
from og_mcp.client.calls.operation import Terms
from og_mcp.client.calls.since import since_of
from og_mcp.client.hub.known import KnownGraphs
from og_mcp.client.wire.timeouts import Timeouts
from og_mcp.errors import (
    InputError,
    NoWalletError,
    OGError,
    ServiceError,
    ShuttingDownError,
    coins,
    fee_text,
    quote,
)
from og_mcp.imports import importing
from og_mcp.networks import LOCAL_BASE_CHAIN_ID, NETWORKS, shown
from og_mcp.settings import Settings
from og_mcp.types import (
    CANCEL_PAYMENT,
    DEFAULT_MAX_TOKENS,
    LOCAL_PRINCIPAL,
    PUBLISHING_TOOLS,
    AllowanceResult,
    Approval,
    Call,
    CallInfo,
    CallList,
    CallStatus,
    CancellationOffer,
    ChatResult,
    CompletionResult,
    CreatedModel,
    CreatedVersion,
    Diagnosis,
    FileList,
    FoundModels,
    ImageResult,
    InferenceMode,
    InferenceResult,
    LLMModeName,
    Model,
    ModelGraph,
    ModelKind,
    NetworkInfo,
    Progress,
    Pruned,
    SearchResult,
    SettlementModeName,
    Status,
    Totals,
    UploadResult,
    Verification,
)

if TYPE_CHECKING:
    # Bound by `_import`, to what is behind this face.
    from og_mcp.client import diagnostics, operations, presentation, resources
    from og_mcp.client.calls.engine import CallEngine
    from og_mcp.client.images.images import Kept
    from og_mcp.client.llm.gateway_answer import OnProgress
    from og_mcp.client.payments.clock import Clock

logger = logging.getLogger(__name__)

JOURNAL_FILE: Final = "journal.db"
"""Where the journal is in the data folder, unless OG_JOURNAL_URL names another place."""

KNOWN_FOLDER: Final = "models"
"""Where in the data folder models' tensors are kept."""

_IMPORTING: Final = threading.Lock()
_is_imported = False


def _keep_recursion_limit() -> None:
    """Let py_ecc, which eth-account brings, raise the recursion limit now, and take that back.

    It sets 100,000: nested JSON from outside would end the interpreter where it should raise
    RecursionError. Later, other threads would run meanwhile, and CPython's parser does not bear that.
    """
    limit = sys.getrecursionlimit()
    with suppress(ImportError):
        import py_ecc  # noqa: F401, PLC0415 - its first lines alone, in about a millisecond
    sys.setrecursionlimit(limit)


_keep_recursion_limit()


def _import() -> None:
    """Import what is behind the face; blocks for about a second, the first time."""
    global _is_imported, diagnostics, operations, presentation, resources  # noqa: PLW0603
    with _IMPORTING:
        if _is_imported:
            return
        with importing():
            from og_mcp.client import (  # noqa: PLC0415 - the boundary
                diagnostics,
                operations,
                presentation,
                resources,
            )
        _is_imported = True


class Session:
    """One wallet on one network, shared by all callers of a process.

    Opens nothing until a call needs it, and closes what it opened. Safe for concurrent calls.

        async with Session.from_env() as og:
            result = await og.infer(model_cid, {"x": [1.0, 2.0]})

    A call that can cost something is journalled before anything is sent. The same request, repeated
    with the same key, or while its first answer is under way or was never delivered, is the same
    call. Methods share these arguments:

    * `idempotency_key` names the request; the same key never pays twice.
    * `dry_run`: check and price the call, and send nothing that costs.
    * `principal`: who asks; calls of others are neither joined nor seen.
    * `wait_s`: seconds after which a running call is handed back; `None`: wait for its end.

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
        self._timeouts, self._journal, self._clock = timeouts or Timeouts(), journal, clock
        self._today = today
        self._known = KnownGraphs(settings.data_dir / KNOWN_FOLDER, settings.network_name)
        self._opened: resources.Resources | None = None
        self._is_ending = False

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
        if self._opened is not None:
            await self._opened.aclose()

    @staticmethod
    async def preload() -> None:
        """Import what calls need, off the event loop: about a second, the first time."""
        if not _is_imported:
            await to_thread.run_sync(_import)

    async def _resources(self) -> resources.Resources:
        """Return what the session opens, each thing when it is first needed."""
        await self.preload()
        if self._opened is None:
            self._opened = resources.Resources(
                self.settings,
                self._timeouts,
                self._known,
                journal=self._journal,
                clock=self._clock,
                today=self._today,
            )
        return self._opened

    async def end_calls(self, grace_s: float) -> None:
        """Take no new calls, end those that have signed nothing, and wait for the others.

        What has signed nothing ends at `not_sent`, and may be repeated under its key. What was
        told before, and the calls that were made, can still be read.

        Args:
            grace_s: Seconds to wait for the ends of calls that may be paid. What runs on then ends
                with the session; its end is looked up by the next one.
        """
        self._is_ending = True
        opened = self._opened
        if opened is not None and opened.journal.opened is not None:
            # Also if it is not open yet: a call may be about to open it.
            await (await opened.engine.get()).end(grace_s)

    async def _engine(self) -> CallEngine:
        """Return what runs calls.

        Raises:
            ShuttingDownError: No call is taken any more.
        """
        engine = await (await self._resources()).engine.get()
        if self._is_ending:
            raise ShuttingDownError
        return engine

    async def recover(self) -> None:
        """Begin to settle, in the background, what an earlier process left interrupted.

        For a server, which may wait long for its first call; nothing is signed. Where no journal
        was kept, or the network is one that this process starts itself, there is nothing to find.
        """
        if not self._may_have_interrupted_calls:
            return
        opened = await self._resources()

        async def look() -> None:
            if await (await opened.journal.get()).unfinished():
                await opened.own.recovered.get()

        (await opened.tasks.get()).start_soon(resources.log_errors, look)

    @property
    def _may_have_interrupted_calls(self) -> bool:
        """Whether an earlier process can have left something to settle on this network."""
        settings = self.settings
        own_network = settings.local and settings.localnet_ready_file is None
        kept = settings.journal_url is not None or (settings.data_dir / JOURNAL_FILE).exists()
        return kept and not own_network and (settings.local or settings.wallet is not None)

    @property
    def _has_network(self) -> bool:
        """Whether the network can be asked without one being started for it."""
        started = self._opened is not None and self._opened.network.opened is not None
        return started or self.settings.localnet_ready_file is not None or not self.settings.local

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
            ApprovalRequiredError: OG_CONFIRM_ABOVE asks for a person's consent first.
            ChainError: The chain, or a guard in front of it, refused; `stage` says whether gas was
                paid. After TransactionPendingError the transaction may still be mined.
            ServiceError: Journal or RPC cannot be used; nothing was sent.

        Source: protocol.md sections 3.1 to 3.3.
        """
        if self.settings.wallet is None and not self.settings.local:
            raise NoWalletError("infer", self.settings.network_name)
        terms, opened = Terms(principal, idempotency_key, wait_s), await self._resources()
        requests = operations.InferenceRequests(
            self._known, opened.graphs, opened.hub, opened.files, opened.own.chain
        )
        asked = await requests.check(
            model_cid, model_input, inference_mode, max_retries=max_retries
        )
        operation = operations.Infer(
            await opened.own.access(),
            asked,
            opened.inference,
            max_fee_per_call=self.settings.max_fee_per_call,
            max_retries=max_retries,
        )
        engine = await self._engine()
        if dry_run:
            return await engine.dry_run(operation)
        return await engine.run(operation, terms)

    async def output(self, sha256: str, *, principal: str = LOCAL_PRINCIPAL) -> bytes:
        """Return the file of a large output of `infer`, whole: .npy, or JSON.

        Raises:
            NotFoundError: The principal has none of that hash.
        """
        return await (await (await self._resources()).outputs.get()).read(sha256, principal)

    # Language and images.

    async def chat(  # noqa: PLR0913 - what a caller may say, by name
        self,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        inference_mode: LLMModeName = "AUTO",
        *,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        stop_sequence: Sequence[str] = (),
        temperature: float = 0.0,
        tools: Sequence[Mapping[str, Any]] = (),
        tool_choice: str = "",
        max_retries: int = 5,
        response_format: Mapping[str, Any] | None = None,
        web_search: bool = False,
        settlement_mode: SettlementModeName = "batch",
        idempotency_key: str = "",
        dry_run: bool = False,
        principal: str = LOCAL_PRINCIPAL,
        wait_s: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> ChatResult:
        """Chat with a language model and return its verified answer; costs OPG, or gas on chain.

        Args:
            model: `provider/name`, a bare name, or an enum member's name; empty for
                OG_CHAT_MODEL.
            messages: OpenAI-shaped: text, image and file parts, tool calls and their results.
            inference_mode: AUTO is TEE where the network has gateways, else VANILLA; VANILLA is a
                transaction of the inference contract.
            max_tokens: The answer's most, in tokens.
            stop_sequence: Texts that end the answer.
            temperature: 0 to 2; on chain 0 to 1 in hundredths. A model that takes none is sent none:
                0 stands for not given, as it does in what a TEE signs.
            tools: OpenAI-shaped functions that the model may ask for.
            tool_choice: `auto`, `none`, `required`, or a function's name.
            max_retries: As for `infer`; on chain only. What may have reached a gateway is never
                sent again.
            response_format: OpenAI-shaped; gateways only.
            web_search: Has no effect at today's gateways; `web_search` searches.
            settlement_mode: What the gateway settles beside the payment. `batch` publishes hashes
                of request and answer, from which a short one can be guessed; `private` nothing.
            on_progress: Told of progress in pieces of text, where the answer is streamed.

        Raises:
            InputError: The request cannot be made; nothing was sent.
            ApprovalRequiredError: OG_CONFIRM_ABOVE asks for a person's consent first.
            PaymentError: It cannot be paid; `stage` says whether a signature left.
            OPGCapError: OG_MAX_PER_CALL is in the way; BudgetExceededError: OG_MAX_PER_DAY.
            GatewayError: No usable answer; AnswerLostError after it may have been charged.
            VerificationError: The answer is not what its TEE signed; it is withheld.

        Source: protocol.md section 4; on chain sections 3.1 and 3.2.
        """
        terms, opened = Terms(principal, idempotency_key, wait_s), await self._resources()
        sampling = operations.SamplingOptions(
            max_tokens=max_tokens, stop_sequence=stop_sequence, temperature=temperature
        )
        options = operations.ChatOptions(
            tools=tools,
            tool_choice=tool_choice,
            response_format=response_format or {},
            web_search=web_search,
        )
        operation: operations.Chat | operations.OnchainChat
        route, entry = (await self._models()).to_llm(
            model, inference_mode, operations.fits_chat(messages, options)
        )
        if route == "gateway":
            operation = await operations.Chat.of(
                self._access(opened, principal, settlement_mode),
                entry,
                messages,
                sampling,
                options,
                await self._attachments(),
                on_progress,
            )
        else:
            request = operations.onchain_chat(
                entry.id, messages, route, sampling, options, settlement_mode
            )
            chain, llm = await opened.own.access(), opened.onchain_llm
            operation = operations.OnchainChat(chain, request, llm, max_retries=max_retries)
        engine = await self._engine()
        if dry_run:
            return await engine.dry_run(operation)
        return await engine.run(operation, terms)

    async def completion(  # noqa: PLR0913 - what a caller may say, by name
        self,
        model: str,
        prompt: str,
        inference_mode: LLMModeName = "AUTO",
        *,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        stop_sequence: Sequence[str] = (),
        temperature: float = 0.0,
        max_retries: int = 5,
        settlement_mode: SettlementModeName = "batch",
        idempotency_key: str = "",
        dry_run: bool = False,
        principal: str = LOCAL_PRINCIPAL,
        wait_s: float | None = None,
    ) -> CompletionResult:
        """Have a prompt continued and return the verified text; arguments and errors as `chat`."""
        terms, opened = Terms(principal, idempotency_key, wait_s), await self._resources()
        sampling = operations.SamplingOptions(
            max_tokens=max_tokens, stop_sequence=stop_sequence, temperature=temperature
        )
        operation: operations.Completion | operations.OnchainCompletion
        route, entry = (await self._models()).to_llm(model, inference_mode, lambda _: True)
        if route == "gateway":
            access = self._access(opened, principal, settlement_mode)
            operation = await operations.Completion.of(access, entry, prompt, sampling)
        else:
            request = operations.onchain_completion(
                entry.id, prompt, route, sampling, settlement_mode
            )
            chain, llm = await opened.own.access(), opened.onchain_llm
            operation = operations.OnchainCompletion(chain, request, llm, max_retries=max_retries)
        engine = await self._engine()
        if dry_run:
            return await engine.dry_run(operation)
        return await engine.run(operation, terms)

    async def generate_image(  # noqa: PLR0913 - what a caller may say, by name
        self,
        model: str,
        prompt: str,
        height: int = 0,
        width: int = 0,
        *,
        aspect_ratio: str = "",
        resolution: str = "",
        count: int = 1,
        images: Sequence[Mapping[str, Any] | str] = (),
        save_as: str = "",
        settlement_mode: SettlementModeName = "batch",
        idempotency_key: str = "",
        dry_run: bool = False,
        principal: str = LOCAL_PRINCIPAL,
        wait_s: float | None = None,
    ) -> ImageResult:
        """Have images drawn; each is kept whole as a file, named by its SHA-256. Costs OPG.

        Args:
            model: An image model, named as for `chat`; empty for OG_IMAGE_MODEL.
            prompt: What is to be drawn.
            height: Pixels; 0 for the model's own.
            width: Pixels; 0 for the model's own. Another size than the model's is made by scaling
                until it covers, and cutting at the centre; the result names the original too.
            aspect_ratio: One that the model takes, e.g. `16:9`; empty for its own.
            resolution: For models with tiers, e.g. `2K`; empty for its own.
            count: Images to draw, 1 to 10.
            images: Pictures to start from, at most 10: `{"file": path}` below OG_UPLOAD_ROOTS, or
                `{"uri": ...}` with an og://images/ or `data:` URI (or that URI alone).
            save_as: Name of a copy in OG_DATA_DIR/saved, which must not exist; its ending, .png,
                .jpg or .webp, says the type. Further images are numbered. Not over HTTP.
            settlement_mode: As for `chat`.

        Raises:
            As `chat`. The signature of a TEE does not cover the bytes of an image.
        """
        terms, opened = Terms(principal, idempotency_key, wait_s), await self._resources()
        options = operations.ImageOptions(
            width=width,
            height=height,
            aspect_ratio=aspect_ratio,
            resolution=resolution,
            count=count,
            images=images,
            save_as=save_as,
        )
        fits = operations.fits_images(options)
        operation = await operations.GenerateImage.of(
            self._access(opened, principal, settlement_mode),
            (await self._models()).to_image_model(model, fits),
            prompt,
            options,
            await opened.images.get(),
            await self._attachments(),
        )
        engine = await self._engine()
        if dry_run:
            return await engine.dry_run(operation)
        return await engine.run(operation, terms)

    async def web_search(  # noqa: PLR0913 - what a caller may say, by name
        self,
        query: str,
        num_results: int = 0,
        recency_days: int = 0,
        *,
        settlement_mode: SettlementModeName = "batch",
        idempotency_key: str = "",
        dry_run: bool = False,
        principal: str = LOCAL_PRINCIPAL,
        wait_s: float | None = None,
    ) -> SearchResult:
        """Have a gateway search the web and return what it signed; costs OPG.

        Args:
            query: What is searched for, up to 2,000 characters; it leaves this machine.
            num_results: 0 for the gateway's own number.
            recency_days: How old a page may be; 0 for any age.
            settlement_mode: As for `chat`.

        Raises:
            As `chat`. The signature covers the content, and not the citations.
        """
        terms, opened = Terms(principal, idempotency_key, wait_s), await self._resources()
        (await self._models()).to_gateway("search the web")
        access = self._access(opened, principal, settlement_mode)
        operation = await operations.WebSearch.of(access, query, num_results, recency_days)
        engine = await self._engine()
        if dry_run:
            return await engine.dry_run(operation)
        return await engine.run(operation, terms)

    async def _models(self) -> operations.Models:
        network = await (await self._resources()).network.get()
        return operations.Models(self.settings, network, self._today())

    async def _attachments(self) -> operations.Attachments:
        """Begin to gather the files of one request."""
        takes_urls = self.settings.local or self.settings.allow_image_urls
        files = await (await self._resources()).files.get()
        return operations.Attachments(files, takes_urls=takes_urls)

    def _access(
        self, opened: resources.Resources, principal: str, settlement: SettlementModeName
    ) -> operations.GatewayAccess:
        return operations.GatewayAccess(
            settings=self.settings,
            today=self._today(),
            llm=opened.llm,
            payments=opened.payments,
            settlements=opened.settlements,
            opg_price=opened.opg_price,
            principal=principal,
            settlement=settlement,
        )

    def models(self, *, retired: bool = False) -> tuple[catalogue.CatalogueEntry, ...]:
        """Return the language and image models of the network; asks nobody.

        Args:
            retired: Those that do not answer any more, too.
        """
        network, today = self.settings.network, self._today()
        found = catalogue.models() if retired else catalogue.living(today)
        # The local network, which has no record yet, answers by both routes.
        wanted = {"gateway" if network.tee_registry else "on_chain"} if network else None
        return tuple(one for one in found if wanted is None or one.generation in wanted)

    async def image(self, sha256: str, *, principal: str = LOCAL_PRINCIPAL) -> Kept:
        """Return an image that a call made, whole.

        Raises:
            NotFoundError: The principal has none of that hash.
        """
        return await (await (await self._resources()).images.get()).read(sha256, principal)

    async def image_preview(
        self, sha256: str, max_bytes: int, *, principal: str = LOCAL_PRINCIPAL
    ) -> Kept:
        """Return a JPEG small enough for a host to show, empty if none is; else as `image`."""
        images = await (await self._resources()).images.get()
        return await images.preview(sha256, principal, max_bytes)

    async def approve_opg(
        self,
        amount_opg: str,
        *,
        idempotency_key: str = "",
        dry_run: bool = False,
        principal: str = LOCAL_PRINCIPAL,
        wait_s: float | None = None,
    ) -> AllowanceResult:
        """Let Permit2, which gateways are paid through, take OPG; costs gas on the payment chain.

        Args:
            amount_opg: Decimal OPG, in place of what it may take now; "0" revokes.

        Raises:
            InputError: It is not an amount.
            ApprovalRequiredError: A person always has to agree first.
            ChainError: As for `infer`, on the payment chain.

        Source: protocol.md section 7, `approve` of the token.
        """
        terms, opened = Terms(principal, idempotency_key, wait_s), await self._resources()
        amount, network = operations.base_units(amount_opg), await opened.network.get()
        if not network.tee_registry:
            raise InputError(
                f"Network {network.name} has no gateways: nothing there is paid in OPG, and no "
                "allowance is needed.",
                "Use OG_NETWORK=opengradient to pay gateways.",
            )
        if amount == 0 and not await (await opened.allowance.get()).current():
            rpc = (await opened.base.chain.get()).rpc_shown
            return AllowanceResult(
                network=self.settings.network_name,
                status="done",
                allowance_opg="0",
                note=f"Nothing was sent: the allowance is 0 already, says {rpc}.",
            )
        operation = operations.ApproveOPG(await opened.base.access(), amount, opened.allowance)
        engine = await self._engine()
        if dry_run:
            return await engine.dry_run(operation)
        return await engine.run(operation, terms)

    # Repositories and models on the Model Hub.

    async def create_model(  # noqa: PLR0913 - what a caller may say, by name
        self,
        model_name: str,
        model_desc: str,
        model_path: str = "",
        *,
        ask: bool = False,
        progress: Progress | None = None,
        principal: str = LOCAL_PRINCIPAL,
        wait_s: float | None = None,
    ) -> CreatedModel:
        """Create a public repository with its first version; with a file, upload that too.

        Cannot be undone. The file is checked before anything is created. Where the account has a
        repository of that name, the call continues with what is missing of it.

        Args:
            model_name: As it will be named on the hub.
            model_desc: What it says of itself, public.
            model_path: A model file below OG_UPLOAD_ROOTS.
            ask: A person can be asked, so one has to agree first.
            progress: Counts the bytes of the file that were sent.

        Raises:
            NoAccountError: No hub account is configured; also a RuntimeError.
            SignInError: The account is refused.
            InputError: The file may not be read, or is none that is published.
            NameTakenError: Another author has the name.
            ApprovalRequiredError: A person has to agree first.
            PublishingStoppedError: Some steps are done, and a later one failed.
            ServiceError: The hub refuses, or cannot be used.

        Source: protocol.md section 5.
        """
        # First: once the file is open, the engine alone closes it.
        engine, hub = (
            await self._engine(),
            await self._hub(principal, can_ask=ask, progress=progress),
        )
        operations.check_texts(model_name=model_name, model_desc=model_desc)
        operation = operations.CreateModel(
            hub,
            {"model_name": model_name, "model_desc": model_desc},
            await self._open_file(hub, "create_model", model_path) if model_path else None,
        )
        return await engine.run(operation, Terms(principal, wait_s=wait_s))

    async def create_version(  # noqa: PLR0913 - what a caller may say, by name
        self,
        model_name: str,
        notes: str = "",
        *,
        is_major: bool = False,
        ask: bool = False,
        principal: str = LOCAL_PRINCIPAL,
        wait_s: float | None = None,
    ) -> CreatedVersion:
        """Add a public version to one's own repository; cannot be undone.

        Args:
            model_name: The repository.
            notes: What is new in it, public.
            is_major: 0.02 is followed by 1.00 rather than by 0.03.
            ask: As for `create_model`.

        Raises:
            ModelNotFoundError: The account has no such repository.
            As `create_model`, but for the file.
        """
        hub = await self._hub(principal, can_ask=ask)
        operations.check_texts(model_name=model_name, notes=notes)
        request = {"model_name": model_name, "notes": notes, "is_major": is_major}
        operation = operations.CreateVersion(hub, request)
        engine = await self._engine()
        return await engine.run(operation, Terms(principal, wait_s=wait_s))

    async def upload(  # noqa: PLR0913 - what a caller may say, by name
        self,
        model_path: str,
        model_name: str,
        version: str,
        *,
        ask: bool = False,
        progress: Progress | None = None,
        principal: str = LOCAL_PRINCIPAL,
        wait_s: float | None = None,
    ) -> UploadResult:
        """Publish a file under a version of one's own repository; cannot be undone.

        The file is streamed, whatever its size, and every byte is checked before it is sent: no
        keys or tokens, an ONNX file whole and with its weights inside. A file that the version has
        already is not sent again.

        Args:
            model_path: A model file below OG_UPLOAD_ROOTS.
            model_name: The repository.
            version: As create_version told it.
            ask: As for `create_model`, and so is `progress`.

        Raises:
            ModelNotFoundError: There is no such model or version.
            UploadFailedError: It did not arrive; `stage` says whether it may be published.
            As `create_model`.
        """
        # First, as in `create_model`.
        engine, hub = (
            await self._engine(),
            await self._hub(principal, can_ask=ask, progress=progress),
        )
        operations.check_texts(model_name=model_name, version=version)
        operation = operations.Upload(
            hub,
            {"model_name": model_name, "version": version},
            await self._open_file(hub, "upload", model_path),
        )
        return await engine.run(operation, Terms(principal, wait_s=wait_s))

    async def _hub(
        self, principal: str, *, can_ask: bool, progress: Progress | None = None
    ) -> operations.HubAccess:
        opened = await self._resources()
        return operations.HubAccess(
            network_name=self.settings.network_name,
            account=opened.account,
            publisher=opened.publisher,
            files=await opened.publishable_files.get(),
            known=self._known,
            principal=principal,
            can_ask=can_ask,
            progress=progress or operations.Uncounted(),
        )

    async def _open_file(
        self, hub: operations.HubAccess, tool: str, path: str
    ) -> operations.Publishable:
        # What a person agrees to is this content, not whatever the file holds later.
        asks = needs_consent(self.settings, tool, can_ask=hub.can_ask)
        return await hub.files.open(path, hashed=asks)

    async def search_models(
        self,
        query: str = "",
        kind: ModelKind | None = None,
        author: str = "",
        *,
        page: int = 0,
        limit: int = 20,
    ) -> FoundModels:
        """Find models by words of name, author and description.

        Args:
            query: Each of its words must occur; empty for every model.
            kind: `onnx` files of the hub, `llm` or `image` models of the network; `None`: all.
            author: Only that author's; for llm and image the provider.
            page: From 0.
            limit: Models of one page.

        Raises:
            ServiceError: The hub cannot be used.
        """
        opened = await self._resources()
        return await operations.search(
            await opened.hub.get(),
            await opened.network.get(),
            query=query,
            kind=kind,
            author=author,
            page=page,
            limit=limit,
            today=self._today(),
        )

    async def list_files(self, model_name: str, version: str) -> FileList:
        """List the files of one version of a model repository.

        Raises:
            ModelNotFoundError: There is no such model or version.
            ServiceError: The hub cannot be used.
        """
        opened = await self._resources()
        listed = await (await opened.hub.get()).list_files(model_name, version)
        await (await opened.graphs.get()).describe(listed.files)
        return listed

    async def get_model(self, model_name: str, author: str = "") -> Model:
        """Return a model repository: versions, files, content ids and tensors where known.

        Raises:
            ModelNotFoundError: There is no such model.
            AmbiguousModelError: Several authors have one of that name and none was given.
            ServiceError: The hub cannot be used.
        """
        opened = await self._resources()
        model = await (await opened.hub.get()).get_model(model_name, author)
        await (await opened.graphs.get()).describe_model(model)
        return model

    async def model_names(self) -> list[str]:
        """Return names of models on the hub, to be offered; starts no network for it.

        Raises:
            ServiceError: The hub cannot be used.
        """
        if not self._has_network:
            return []
        return await (await (await self._resources()).names.get()).get()

    def known_graph(self, model_cid: str) -> ModelGraph | None:
        """Return what a model takes where that was learned before; asks nobody but the disk."""
        return self._known.load(model_cid) or self._known.get(model_cid)

    async def learn(
        self, model_cids: Iterable[str], told: Callable[[str, ModelGraph], Awaitable[None]]
    ) -> None:
        """Begin to find out, in the background, what models take; starts no network for it.

        Args:
            model_cids: Of published models.
            told: Hears each answer.
        """
        network = self.settings.network
        served = network is None or network.hub_file_url != ""
        if not (served and self._has_network):
            return
        opened = await self._resources()

        async def ask() -> None:
            graphs = await opened.graphs.get()
            for cid in tuple(model_cids):
                graph = await graphs.find(cid, from_file=True)
                if graph is not None:
                    await told(cid, graph)

        (await opened.tasks.get()).start_soon(resources.log_errors, ask, "published models")

    # The calls that were made, what they cost, and what they left as proof.

    async def get_call(
        self, call_id: str, wait_s: float = 20.0, *, principal: str = LOCAL_PRINCIPAL
    ) -> CallInfo:
        """Return a call, waiting up to `wait_s` seconds for its end; a failed one is told here.

        Args:
            call_id: Its id, or the first characters of it.
            wait_s: How long to wait.

        Raises:
            CallNotFoundError: The principal has no such call.
            AmbiguousCallError: Several begin so.
        """
        opened = await self._resources()
        journal = await opened.journal.get()
        call_id = await journal.full_id(call_id, principal)
        call = await journal.wait(call_id, principal, wait_s)
        try:
            if await opened.recovery.refresh(call):
                call = await journal.get(call.id, call.principal)
        except ServiceError as exc:
            # What the journal has is still true; the chain is asked again next time.
            logger.info("call %s was not looked up: %s", call.id, exc)
        if call.status != "running":
            await journal.deliver(call_id)
        return presentation.info_of(call)

    async def is_delivered(self, call_id: str, *, principal: str = LOCAL_PRINCIPAL) -> bool:
        """Tell whether the end of a call was handed over already.

        Raises:
            CallNotFoundError: The principal has no such call.
        """
        call = await self._own(call_id, principal)
        return call.delivered_at is not None

    async def list_calls(  # noqa: PLR0913 - what may be asked for, by name
        self,
        limit: int = 20,
        status: CallStatus | None = None,
        tool: str = "",
        *,
        since: str = "",
        page: int = 0,
        principal: str = LOCAL_PRINCIPAL,
    ) -> CallList:
        """Return a principal's calls, the newest first, and what all of them cost.

        Args:
            limit: Calls on a page.
            status: Only those.
            tool: Only that tool's.
            since: Only calls from then on, as `since_of` reads it.
            page: From 0.

        Raises:
            InputError: `since` is not a time of the past.
        """
        after = since_of(since)
        journal = await (await self._resources()).journal.get()
        found = await journal.list_calls(
            principal, limit + 1, status, tool, since=after, skip=page * limit
        )
        own, base = await self._totals(journal, principal)
        spent_opg, open_opg = await journal.opg_totals(principal)
        fees_wei = sum(total.fees_wei for total in own)
        return CallList(
            network=self.settings.network_name,
            calls=[presentation.info_of(call, is_whole=False) for call in found[:limit]],
            next_page=page + 1 if len(found) > limit else 0,
            spent_opg=coins(spent_opg),
            open_opg=coins(open_opg),
            fees=fee_text(fees_wei),
            fees_wei=fees_wei,
            open_wei=sum(total.open_wei for total in own),
            base_fees_wei=sum(total.fees_wei for total in base),
            base_open_wei=sum(total.open_wei for total in base),
        )

    async def _totals(self, journal: Journal, principal: str) -> tuple[list[Totals], list[Totals]]:
        """Sum up what calls of the network in use cost: on its own chain, and on the payment chain.

        Their coins are two, and those of other networks are others again.
        """
        chains = {LOCAL_BASE_CHAIN_ID, *(network.base_chain_id for network in NETWORKS.values())}
        with suppress(OGError):
            # What was spent is told without a network, too; then by the chain ids that are known.
            if self._has_network:
                chains.add((await (await self._resources()).network.get()).base_chain_id)
        name = self.settings.network_name
        # A local network's accounts have the hash of its first block behind the name.
        found = [
            total
            for total in await journal.totals(principal)
            if total.network.partition(":")[0] == name
        ]
        own = [total for total in found if total.chain_id not in chains]
        return own, [total for total in found if total.chain_id in chains]

    async def receipt(self, call_id: str, *, principal: str = LOCAL_PRINCIPAL) -> dict[str, Any]:
        """Return the receipt of a call (interface.md section 4).

        Raises:
            CallNotFoundError: The principal has no such call.
            InputError: It has no receipt: it published, or has not paid for anything yet.
        """
        call = await self._own(call_id, principal)
        if not call.receipt:
            raise InputError(*_without_receipt(call))
        return presentation.receipt_of(call)

    async def verify_receipt(
        self,
        receipt: Mapping[str, Any] | None = None,
        *,
        call_id: str = "",
        online: bool = False,
        principal: str = LOCAL_PRINCIPAL,
    ) -> Verification:
        """Check a receipt offline, or also ask the chain for its transaction.

        A file that has a key twice in an object is refused. Of a receipt that is given itself, that
        cannot be seen: its JSON was parsed before, and the last one counts.

        Args:
            receipt: The receipt itself, or `{"file": path}` below OG_UPLOAD_ROOTS; or
            call_id: the call whose receipt it is.
            online: Ask the chain too.

        Raises:
            InputError: Neither or both were given, the call has no receipt, or the file is none or
                may not be read.
        """
        if bool(receipt) == bool(call_id):
            raise InputError("A receipt or a call_id is needed, and not both.", "Give one of them.")
        opened = await self._resources()
        checked: Any = receipt or await self.receipt(call_id, principal=principal)
        if set(checked) == {"file"}:
            checked = await presentation.saved_receipt(await opened.files.get(), checked["file"])
        if online:
            verified = await diagnostics.verify_online(opened, checked)
        else:
            known = self.settings.network
            verified = await to_thread.run_sync(presentation.verify, checked, known)
        name = verified.network or self.settings.network_name
        return verified.model_copy(update={"network": name})

    async def reconcile(self) -> list[CallInfo]:
        """Settle what was interrupted, by hash and nonce; nothing is signed again.

        Raises:
            ServiceError: The chain cannot be asked.
        """
        settled = await (await self._resources()).recovery.recover_all()
        return [presentation.info_of(call) for call in settled]

    async def speed_up(self, call_id: str, *, principal: str = LOCAL_PRINCIPAL) -> CallInfo:
        """Sign a stuck call's transaction again at a higher price, within the caps.

        Raises:
            CallStateError: It has no open transaction.
            ChainError: A cap is in the way, or the node did not take it.
        """
        return await self._replace(call_id, principal, cancel=False)

    async def cancel(
        self,
        call_id: str,
        *,
        principal: str = LOCAL_PRINCIPAL,
        max_fee_wei: int | None = None,
    ) -> CallInfo:
        """Cancel what was signed for a call and has no end yet; costs gas.

        The nonce of a stuck transaction is used up by a transfer of nothing to oneself. The payment
        authorization of a gateway's call is made void for every call that it pays for, by a call of
        its own, which is returned; a person has to agree to that first (`cancellation`).

        Args:
            call_id: The call.
            max_fee_wei: What a person agreed that cancelling a payment may cost; `None`: the caps
                alone.

        Raises:
            CallStateError: It has neither open transaction nor open payment.
            ChainError: A cap is in the way, or the node did not take it.
        """
        call, opened = await self._own(call_id, principal), await self._resources()
        if call.cap is None:
            return await self._replace(call_id, principal, cancel=True)
        cancellations = await opened.cancellations.get()
        cap = await cancellations.check(call)
        operation = operations.CancelPayment(
            await opened.base.access(), cap, cancellations, max_fee_wei
        )
        result = await (await self._engine()).run(operation, Terms(call.principal))
        return await self.get_call(result.call_id, 0.0, principal=principal)

    async def cancellation(
        self, call_id: str, *, principal: str = LOCAL_PRINCIPAL
    ) -> CancellationOffer:
        """Tell what it means to cancel the payment authorization of a call; sends nothing.

        Raises:
            CallStateError: It has no open payment.
            ServiceError: The payment chain cannot be asked.
        """
        call, opened = await self._own(call_id, principal), await self._resources()
        cancellations = await opened.cancellations.get()
        cap = await cancellations.check(call)
        chain = await opened.base.access()
        quote = await operations.CancelPayment(chain, cap, cancellations).quote()
        return CancellationOffer(
            call_id=call.id,
            cap=cap,
            calls=await (await opened.journal.get()).paid_calls(cap.id),
            max_fee_wei=quote.max_wei * APPROVAL_MARGIN,
        )

    async def _own(self, call_id: str, principal: str) -> Call:
        journal = await (await self._resources()).journal.get()
        return await journal.get(await journal.full_id(call_id, principal), principal)

    async def _replace(self, call_id: str, principal: str, *, cancel: bool) -> CallInfo:
        call, opened = await self._own(call_id, principal), await self._resources()
        await (await opened.recovery.chain_of(call)).replace(call, cancel=cancel)
        return await self.get_call(call.id, 0.0, principal=principal)

    async def release(self, call_id: str, *, principal: str = LOCAL_PRINCIPAL) -> str:
        """Give a call up that is not mined: it may still be, and its fee counts for 24 hours more.

        Returns:
            The most that it may still cost, in coins.

        Raises:
            CallStateError: It has no open transaction.
        """
        opened = await self._resources()
        call = await (await opened.journal.get()).get(call_id, principal)
        return await (await opened.recovery.chain_of(call)).release(call)

    def needs_consent(self, tool: str, *, max_opg: int = 0) -> bool:
        """Tell whether a person has to agree to a call first (OG_CONFIRM_ABOVE).

        Args:
            tool: Every tool that signs is asked about where the variable is 0.
            max_opg: The most OPG that it may cost, base units.
        """
        return needs_consent(self.settings, tool, max_opg=max_opg)

    async def approval(self, call_id: str) -> Approval:
        """Return what a person is asked to agree to."""
        return await (await (await self._resources()).journal.get()).approval(call_id)

    async def approve(self, call_id: str, shown: Approval | None = None) -> Approval:
        """Record that a person agreed; good for one try within an hour.

        Raises:
            CallStateError: What is asked is no longer what the person was shown.
        """
        return await (await (await self._resources()).journal.get()).approve(call_id, shown)

    async def decline(self, call_id: str) -> datetime:
        """Record that a person said no; returns until when the same request is refused (T48).

        Raises:
            CallStateError: The call does not wait for an answer.
        """
        return await (await (await self._resources()).journal.get()).decline(call_id)

    async def trust(self, recipient: str) -> str:
        """Sign again for a recipient that overcharged; returns what it had done.

        Raises:
            InputError: It has not.
        """
        overcharges = (await (await self._resources()).settlements.get()).overcharges
        found = await overcharges.forgive(recipient)
        if not found:
            raise InputError(
                f"{quote(recipient)} is not a recipient that overcharged.",
                "The tool status and og-mcp doctor name those for whom nothing is signed.",
            )
        return found

    async def prune(self, before: datetime) -> Pruned:
        """Remove delivered calls that ended before a time, and files that none names any more."""
        opened = await self._resources()
        files = await opened.images.get(), await opened.outputs.get()
        return await presentation.prune(await opened.journal.get(), files, before)

    # Whether calls can be paid.

    async def status(self) -> Status:
        """Tell whether calls can be paid, and what to do where they cannot. Never raises for that."""
        opened = await self._resources()
        return await diagnostics.status(opened)

    async def examine(self) -> list[Diagnosis]:
        """Look at everything that calls need, and settle what was interrupted; nothing is signed."""
        opened = await self._resources()
        return await diagnostics.examine(opened)

    async def network_info(self) -> NetworkInfo:
        """Describe the network in use; starts the local one where it is that."""
        network = await (await self._resources()).network.get()
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


def _without_receipt(call: Call) -> tuple[str, str]:
    """Say why a call has no receipt, and what to do instead."""
    if call.tool in PUBLISHING_TOOLS:
        why = f"{call.tool} publishes on the Model Hub, and only calls that pay leave receipts"
        hint = "list_files and get_model show what is published."
    elif call.tool == CANCEL_PAYMENT:
        why = "it cancelled a payment, and only calls that get something leave receipts"
        hint = "get_call shows its transaction."
    else:
        ends = "a receipt is made once a call was answered or paid for"
        why = f"it is {call.status} at stage {call.stage}, and {ends}"
        hint = "get_call shows how far it has come."
    return f"Call {call.id} has no receipt: {why}.", hint
