"""A client of the local gateway for tests: trusts what the registry says, pays once for many calls.

It knows the wire from protocol.md and nothing of our client.
"""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import anyio
import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key
from eth_abi.abi import decode
from eth_account import Account
from eth_utils.crypto import keccak

from tests.localnet.payers import signature_header
from tests.localnet_client import LocalNetwork

CHAT: Final = "/v1/chat/completions"
COMPLETION: Final = "/v1/completions"
SEARCH: Final = "/v1/web_search"

_OHTTP: Final = "(uint8,uint16,uint16,uint16,bytes,bytes,uint256)"
_TEE: Final = f"(address,address,string,bytes,bytes,bytes32,uint8,bool,uint256,uint256,{_OHTTP})"
_GET_ACTIVE: Final = "0x4b6014da"


@dataclass(frozen=True)
class TEE:
    """What the registry says of one TEE."""

    payment_address: str
    endpoint: str
    public_key: bytes
    certificate: bytes
    pcr_hash: bytes

    @property
    def id(self) -> str:
        """0x-hex."""
        return "0x" + keccak(self.public_key).hex()


def active_tees(localnet: LocalNetwork) -> list[TEE]:
    """Read the registry over RPC."""
    call = {"to": localnet.ready["tee_registry"], "data": _GET_ACTIVE + "00" * 32}
    (found,) = decode([f"{_TEE}[]"], bytes.fromhex(localnet.rpc("eth_call", call, "latest")[2:]))
    return [TEE(*entry[1:6]) for entry in found]


def pinned(certificate: bytes) -> ssl.SSLContext:
    """Trust one certificate alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=certificate)
    context.check_hostname = False
    return context


class GatewayClient:
    """Sends requests to one TEE, paid by the first account."""

    def __init__(self, localnet: LocalNetwork, tee: TEE) -> None:
        self.tee = tee
        self.http = httpx.Client(
            base_url=tee.endpoint,
            verify=pinned(tee.certificate),
            trust_env=False,
            timeout=60,
            headers={"Authorization": "Bearer anything"},
        )
        self._payer = Account.from_key(localnet.ready["accounts"][0]["private_key"])
        self._sessions: dict[str, str] = {}

    def pay(self, *paths: str) -> None:
        """Open a session for each path."""
        for path in paths:
            challenge = self.http.post(path, json={}).headers["payment-required"]
            signed = anyio.run(signature_header, self._payer, challenge)
            paid = self.http.post(path, json={}, headers={"PAYMENT-SIGNATURE": signed})
            self._sessions[path] = paid.headers["x-upto-session"]

    def session(self, path: str) -> str:
        """Return the session that pays for a path."""
        return self._sessions[path]

    def post(self, path: str, body: object, **headers: str) -> httpx.Response:
        """Send a paid request."""
        session = {"X-Upto-Session": self._sessions[path]}
        return self.http.post(path, json=body, headers={**session, **headers})

    @contextmanager
    def opened(self, path: str, body: object) -> Iterator[httpx.Response]:
        """Send a paid request whose answer is read while it comes."""
        session = {"X-Upto-Session": self._sessions[path]}
        with self.http.stream("POST", path, json=body, headers=session) as answer:
            yield answer

    def chat(self, text: str = "What is an option?", **fields: object) -> dict[str, Any]:
        """Chat and return the answer's JSON."""
        messages = fields.pop("messages", [{"role": "user", "content": text}])
        body = {"model": "gpt-5.4-mini", "messages": messages, **fields}
        answer: dict[str, Any] = self.post(CHAT, body).raise_for_status().json()
        return answer

    def frames(self, path: str, body: dict[str, Any]) -> tuple[list[dict[str, Any]], bool]:
        """Stream; returns the frames, and whether `[DONE]` ended them."""
        lines = self.post(path, {**body, "stream": True}).raise_for_status().text.split("\n\n")
        data = [line.removeprefix("data: ") for line in lines if line]
        done = data[-1] == "[DONE]"
        return [json.loads(each) for each in (data[:-1] if done else data)], done

    def close(self) -> None:
        """Close the connections."""
        self.http.close()


@contextmanager
def gateway_client(localnet: LocalNetwork, tee: TEE | None = None) -> Iterator[GatewayClient]:
    """Open a client of a TEE, by default of the only active one; its requests are paid."""
    if tee is None:
        (tee,) = active_tees(localnet)
    client = GatewayClient(localnet, tee)
    try:
        client.pay(CHAT, COMPLETION, SEARCH)
        yield client
    finally:
        client.close()


def problems(tee: TEE, answer: dict[str, Any], covered: object, content: str) -> list[str]:
    """List what does not hold of an answer's evidence, as protocol.md section 4 has it.

    Args:
        tee: Who should have signed.
        answer: Holds the `tee_*` fields.
        covered: The canonical request.
        content: What was answered.

    Raises:
        cryptography.exceptions.InvalidSignature: The signature is not the TEE's, or of other bytes.
        KeyError: There is no evidence.
    """
    request, output = answer["tee_request_hash"], answer["tee_output_hash"]
    stamp = answer["tee_timestamp"].to_bytes(32, "big")
    key = load_der_public_key(tee.public_key)
    assert isinstance(key, RSAPublicKey)
    key.verify(
        base64.b64decode(answer["tee_signature"]),
        keccak(bytes.fromhex(request) + bytes.fromhex(output) + stamp),
        padding.PSS(padding.MGF1(hashes.SHA256()), 32),
        hashes.SHA256(),
    )
    asked = keccak(json.dumps(covered, sort_keys=True).encode()).hex()
    said = keccak(content.encode()).hex()
    found = {
        "tee_id": answer["tee_id"] == tee.id,
        "request": request == asked,
        "output": output == said,
    }
    return [name for name, holds in found.items() if not holds]
