"""What a session offers of language and images: the public methods, in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from og_mcp import catalogue
from og_mcp.client.session.approving import Approving
from og_mcp.client.session.asking import Asking
from og_mcp.client.session.calling import Terms
from og_mcp.client.session.parts import Parts
from og_mcp.client.session.payment_parts import PaymentParts
from og_mcp.client.session.wishes import Drawing, How, Sampling, Wishes
from og_mcp.types import (
    DEFAULT_MAX_TOKENS,
    LOCAL_PRINCIPAL,
    AllowanceResult,
    ChatResult,
    CompletionResult,
    ImageResult,
    LLMModeName,
    SearchResult,
    SettlementModeName,
)

if TYPE_CHECKING:
    from og_mcp.client.images.images import Kept
    from og_mcp.client.llm.gateway_answer import Counted


class Language:
    """Chats, completions and images; `Session` is one.

    Args:
        parts: What a session consists of.
        paying: Its part that pays gateways.
    """

    def __init__(self, parts: Parts, paying: PaymentParts) -> None:
        self._parts, self._paying = parts, paying
        self._asking = Asking(parts, paying)
        self._approving = Approving(parts, paying)

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
        counted: Counted | None = None,
    ) -> ChatResult:
        """Chat with a language model and return its verified answer; costs OPG, or gas on chain.

        The call is journalled before anything is sent. The same request, repeated with the same
        key, or while its first answer is under way or was never delivered, is the same call.

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
            idempotency_key: Names the request; the same key never pays twice.
            dry_run: Check and price the call, and send nothing that costs.
            principal: Who asks; calls of others are neither joined nor seen.
            wait_s: Seconds after which a running call is handed back; `None`: wait for its end.
            counted: Told of progress in pieces of text, where the answer is streamed.

        Raises:
            InputError: The request cannot be made; nothing was sent.
            ApprovalRequiredError: OG_CONFIRM_ABOVE asks for a person's consent first.
            PaymentError: It cannot be paid; `stage` says whether a signature left.
            OPGCapError: OG_MAX_PER_CALL is in the way; BudgetExceededError: OG_MAX_PER_DAY.
            GatewayError: No usable answer; AnswerLostError after it may have been charged.
            VerificationError: The answer is not what its TEE signed; it is withheld.

        Source: protocol.md section 4; on chain sections 3.1 and 3.2.
        """
        how = How(
            terms=Terms(principal, idempotency_key, wait_s),
            mode=inference_mode,
            settlement=settlement_mode,
            max_retries=max_retries,
            dry_run=dry_run,
            counted=counted,
        )
        sampling = Sampling(
            max_tokens=max_tokens, stop_sequence=stop_sequence, temperature=temperature
        )
        wishes = Wishes(
            tools=tools,
            tool_choice=tool_choice,
            response_format=response_format or {},
            web_search=web_search,
        )
        return await self._asking.chat(model, messages, sampling, wishes, how)

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
        how = How(
            terms=Terms(principal, idempotency_key, wait_s),
            mode=inference_mode,
            settlement=settlement_mode,
            max_retries=max_retries,
            dry_run=dry_run,
        )
        sampling = Sampling(
            max_tokens=max_tokens, stop_sequence=stop_sequence, temperature=temperature
        )
        return await self._asking.completion(model, prompt, sampling, how)

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
            idempotency_key: As for `chat`.
            dry_run: As for `chat`.
            principal: As for `chat`.
            wait_s: As for `chat`.

        Raises:
            As `chat`. The signature of a TEE does not cover the bytes of an image.
        """
        how = How(
            terms=Terms(principal, idempotency_key, wait_s),
            settlement=settlement_mode,
            dry_run=dry_run,
        )
        drawing = Drawing(
            width=width,
            height=height,
            aspect_ratio=aspect_ratio,
            resolution=resolution,
            count=count,
            images=images,
            save_as=save_as,
        )
        return await self._asking.generate_image(model, prompt, drawing, how)

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
            idempotency_key: As for `chat`.
            dry_run: As for `chat`.
            principal: As for `chat`.
            wait_s: As for `chat`.

        Raises:
            As `chat`. The signature covers the content, and not the citations.
        """
        how = How(
            terms=Terms(principal, idempotency_key, wait_s),
            settlement=settlement_mode,
            dry_run=dry_run,
        )
        return await self._asking.web_search(query, num_results, recency_days, how)

    def models(self, *, retired: bool = False) -> tuple[catalogue.Entry, ...]:
        """Return the language and image models of the network; asks nobody.

        Args:
            retired: Those that do not answer any more, too.
        """
        network, today = self._parts.settings.network, self._parts.today()
        found = catalogue.models() if retired else catalogue.living(today)
        # The local network, which has no record yet, answers by both routes.
        wanted = {"gateway" if network.tee_registry else "on_chain"} if network else None
        return tuple(one for one in found if wanted is None or one.generation in wanted)

    async def image(self, sha256: str, *, principal: str = LOCAL_PRINCIPAL) -> Kept:
        """Return an image that a call made, whole.

        Raises:
            NotFoundError: The principal has none of that hash.
        """
        kept: Kept = await (await self._parts.images.get()).read(sha256, principal)
        return kept

    async def image_preview(
        self, sha256: str, most_bytes: int, *, principal: str = LOCAL_PRINCIPAL
    ) -> Kept:
        """Return a JPEG small enough for a host to show, empty if none is; else as `image`."""
        images = await self._parts.images.get()
        preview: Kept = await images.preview(sha256, principal, most_bytes)
        return preview

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
            idempotency_key: As for `chat`.
            dry_run: As for `chat`.
            principal: As for `chat`.
            wait_s: As for `chat`.

        Raises:
            InputError: It is no amount.
            ApprovalRequiredError: A person always has to agree first.
            ChainError: As for `infer`, on the payment chain.

        Source: protocol.md section 7, `approve` of the token.
        """
        terms = Terms(principal, idempotency_key, wait_s)
        return await self._approving.approve(amount_opg, terms, dry_run=dry_run)
