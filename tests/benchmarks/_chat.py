"""Both sides of the rows that chat through the local gateway: our session and the public SDK."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.benchmarks._frame import Answer

SDK: Final = "opengradient==1.1.4"
MESSAGES: Final = [{"role": "user", "content": "What is a tensor?"}]
BASE_CHAIN_ID: Final = "8453"
"""The only payment chain that the SDK signs for."""


def ours() -> Callable[..., Answer]:
    """Set up our side: a session for each run, on one journal that remembers the price.

    The time of a first chat begins before its session is made; modules are loaded by an earlier run.
    """
    client = importlib.import_module("og_mcp.client")
    runner = asyncio.Runner()

    async def chats(ready_file: str, count: int) -> tuple[float, str]:
        environ = {
            "OG_NETWORK": "local",
            "OG_LOCALNET": ready_file,
            "OG_DATA_DIR": str(Path(ready_file).parent / "data"),
            "OG_MAX_PER_DAY": "1000",
        }
        start = time.perf_counter()
        async with client.Session.from_env(environ) as session:
            for number in range(count):
                if number:
                    start = time.perf_counter()
                result = await session.chat("openai/gpt-5.4-mini", MESSAGES)
                seconds = time.perf_counter() - start
                assert result.verification.status == "local"
        return seconds, result.content

    def run(ready_file: str, count: int) -> Answer:
        seconds, content = runner.run(chats(ready_file, count))
        return {"seconds": seconds, "result": content}

    return run


def sdk() -> Callable[..., Answer]:
    """Set up the public SDK's side: a client for each run.

    As on our side the making of the client, its key and its registry read count; imports do not.
    """
    os.environ["BASE_MAINNET_RPC"] = json.loads(
        Path(os.environ["TEST_READY_FILE"]).read_text(encoding="utf-8")
    )["base_rpc_url"]
    opengradient = importlib.import_module("opengradient")
    runner = asyncio.Runner()

    async def chats(ready: dict[str, Any], count: int) -> tuple[float, str]:
        start = time.perf_counter()
        llm = opengradient.LLM(
            private_key=ready["accounts"][1]["private_key"],
            rpc_url=ready["rpc_url"],
            tee_registry_address=ready["tee_registry"],
        )
        for number in range(count):
            if number:
                start = time.perf_counter()
            result = await llm.chat(model=opengradient.TEE_LLM.GPT_5_4_MINI, messages=MESSAGES)
            seconds = time.perf_counter() - start
        await llm.close()
        return seconds, result.chat_output["content"]

    def run(ready_file: str, count: int) -> Answer:
        ready = json.loads(Path(ready_file).read_text(encoding="utf-8"))
        seconds, content = runner.run(chats(ready, count))
        return {"seconds": seconds, "result": content}

    return run
