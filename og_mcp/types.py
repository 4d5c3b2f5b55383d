"""Annotated names and result shapes; knows nothing else of ours."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema


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
CallStatus = Literal["done", "running", "failed"]

LOCAL_PRINCIPAL: Final = "local"
"""Who calls over stdio, from the command line and from a library: the owner of the machine."""

Wei = Annotated[
    int,
    Field(ge=0),
    # JSON numbers lose precision above 2**53; both sides of the wire use a decimal string.
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]+$", "description": "Amount in wei."}),
]


class Shape(BaseModel):
    """Base of result shapes: fields are fixed, unknown ones are a mistake of ours."""

    model_config = ConfigDict(extra="forbid")


class TensorSpec(Shape):
    """One input or output of a model's graph."""

    name: str
    dtype: str = Field(description="ONNX element type, e.g. float, int64, string.")
    shape: list[int] = Field(description="Dimensions; -1 where any size is allowed.")


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


CheckResult = Literal["ok", "failed", "not_checked"]
Level = Literal["consistent", "confirmed", "none"]


class Check(Shape):
    """One thing that was checked, or not."""

    name: str
    result: CheckResult
    source: str = Field(description="Who vouches for it.")
    detail: str


class Verification(Shape):
    """What checking a receipt showed."""

    valid: bool = Field(description="No check failed.")
    level: Level = Field(
        description="consistent: its parts belong together; confirmed: the chain has it too."
    )
    checks: list[Check]


class InferenceResult(Shape):
    """What one inference gave; fields that a call has not reached yet are empty."""

    call_id: str
    network: str
    status: Literal["done", "running", "failed", "dry_run"] = Field(
        description="running: get_call waits on; dry_run: nothing was sent."
    )
    transaction_hash: str = ""
    model_output: dict[str, Any] = Field(
        default={}, description="Tensor name -> nested lists in the tensor's shape."
    )
    inference_mode: InferenceModeName
    model_cid: str
    is_simulation_result: bool = False
    source: str = Field(
        default="", description="Where the output was read: event, precompile_event or node_api."
    )
    block_number: int = 0
    gas_used: int = Field(default=0, description="Gas units.")
    fee_wei: Wei = Field(default=0, description="What it cost, or with dry_run could at most.")
    max_opg: str = Field(default="0", description="The most OPG it may cost.")
    explorer_url: str = ""
    checks: list[Check] = Field(default=[], description="What a dry run checked.")


class CallInfo(Shape):
    """How far a call has come, and what it gave; a failed call is told here."""

    call_id: str
    network: str
    status: CallStatus
    stage: Stage
    tool: str
    created_at: str
    transaction_hash: str = Field(
        description="Of the newest transaction; empty before one is signed."
    )
    fee_wei: Wei
    result: dict[str, Any] = Field(default={}, description="As the tool itself returns it.")
    error: str = Field(default="", description="Why it failed and what to do.")


class CallList(Shape):
    """Calls, the newest first, and what they cost in all."""

    network: str
    calls: list[CallInfo] = Field(description="Without their results: get_call has them.")
    spent_opg: str = Field(description="Settled, each signed cap once.")
    open_opg: str = Field(description="Signed and not yet settled.")
    fees_wei: Wei = Field(description="Fees paid in the network's coin.")
    open_wei: Wei = Field(description="Fees that signed transactions may still cost.")


class Trouble(Shape):
    """Something that keeps a tool from working, and its mend."""

    what: str
    fix: str


class Status(Shape):
    """The wallet, and whether calls can be paid."""

    network: str
    chain_id: int
    address: str = Field(description="Empty without a wallet.")
    balances: dict[str, str] = Field(description="Coin -> amount in whole coins.")
    allowance_opg: str = ""
    budget: dict[str, str] = Field(default={}, description="Caps in force.")
    ready: bool
    problems: list[Trouble]


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


@dataclass(frozen=True, kw_only=True)
class Account:
    """A wallet on one chain of one network: what lanes and budgets are kept for."""

    network: str
    """Key of the network: its name; of a local one, name and genesis hash (`local:0x...`)."""

    chain_id: int
    address: str

    @property
    def key(self) -> str:
        """The account in one text; addresses differ in nothing but their checksum's letters."""
        return f"{self.network}/{self.chain_id}/{self.address.lower()}"


@dataclass(frozen=True, kw_only=True)
class FeeCaps:
    """What may be spent on native-coin fees, wei."""

    per_call: int
    per_day: int
    """For the last 24 hours, of one account."""

    chain_spent: int = 0
    """What the chain itself shows as spent in that time; counts where the journal has less."""


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
    """The most OPG that the call may cost, base units."""


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

    error: str
    account: Account | None
    """Who pays; `None` before a nonce is reserved."""

    nonce: int | None
    transaction_hashes: tuple[str, ...]
    """Every hash that was signed for the call, the newest last."""

    max_fee_wei: int
    fee_wei: int
    max_opg: int
    amount_opg: int
    result_hash: str
    """SHA-256 of the result's JSON, hex; empty without one."""

    created_at: datetime
    updated_at: datetime
    delivered_at: datetime | None
    owner: str
    """Id of the process that runs it."""

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


@dataclass(frozen=True, kw_only=True)
class SignedTransaction:
    """A transaction that was signed for a call."""

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
    """Reserved or signed, and not settled."""

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
    """Reserved or signed, and not settled."""


@dataclass(frozen=True, kw_only=True)
class Approval:
    """A call that a person has to agree to, and whether one has."""

    call_id: str
    request_hash: str
    cap_wei: int
    """The most it may cost in the native coin."""

    cap_opg: int
    """The most it may cost in OPG, base units."""

    expires_at: datetime | None
    """`None` until it is approved."""

    taken: bool
    """Whether the approval was used; it is good for one try."""


@dataclass(frozen=True)
class Pruned:
    """What pruning took away."""

    calls: int
    files: int
