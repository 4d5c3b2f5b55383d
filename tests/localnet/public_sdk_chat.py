"""Run by the public SDK's Python: chats once through `og.LLM`, told by JSON on stdin."""

import asyncio
import json
import os
import sys

told = json.load(sys.stdin)
os.environ["BASE_MAINNET_RPC"] = told["base_rpc_url"]

import opengradient as og  # type: ignore[import-not-found]  # noqa: E402 - in its own venv; reads the variable as it is imported


async def main() -> None:
    llm = og.LLM(
        private_key=told["private_key"],
        rpc_url=told["rpc_url"],
        tee_registry_address=told["tee_registry"],
    )
    result = await llm.chat(model=og.TEE_LLM.GPT_5_4_MINI, messages=told["messages"])
    await llm.close()
    json.dump({"content": result.chat_output["content"]}, sys.stdout)


asyncio.run(main())
