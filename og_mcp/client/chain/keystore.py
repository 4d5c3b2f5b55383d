"""Writes encrypted keystores: one private key a file, under a password.

Source: Web3 secret storage, version 3.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address

from og_mcp.errors import InputError, quote

_HEX_KEY: Final = re.compile(r"(?:0[xX])?[0-9a-fA-F]{64}")
_ADDRESS: Final = re.compile(r"(?:0[xX])?[0-9a-fA-F]{40}")


def new_key() -> LocalAccount:
    """Make a key from the system's random numbers."""
    account: LocalAccount = Account.create()
    return account


def read_key(text: str) -> LocalAccount:
    """Read a private key; white space around it does not count, nor a byte order mark before it.

    Raises:
        InputError: It is none; the message does not repeat it.
    """
    text = text.removeprefix("\ufeff").strip()
    account: LocalAccount | None = None
    with suppress(ValueError):
        account = Account.from_key(text) if _HEX_KEY.fullmatch(text) else None
    if account is None:
        # Outside of the handler: a library's message might quote the key.
        raise InputError(
            "That is not a private key.",
            "It has 64 hexadecimal digits and lies in the range of secp256k1.",
        )
    return account


def file_name(address: str, made_at: datetime) -> str:
    """Name a keystore as other wallets do: by time, UTC, and address."""
    made = made_at.astimezone(UTC).strftime("%Y-%m-%dT%H-%M-%S.%fZ")
    return f"UTC--{made}--{address.removeprefix('0x').lower()}.json"


def write_keystore(account: LocalAccount, password: str, path: Path) -> None:
    """Encrypt a key into a new file that its owner alone can read; takes seconds (scrypt).

    The file is read back and decrypted before this returns.

    Raises:
        InputError: There is a file already, or none can be written or read back.
    """
    descriptor, is_whole = _create(path), False
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(Account.encrypt(account.key, password), file)
            file.flush()
            os.fsync(file.fileno())
        written = json.loads(path.read_text(encoding="utf-8"))
        is_whole = bytes(Account.decrypt(written, password)) == bytes(account.key)
    except OSError as exc:
        raise _unwritable(path, exc) from exc
    finally:
        if not is_whole:
            path.unlink(missing_ok=True)
    if not is_whole:
        raise InputError(f"The keystore {quote(path)} could not be read back.", "Try once more.")


def _create(path: Path) -> int:
    if path.exists():
        raise InputError(
            f"There is a file {quote(path)} already.", "Keystores are never overwritten."
        )
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as exc:
        raise _unwritable(path, exc) from exc


def address_in(path: Path) -> str:
    """Return the EIP-55 address that a keystore names, without decrypting it.

    Nothing in the file vouches for it; empty where it names none.
    """
    try:
        address = json.loads(path.read_text(encoding="utf-8-sig")).get("address")
    except (OSError, ValueError, AttributeError, RecursionError):
        return ""
    if not isinstance(address, str) or not _ADDRESS.fullmatch(address):
        return ""
    return str(to_checksum_address("0x" + address[-40:]))


def _unwritable(path: Path, exc: OSError) -> InputError:
    reason = exc.strerror or type(exc).__name__
    return InputError(
        f"The keystore {quote(path)} cannot be written: {reason}.",
        "Name another file with --file, or set OG_DATA_DIR.",
    )
