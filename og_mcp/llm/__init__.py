"""Adapters that let other frameworks use the network's language models.

`openai_routes` serves OpenAI's chat API on a session: same caps, same journal, same receipts.
"""

from og_mcp.llm._routes import openai_routes

__all__ = ["openai_routes"]
