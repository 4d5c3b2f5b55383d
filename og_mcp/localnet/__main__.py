"""`python -m og_mcp.localnet` is `og-mcp localnet`."""

from __future__ import annotations

from og_mcp.localnet.command import localnet

if __name__ == "__main__":
    localnet(prog_name="og-mcp localnet")
