"""An enclave of one's own: signs as protocol.md section 4 says, with `cryptography` alone."""

from __future__ import annotations

import base64
import json
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from eth_hash.auto import keccak

from og_mcp.client.tee.registry import TEE
from og_mcp.types import RegistrySource

NOW = 1_780_000_000
SOURCE = RegistrySource(
    rpc="https://rpc.example.com", chain_id=10740, block_number=7, block_hash="0x" + "ab" * 32
)


class Enclave:
    """A key, and what it signs."""

    def __init__(self, key: rsa.RSAPrivateKey | None = None) -> None:
        self.key = key or rsa.generate_private_key(65537, 2048)
        spki = PublicFormat.SubjectPublicKeyInfo
        self.public_key = self.key.public_key().public_bytes(Encoding.DER, spki)
        self.tee_id = "0x" + keccak(self.public_key).hex()

    @property
    def tee(self) -> TEE:
        """The registry's entry."""
        return TEE(
            tee_id=self.tee_id,
            endpoint="https://203.0.113.7",
            payment_address="0x9deEBB5D1b22e4a6e027977CeAd13893A7E4cC1a",
            public_key=self.public_key,
            tls_certificate=b"",
            pcr_hash="0x" + "cd" * 32,
            source=SOURCE,
        )

    def signed(self, request: object, content: str, timestamp: int = NOW) -> dict[str, Any]:
        """Give the `tee_*` fields of an answer.

        Args:
            request: The canonical request, as a document.
            content: The signed text.
            timestamp: Unix seconds.
        """
        request_hash = keccak(json.dumps(request, sort_keys=True).encode("utf-8"))
        output_hash = keccak(content.encode("utf-8"))
        message = keccak(request_hash + output_hash + timestamp.to_bytes(32, "big"))
        pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
        signature = self.key.sign(message, pss, hashes.SHA256())
        return {
            "tee_signature": base64.b64encode(signature).decode(),
            "tee_request_hash": request_hash.hex(),
            "tee_output_hash": output_hash.hex(),
            "tee_timestamp": timestamp,
            "tee_id": self.tee_id,
        }


def chat_answer(text: str | None, finish_reason: str = "stop", **message: object) -> dict[str, Any]:
    """Give a chat answer that nobody signed."""
    return {
        "id": "chatcmpl-1",
        "model": "gpt-5.4",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, **message},
                "finish_reason": finish_reason,
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }
