"""Options of a local network at its start."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Final

from og_mcp.networks import LOCAL_BASE_CHAIN_ID

CHAIN_ID: Final = 7310740
BASE_CHAIN_ID: Final = LOCAL_BASE_CHAIN_ID
"""Ids of no public network, so that a signature made here is worth nothing elsewhere (T5)."""

SESSION_OPG: Final = Decimal(5)
SESSION_DEADLINE_S: Final = 600
SESSION_IDLE_S: Final = 60.0
"""As today's public gateways have it (protocol.md section 4)."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of `og-mcp localnet`."""

    port: int = 0
    """Port of the JSON-RPC; 0 lets the system choose. The other services always let it choose."""

    ready_file: Path | None = None
    """Where the ready file is written (interface.md section 5); None: on stdout."""

    chain_id: int = CHAIN_ID
    base_chain_id: int = BASE_CHAIN_ID

    session_opg: Decimal = SESSION_OPG
    """OPG that a gateway wants an authorization for, which pays for a session."""

    session_deadline_s: int = SESSION_DEADLINE_S
    """Seconds from the signature of an authorization to its deadline."""

    session_idle_s: float = SESSION_IDLE_S
    """Seconds between the last charge of a gateway session and its settlement."""

    llm_url: str = field(default="", repr=False)
    """OpenAI-compatible server that answers chats; empty: the built-in responder does. May hold a
    password."""

    data_dir: Path | None = None
    """Where models stay after the end; None: nothing stays."""
