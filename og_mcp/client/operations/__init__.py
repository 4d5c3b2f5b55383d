"""What the calls do: one class for each kind of call, run by the engine (`calls.engine`)."""

from og_mcp.client.files.attachments import Attachments
from og_mcp.client.files.model_file import Publishable
from og_mcp.client.hub.search import search
from og_mcp.client.operations.approve_opg import ApproveOPG
from og_mcp.client.operations.cancel_payment import CancelPayment
from og_mcp.client.operations.chat import Chat, Completion, fits_chat
from og_mcp.client.operations.gateway import GatewayAccess
from og_mcp.client.operations.image import GenerateImage, fits_images
from og_mcp.client.operations.infer import Infer, InferenceRequests
from og_mcp.client.operations.models import Models
from og_mcp.client.operations.onchain_llm import (
    OnchainChat,
    OnchainCompletion,
    onchain_chat,
    onchain_completion,
)
from og_mcp.client.operations.options import ChatOptions, ImageOptions, SamplingOptions
from og_mcp.client.operations.publish import (
    CreateModel,
    CreateVersion,
    HubAccess,
    Uncounted,
    Upload,
    check_texts,
)
from og_mcp.client.operations.web_search import WebSearch
from og_mcp.client.payments.allowance import base_units

__all__ = [
    "ApproveOPG",
    "Attachments",
    "CancelPayment",
    "Chat",
    "ChatOptions",
    "Completion",
    "CreateModel",
    "CreateVersion",
    "GatewayAccess",
    "GenerateImage",
    "HubAccess",
    "ImageOptions",
    "Infer",
    "InferenceRequests",
    "Models",
    "OnchainChat",
    "OnchainCompletion",
    "Publishable",
    "SamplingOptions",
    "Uncounted",
    "Upload",
    "WebSearch",
    "base_units",
    "check_texts",
    "fits_chat",
    "fits_images",
    "onchain_chat",
    "onchain_completion",
    "search",
]
