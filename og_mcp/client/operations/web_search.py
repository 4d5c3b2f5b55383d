"""A search of the web by a gateway."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from og_mcp.client.llm.gateway_llm import GatewayAnswer
from og_mcp.client.llm.question import SEARCH
from og_mcp.client.operations.gateway import GatewayAccess, GatewayOperation, write_question
from og_mcp.errors import InputError
from og_mcp.types import SearchResult

MAX_QUERY: Final = 2000
"""Characters of a search: what leaves the machine by it is bounded (threats.md T51)."""

MAX_RESULTS: Final = 100
MAX_DAYS: Final = 3650


class WebSearch(GatewayOperation[SearchResult]):
    """A search."""

    tool = "web_search"
    result = SearchResult

    @classmethod
    async def of(
        cls, access: GatewayAccess, query: str, num_results: int, recency_days: int
    ) -> WebSearch:
        """Write a search.

        Raises:
            InputError: No gateway can be asked this.
        """
        if not query.strip() or len(query) > MAX_QUERY:
            raise InputError(
                f"query has {len(query):,} characters.",
                f"Use 1 to {MAX_QUERY:,}, not blanks alone; nothing was sent or paid.",
            )
        numbers = {"num_results": num_results, "recency_days": recency_days}
        for (name, number), most in zip(numbers.items(), (MAX_RESULTS, MAX_DAYS), strict=True):
            if not 0 <= number <= most:
                raise InputError(f"{name} is {number}.", f"Use 0 (the gateway's own) to {most}.")

        given = {name: number for name, number in numbers.items() if number}
        body: Callable[[], dict[str, Any]] = partial(dict, query=query, **given)
        return cls(access, await write_question(SEARCH, body, query, access))

    async def read(self, answered: GatewayAnswer, fields: Mapping[str, Any]) -> SearchResult:
        """Put together what `web_search` returns."""
        return SearchResult(**fields, content=answered.evidence.text)
