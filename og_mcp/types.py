"""Annotated names and result shapes; knows nothing else of ours."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Annotated, Any, ClassVar, Final, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic_core import to_json


class Stage(StrEnum):
    """How far a call that can cost something has come."""

    NOT_SENT = "not_sent"
    SENT_UNKNOWN = "sent_unknown"
    CHARGED = "charged"
    CONFIRMED = "confirmed"


class InferenceMode(IntEnum):
    """How the node proves its work; the numbers are the contract's `uint8 mode`."""

    VANILLA = 0
    ZKML = 1
    TEE = 2

    @property
    def word(self) -> InferenceModeName:
        """The name as tools take and give it."""
        return MODE_NAMES[self.value]


InferenceModeName = Literal["VANILLA", "ZKML", "TEE"]
MODE_NAMES: Final[tuple[InferenceModeName, ...]] = ("VANILLA", "ZKML", "TEE")
LLMModeName = Literal["AUTO", "VANILLA", "TEE"]
"""AUTO is TEE where the network has gateways, else VANILLA."""

SettlementModeName = Literal["private", "batch"]
"""What a gateway settles beside the payment; private: nothing."""

DEFAULT_MAX_TOKENS: Final = 1024
"""Longest answer of a chat or completion by default, in tokens."""

CallStatus = Literal["done", "running", "failed"]

LOCAL_PRINCIPAL: Final = "local"
"""Who calls over stdio, from the command line and from a library: the owner of the machine."""

HTTP_PRINCIPAL: Final = "http"
"""Whoever holds the token for HTTP."""

Wei = Annotated[
    int,
    Field(ge=0),
    # JSON numbers lose precision above 2**53; both sides of the wire use a decimal string.
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]+$", "description": "Amount in wei."}),
]


class Shape(BaseModel):
    """Base of result shapes: their fields are fixed."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    answer: ClassVar[tuple[str, ...]] = ()
    """The fields that come first in a result."""

    def shown(self) -> dict[str, Any]:
        """Return it as JSON values for a reader: the answer first, without empty fields."""
        told = self.model_dump(mode="json", exclude_defaults=True)
        return {name: told[name] for name in self.answer if name in told} | told

    def shown_json(self) -> str:
        """Return the same as compact JSON text."""
        return to_json(self.shown()).decode()


class TensorSpec(Shape):
    """One input or output of a model's graph."""

    name: str
    dtype: str = Field(description="ONNX element type, e.g. float, int64, string.")
    shape: list[int] = Field(description="Dimensions; -1 where any size is allowed.")
    any_rank: bool = Field(
        default=False,
        exclude_if=lambda value: not value,
        description="The graph leaves the number of dimensions open; shape is empty.",
    )


class ModelGraph(Shape):
    """What a model takes and gives, as its file says."""

    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    fields: dict[str, list[str]] = Field(
        default={}, description="Input -> what each place of its last axis holds, where named."
    )


class ModelFile(Shape):
    """One file of a model version."""

    name: str
    model_cid: str = Field(description="Content id; infer takes it.")
    size: int = Field(description="Bytes.")
    inputs: list[TensorSpec] = Field(default=[], description="Empty where not known.")
    outputs: list[TensorSpec] = Field(default=[], description="Empty where not known.")


class FileList(Shape):
    """The files of one version."""

    network: str
    model_name: str
    version: str
    files: list[ModelFile]


class ModelVersion(Shape):
    """One version of a model repository."""

    version: str
    notes: str = ""
    files: list[ModelFile] = Field(default=[])


class Model(Shape):
    """A model repository of the hub."""

    network: str
    name: str
    author: str
    description: str = ""
    url: str = ""
    versions: list[ModelVersion]
    example_input: dict[str, Any] = Field(
        default={}, description="A model_input of the right names and shapes, where known."
    )


ModelKind = Literal["onnx", "llm", "image"]


class FoundModel(Shape):
    """One model that a search found."""

    name: str = Field(
        description="get_model takes it for kind onnx, chat for llm, generate_image for image."
    )
    author: str
    kind: ModelKind
    description: str = Field(default="", description="Its beginning.")
    price: str = Field(default="", description="Of kinds llm and image.")
    url: str = ""


class FoundModels(Shape):
    """One page of what a search found."""

    network: str
    models: list[FoundModel]
    next_page: int = Field(description="0 where this is the last page.")
    complete: bool = Field(
        description="False where the hub lists more models than were looked through."
    )


class CreatedVersion(Shape):
    """A version that was added to a repository."""

    call_id: str
    network: str
    status: CallStatus = Field(description="running: use get_call.")
    model_name: str
    version: str = Field(
        default="", description="Empty where the hub does not tell; get_model lists versions."
    )


class UploadResult(Shape):
    """A file that is published under a version."""

    call_id: str
    network: str
    status: CallStatus = Field(description="running: use get_call.")
    model_cid: str = Field(default="", description="Content id; infer takes that of an ONNX file.")
    size: int = Field(default=0, description="Bytes.")
    sha256: str = ""
    model_name: str
    version: str
    file_name: str = ""
    format: str = Field(default="", description="E.g. onnx; a pickle can run code when loaded.")
    checked_by: str = Field(
        default="",
        description="What checked an ONNX file: onnx, onnxruntime or structure; else empty.",
    )
    warnings: list[str] = Field(default=[], description="About the file's form; it still runs.")
    already_there: bool = Field(
        default=False, description="True if this file was there already; it was not sent."
    )
    inputs: list[TensorSpec] = Field(default=[], description="Empty where not known.")
    outputs: list[TensorSpec] = Field(default=[], description="Empty where not known.")


class CreatedModel(Shape):
    """A repository with its first version, and the file where one was given."""

    call_id: str
    network: str
    status: CallStatus = Field(description="running: use get_call.")
    model_name: str
    version: str = ""
    url: str = ""
    already_there: bool = Field(
        default=False, description="True where you had a repository of that name before."
    )
    note: str = Field(default="", description="What became of a repository that was there.")
    warnings: list[str] = Field(default=[], description="As upload's.")
    upload: dict[str, Any] = Field(
        default={}, description="As upload returns it; empty without model_path."
    )


CheckResult = Literal["ok", "failed", "not_checked"]
Level = Literal["consistent", "confirmed", "none"]
PartStatus = Literal["claimed", "consistent", "confirmed"]


class Check(Shape):
    """One thing that was checked, or not."""

    name: str
    result: CheckResult
    source: str = Field(description="Who vouches for it.")
    detail: str


class PartLevel(Shape):
    """How far a part of a receipt holds."""

    name: Literal["request", "answer", "payment"]
    level: PartStatus


class Verification(Shape):
    """What checking a receipt showed."""

    network: str = Field(
        description="The network that the receipt names; if og-mcp does not know it, the one in use."
    )
    valid: bool = Field(description="Its level is consistent or confirmed.")
    level: Level = Field(
        description="consistent: what it keeps belongs together; confirmed: the chain has it too; "
        "none: a check failed, or nothing signed speaks for what it keeps."
    )
    shows: str = Field(default="", description="What is proven, and what is not.")
    parts: list[PartLevel] = Field(default=[], description="claimed: only the file says it.")
    summary: str = Field(description="How many checks passed, failed, and need the network.")
    checks: list[Check]


class InferenceResult(Shape):
    """What one inference gave; fields that a call has not reached yet are empty."""

    answer = ("model_output", "note")

    call_id: str = ""
    network: str
    status: Literal["done", "running", "failed", "dry_run"] = Field(
        description="running: use get_call; dry_run: nothing was sent."
    )
    transaction_hash: str = ""
    model_output: dict[str, Any] = Field(
        default={},
        description="Tensor name -> nested lists; above 2,000 values shape, range, first values and the file that holds all. Integers beyond 2^53 are text.",
    )
    inference_mode: InferenceModeName
    model_cid: str
    is_simulation_result: bool = False
    source: str = Field(
        default="", description="Where the output was read: event, precompile_event or node_api."
    )
    vouched_by: str = Field(default="", description="The RPC whose word it is.")
    block_number: int = 0
    gas_used: int = Field(default=0, description="Gas units.")
    fee: str = Field(default="", description="What it cost, or with dry_run could at most.")
    fee_wei: Wei = Field(default=0, description="The same, exactly.")
    max_opg: str = Field(default="0", description="Highest cost in OPG.")
    explorer_url: str = ""
    note: str = Field(default="", description="What to know about input or output.")
    checks: list[Check] = Field(default=[], description="What a dry run checked.")


