"""The MCP server: assembly of session, tools, resources and transports."""

from __future__ import annotations

from og_mcp.server._http import http_app, serve_http
from og_mcp.server._server import build_server
from og_mcp.server._stdio import serve_stdio

__all__ = ["build_server", "http_app", "serve_http", "serve_stdio"]
