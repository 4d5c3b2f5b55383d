"""The arguments that tools share: their bounds, and what a model reads about them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field


def _no_boolean(value: object) -> object:
    # To pydantic true is the number 1; to JSON Schema, which we publish, it is none.
    if isinstance(value, bool):
        raise ValueError  # noqa: TRY004 - what pydantic turns into a refusal
    return value


ModelCid = Annotated[
    str,
    Field(
        min_length=1,
        max_length=256,
        description="Content id of the ONNX file; get_model and list_files show it.",
    ),
]

ModelInput = Annotated[
    dict[str, Any],
    Field(
        description="Tensor name -> number, text or nested lists in the tensor's shape, or "
        '{"file": "/path/x.npy"} (.npy, .json, .csv).'
    ),
]

ModelName = Annotated[
    str, Field(min_length=1, max_length=200, description="Name of the model repository.")
]

Author = Annotated[
    str,
    Field(
        max_length=200,
        description="Owner of the repository; needed where several have one of that name.",
    ),
]

Version = Annotated[
    str, Field(min_length=1, max_length=50, description='Version of the repository, e.g. "1.00".')
]

MaxRetries = Annotated[
    int,
    Field(
        ge=0,
        le=20,
        description="Tries after nonce or connection trouble, before the network accepted anything.",
    ),
    BeforeValidator(_no_boolean),
]

IdempotencyKey = Annotated[
    str,
    Field(
        pattern="^[!-~]{0,128}$",
        description="Your name for this one request; repeat it when you retry the request.",
    ),
]

DryRun = Annotated[
    bool, Field(description="Check the request and tell the most it may cost; sends nothing.")
]

CallId = Annotated[
    str,
    Field(
        pattern="^[0-9a-f]{32}$", description="Id of a call, as its result and list_calls tell it."
    ),
]

OptionalCallId = Annotated[
    str,
    Field(
        pattern="^([0-9a-f]{32})?$", description="Id of a call, to check the receipt kept for it."
    ),
]

WaitS = Annotated[
    float,
    Field(ge=0, le=50, description="Seconds to wait for the end of a running call."),
    BeforeValidator(_no_boolean),
]

Limit = Annotated[
    int,
    Field(ge=1, le=100, description="The most calls to return."),
    BeforeValidator(_no_boolean),
]

StatusFilter = Annotated[
    Literal["", "done", "running", "failed"], Field(description="Only calls of this status.")
]

ToolFilter = Annotated[str, Field(max_length=48, description="Only calls of this tool.")]

ReceiptDocument = Annotated[
    dict[str, Any],
    Field(description="A receipt as og://receipts/{call_id} gives it, to check it by itself."),
]

Online = Annotated[
    bool, Field(description="Ask the chain too: whether the transaction is on it, and how deep.")
]
