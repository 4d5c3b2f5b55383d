"""The steps of `og-mcp try` that ask language and image models, and verify their receipts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from anyio import to_thread

from og_mcp.cli._trial import StepFailedError, Trial

MODEL: Final = "openai/gpt-5.4-mini"
IMAGE_MODEL: Final = "openai/gpt-image-2"

Call = Callable[..., Awaitable[dict[str, Any]]]
"""Calls a tool: its name, its arguments by name."""


async def ask(trial: Trial, call: Call) -> None:
    """Chat, complete and draw; each is paid, verified, and leaves a receipt that is checked."""
    async with trial.step("Chat with a model in a TEE (chat)") as said:
        question = [{"role": "user", "content": "Who are you?"}]
        chatted = await call("chat", model=MODEL, messages=question)
        said += [chatted["content"], _paid(chatted)]
    async with trial.step("Complete a text (completion)") as said:
        completed = await call("completion", model=MODEL, prompt="Once upon a time")
        said += [completed["text"], _paid(completed)]
    async with trial.step("Draw an image (generate_image)") as said:
        drawn = await call("generate_image", model=IMAGE_MODEL, prompt="a lighthouse at dusk")
        said += [await to_thread.run_sync(_on_disk, drawn["images"][0]), _paid(drawn)]
    async with trial.step("Verify their receipts (verify_receipt)") as said:
        results = {"chat": chatted, "completion": completed, "generate_image": drawn}
        said += [f"{name}: {await _verified(call, results[name])}" for name in results]


def _paid(result: dict[str, Any]) -> str:
    """Describe the payment and verification of a call, if both are as they must be."""
    payment, proof = result["payment"], result["verification"]
    if proof["status"] != "local" or not payment["cap_id"]:
        raise StepFailedError(f"verification {proof['status']!r}, payment {payment['cap_id']!r}")
    shared = f"payment {payment['cap_id'][:8]}…"
    return f"{shared}, at most {payment['max_opg']} OPG; verification: {proof['status']}"


def _on_disk(image: dict[str, Any]) -> str:
    file = Path(image["path"]).read_bytes()
    if sha256(file).hexdigest() != image["sha256"] or len(file) != image["size"]:
        raise StepFailedError(f"{image['path']} is not what the result says of it")
    return f"{image['width']} x {image['height']} pixels, {len(file)} bytes, {image['uri'][:28]}…"


async def _verified(call: Call, result: dict[str, Any]) -> str:
    verification = await call("verify_receipt", call_id=result["call_id"])
    checks = verification["checks"]
    if not verification["valid"] or verification["level"] != "consistent":
        failed = [f"{c['name']}: {c['detail']}" for c in checks if c["result"] != "ok"]
        raise StepFailedError(f"level {verification['level']}: {'; '.join(failed)}")
    return f"{verification['level']}, {verification['summary']}"
