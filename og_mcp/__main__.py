"""`python -m og_mcp` is `og-mcp`."""

from __future__ import annotations

from og_mcp.cli import main

if __name__ == "__main__":
    main()
