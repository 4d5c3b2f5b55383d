"""The OpenGradient SDK in async Python, usable without MCP.

from og_mcp.client import Session

async with Session.from_env() as og:
    result = await og.infer(model_cid, {"x": [1.0, 2.0]})
"""

from og_mcp.client.session import Session
from og_mcp.client.wire.timeouts import Timeouts

__all__ = ["Session", "Timeouts"]
