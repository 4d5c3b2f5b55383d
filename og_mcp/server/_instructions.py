"""What the server tells an assistant about the tools that it offers."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

_WHAT: Final = "Runs AI models on the OpenGradient network and returns results with their proof."

_TOOLS: Final = (
    (("infer",), "infer runs an ONNX model on chain and pays gas."),
    (
        ("chat", "completion", "web_search", "generate_image"),
        "chat, completion, web_search and generate_image ask attested enclaves and pay OPG.",
    ),
    (
        ("search_models", "get_model", "list_files"),
        "search_models, get_model and list_files find models.",
    ),
    (
        ("create_model", "create_version", "upload"),
        "create_model, create_version and upload publish them.",
    ),
    (("status",), "status shows network, wallet, caps and what is missing."),
    (("approve_opg",), "approve_opg allows payments in OPG."),
    (("get_call",), "get_call waits for a running call."),
    (("list_calls",), "list_calls shows what was spent."),
    (("verify_receipt",), "verify_receipt checks the proof of a call."),
)
"""Tools, and the sentence about them, which is told where all of them are offered."""

_NETWORK: Final = "og://network describes the network in use, and the local one's sample models."


def instructions(offered: Collection[str]) -> str:
    """Tell an assistant what it can do here.

    Args:
        offered: Names of the tools that are listed.
    """
    said = [text for names, text in _TOOLS if set(names) <= set(offered)]
    return " ".join([_WHAT, *said, _NETWORK])
