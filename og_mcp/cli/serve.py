"""`og-mcp serve`: the MCP server."""

from __future__ import annotations

import os

import click

from og_mcp.cli._wire import Wire
from og_mcp.imports import importing


@click.command("serve")
@click.option("--transport", metavar="stdio|sse|http", help="How hosts connect (stdio).")
@click.option("--host", metavar="ADDRESS", help="Address to bind, for sse and http (127.0.0.1).")
@click.option("--port", metavar="N", help="Port to bind, for sse and http (8000).")
@click.option("--network", metavar="NAME", help="opengradient, alpha-2025 or local.")
@click.option(
    "--toolsets",
    metavar="A,B",
    help="Offer only these sets of tools: models, llm, hub, wallet, calls (all). get_call and "
    "list_calls come with every tool that makes calls.",
)
@click.option(
    "--read-only", is_flag=True, help="Offer only tools that are free and change nothing."
)
@click.option("--openai", is_flag=True, help="Also serve OpenAI's chat API at /v1 (http, sse).")
@click.option(
    "--log-level",
    metavar="LEVEL",
    help="Lowest level that og-mcp logs to stderr: DEBUG, INFO, WARNING, ERROR or CRITICAL (INFO). What "
    "it is built on logs warnings alone, but with DEBUG.",
)
def command(read_only: bool, openai: bool, **options: str | None) -> None:
    """Serve MCP to an assistant.

    Each option but --openai stands for the environment variable of its name (--port: OG_PORT) and
    wins over it.
    """
    flags = {f"OG_{name.upper()}": value for name, value in options.items() if value is not None}
    if read_only:
        flags["OG_READ_ONLY"] = "1"
    environ = {**os.environ, **flags}
    if openai and environ.get("OG_TRANSPORT") not in {"http", "sse"}:
        raise click.UsageError("--openai serves HTTP: add --transport http.")
    if openai and environ.get("OG_READ_ONLY", "") not in {"", "0", "false"}:
        raise click.UsageError(
            "--openai serves calls that cost OPG, which --read-only does not offer."
        )
    wire = None if environ.get("OG_TRANSPORT") in {"http", "sse"} else _take_wire()

    with importing():
        from og_mcp.cli._serving import serve  # noqa: PLC0415 - may print: not before the wire is taken

    serve(environ, wire, openai=openai)


def _take_wire() -> Wire:
    try:
        return Wire.take()
    except OSError as exc:
        message = "stdin or stdout is closed; --transport http needs neither."
        raise click.ClickException(message) from exc
