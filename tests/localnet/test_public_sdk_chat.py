"""The public SDK's `og.LLM` chats against the local network, and pays what we pay."""

from __future__ import annotations

import json
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest

from og_mcp.client import Session
from tests.localnet_client import LocalNetwork, running

SCRIPT = Path(__file__).with_name("public_sdk_chat.py")
MESSAGES = [{"role": "user", "content": "What is a tensor?"}]

pytestmark = pytest.mark.slow


def ask(python: str, network: LocalNetwork) -> str:
    names = ("rpc_url", "base_rpc_url", "tee_registry")
    told = {name: network.ready[name] for name in names}
    told |= {"private_key": network.ready["accounts"][1]["private_key"], "messages": MESSAGES}
    done = subprocess.run(  # noqa: S603 - the SDK's Python with a script of ours
        [python, str(SCRIPT)],
        input=json.dumps(told),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
        timeout=120,
    )
    return str(json.loads(done.stdout)["content"])


async def test_the_sdk_and_we_get_one_answer_and_pay_one_amount(
    sdk_python: str, tmp_path: Path
) -> None:
    # The only payment chain that the SDK signs for.
    with running("--base-chain-id", "8453") as network:
        network.data_dir = tmp_path / "data"
        theirs = ask(sdk_python, network)
        [their_settlement] = network.settle()
        async with Session.from_env(network.environ) as og:
            ours = await og.chat("GPT_5_4_MINI", MESSAGES)
            network.settle()
            info = await og.get_call(ours.call_id)
        [_, our_settlement] = network.settlements()

    assert theirs == ours.content
    assert their_settlement["payer"].lower() != our_settlement["payer"].lower()
    assert their_settlement["amount"] == our_settlement["amount"]
    assert Decimal(info.payment.amount_opg).scaleb(18) == int(our_settlement["amount"])
    assert info.payment.transaction_hash == our_settlement["transaction_hash"]
