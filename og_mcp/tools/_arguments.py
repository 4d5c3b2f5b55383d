"""The arguments that tools share: their bounds, and what a model reads about them."""

from __future__ import annotations

from typing import Annotated, Any

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
