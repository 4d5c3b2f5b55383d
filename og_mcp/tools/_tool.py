"""The one place where a coroutine becomes an MCP tool."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ParamSpec, Protocol, TypeVar, runtime_checkable

from mcp import MCPError
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.server.mcpserver.tools import Tool as MCPTool
from mcp.types import CallToolResult, ContentBlock, TextContent, ToolAnnotations
from pydantic import ConfigDict, ValidationError

from og_mcp.errors import UNPAID, ApprovalRequiredError
from og_mcp.tools._consent import begin_asking, give_up_asking
from og_mcp.tools._illustrated import output_links
from og_mcp.tools._refusal import refusal
from og_mcp.tools._schema import of_result, without
from og_mcp.tools._tool_errors import as_tool_error, failure, raised_in
from og_mcp.types import Shape

P = ParamSpec("P")
R = TypeVar("R", bound=Shape)


@runtime_checkable
class Blocks(Protocol):
    """A result for which a host shows more than its JSON."""

    def blocks(self) -> list[ContentBlock]:
        """Return the content that comes after the JSON."""
        ...


class Tool(MCPTool):
    """A tool that refuses what its schema does not allow, in our own words."""

    toolset: str = ""
    """The group that `--toolsets` switches on."""

    async def run(
        self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False
    ) -> Any:  # noqa: ANN401 - the overridden signature
        """Run the tool; on success a `Shape`, or with `convert_result` what goes on the wire.

        Once more where a person has to agree and can be asked, and as one that nobody can be asked
        about where their client's answer cannot be read.
        """
        meant = _as_meant(self.parameters, arguments)
        while True:
            try:
                result = await super().run(meant, context)
                break
            except (ToolError, MCPError) as exc:
                if give_up_asking(context):
                    continue
                if isinstance(exc, UnexpectedToolError) or not isinstance(exc, ToolError):
                    raise
                pending = raised_in(exc)
                if isinstance(pending, ApprovalRequiredError) and begin_asking(
                    context, pending.approval_of
                ):
                    continue
                error = self._in_our_words(exc)
                if not convert_result:
                    raise error from error.__cause__
                return failure(error)
        return _on_the_wire(result) if convert_result and isinstance(result, Shape) else result

    def _in_our_words(self, error: ToolError) -> ToolError:
        """Tell wrong arguments; mcp would send pydantic's text, which repeats the whole value."""
        if not isinstance(error.__cause__, ValidationError):
            return error
        words = refusal(self.name, self.parameters, error.__cause__)
        is_reader = self.annotations is not None and self.annotations.read_only_hint
        free = "" if is_reader else f" {UNPAID}"
        as_tool_error = ToolError(f"Error executing tool {self.name}: {words}{free}")
        as_tool_error.__cause__ = error.__cause__
        return as_tool_error


def _as_meant(schema: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Leave out optional arguments that are null, and write words of an enum as it does."""
    needed, properties = schema.get("required", ()), schema.get("properties", {})
    return {
        name: _word(properties.get(name, {}).get("enum", ()), value)
        for name, value in arguments.items()
        if value is not None or name in needed or name not in properties
    }


def _word(enum: Sequence[Any], value: object) -> object:
    """Return the enum's word that differs from the value in its case alone, else the value."""
    plain = value.strip().casefold() if isinstance(value, str) and value not in enum else None
    return next((word for word in enum if str(word).casefold() == plain), value)


def _on_the_wire(result: Shape) -> CallToolResult:
    # mcp's own text block is indented JSON: one line for every number of a tensor.
    blocks = result.blocks() if isinstance(result, Blocks) else output_links(result)
    return CallToolResult(
        content=[TextContent(type="text", text=result.shown_json()), *blocks],
        structured_content=result.shown(),
    )


def _publish(made: Tool) -> None:
    class StrictArguments(made.fn_metadata.arg_model):  # type: ignore[misc, name-defined]  # made at run time by mcp
        model_config = ConfigDict(extra="forbid")

    made.fn_metadata.arg_model = StrictArguments
    # Published from the very class that checks, so the two cannot differ.
    made.parameters = without({"title"}, StrictArguments.model_json_schema(by_alias=True))
    assert made.fn_metadata.output_schema is not None  # noqa: S101 - every tool returns a Shape
    made.fn_metadata.output_schema = of_result(made.fn_metadata.output_schema)


def tool(  # noqa: PLR0913 - each is told by name, for every tool
    *,
    title: str,
    toolset: str,
    read_only: bool,
    destructive: bool,
    idempotent: bool,
    open_world: bool,
) -> Callable[[Callable[P, Awaitable[R]]], Tool]:
    """Turn a coroutine into the tool of the same name.

    The safety hints have no defaults: a host decides from them whether to ask the user first.
    """

    def decorate(fn: Callable[P, Awaitable[R]]) -> Tool:
        @functools.wraps(fn)
        async def run(*args: P.args, **kwargs: P.kwargs) -> R:
            with as_tool_error(fn.__name__, may_cost=not read_only):
                return await fn(*args, **kwargs)

        made = Tool.from_function(
            run,
            title=title,
            description=inspect.getdoc(fn),
            annotations=ToolAnnotations(
                read_only_hint=read_only,
                destructive_hint=destructive,
                idempotent_hint=idempotent,
                open_world_hint=open_world,
            ),
        )
        assert isinstance(made, Tool)  # noqa: S101 - from_function is annotated with its base
        made.toolset = toolset
        _publish(made)
        return made

    return decorate
