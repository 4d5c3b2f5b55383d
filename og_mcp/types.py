"""Annotated names and result shapes; knows nothing else of ours."""

from __future__ import annotations

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


class InferenceResult(Shape):
    """What one inference gave."""

    call_id: str
    network: str
    status: CallStatus
    transaction_hash: str
    model_output: dict[str, Any] = Field(
        description="Tensor name -> nested lists in the tensor's shape."
    )
    inference_mode: InferenceModeName
    model_cid: str
    is_simulation_result: bool
    source: str = Field(
        description="Where the output was read: event, precompile_event or node_api."
    )
    block_number: int
    gas_used: int = Field(description="Gas units.")
    fee_wei: Wei
    explorer_url: str = ""


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
