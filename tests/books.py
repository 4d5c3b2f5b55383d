"""Holds what a journal says of one wallet's calls against what the chain says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from eth_account.signers.local import LocalAccount

from og_mcp.client import Session, Timeouts
from og_mcp.journal import open_journal
from og_mcp.settings import Settings
from og_mcp.types import Account, Call, FeeCaps, Stage
from tests.localnet_client import LocalNetwork

CHARGED: Final = (Stage.CHARGED, Stage.CONFIRMED)
FUNDS: Final = 10**18
CAPS: Final = FeeCaps(per_call=10**16, per_day=10**18)
"""Only the numbers beside them are read."""


@dataclass
class Purse:
    """A wallet of a test's own on the shared local network, and the environment that uses it."""

    localnet: LocalNetwork
    folder: Path
    funds: int = FUNDS
    rpc_url: str = ""
    base_rpc_url: str = ""
    """What stands in front of the network's RPCs."""

    wallet: LocalAccount = field(init=False, repr=False)
    address: str = field(init=False)
    environ: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.wallet = self.localnet.new_wallet(self.funds)
        self.address = self.wallet.address
        account = {"address": self.address, "private_key": "0x" + bytes(self.wallet.key).hex()}
        ready_file = self.folder / "ready.json"
        ready = {**self.localnet.ready, "accounts": [account]}
        urls = {"rpc_url": self.rpc_url, "base_rpc_url": self.base_rpc_url}
        ready |= {name: url for name, url in urls.items() if url}
        ready_file.write_text(json.dumps(ready))
        self.environ = {
            **self.localnet.environ,
            "OG_LOCALNET": str(ready_file),
            "OG_DATA_DIR": str(self.folder / "data"),
        }

    def settings(self, **more: str) -> Settings:
        return Settings.from_env({**self.environ, **more})

    def session(self, timeouts: Timeouts | None = None, /, **more: str) -> Session:
        return Session(self.settings(**more), timeouts=timeouts)

    @property
    def account(self) -> Account:
        """Its lane and budget."""
        genesis = self.localnet.rpc("eth_getBlockByNumber", "0x0", False)["hash"]
        chain_id = self.localnet.ready["chain_id"]
        return Account(network=f"local:{genesis}", chain_id=chain_id, address=self.address)

    def sent(self, state: str = "latest") -> int:
        """Count its transactions."""
        return int(self.localnet.rpc("eth_getTransactionCount", self.address, state), 16)

    def spent(self) -> int:
        """Return the wei it has paid in fees; no call transfers anything."""
        return self.funds - int(self.localnet.rpc("eth_getBalance", self.address, "latest"), 16)

    def mined(self, hashes: Sequence[str]) -> list[dict[str, Any]]:
        """Return the receipts of those transactions that were mined."""
        receipts = (self.localnet.rpc("eth_getTransactionReceipt", one) for one in hashes)
        return [receipt for receipt in receipts if receipt is not None]

    async def calls(self) -> tuple[Call, ...]:
        """Read the journal through a connection of our own."""
        async with open_journal(self.settings()) as journal:
            return await journal.list_calls(None, 1000)


async def check_books(purse: Purse, **more: str) -> tuple[Call, ...]:
    """Assert that journal and chain agree to the wei; returns the calls, the newest first."""
    async with open_journal(purse.settings(**more)) as journal:
        calls = await journal.list_calls(None, 1000)
        for call in calls:
            _check_call(purse, call)
        budget = await journal.budget(purse.account, CAPS)
        totals = await journal.totals(account=purse.account)
    charged = [call for call in calls if call.stage in CHARGED]
    assert len(charged) == purse.sent()
    assert purse.sent("pending") == purse.sent(), "a nonce is missing, or waits"
    assert budget.open == 0
    assert budget.spent == sum(call.fee_wei for call in calls) == purse.spent()
    assert sum(total.fees_wei for total in totals) == purse.spent()
    return calls


def _check_call(purse: Purse, call: Call) -> None:
    assert call.status in {"done", "failed"}, call
    mined = purse.mined(call.transaction_hashes)
    assert len(mined) == (1 if call.stage in CHARGED else 0), call
    fees = sum(int(one["gasUsed"], 16) * int(one["effectiveGasPrice"], 16) for one in mined)
    assert call.fee_wei == fees, call
