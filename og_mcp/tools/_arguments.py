"""The arguments that tools share: their bounds, and what a model reads about them."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from og_mcp.types import LLMModeName, SettlementModeName


def _no_boolean(value: object) -> object:
    # To pydantic true is the number 1; to JSON Schema, which we publish, it is none.
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
        description="Content id of the ONNX file (get_model shows it), or the model's name.",
    ),
]

ModelInput = Annotated[
    dict[str, Any],
    Field(
        description="Tensor name -> number, text or nested lists in the tensor's shape, or "
        '{"file": "/path/x.npy"} (.npy, .json, .csv).'
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
    Field(ge=0, le=8192, description="Pixels; 0 for the model's own, or to keep the proportions."),
    BeforeValidator(_no_boolean),
]


def _no_uris(value: object) -> object:
    """Take a bare URI for the object that names it; hosts want one type of item."""
    if not isinstance(value, list):
        return value
    return [{"uri": one} if isinstance(one, str) else one for one in value]


AspectRatio = Annotated[
    str, Field(max_length=20, description="E.g. 16:9; a wrong one is refused with the right ones.")
]

Resolution = Annotated[str, Field(max_length=20, description="E.g. 2K, for models with tiers.")]

Count = Annotated[
    int, Field(ge=1, le=10, description="Images to draw."), BeforeValidator(_no_boolean)
]

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
    Field(max_length=100, description="Name of a new copy in OG_DATA_DIR/saved, e.g. cat.png."),
]


def _one_message(value: object) -> object:
    """Take a plain text for what a user says."""
    return [{"role": "user", "content": value}] if isinstance(value, str) and value else value


Messages = Annotated[
    list[dict[str, Any]],
    Field(
        min_length=1,
        description='OpenAI-shaped, e.g. [{"role": "user", "content": "..."}]; parts may be '
        'text, {"type": "image_url", "image_url": {"file": path}} or {"type": "file", "file": '
        '{"file": path}} (PDF). A plain text is one user message.',
    ),
    BeforeValidator(_one_message),
]

Prompt = Annotated[str, Field(min_length=1, description="The text to work from.")]

Mode = Annotated[
    LLMModeName,
    Field(
        description="AUTO: by a TEE gateway where the network has them. VANILLA, or TEE on networks "
        "without gateways: in a transaction."
    ),
]

MaxTokens = Annotated[
    int,
    Field(ge=1, le=2**20, description="The answer's most, in tokens."),
    BeforeValidator(_no_boolean),
]

StopSequence = Annotated[list[str], Field(max_length=16, description="Texts that end the answer.")]

Temperature = Annotated[
    float,
    Field(
        ge=0,
        le=2,
        description="0: the likeliest; on chain at most 1. Some models take none: leave 0 then.",
    ),
    BeforeValidator(_no_boolean),
]

Tools = Annotated[
    list[dict[str, Any]],
    Field(
        max_length=128,
        description='OpenAI-shaped: [{"type": "function", "function": {"name", "description", '
        '"parameters"}}].',
    ),
]

ToolChoice = Annotated[
    str,
    Field(max_length=64, description="auto, none, required, or a tool's name; empty for auto."),
]

ResponseFormat = Annotated[
    dict[str, Any],
    Field(description='{"type": "json_schema", "json_schema": {...}} or {"type": "json_object"}.'),
]

WebSearch = Annotated[
    bool, Field(description="Has no effect at today's gateways: use the tool web_search.")
]

SearchQuery = Annotated[
    str, Field(min_length=1, max_length=2000, description="What to search for; it leaves here.")
]

NumResults = Annotated[
    int,
    Field(ge=0, le=100, description="0 for the gateway's own number."),
    BeforeValidator(_no_boolean),
]

RecencyDays = Annotated[
    int,
    Field(ge=0, le=3650, description="How old pages may be; 0 for any age."),
    BeforeValidator(_no_boolean),
]

SettlementMode = Annotated[
    SettlementModeName,
    Field(
        description="What is settled beside the payment: batch publishes hashes of request and "
        "answer (short texts can be guessed from them), private nothing."
    ),
]

ModelName = Annotated[
    str, Field(min_length=1, max_length=200, description="Name of the model repository.")
]

NewModelName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=100,
        description="Name for the repository: letters, digits, spaces, dots, underscores, hyphens.",
    ),
]

ModelDesc = Annotated[
    str, Field(max_length=10_000, description="What the model does; shown to everybody.")
]

_FORMATS = "a .onnx, .safetensors, .pt, .pth, .tflite, .h5, .pb, .joblib, .json, .txt or .md file"
_ABSOLUTE = "absolute, ~/..., or relative to such a folder"

ModelPath = Annotated[
    str,
    Field(
        min_length=1,
        max_length=4096,
        description=f"Path of {_FORMATS} below OG_UPLOAD_ROOTS: {_ABSOLUTE}.",
    ),
]

OptionalModelPath = Annotated[
    str,
    Field(
        max_length=4096,
        description=f"Path of {_FORMATS} below OG_UPLOAD_ROOTS: {_ABSOLUTE}; empty for no file.",
    ),
]

Notes = Annotated[
    str, Field(max_length=10_000, description="What is new in the version; shown to everybody.")
]

IsMajor = Annotated[bool, Field(description="true: 0.02 is followed by 1.00; false: by 0.03.")]

Query = Annotated[
    str,
    Field(
        max_length=200,
        description="Words that must all occur, e.g. vision for models that read images.",
    ),
]

Kind = Annotated[
    Literal["", "onnx", "llm", "image"], Field(description="Only that kind; empty for all.")
]

OptionalAuthor = Annotated[
    str, Field(max_length=200, description="Only that author's; for llm and image the provider.")
]

Page = Annotated[
    int,
    Field(ge=0, le=10_000, description="From 0; next_page of the page before."),
    BeforeValidator(_no_boolean),
]

PageLimit = Annotated[
    int,
    Field(ge=1, le=100, description="The most models to return."),
    BeforeValidator(_no_boolean),
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
        pattern=KEY_FORM,
        description="Your name for this one request; repeat it when you retry the request.",
    ),
]

DryRun = Annotated[
    bool, Field(description="Check and tell the expected and the most cost; sends nothing.")
]

AmountOPG = Annotated[
    str,
    Field(
        pattern=OPG_FORM,
        description='OPG that may be taken from now on, in all, e.g. "5"; "0" revokes.',
    ),
]

CallId = Annotated[
    str,
    Field(pattern=ID_FORM, description="Id of a call, or its first 4 or more characters."),
]

OptionalCallId = Annotated[
    str,
    Field(pattern=OPTIONAL_ID_FORM, description="Id of a call, to check the receipt kept for it."),
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

Since = Annotated[
    str,
    Field(max_length=64, description='Only calls since then: "24h", "7d", a date or a UTC time.'),
]

StatusFilter = Annotated[
    Literal["", "done", "running", "failed"], Field(description="Only calls of this status.")
]

ToolFilter = Annotated[str, Field(max_length=48, description="Only calls of this tool.")]

ReceiptDocument = Annotated[
    dict[str, Any],
    Field(
        description='A receipt as og://receipts/{call_id} gives it, or {"file": path} of a saved one.'
    ),
]

Online = Annotated[
    bool, Field(description="Ask the chain too: whether the transaction is on it, and how deep.")
]
