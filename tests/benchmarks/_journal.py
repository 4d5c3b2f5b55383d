"""The steps of a journalled call, and journals to take them in; used by the journal's rows."""

from __future__ import annotations

import os
import secrets
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from og_mcp.calls import Journal
from og_mcp.settings import Settings
from og_mcp.types import Account, CallRequest, FeeCaps, Stage
from tests.benchmarks._frame import Answer

CAPS: Final = FeeCaps(per_call=10**16, per_day=10**30)
FEE: Final = 10**14
REQUEST: Final = '{"arguments": {"model_cid": "Qm", "model_input": {"x": [1.0, 2.0, 3.0]}}}' * 4
RESULT: Final = '{"y": [0.25, 0.5]}' * 20
RECEIPT: Final = '{"schema": "og-mcp/receipt/1"}' * 60
RAW: Final = "0x" + "02" * 1000


def settings(folder: str, url: str = "") -> Settings:
    """Configure a journal."""
    where = SecretStr(url) if url else None
    return Settings(network_name="local", data_dir=Path(folder), journal_url=where)


def account(number: int) -> Account:
    """Make up a wallet."""
    return Account(network="local:0x00", chain_id=7, address=f"0x{number:040x}")


def cpu_note(answers: Sequence[Answer]) -> str:
    """Tell what the processor had to do: unlike the time, it does not grow with other load."""
    cpu_ms = statistics.median(answer["cpu_ms"] for answer in answers)
    load = f", machine's load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{cpu_ms:.2f} ms of processor a call in each process{load}"


async def one_call(journal: Journal, payer: Account) -> float:
    """Take a call through all its steps, with nothing between them; returns seconds."""
    request_hash, transaction_hash = secrets.token_hex(32), f"0x{secrets.token_hex(32)}"
    request = CallRequest(
        tool="infer",
        principal="local",
        network="local",
        request_hash=request_hash,
        request=REQUEST,
    )
    started = time.perf_counter()
    call = (await journal.open_call(request)).call
    async with journal.lane(payer) as lane:
        nonce = lane.next_nonce or 0
        await lane.reserve(call.id, nonce, FEE, CAPS)
        await lane.signed(call.id, nonce, transaction_hash, RAW, FEE)
    await journal.settle(call.id, Stage.CHARGED, FEE // 2, RESULT, RECEIPT)
    await journal.deliver(call.id)
    return time.perf_counter() - started