class Payment(Shape):
    """The payment of a gateway call; empty where nothing was paid this way."""

    scheme: str = Field(default="", description="x402 scheme, upto: settled up to max_opg.")
    network: str = Field(default="", description="CAIP-2 id of the payment chain, eip155:N.")
    asset: str = Field(default="", description="Address of the OPG token.")
    max_opg: str = Field(default="", description="Maximum that was signed, OPG.")
    cap_id: str = Field(
        default="", description="The signed payment that covers the call; others may share it."
    )
    amount_opg: str = Field(
        default="", description="What it settled for, OPG; empty until the chain says it."
    )
    transaction_hash: str = Field(default="", description="Of the settlement, once there is one.")


class RegistrySource(Shape):
    """Who said that a TEE is registered, and as of which block."""

    rpc: str = ""
    chain_id: int = 0
    block_number: int = 0
    block_hash: str = ""


ProofStatus = Literal["", "verified", "unsigned", "local", "chain"]


class Proof(Shape):
    """What vouches for an answer (field `verification` of a result)."""

    status: ProofStatus = Field(
        default="",
        description=(
            "verified: signature, hashes and registry hold; unsigned: the gateway signed nothing; "
            "local: signed by the local network, which proves nothing; chain: read from the "
            "chain's own receipt."
        ),
    )
    tee_id: str = ""
    tee_endpoint: str = ""
    pcr_hash: str = ""
    timestamp: int = Field(default=0, description="Unix seconds, by the TEE's clock.")
    covers: list[str] = Field(default=[], description="What the signature covers.")
    not_covered: list[str] = Field(default=[], description="What it does not.")
    registry: RegistrySource = RegistrySource()


class Usage(Shape):
    """Tokens, as the gateway counts them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class CalledFunction(Shape):
    """The function of a tool call."""

    name: str
    arguments: str = Field(description="JSON text.")


class ToolCall(Shape):
    """A tool that the model wants called; goes back in an assistant message as it is."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class Cost(Shape):
    """What an answer costs, by the gateway's own word, or about, by the catalogue's prices."""

    opg: str = ""
    usd: str = ""
    source: Literal["", "gateway", "estimate"] = ""


class Citation(Shape):
    """A web page that an answer names."""

    url: str
    title: str = ""


class _GatewayResult(Shape):
    """Fields that results of gateway calls share; those that a call has not reached are empty."""

    call_id: str = ""
    network: str
    status: Literal["done", "running", "failed", "dry_run"] = Field(
        description="running: use get_call; dry_run: nothing was sent."
    )
    note: str = Field(default="", description="What to know: that it is cut, when it is settled.")
    cost: Annotated[
        Cost,
        WithJsonSchema(
            {"type": "object", "description": "opg, usd; source: gateway's word, or estimate."}
        ),
    ] = Cost()
    citations: Annotated[
        list[Citation], WithJsonSchema({"type": "array", "items": {"type": "object"}})
    ] = []
    moderation: dict[str, Any] = {}
    payment: Payment = Payment()
    verification: Proof = Proof()
    max_opg: str = Field(default="0", description="Highest cost in OPG.")
    checks: list[Check] = Field(default=[], description="What a dry run checked.")


class SearchResult(_GatewayResult):
    """What a search of the web found."""

    answer = ("content", "citations", "note")

    content: str = ""


class _ModelResult(_GatewayResult):
    """What results of language and image calls share beside that."""

    model: str
    transaction_hash: str = Field(default="", description="Of an on-chain call.")
    note: str = Field(
        default="", description="What to know of model and answer, e.g. that it is cut."
    )
    fee: str = Field(default="", description="Of an on-chain call, or with dry_run at most.")
    fee_wei: Wei = Field(default=0, description="The same, exactly.")
    explorer_url: str = ""


class Attachment(Shape):
    """A file that went along with a request."""

    name: str
    size: int = Field(description="Bytes.")
    sha256: str = Field(description="Hex.")


class ChatResult(_ModelResult):
    """What a chat gave."""

    answer = ("content", "tool_calls", "finish_reason", "note")

    content: str = ""
    tool_calls: list[ToolCall] = Field(default=[])
    finish_reason: str = Field(default="", description="Not covered by the TEE's signature.")
    usage: Usage = Usage()
    attachments: list[Attachment] = Field(default=[], description="Files that were sent along.")


class CompletionResult(_ModelResult):
    """What a completion gave."""

    answer = ("text", "note")

    text: str = ""
    usage: Usage = Usage()


class StoredImage(Shape):
    """An image that is kept as a file."""

    uri: str = Field(default="", description="og://images/{sha256}.")
    path: str = Field(default="", description="File on the machine that runs og-mcp.")
    mime_type: str = ""
    width: int = Field(default=0, description="Pixels.")
    height: int = Field(default=0, description="Pixels.")
    size: int = Field(default=0, description="Bytes.")
    sha256: str = Field(default="", description="Hex.")


