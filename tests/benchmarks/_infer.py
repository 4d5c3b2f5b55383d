"""Both sides of the rows that infer on a local network: our session and the public SDK."""

from __future__ import annotations

import asyncio
import importlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

from tests.benchmarks._frame import Answer

SDK: Final = "opengradient==1.1.4"


def ours() -> Callable[..., Answer]:
    """Set up our side: one session for all runs, as the server has it."""
    client = importlib.import_module("og_mcp.client")
    runner = asyncio.Runner()
    session: Any = None

    async def infer(count: int, model: dict[str, Any]) -> list[Any]:
        calls = [
            # Identical requests that run at once are one call, unless each has a key of its own.
            session.infer(model["cid"], model["model_input"], idempotency_key=token_hex(16))
            for _ in range(count)
        ]
        return await asyncio.gather(*calls, return_exceptions=True)

    def run(ready_file: str, count: int) -> Answer:
        nonlocal session
        if session is None:
            session = client.Session.from_env(
                {
                    "OG_NETWORK": "local",
                    "OG_LOCALNET": ready_file,
                    "OG_DATA_DIR": str(Path(ready_file).parent / "data"),
                    "OG_MAX_FEE_PER_DAY": "10",
                }
            )
        model = _model(ready_file)
        start = time.perf_counter()
        results = runner.run(infer(count, model))
        seconds = time.perf_counter() - start
        outputs = [r.model_output for r in results if not isinstance(r, Exception)]
        return {"seconds": seconds, "result": outputs[:1], "answered": len(outputs)}

    return run


def sdk() -> Callable[..., Answer]:
    """Set up the public SDK's side: one client for all runs; concurrent calls are threads."""
    numpy = importlib.import_module("numpy")
    opengradient = importlib.import_module("opengradient")
    futures = importlib.import_module("concurrent.futures")
    client: Any = None

    def infer(model: dict[str, Any]) -> dict[str, Any] | None:
        inputs = {name: numpy.array(value) for name, value in model["model_input"].items()}
        try:
            result = client.infer(model["cid"], opengradient.InferenceMode.VANILLA, inputs)
        except Exception:  # noqa: BLE001 - whatever it raises, the call was not answered
            return None
        return {name: _plain(numpy, value) for name, value in result.model_output.items()}

    def run(ready_file: str, count: int) -> Answer:
        nonlocal client
        if client is None:
            client = _alpha(opengradient, ready_file)
        model = _model(ready_file)
        with futures.ThreadPoolExecutor(count) as pool:
            start = time.perf_counter()
            results = list(pool.map(infer, [model] * count))
            seconds = time.perf_counter() - start
        outputs = [result for result in results if result is not None]
        return {"seconds": seconds, "result": outputs[:1], "answered": len(outputs)}

    return run


def _alpha(opengradient: Any, ready_file: str) -> Any:  # noqa: ANN401 - the SDK is in another venv
    ready = json.loads(Path(ready_file).read_text(encoding="utf-8"))
    return opengradient.Alpha(
        # Not the account that our side pays with.
        private_key=ready["accounts"][1]["private_key"],
        rpc_url=ready["rpc_url"],
        inference_contract_address=ready["inference_contract"],
        api_url=ready["node_api_url"],
    )


def _model(ready_file: str) -> dict[str, Any]:
    ready = json.loads(Path(ready_file).read_text(encoding="utf-8"))
    model: dict[str, Any] = ready["sample_models"][0]
    return model


def _plain(numpy: Any, array: Any) -> Any:  # noqa: ANN401 - numpy of another venv
    """Write float32s by their shortest text, as our results are."""
    shortest = [float(str(value)) for value in array.ravel()]
    return numpy.array(shortest).reshape(array.shape).tolist()
