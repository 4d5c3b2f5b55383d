"""The key that signs a gateway's answers; random in every run. No enclave holds it."""

from __future__ import annotations

import base64
import time
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from eth_utils.crypto import keccak

_KEY_BITS: Final = 2048
_EXPONENT: Final = 65537
_SALT_BYTES: Final = 32


class SigningKey:
    """The key whose public half stands in the registry and names the TEE."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(_EXPONENT, _KEY_BITS)
        public, spki = self._key.public_key(), PublicFormat.SubjectPublicKeyInfo
        self.public_der = public.public_bytes(Encoding.DER, spki)
        self.public_pem = public.public_bytes(Encoding.PEM, spki).decode()
        self.id = keccak(self.public_der)
        """TEE id, 32 bytes."""

    def evidence(
        self, request_hash: bytes, output_hash: bytes, timestamp: int | None = None
    ) -> dict[str, Any]:
        """Sign two hashes and a time, now if None; returns the `tee_*` fields of an answer."""
        when = int(time.time()) if timestamp is None else timestamp
        message = keccak(request_hash + output_hash + when.to_bytes(32, "big"))
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), _SALT_BYTES)
        signature = self._key.sign(message, pss, hashes.SHA256())
        return {
            "tee_signature": base64.b64encode(signature).decode(),
            "tee_request_hash": request_hash.hex(),
            "tee_output_hash": output_hash.hex(),
            "tee_timestamp": when,
            "tee_id": "0x" + self.id.hex(),
        }
