"""Search for models: the hub's list, and the network's catalogue of language and image models."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import date
from typing import Final

from og_mcp import catalogue
from og_mcp.client.hub import records as _records
from og_mcp.client.hub.hub import MAX_PAGES, PAGE_SIZE, Hub
from og_mcp.networks import Network
from og_mcp.types import FoundModel, FoundModels, ModelKind

DESCRIPTION: Final = 300
"""Characters of a description that are shown."""

_UNTELLING: Final = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "can",
        "cheap",
        "cheapest",
        "first",
        "find",
        "for",
        "i",
        "is",
        "llm",
        "me",
        "model",
        "models",
        "of",
        "or",
        "price",
        "prices",
        "show",
        "that",
        "the",
        "to",
        "which",
        "with",
    ]
)
"""Words of a query that describe no model; the cheapest is first anyway."""


async def search(  # noqa: PLR0913 - what a caller may say, by name
    hub: Hub,
    network: Network,
    *,
    query: str,
    kind: ModelKind | None,
    author: str,
    page: int,
    limit: int,
    today: date,
) -> FoundModels:
    """Find models whose name, author or description holds every word of a query.

    The catalogue's models come first, the cheapest of each kind first, without those retired.

    The hub has no search of its own: its list is looked through from the start, as far as the
    page that is asked for needs it, and at most `MAX_PAGES` times `PAGE_SIZE` models.

    Args:
        hub: Whose list.
        network: Named in the result.
        query: Words, in any case; empty for every model. "the cheapest model that" and the like
            choose nothing in the catalogue.
        kind: Only that kind; `None` for every kind.
        author: Only that author's.
        page: From 0.
        limit: Models of one page.
        today: The day in UTC, by which models are retired.

    Raises:
        ServiceError: The hub cannot be used.
    """
    found: list[FoundModel] = []
    words, seen, looked_at = query.casefold().split(), 0, 0
    telling = [word for word in words if word not in _UNTELLING]
    async for model in _models(hub, network, kind, today):
        looked_at += model.kind == "onnx"
        if not _fits(model, words if model.kind == "onnx" else telling, author):
            continue
        if len(found) == limit:
            return FoundModels(
                network=network.name, models=found, next_page=page + 1, complete=True
            )
        seen += 1
        if seen > page * limit:
            found.append(model)
    complete = looked_at < MAX_PAGES * PAGE_SIZE
    return FoundModels(network=network.name, models=found, next_page=0, complete=complete)


async def _models(
    hub: Hub, network: Network, kind: ModelKind | None, today: date
) -> AsyncIterator[FoundModel]:
    for entry in catalogued(network, today):
        if kind in {None, entry.kind}:
            yield FoundModel(
                name=entry.id,
                author=entry.provider,
                kind=entry.kind,
                description=f"{entry.abilities} {entry.notice}".rstrip(),
                price=entry.price,
            )
    if kind not in {None, "onnx"}:
        return
    async for page in hub.pages():
        for item in page:
            name, author = _records.name_of(item), _records.author_of(item)
            if name:
                yield FoundModel(
                    name=name,
                    author=author,
                    kind="onnx",
                    description=_records.description_of(item),
                    url=hub.page_of(author, name),
                )


def _fits(model: FoundModel, words: list[str], author: str) -> bool:
    if author and model.author.casefold() != author.casefold():
        return False
    text = f"{model.name} {model.author} {model.description}".casefold()
    if not all(word in text for word in words):
        return False
    model.description = model.description[:DESCRIPTION]
    return True


def catalogued(network: Network, today: date) -> Iterator[catalogue.CatalogueEntry]:
    """Return the catalogue's models of a network: of its gateways, its contract, or (local) both."""
    ranked = sorted(catalogue.living(today), key=lambda one: (one.kind == "image", one.price_rank))
    for entry in ranked:
        by_gateway = entry.generation == "gateway"
        if network.local or by_gateway == bool(network.tee_registry):
            yield entry
