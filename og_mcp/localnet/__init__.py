"""The local network: an EVM, a model hub and sign-in on loopback, one process.

Same wire as the public network (protocol.md), so that every client works against it unchanged. It
is the other side of that wire and shares no code with `og_mcp.client`. Run it with
`og-mcp localnet` or `python -m og_mcp.localnet`; it needs the extra `local`.
"""

from __future__ import annotations

import os

# onnxruntime 1.29 and later report model names and hashes to their maker unless this is set before
# their first import; nothing here may leave the machine.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
