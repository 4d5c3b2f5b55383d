"""Which data folder a wallet was last paid from: each has a day's cap of its own (threats.md T34).

One small file for each wallet, in the platform's state folder, so that every data folder finds it.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

logger = logging.getLogger(__name__)


def note_folder(address: str, data_dir: Path) -> None:
    """Remember that a wallet pays from a data folder; where that cannot be, nothing depends on it."""
    file = _file(address)
    try:
        if file.is_file() and file.read_text(encoding="utf-8") == str(data_dir):
            return
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = file.with_suffix(f".{os.getpid()}")
        new.write_text(str(data_dir), encoding="utf-8")
        new.chmod(0o600)
        new.replace(file)
    except OSError as exc:
        logger.info("the data folder of %s is not noted: %s", address, exc)


def other_folder(address: str, data_dir: Path) -> str:
    """Return the data folder that a wallet was last paid from, where it is another; else nothing."""
    try:
        last = _file(address).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
    return last if last != str(data_dir) else ""


def _file(address: str) -> Path:
    import platformdirs  # noqa: PLC0415 - needed here alone

    return platformdirs.user_state_path("og-mcp", appauthor=False) / "wallets" / address.lower()
