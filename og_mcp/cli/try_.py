"""`og-mcp try`: the main job, end to end, on its own local network.

Everything goes the way an assistant's calls go: a real MCP client starts `og-mcp serve` and calls
its tools over stdio.
"""

from __future__ import annotations

import os
import sys
from contextlib import AsyncExitStack
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import anyio
import click
import httpx
from anyio import to_thread
from mcp import Client, StdioServerParameters
from rich.console import Console

from og_mcp.cli import _trial_language
from og_mcp.cli._trial import StepFailedError, Trial
from og_mcp.client.local_network import INHERITED, read_ready_file, running_localnet
from og_mcp.client.wire.http import map_httpx_errors, open_http

MODEL_NAME: Final = "try-house-prices"
TIMEOUT_S: Final = 300.0
TOLERANCE: Final = 1e-5
"""Relative difference that float32 on the wire may have from onnxruntime's own answer."""


@click.command("try")
def command() -> None:
    """Run the main job on a local network: no key, no account, no real money.

    Starts a local network, publishes an ONNX model, runs it in an EVM transaction and compares the
    answer with onnxruntime's own; chats, completes a text and draws an image; verifies every
    receipt. Every call goes through an MCP client. Exit 0 if every step worked.
    """
    console = Console(highlight=False)
    trial = Trial(console)
    held = anyio.run(_held, trial)
    console.print(trial.table())
    if not held:
        sys.exit(1)
    console.print("Every step worked. Next: add og-mcp to your assistant; the README shows how.")


async def _held(trial: Trial) -> bool:
    held = False
    with anyio.move_on_after(TIMEOUT_S) as scope:
        try:
            async with AsyncExitStack() as stack:
                await _run(trial, stack)
                held = True
        except* StepFailedError:
            # The table shows it already; the client's task groups wrap it on its way out.
            held = False
    if scope.cancelled_caught:
        trial.console.print(f"Gave up after {TIMEOUT_S:.0f} s.")
    return held


async def _run(trial: Trial, stack: AsyncExitStack) -> None:
    async with trial.step("Start a local network") as said:
        ready_file = await stack.enter_async_context(running_localnet())
        ready = read_ready_file(ready_file)
        chains = f"chains {ready['chain_id']} and {ready['base_chain_id']}"
        said.append(f"{chains}, a model hub and a TEE gateway")
    async with trial.step("Connect an MCP client to og-mcp over stdio") as said:
        mcp = await stack.enter_async_context(Client(_server(ready_file)))
        tools = (await mcp.list_tools()).tools
        said.append(f"tools: {', '.join(tool.name for tool in tools)}")
    # Imported only here: it needs the extra whose absence the first step tells.
    from og_mcp.cli import _trial_model  # noqa: PLC0415

    content = await to_thread.run_sync(_trial_model.build)
    async with trial.step("Publish an ONNX model (create_model)") as said:
        path = await to_thread.run_sync(_write, _models_of(ready_file), content)
        published = await _call(
            mcp,
            "create_model",
            model_name=MODEL_NAME,
            model_desc="A perceptron made by og-mcp try.",
            model_path=str(path),
        )
        said.append(_uploaded(published["upload"], content))
    async with trial.step("Look the model up (get_model)") as said:
        model = await _call(mcp, "get_model", model_name=MODEL_NAME)
        file = model["versions"][-1]["files"][0]
        if file["model_cid"] != published["upload"]["model_cid"]:
            raise StepFailedError(f"the hub lists CID {file['model_cid']}")
        said.append(f"CID {file['model_cid']}")
    async with trial.step("Run it on chain (infer)") as said:
        result = await _call(
            mcp, "infer", model_cid=file["model_cid"], model_input=_trial_model.INPUT
        )
        said += [f"transaction {result['transaction_hash']}", f"output {result['model_output']}"]
    async with trial.step("Compare with onnxruntime, away from the chain") as said:
        expected = await to_thread.run_sync(_trial_model.run, content)
        said.append(_compare(result["model_output"][_trial_model.OUTPUT_NAME], expected.tolist()))
    async with trial.step("Find the transaction on the chain") as said:
        said.append(await _find_on_chain(ready, result["transaction_hash"]))
    async with trial.step("Verify its receipt (verify_receipt)") as said:
        said.append(
            _verified(await _call(mcp, "verify_receipt", call_id=result["call_id"], online=True))
        )
    await _trial_language.ask(trial, partial(_call, mcp))


