"""Records that only this installation can write (threats.md T25).

The key is a file beside the journal, not in the database: whoever can write to the database cannot
make a seal. HMAC-SHA-256 over the purpose and the data.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from og_mcp.errors import JournalError, SealBrokenError, quote

KEY_BYTES: Final = 32
KEY_FILE: Final = "journal.key"
MAC_BYTES: Final = hashlib.sha256().digest_size
OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class Seal:
    """Makes and checks seals.

    Args:
        folder: Holds the key; made where it is missing, once among all processes.

    Raises:
        JournalError: The key cannot be read, or others can.
    """

    def __init__(self, folder: Path) -> None:
        self._key = _read_or_make(folder / KEY_FILE)

    def seal(self, purpose: str, data: bytes) -> str:
        """Return the data with its seal, as text."""
        return base64.urlsafe_b64encode(self._mac(purpose, data) + data).decode()

    def unseal(self, purpose: str, sealed: str) -> bytes:
        """Return the data.

        Raises:
            SealBrokenError: It was not sealed with this key for this purpose.
        """
        try:
            raw = base64.urlsafe_b64decode(sealed.encode())
        except (binascii.Error, UnicodeEncodeError):
            raw = b""
        mac, data = raw[:MAC_BYTES], raw[MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(purpose, data)):
            raise SealBrokenError(purpose)
        return data

    def _mac(self, purpose: str, data: bytes) -> bytes:
        name = purpose.encode()
        return hmac.digest(self._key, len(name).to_bytes(4, "big") + name + data, "sha256")


def _read_or_make(path: Path) -> bytes:
    try:
        if not path.exists():
            _make(path)
        key, mode = path.read_bytes(), path.stat().st_mode
    except OSError as exc:
        raise JournalError(
            f"The key file {quote(path)} cannot be used: {quote(exc.strerror)}.",
            "OG_DATA_DIR must be a folder that og-mcp can write to.",
        ) from exc
    if len(key) != KEY_BYTES:
        raise JournalError(
            f"The key file {quote(path)} holds {len(key)} bytes, not {KEY_BYTES}.",
            "Restore it; if it is lost, delete it: what it sealed is refused then.",
        )
    if os.name == "posix" and mode & OTHERS:
        raise JournalError(
            f"The key file {quote(path)} can be read by others.",
            "Delete it, so that a new one is made, or set its mode to 0600.",
        )
    return key


def _make(path: Path) -> None:
    """Make the key file whole: another process sees all of it or nothing."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        # A link does not replace: where two processes make a key, the first one's stays.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
