"""A running local network as tests see it: its ready file and its admin verbs."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak

from og_mcp.networks import PERMIT2

START_S: Final = 60.0

_NO_AUTHORITIES: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""All of it is plain HTTP; reading the list of authorities takes 30 ms for each client."""


def http_client(url: str = "", *, token: str = "") -> httpx.Client:
    """Make a client that knows no proxies, with a bearer token where one is given."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(
        base_url=url, headers=headers, trust_env=False, verify=_NO_AUTHORITIES, timeout=30
    )


class LocalNetwork:
    """Plain verbs, so that sync and async tests can use them; what they do is told in
    `og_mcp.localnet.admin`.
    """

    def __init__(self, ready_file: Path, process: subprocess.Popen[bytes]) -> None:
        self.ready_file = ready_file
        self.ready: dict[str, Any] = json.loads(ready_file.read_text(encoding="utf-8"))
        self.process = process
        self.data_dir = ready_file.parent / "data"
        """Where programs that use this network keep their journal."""

        self.http = http_client()
        """For absolute URLs; knows no token."""

    @property
    def environ(self) -> dict[str, str]:
        """What points `og-mcp` at this network."""
        return {
            "OG_NETWORK": "local",
            "OG_LOCALNET": str(self.ready_file),
            "OG_DATA_DIR": str(self.data_dir),
        }

    def fault(self, method: str, action: str, *, service: str = "rpc", **fields: object) -> None:
        """Ask for a fault: `fault("eth_sendRawTransaction", "error", message="nonce too low")`."""
        self._ask(
            "POST", f"/services/{service}/faults", {"method": method, "action": action, **fields}
        )

    def spoil(
        self,
        how: str,
        path: str = "/v1/chat/completions",
        *,
        service: str = "gateway",
        **fields: object,
    ) -> None:
        """Let one answer of the gateway go wrong; the ways: `og_mcp.localnet.gateway.gateway_faults`."""
        self.fault(f"{service} POST {path}", "spoil", service=service, how=how, **fields)

    def clear_faults(self, service: str = "rpc") -> None:
        """Forget the faults of a service that were not shown yet."""
        self._ask("DELETE", f"/services/{service}/faults")

    def tees(self) -> list[dict[str, Any]]:
        """List the gateways and what the registry says of them."""
        found: list[dict[str, Any]] = self._ask("GET", "/tees")
        return found

    def add_tee(self) -> dict[str, Any]:
        """Start one more gateway with keys of its own and register it."""
        added: dict[str, Any] = self._ask("POST", "/tees")
        return added

    def change_tee(self, service: str = "gateway", **fields: object) -> None:
        """Change the registry's entry: `enabled`, `heartbeat`, `endpoint`, `payment_address`, ..."""
        self._ask("PUT", f"/tees/{service}", fields)

    def rotate_certificate(self, service: str = "gateway", *, register: bool = False) -> None:
        """Let a gateway serve with another certificate."""
        self._ask("POST", f"/tees/{service}/rotate", {"register": register})

    def pending_faults(self, service: str = "rpc") -> list[dict[str, Any]]:
        """List the faults that were not shown yet."""
        faults: list[dict[str, Any]] = self._ask("GET", f"/services/{service}/faults")
        return faults

    def latency(self, seconds: float, *, service: str = "rpc") -> None:
        """Add a delay to each HTTP request."""
        self._ask("PUT", f"/services/{service}/latency", {"latency_s": seconds})

    def counters(self, service: str = "rpc") -> dict[str, Any]:
        """Return `{"http_requests": n, "calls": {name: n}}`."""
        counters: dict[str, Any] = self._ask("GET", f"/services/{service}/counters")
        return counters

    def reset_counters(self, service: str = "rpc") -> None:
        """Count from zero."""
        self._ask("DELETE", f"/services/{service}/counters")

    def close_service(self, service: str) -> None:
        """Refuse connections."""
        self._ask("POST", f"/services/{service}/close")

    def open_service(self, service: str) -> None:
        """Take connections again."""
        self._ask("POST", f"/services/{service}/open")

    def hold_blocks(self, chain: str = "rpc") -> None:
        """Let transactions wait."""
        self._ask("POST", f"/chains/{chain}/hold")

    def release_blocks(self, chain: str = "rpc") -> None:
        """Mine what waits, and mine at once again."""
        self._ask("POST", f"/chains/{chain}/release")

    def mine(self, blocks: int = 1, *, chain: str = "rpc") -> int:
        """Mine blocks; returns the new head's number."""
        number: int = self._ask("POST", f"/chains/{chain}/mine", {"blocks": blocks})["block_number"]
        return number

    def prices(self, chain: str = "rpc", **wei: int) -> None:
        """Set `gas_price`, `least_gas_price`."""
        self._ask("PUT", f"/chains/{chain}/prices", wei)

    def safe_depth(self, depth: int, chain: str = "rpc") -> None:
        """Let the tag `safe` lag so many blocks behind the newest."""
        self._ask("PUT", f"/chains/{chain}/safe", {"depth": depth})

    def answers(self, **fields: object) -> None:
        """Choose where results of an inference appear."""
        self._ask("PUT", "/chains/rpc/answers", fields)

    def add_account(
        self, username: str, *, email: str, password: str, disabled: bool = False
    ) -> None:
        """Add a hub account."""
        fields = {"username": username, "email": email, "password": password, "disabled": disabled}
        self._ask("POST", "/hub/accounts", fields)

    def fund(self, address: str, wei: int = 10**18, *, chain: str = "rpc") -> None:
        """Give an address native coins; mined at once unless blocks are held."""
        self._ask("POST", f"/chains/{chain}/fund", {"address": address, "wei": wei})

    def new_wallet(self, wei: int = 10**18) -> LocalAccount:
        """Make a wallet with native coins and nonce 0."""
        wallet: LocalAccount = Account.create()
        self.fund(wallet.address, wei)
        return wallet

    def terms(self, *, after_challenges: int = 0, **accepts: object) -> None:
        """Let the gateway ask for something else: `terms(amount="1", payTo="0x...")`."""
        body = {"accepts": accepts, "after_challenges": after_challenges}
        self._ask("PUT", "/payments/terms", body)

    def payment_mode(self, **mode: object) -> None:
        """Choose `sessions` (true or false) and `session_idle_s`."""
        self._ask("PUT", "/payments/mode", mode)

    def refuse_payments(self, times: int = 1) -> None:
        """Answer so many valid payments by 402 all the same."""
        self._ask("POST", "/payments/refuse", {"times": times})

    def sessions(self) -> list[dict[str, Any]]:
        """Describe the gateway's sessions, oldest first."""
        sessions: list[dict[str, Any]] = self._ask("GET", "/payments/sessions")
        return sessions

    def advance_sessions(self, seconds: float) -> None:
        """Move the time of the gateway's sessions ahead; what is due then settles."""
        self._ask("POST", "/payments/advance", {"seconds": seconds})

    def end_sessions(self) -> None:
        """Let no session take more requests."""
        self._ask("POST", "/payments/end")

    def settle(self) -> list[dict[str, Any]]:
        """End and settle every session now; describes all settlements, oldest first."""
        settlements: list[dict[str, Any]] = self._ask("POST", "/payments/settle")
        return settlements

    def settlements(self) -> list[dict[str, Any]]:
        """Describe all settlements, oldest first."""
        settlements: list[dict[str, Any]] = self._ask("GET", "/payments/settlements")
        return settlements

    def payment_counters(self) -> dict[str, int]:
        """Tell how many challenges, verifications, sessions, charges and settlements there were."""
        counters: dict[str, int] = self._ask("GET", "/payments/counters")
        return counters

    def fund_opg(self, address: str, amount: int) -> None:
        """Give an address base units of OPG; it may pay from then on."""
        self._ask("POST", "/payments/fund", {"address": address, "opg": amount})

    def approve_permit2(self, wallet: LocalAccount, amount: int) -> None:
        """Let Permit2 move so many base units of OPG; a wallet's first transaction on Base."""
        words = bytes.fromhex(PERMIT2.removeprefix("0x").rjust(64, "0") + f"{amount:064x}")
        signed = wallet.sign_transaction(
            {
                "chainId": self.ready["base_chain_id"],
                "nonce": 0,
                "to": self.ready["opg_token"],
                "data": keccak(text="approve(address,uint256)")[:4] + words,
                "gas": 100_000,
                "gasPrice": 10**9,
            }
        )
        raw = signed.raw_transaction.to_0x_hex()
        self.rpc("eth_sendRawTransaction", raw, url=self.ready["base_rpc_url"])

    def opg(self, address: str) -> int:
        """Read a balance of OPG in base units."""
        return self._opg("balanceOf(address)", address)

    def allowance(self, owner: str) -> int:
        """Read what Permit2 may still move, in base units of OPG."""
        return self._opg("allowance(address,address)", owner, PERMIT2)

    def _opg(self, function: str, *addresses: str) -> int:
        words = "".join(address.removeprefix("0x").rjust(64, "0") for address in addresses)
        call = {
            "to": self.ready["opg_token"],
            "data": f"0x{keccak(text=function)[:4].hex()}{words}",
        }
        return int(self.rpc("eth_call", call, "latest", url=self.ready["base_rpc_url"]), 16)

    def expire_tokens(self) -> None:
        """End every id token of the hub."""
        self._ask("POST", "/hub/expire_tokens")

    def reset(self) -> None:
        """Take every fault away."""
        self._ask("POST", "/reset")

    def sign_in(self) -> str:
        """Sign in with the seeded account and return the id token."""
        login = self.ready["hub_login"]
        answer = self.http.post(
            self.ready["auth_url"],
            params={"key": login["firebase_api_key"]},
            json={"email": login["email"], "password": login["password"]},
        )
        token: str = answer.raise_for_status().json()["idToken"]
        return token

    def publish(self, name: str, content: bytes, file_name: str = "model.onnx") -> str:
        """Put a file on the hub as a new model's first version; returns its content id."""
        token = self.sign_in()
        with http_client(self.ready["hub_url"], token=token) as hub:
            hub.post("/api/v0/models/", json={"name": name, "description": ""}).raise_for_status()
            made = hub.post(f"/api/v0/models/{name}/versions", json={"notes": ""})
            version = made.raise_for_status().json()["versionString"]
            sent = hub.post(
                f"/api/v0/models/{name}/versions/{version}/files",
                files={"file": (file_name, content)},
            )
        cid: str = sent.raise_for_status().json()["ipfsCid"]
        return cid

    def rpc(self, method: str, *params: object, url: str = "") -> Any:  # noqa: ANN401 - JSON
        """Make one JSON-RPC call and return its result."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        reply = self.http.post(url or self.ready["rpc_url"], json=body).json()
        if "error" in reply:
            raise AssertionError(reply["error"])
        return reply["result"]

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    def _ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:  # noqa: ANN401 - JSON
        answer = self.http.request(method, self.ready["admin_url"] + path, json=body)
        if answer.is_error:
            raise AssertionError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None


def start(
    folder: Path, *options: str, environ: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start the process; its ready file will be `folder/ready.json`."""
    command = [sys.executable, "-m", "og_mcp.localnet", "--owner-stdin", *options]
    return subprocess.Popen(  # noqa: S603 - our own program
        [*command, "--ready-file", str(folder / "ready.json")],
        stdin=subprocess.PIPE,
        env=None if environ is None else dict(environ),
    )


def wait_until_ready(ready_file: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait for the ready file, at most a minute."""
    deadline = time.monotonic() + START_S
    while not ready_file.exists():
        if process.poll() is not None:
            raise AssertionError(f"the local network ended with {process.returncode}")
        if time.monotonic() > deadline:
            raise AssertionError("the local network does not get ready")
        time.sleep(0.02)


def stop(process: subprocess.Popen[bytes]) -> int:
    """Close its standard input and wait for its end; returns the exit code."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        return process.wait(timeout=15)
    finally:
        process.kill()
        process.wait()


@contextmanager
def running(*options: str, environ: Mapping[str, str] | None = None) -> Iterator[LocalNetwork]:
    """Run a local network for as long as the context is open."""
    with TemporaryDirectory(prefix="og-mcp-test-") as name:
        process = start(Path(name), *options, environ=environ)
        try:
            ready_file = Path(name, "ready.json")
            wait_until_ready(ready_file, process)
            network = LocalNetwork(ready_file, process)
            yield network
            network.close()
        finally:
            stop(process)