class Image(StoredImage):
    """One image of a result."""

    original: StoredImage = Field(
        default=StoredImage(),
        description="What the gateway sent, where another size was asked; else empty.",
    )
    saved: str = Field(default="", description="Path of the copy that save_as asked for.")


class ImageResult(_ModelResult):
    """The images that were made."""

    answer = ("images", "note")

    images: list[Image] = Field(default=[])
    refused: list[str] = Field(
        default=[], description="What was asked for and is missing, and why."
    )
    attachments: list[Attachment] = Field(default=[], description="Pictures that were sent along.")


class AllowanceResult(Shape):
    """What changing the Permit2 allowance gave."""

    answer = ("allowance_opg", "note")

    call_id: str = ""
    network: str
    status: Literal["done", "running", "failed", "dry_run"]
    transaction_hash: str = ""
    allowance_opg: str = Field(description="OPG that Permit2 may take from the wallet.")
    note: str = Field(default="", description="What revoking causes.")
    fee: str = Field(default="", description="On the payment chain, or with dry_run at most.")
    fee_wei: Wei = Field(default=0, description="The same, exactly.")
    max_opg: str = Field(default="0", description="An approval moves no OPG by itself.")
    explorer_url: str = ""
    checks: list[Check] = Field(default=[])


class CancellationResult(Shape):
    """What cancelling a payment authorization gave."""

    answer = ("note",)

    call_id: str
    network: str
    status: Literal["done"]
    transaction_hash: str
    payment: Payment = Payment()
    note: str
    fee: str
    fee_wei: Wei


class CallInfo(Shape):
    """How far a call has come, with its result or error."""

    answer = ("result", "error", "note")

    call_id: str
    network: str
    status: CallStatus
    stage: Stage
    tool: str
    created_at: str
    model: str = ""
    first_words: str = Field(default="", description="Of its prompt or input; not always kept.")
    transaction_hash: str = Field(default="", description="Of the newest transaction.")
    fee: str = ""
    fee_wei: Wei = 0
    payment: Payment = Payment()
    result: dict[str, Any] = Field(default={}, description="As the tool itself returns it.")
    error: str = Field(default="", description="Why it failed and what to do.")
    note: str = Field(
        default="", description="What its result does not tell, e.g. why it is empty."
    )


class CallList(Shape):
    """Calls, the newest first, and what they cost in all."""

    network: str
    answer = ("calls", "next_page")

    calls: list[CallInfo] = Field(description="Without their results: get_call has them.")
    next_page: int = Field(default=0, description="0 on the last page.")
    spent_opg: str = Field(description="Settled, each signed payment once.")
    open_opg: str = Field(description="Signed and not yet settled.")
    fees: str = Field(default="", description="Paid on the network's own chain.")
    fees_wei: Wei = Field(description="The same, exactly.")
    open_wei: Wei = Field(description="Fees that signed transactions may still cost there.")
    base_fees_wei: Wei = Field(
        default=0, description="Fees paid on the payment chain, in its coin: approve_opg."
    )
    base_open_wei: Wei = Field(
        default=0, description="Fees that signed transactions may still cost on the payment chain."
    )


class Problem(Shape):
    """Something that keeps a tool from working, and how to fix it."""

    what: str
    fix: str


@dataclass(frozen=True)
class Diagnosis:
    """One thing that was checked, and how to fix it where something is wrong."""

    name: str
    held: bool
    detail: str
    fix: str = ""


class Status(Shape):
    """The wallet, and whether calls can be paid."""

    network: str
    chain_id: int
    address: str = Field(description="Empty without a wallet.")
    payer: str = Field(default="", description="The wallet that pays OPG, where it is another.")
    balances: dict[str, str] = Field(description="Coin -> amount in whole coins.")
    allowance_opg: str = Field(default="", description="OPG that Permit2 may take.")
    budget: dict[str, str] = Field(
        default={},
        description="Caps in force, and what of them is spent, open and left in 24 hours, as the "
        "next signature is held to it. *_opg: OPG; *_fee_wei: the network's coin; base_*_fee_wei: "
        "the payment chain's coin, of which each cap on fees allows as much again. Always the same "
        "keys, empty where a figure is not known; note: what could not be counted.",
    )
    ready: bool
    problems: list[Problem]


