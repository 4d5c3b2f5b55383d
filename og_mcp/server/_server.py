"""One MCP server on one session, the same for every transport and protocol version."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import anyio
from mcp.server import CacheHint, MCPServer, Server
from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver import Context
from mcp.types import GetPromptResult, InputRequiredResult, ResourceTemplate
from pydantic import AnyUrl

from og_mcp import __version__, tools
from og_mcp.client import Session
from og_mcp.server._completions import add_completions
from og_mcp.server._instructions import instructions
from og_mcp.server._prompts import offered_prompts, refusing
from og_mcp.server._published import Changes, learn
from og_mcp.server._resources import resources, templates, typed
from og_mcp.server._shutdown import Answers, Requests, Shutdown
from og_mcp.server._warm_up import WarmUp

if TYPE_CHECKING:
    # Not public in mcp, and needed for nothing but the annotation.
    from mcp.shared._stream_protocols import ReadStream, WriteStream
    from mcp.shared.message import SessionMessage

CLOSING_S: Final = 10.0
"""Seconds that closing the session may take when the server is being cancelled."""

# The listings change only with the program, and are the same for everyone.
_LISTING: Final = CacheHint(ttl_ms=300_000, scope="public")

_CHANGING: Final = CacheHint(ttl_ms=5_000, scope="public")
"""While a published model's arguments are not known yet."""

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
Lifespan = Callable[[MCPServer[Session]], AbstractAsyncContextManager[Session]]


class _OGServer(MCPServer[Session]):
    """An MCPServer that gives each image its media type, and says what is wrong with a prompt."""

    async def get_prompt(
        self,
        name: str,
        arguments: dict[str, Any] | None = None,
        context: Context[Session, Any] | None = None,
    ) -> GetPromptResult | InputRequiredResult:
        """Render a prompt; mcp would report a wrong name or argument as an internal error."""
        with refusing(await self.list_prompts(), name, arguments or {}):
            return await super().get_prompt(name, arguments, context)

    async def read_resource(
        self, uri: AnyUrl | str, context: Context[Session, Any] | None = None
    ) -> Iterable[ReadResourceContents] | InputRequiredResult:
        """Read a resource by its URI."""
        if str(uri) in {each.uri for each in await self.list_resources()}:
            found = await super().read_resource(uri, context)
        else:
            found = await templates().read_resource(uri, context)
        return found if isinstance(found, InputRequiredResult) else typed(found)

    async def list_resource_templates(self) -> list[ResourceTemplate]:
        """List the resources with a variable in their address."""
        return await templates().list_resource_templates()


def build_server(session: Session) -> MCPServer[Session]:
    """Assemble the MCP server that answers through `session`.

    The server opens the session with its first connection and closes it after the last one; an
    HTTP application counts as one connection for as long as it runs.

    Args:
        session: Not opened yet; its settings choose the tools (`toolsets`, `read_only`).
    """
    settings = session.settings
    published, changes = tools.published(session), Changes()
    complete = all(model.from_file for model in published)
    chosen = tools.select(settings.toolsets, read_only=settings.read_only)
    offered = frozenset(tool.name for tool in chosen)
    warm_up = WarmUp(session, partial(learn, session, published, changes))
    server = _OGServer(
        "og-mcp",
        title="OpenGradient",
        version=__version__,
        instructions=instructions(offered),
        website_url="https://hub.opengradient.ai",
        tools=[
            *chosen,
            *(model.tool for model in published),
        ],
        resources=resources(session),
        lifespan=_shared(session, warm_up),
        log_level=cast("LogLevel", settings.log_level),
        cache_hints={
            "server/discover": _LISTING,
            "tools/list": _LISTING if complete else _CHANGING,
            "resources/list": _LISTING,
            "resources/templates/list": _LISTING,
            "prompts/list": _LISTING,
        },
        subscriptions=changes,
        middleware=[warm_up.note, tools.keep_pauses, *([] if complete else [changes.greet])],
    )
    for prompt in offered_prompts(offered):
        server.add_prompt(prompt)
    add_completions(lowlevel_of(server))
    return server


def lowlevel_of(server: MCPServer[Session]) -> Server[Session]:
    """Return the low-level server below `server`: mcp has no public way to it yet.

    Serving an MCPServer on given streams is such a thing, and completing for one principal.
    """
    lowlevel: Server[Session] = server._lowlevel_server  # noqa: SLF001
    return lowlevel


def _shared(session: Session, warm_up: WarmUp) -> Lifespan:
    # mcp enters the lifespan once for every SSE connection: only the first entry opens and closes.
    users = 0

    @asynccontextmanager
    async def lifespan(_: MCPServer[Session]) -> AsyncIterator[Session]:
        nonlocal users
        if users == 0:
            await session.__aenter__()
            warm_up.start()
        users += 1
        try:
            yield session
        finally:
            users -= 1
            if users == 0:
                with anyio.move_on_after(CLOSING_S, shield=True):
                    await warm_up.stop()
                    await session.__aexit__(None, None, None)

    return lifespan


async def serve_connection(
    server: MCPServer[Session],
    reader: ReadStream[SessionMessage | Exception],
    writer: WriteStream[SessionMessage],
    shutdown: Shutdown,
    at_end: Callable[[], None] | None = None,
) -> None:
    """Serve one connection on its streams, until the client or the server ends it.

    Args:
        server: What serves.
        reader: What the client sends.
        writer: Where the answers go.
        shutdown: The server's.
        at_end: Called where the client ends its stream; then the server's end is waited for.
    """
    lowlevel, requests = lowlevel_of(server), Requests(reader, shutdown, at_end)
    with shutdown.connected(requests):
        await lowlevel.run(
            requests, Answers(writer, requests), lowlevel.create_initialization_options()
        )
