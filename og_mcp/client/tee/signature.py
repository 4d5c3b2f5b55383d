"""What a TEE signs, and whether it did: hashes, the signed message, RSA-PSS.

Source: protocol.md section 4, "Signature".
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key
from eth_utils.crypto import keccak

MIN_KEY_BITS: Final = 2048
"""Below, a signature can be forged with effort: the gateways' own keys have 2048 bits."""

SALT_BYTES: Final = 32
HASH_BYTES: Final = 32


def tee_id_of(public_key: bytes) -> str:
    """Return the id of the TEE that signs with a key, 0x-hex: the hash of the key's DER."""
    return "0x" + keccak(public_key).hex()


def read_key(public_key: bytes) -> rsa.RSAPublicKey:
    """Read a key as the registry holds it.

    Args:
        public_key: DER of a SubjectPublicKeyInfo.

    Raises:
        ValueError: It is none, or of no RSA key, or of one that is too short.
    """
    try:
        key = load_der_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise ValueError("its public key cannot be read") from exc
    if not isinstance(key, rsa.RSAPublicKey):
        raise ValueError("its public key is not an RSA key")  # noqa: TRY004 - of the content
    if key.key_size < MIN_KEY_BITS:
        raise ValueError(f"its RSA key has {key.key_size} bits, fewer than {MIN_KEY_BITS}")
    return key


_key = lru_cache(maxsize=64)(read_key)
"""A gateway's key is read once, not with each of its answers."""


def signed_message(request_hash: bytes, output_hash: bytes, timestamp: int) -> bytes:
    """Return what a TEE signs: keccak256 of both hashes and the time.

    Args:
        request_hash: 32 bytes.
        output_hash: 32 bytes.
        timestamp: Unix seconds, 0 to 2**256 - 1.

    Raises:
        ValueError: A hash has another length.
        OverflowError: The time does not fit.
    """
    if len(request_hash) != HASH_BYTES or len(output_hash) != HASH_BYTES:
        raise ValueError("a hash does not have 32 bytes")
    return keccak(request_hash + output_hash + timestamp.to_bytes(HASH_BYTES, "big"))


def is_signed(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Tell whether a signature over a message is of a key.

    Raises:
        ValueError: The key is none that TEEs sign with.
    """
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=SALT_BYTES)
    try:
        _key(public_key).verify(signature, message, pss, hashes.SHA256())
    except InvalidSignature:
        return False
    return True