class NetworkInfo(Shape):
    """The network in use, as the resource og://network tells it."""

    network: str
    chain_id: int
    rpc_url: str
    inference_contract: str
    tee_registry: str
    base_chain_id: int
    hub_url: str
    explorer_url: str
    authenticated: bool = Field(description="False where answers come over plain HTTP.")
    local: bool
    sample_models: list[dict[str, Any]] = Field(default=[])


class Progress(Protocol):
    """The progress of a long call, as counts; never content (threats.md T16)."""

    count: int
    total: int | None
    """`None` while there is nothing to count."""


CANCEL_PAYMENT: Final = "cancel_payment"
"""What the journal calls `og-mcp calls cancel` of a payment authorization; not a tool of MCP's."""

TOOL_NAMES: Final = frozenset(
    {
        *("infer", "chat", "completion", "web_search", "generate_image"),
        *(
            "create_model",
            "create_version",
            "upload",
            "list_files",
            "search_models",
            "get_model",
            "status",
            "approve_opg",
        ),
        *("get_call", "list_calls", "verify_receipt"),
    }
)
"""The sixteen tools (interface.md section 3); a published model has another name."""

PUBLISHING_TOOLS: Final = frozenset({"create_model", "create_version", "upload"})
"""Tools that sign nothing, and whose effect is on the Model Hub, for good."""


@dataclass(frozen=True)
class InputDoc:
    """What the operator says about one input of a published model."""

    name: str
    """The tensor's name in the graph."""

    description: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    """Name and description of each place of the last axis."""

    dtype: str = ""
    shape: tuple[int, ...] | None = None
    """With `dtype` what the graph takes, for networks where its file cannot be read."""


@dataclass(frozen=True, kw_only=True)
class PublishedModel:
    """A model that is a tool of its own (OG_MODELS)."""

    cid: str
    name: str
    title: str = ""
    description: str = ""
    mode: InferenceModeName = "VANILLA"
    inputs: tuple[InputDoc, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Account:
    """A wallet on one chain of one network: what lanes and budgets are kept for."""

    network: str
    """Key of the network: its name; of a local one, name and genesis hash (`local:0x...`)."""

    chain_id: int
    address: str

    @property
    def key(self) -> str:
        """The account in one text, with its address in small letters."""
        return f"{self.network}/{self.chain_id}/{self.address.lower()}"


@dataclass(frozen=True, kw_only=True)
class FeeCaps:
    """What may be spent on native-coin fees, wei."""

    per_call: int
    per_day: int
    """For the last 24 hours, of one account."""

    unrecorded: int = 0
    """What the chain shows as spent in that time and the journal does not know; counts on top."""


@dataclass(frozen=True, kw_only=True)
class OPGCaps:
    """What may be spent in OPG, base units."""

    per_call: int
    per_day: int
    """For the last 24 hours, of one account on the payment chain."""

    unrecorded: int = 0
    """What the chain shows as taken in that time and the journal does not know; counts on top."""

    alone_until: datetime | None = None
    """Until when one payment may be open at a time: the journal is new, and others may have signed."""


CapStatus = Literal["open", "settled", "void"]


@dataclass(frozen=True, kw_only=True)
class CapRequest:
    """A payment authorization that is about to be signed (x402, scheme `upto`)."""

    account: Account
    """Who pays: the network's key, the payment chain's id, the wallet."""

    principal: str
    resource: str
    """What it pays for: the gateway's origin and path."""

    asset: str
    pay_to: str
    max_opg: int
    """Base units."""

    nonce: str
    """Permit2 nonce, decimal text of a uint256; unique for the payer."""

    deadline: int
    """Unix seconds after which nobody can take it any more."""

    facilitator: str = ""
    """The only address that may take it; empty where an older version signed it."""


@dataclass(frozen=True, kw_only=True)
class Cap(CapRequest):
    """A payment authorization and its end. Many calls may share one (a gateway session)."""

    id: str
    status: CapStatus
    """`open` from before its signature is made until the chain tells its end."""

    amount_opg: int = 0
    """What it settled for, base units."""

    transaction_hash: str = ""
    created_at: datetime
    cancelled: bool = False
    """Whether its owner has cancelled it, or is about to: no later call is paid by it."""


@dataclass(frozen=True, kw_only=True)
class CancellationOffer:
    """What cancelling an open payment authorization means, for a person to agree to."""

    call_id: str
    cap: Cap
    calls: int
    """How many calls it pays for."""

    max_fee_wei: int
    """Highest cost on the payment chain."""


@dataclass(frozen=True, kw_only=True)
class CallRequest:
    """A call to be journalled before anything of it is sent."""

    tool: str
    principal: str
    network: str
    """Name of the network, as results show it."""

    request_hash: str
    """SHA-256 of the canonical JSON of tool and arguments, hex."""

    request: str = ""
    """That JSON; not kept with OG_RECEIPTS=hashes."""

    idempotency_key: str = ""
    max_opg: int = 0
    """Highest cost of the call in OPG, base units."""

    model: str = ""
    """What it asks: a language or image model, a content id, or a repository."""

    first_words: str = ""
    """The beginning of its prompt or input, for lists; empty with OG_RECEIPTS=hashes."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """What the journal knows of one call. Amounts are in base units (wei)."""

    id: str
    tool: str
    principal: str
    network: str
    request_hash: str
    idempotency_key: str
    stage: Stage
    status: CallStatus
    waiting_approval: bool
    """Failed because a person has not agreed yet; opening the same request tries again."""

    orphaned: bool
    """Running, and the process that ran it is gone: reconcile it, do not wait for it."""

    declined: bool
    """Failed because a person said no."""

    error: str
    account: Account | None
    """Who pays; `None` before something is signed."""

    nonce: int | None
    transaction_hashes: tuple[str, ...]
    """Every hash that was signed for the call, the newest last."""

    superseded_by: str
    """Id of the call that has taken its nonce over."""

    max_fee_wei: int
    fee_wei: int
    fee_state: FeeState
    max_opg: int
    amount_opg: int
    result_hash: str
    """SHA-256 of the result's JSON, hex; empty without one."""

    created_at: datetime
    updated_at: datetime
    delivered_at: datetime | None
    owner: str
    """Id of the process that runs it."""

    cap: Cap | None = None
    """The signed maximum that pays for it, where a gateway is paid; the newest of several."""

    model: str = ""
    first_words: str = ""
    """As in `CallRequest`."""

    request: str = ""
    """JSON. Like `result` and `receipt`: empty in lists and where it is not kept."""

    result: str = ""
    receipt: str = ""


@dataclass(frozen=True)
class Opened:
    """A call to run, or one that is running or has run already."""

    call: Call
    joined: bool
    """False for exactly one caller, who runs the call; the others wait for it or take its end."""


@dataclass(frozen=True, kw_only=True)
class OpenNonce:
    """A nonce that is signed and not known to be mined."""

    call_id: str
    nonce: int
    transaction_hashes: tuple[str, ...]
    """Every transaction signed for it, the newest last."""

    max_fee_wei: int


FeeState = Literal["none", "open", "superseded", "released", "ended", "paid"]
"""What of the fee budget a call has: nothing; what was signed for it, under its own nonce or under
one that another call has taken over; the same for 24 hours more (`released`); nothing any more since
it ended without effect; what was paid."""


@dataclass(frozen=True, kw_only=True)
class SignedTransaction:
    """A transaction that was signed for a call."""

    call_id: str
    transaction_hash: str
    raw_transaction: str
    """0x-hex; empty once settled, where OG_RECEIPTS=hashes keeps no requests."""

    nonce: int
    max_fee_wei: int


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Native-coin fees of one account against the cap of 24 hours, wei."""

    cap: int
    spent: int
    open: int
    """Signed, and not settled."""

    left: int


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What calls on one account have cost since the journal began, wei."""

    network: str
    """Key of the network, as in `Account`."""

    chain_id: int
    address: str
    fees_wei: int
    open_wei: int
    """Signed, and not settled."""


@dataclass(frozen=True, kw_only=True)
class ConsentRequest:
    """What a person is asked to agree to; an agreement covers nothing else."""

    request_hash: str
    network: str
    """Name of the network."""

    payer: Account | None = None
    """Whose money it is; `None` where nothing is paid."""

    cap_wei: int = 0
    """Highest cost in the native coin, wei."""

    cap_opg: int = 0
    """Highest cost in OPG, base units."""

    what: str = ""
    """What it does that cannot be undone, where a person is asked about that and not about money."""


@dataclass(frozen=True, kw_only=True)
class Approval(ConsentRequest):
    """What is asked about a call, and whether somebody has agreed."""

    call_id: str
    expires_at: datetime | None
    """`None` until it is approved."""

    taken: bool
    """Whether the approval was used; it is good for one try."""


@dataclass(frozen=True)
class Pruned:
    """What pruning removed."""

    calls: int
    files: int
