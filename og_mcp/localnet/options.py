"""What a local network can be told at its start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

CHAIN_ID: Final = 7310740
BASE_CHAIN_ID: Final = 7308453
"""Ids of no public network, so that a signature made here is worth nothing elsewhere (T5)."""

SESSION_IDLE_S: Final = 60.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of `og-mcp localnet`."""

    port: int = 0
    """Port of the JSON-RPC; 0 lets the system choose. The other services always let it choose."""

    ready_file: Path | None = None
    """Where to tell what runs (interface.md section 5); None: on stdout."""

    chain_id: int = CHAIN_ID
    base_chain_id: int = BASE_CHAIN_ID

    session_idle_s: float = SESSION_IDLE_S
    """Seconds after which a gateway session without requests ends; there is no gateway yet."""

    data_dir: Path | None = None
    """Where models stay after the end; None: nothing stays."""
