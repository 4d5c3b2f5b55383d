"""Verifiable AI from any assistant: an MCP server for the OpenGradient network.

As a library: `from og_mcp.client import Session`.
"""

__version__ = "0.1.0"
