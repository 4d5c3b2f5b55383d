"""`og-mcp localnet`: the local network alone."""

from __future__ import annotations

from og_mcp.localnet.command import localnet

command = localnet

__all__ = ["command", "localnet"]