def _server(ready_file: Path) -> StdioServerParameters:
    """Describe `og-mcp serve` on that network, without any variable of the user's configuration."""
    env = {name: os.environ[name] for name in INHERITED if name in os.environ}
    env |= {"OG_NETWORK": "local", "OG_LOCALNET": str(ready_file), "OG_LOG_LEVEL": "WARNING"}
    # The trial's journal and model are removed with its network.
    env["OG_DATA_DIR"] = str(ready_file.parent / "data")
    models = _models_of(ready_file)
    models.mkdir(exist_ok=True)
    env["OG_UPLOAD_ROOTS"] = str(models)
    return StdioServerParameters(command=sys.executable, args=["-P", "-m", "og_mcp"], env=env)


async def _call(mcp: Client, name: str, **arguments: object) -> dict[str, Any]:
    """Call a tool and return its structured content."""
    result = await mcp.call_tool(name, arguments)
    if result.is_error or not isinstance(result.structured_content, dict):
        raise StepFailedError(" ".join(getattr(part, "text", "") for part in result.content))
    return result.structured_content


def _models_of(ready_file: Path) -> Path:
    """Return the folder that the trial's server may read files from."""
    return ready_file.parent / "models"


def _write(folder: Path, content: bytes) -> Path:
    path = folder / "house_prices.onnx"
    path.write_bytes(content)
    return path


def _uploaded(upload: dict[str, Any], content: bytes) -> str:
    """Describe what was published, if it is the file that was made."""
    if upload["sha256"] != sha256(content).hexdigest():
        raise StepFailedError(f"the published file has SHA-256 {upload['sha256']}")
    return f"{MODEL_NAME} {upload['version']}, {upload['size']} bytes, CID {upload['model_cid']}"


def _json(response: httpx.Response) -> Any:  # noqa: ANN401 - JSON
    if response.is_error:
        raise StepFailedError(f"{response.url.path} answered {response.status_code}")
    return response.json()


def _compare(ours: list[list[float]], expected: list[list[float]]) -> str:
    pairs = [
        (a, b)
        for row, right in zip(ours, expected, strict=True)
        for a, b in zip(row, right, strict=True)
    ]
    worst = max(abs(a - b) / max(abs(b), 1.0) for a, b in pairs)
    if worst > TOLERANCE:
        raise StepFailedError(f"{ours} is not {expected}")
    return f"{len(pairs)} numbers agree (largest difference {worst:.1e})"


def _verified(verification: dict[str, Any]) -> str:
    """Describe the result of a verification."""
    checks = verification["checks"]
    if not verification["valid"] or verification["level"] != "confirmed":
        failed = [f"{c['name']}: {c['detail']}" for c in checks if c["result"] != "ok"]
        raise StepFailedError(f"level {verification['level']}: {'; '.join(failed)}")
    return f"{verification['level']}: {verification['summary']}"


async def _find_on_chain(ready: dict[str, Any], transaction_hash: str) -> str:
    request = {"jsonrpc": "2.0", "id": 1, "method": "eth_getTransactionReceipt"}
    async with open_http(local=True) as http:
        with map_httpx_errors("local RPC", ready["rpc_url"]):
            answer = await http.post(
                ready["rpc_url"], json=request | {"params": [transaction_hash]}
            )
    receipt = _json(answer)["result"]
    contract = str(ready["inference_contract"])
    if not receipt or receipt["status"] != "0x1" or receipt["to"].lower() != contract.lower():
        raise StepFailedError(f"the chain has no successful transaction {transaction_hash}")
    return f"block {int(receipt['blockNumber'], 16)}, {int(receipt['gasUsed'], 16)} gas"
