"""The arguments that tools share: their bounds, and what a model reads about them."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from og_mcp.types import LLMModeName, SettlementModeName


def _no_boolean(value: object) -> object:
    # pydantic reads true as the number 1; in JSON Schema, which we publish, it is not a number.
    if isinstance(value, bool):
        raise ValueError  # noqa: TRY004 - what pydantic turns into a refusal
    return value


KEY_FORM: Final = "^[!-~]{0,128}$"
OPG_FORM: Final = r"^[0-9]{1,9}(\.[0-9]{1,18})?$"
ID_FORM: Final = "^[0-9a-f]{4,32}$"
OPTIONAL_ID_FORM: Final = "^([0-9a-f]{4,32})?$"

FORMS: Final = {
    KEY_FORM: "text of 0 to 128 printable ASCII characters without spaces",
    OPG_FORM: 'a decimal number as text, like "5" or "0.25", with up to 9 digits before the point '
    "and 18 behind it",
    ID_FORM: "a call's id, 32 digits and letters a to f as list_calls tells it, or its first 4 or "
    "more",
    OPTIONAL_ID_FORM: "empty, or a call's id of 32 digits and letters a to f, or its first 4 or more",
}
"""What each pattern allows, in words."""

ModelCid = Annotated[
    str,
    Field(
        min_length=1,
        max_length=256,
        description="Content id of the ONNX file, or the model's name.",
    ),
]

ModelInput = Annotated[
    dict[str, Any],
    Field(
        description="Tensor name -> number, text, nested lists in its shape, or "
        '{"file": path} (.npy, .json, .csv).'
    ),
]

LLMModel = Annotated[
    str,
    Field(max_length=200, description="E.g. openai/gpt-5.4-mini; empty: OG_CHAT_MODEL."),
]

ImageModel = Annotated[
    str,
    Field(max_length=200, description="E.g. openai/gpt-image-2; empty: OG_IMAGE_MODEL."),
]

Side = Annotated[
    int,
    Field(ge=0, le=8192, description="Pixels; 0: the model's own."),
    BeforeValidator(_no_boolean),
]


def _no_uris(value: object) -> object:
    """Turn a bare URI into the object that names it: hosts want items of one type."""
    if not isinstance(value, list):
        return value
    return [{"uri": one} if isinstance(one, str) else one for one in value]


AspectRatio = Annotated[str, Field(max_length=20, description="E.g. 16:9.")]

Resolution = Annotated[str, Field(max_length=20, description="E.g. 2K; few models take one.")]

Count = Annotated[int, Field(ge=1, le=10, description="Images."), BeforeValidator(_no_boolean)]

StartImages = Annotated[
    list[dict[str, Any]],
    Field(
        max_length=10,
        description='To start from: {"file": path} or {"uri": "og://images/..."}.',
    ),
    BeforeValidator(_no_uris),
]

SaveAs = Annotated[
    str,
    Field(max_length=100, description="Name for a copy in OG_DATA_DIR/saved, e.g. cat.png."),
]


def _one_message(value: object) -> object:
    """Turn a plain text into one user message."""
    return [{"role": "user", "content": value}] if isinstance(value, str) and value else value


Messages = Annotated[
    list[dict[str, Any]],
    Field(
        min_length=1,
        description='OpenAI-shaped, or one plain text. Parts from files: {"type": "image_url", '
        '"image_url": {"file": path}}; PDF: {"type": "file", "file": {"file": path}}.',
    ),
    BeforeValidator(_one_message),
]

Prompt = Annotated[str, Field(min_length=1, description="What to continue or to draw.")]

Mode = Annotated[
    LLMModeName,
    Field(description="AUTO: a TEE gateway where there are some. VANILLA: in a transaction."),
]

MaxTokens = Annotated[
    int,
    Field(ge=1, le=2**20, description="Longest answer, in tokens."),
    BeforeValidator(_no_boolean),
]

StopSequence = Annotated[list[str], Field(max_length=16, description="Texts that end the answer.")]

Temperature = Annotated[
    float,
    Field(
        ge=0,
        le=2,
        description="On chain at most 1; some models take only 0.",
    ),
    BeforeValidator(_no_boolean),
]

Tools = Annotated[
    list[dict[str, Any]],
    Field(
        max_length=128,
        description="OpenAI-shaped functions.",
    ),
]

ToolChoice = Annotated[
    str,
    Field(max_length=64, description="auto, none, required, or a tool's name."),
]

ResponseFormat = Annotated[
    dict[str, Any],
    Field(description="OpenAI-shaped: json_schema or json_object."),
]

WebSearch = Annotated[bool, Field(description="No effect today: use the tool web_search.")]

SearchQuery = Annotated[
    str, Field(min_length=1, max_length=2000, description="Leaves this machine.")
]

NumResults = Annotated[
    int,
    Field(ge=0, le=100, description="0: the gateway's choice."),
    BeforeValidator(_no_boolean),
]

RecencyDays = Annotated[
    int,
    Field(ge=0, le=3650, description="Oldest page; 0: any."),
    BeforeValidator(_no_boolean),
]

SettlementMode = Annotated[
    SettlementModeName,
    Field(
        description="batch publishes hashes of request and answer (short texts can be guessed "
        "from them), private nothing."
    ),
]

ModelName = Annotated[str, Field(min_length=1, max_length=200, description="The repository.")]

NewModelName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=100,
        description="Letters, digits, spaces, dots, underscores, hyphens.",
    ),
]

ModelDesc = Annotated[str, Field(max_length=10_000, description="What it does; public.")]

_FORMATS = ".onnx, .safetensors, .pt, .pth, .tflite, .h5, .pb, .joblib, .json, .txt or .md"

ModelPath = Annotated[
    str,
    Field(
        min_length=1,
        max_length=4096,
        description=f"File below OG_UPLOAD_ROOTS, absolute or relative to one: {_FORMATS}.",
    ),
]

OptionalModelPath = Annotated[
    str,
    Field(
        max_length=4096,
        description="As for upload; empty for no file.",
    ),
]

Notes = Annotated[str, Field(max_length=10_000, description="What is new; public.")]

IsMajor = Annotated[bool, Field(description="After 0.02, true: 1.00; false: 0.03.")]

Query = Annotated[
    str,
    Field(
        max_length=200,
        description="Words that must all occur; vision finds models that read images.",
    ),
]

Kind = Annotated[Literal["", "onnx", "llm", "image"], Field(description="Empty: all.")]

OptionalAuthor = Annotated[
    str, Field(max_length=200, description="For llm and image: the provider.")
]

Page = Annotated[
    int,
    Field(ge=0, le=10_000, description="next_page of the page before."),
    BeforeValidator(_no_boolean),
]

PageLimit = Annotated[
    int,
    Field(ge=1, le=100, description="How many."),
    BeforeValidator(_no_boolean),
]

Author = Annotated[
    str,
    Field(
        max_length=200,
        description="Needed where several have one of that name.",
    ),
]

Version = Annotated[str, Field(min_length=1, max_length=50, description='E.g. "1.00".')]

MaxRetries = Annotated[
    int,
    Field(
        ge=0,
        le=20,
        description="Further tries while the network has accepted nothing.",
    ),
    BeforeValidator(_no_boolean),
]

IdempotencyKey = Annotated[
    str,
    Field(
        pattern=KEY_FORM,
        description="Name of this request: the same on a retry.",
    ),
]

DryRun = Annotated[bool, Field(description="Tell expected and highest cost; send nothing.")]

AmountOPG = Annotated[
    str,
    Field(
        pattern=OPG_FORM,
        description='OPG in all from now on, e.g. "5"; "0" revokes.',
    ),
]

CallId = Annotated[
    str,
    Field(pattern=ID_FORM, description="Or its first 4 or more characters."),
]

OptionalCallId = Annotated[
    str,
    Field(pattern=OPTIONAL_ID_FORM, description="Of a call made here."),
]

WaitS = Annotated[
    float,
    Field(ge=0, le=50, description="Longest wait for its end."),
    BeforeValidator(_no_boolean),
]

Limit = Annotated[
    int,
    Field(ge=1, le=100, description="How many."),
    BeforeValidator(_no_boolean),
]

Since = Annotated[
    str,
    Field(max_length=64, description='"24h", "7d", a date or a UTC time.'),
]

StatusFilter = Annotated[Literal["", "done", "running", "failed"], Field(description="Empty: all.")]

ToolFilter = Annotated[str, Field(max_length=48, description="Only of this tool.")]

ReceiptDocument = Annotated[
    dict[str, Any],
    Field(description='From og://receipts/{call_id}, or {"file": path}.'),
]

Online = Annotated[bool, Field(description="Ask chain and registry too.")]
