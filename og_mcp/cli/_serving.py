"""The server of `og-mcp serve`; imported once nothing that an import prints can reach stdout."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import partial

import anyio
import click

from og_mcp import redaction
from og_mcp.cli._wire import Wire
from og_mcp.client import Session
from og_mcp.networks import NETWORKS
from og_mcp.server import serve_http, serve_stdio


def serve(environ: Mapping[str, str], wire: Wire | None, *, openai: bool = False) -> None:
    """Serve MCP as configured, until the host closes its end or a signal comes.

    Args:
        environ: Environment variables, with the command's flags among them.
        wire: The host's ends; None where HTTP was asked for.
        openai: Serve OpenAI's chat API beside MCP over HTTP.

    Raises:
        ConfigurationError: The environment is not usable.
    """
    session = Session.from_env(environ)
    _log(session.settings.log_level)
    public = {secret for one in NETWORKS.values() for secret in redaction.secrets_in(one)}
    redaction.install(set(redaction.secrets_in(session.settings)) - public)
    for odd in session.settings.odd_keys():
        click.echo(f"og-mcp: {odd.what} {odd.fix}", err=True)
    if wire is not None and session.settings.transport == "stdio":
        if os.isatty(wire.stdin):
            click.echo("og-mcp waits for an MCP host on stdin. See also: og-mcp try", err=True)
        anyio.run(serve_stdio, session, wire.stdin, wire.stdout)
    else:
        anyio.run(partial(serve_http, session, _announce, openai=openai))


def _log(level: str) -> None:
    """Log to stderr: og-mcp from a level on, libraries from WARNING on.

    At DEBUG both tell everything; at INFO libraries would write a line for each request.
    """
    chosen = logging.getLevelNamesMapping()[level]
    others = chosen if chosen <= logging.DEBUG else max(chosen, logging.WARNING)
    logging.basicConfig(level=others, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("og_mcp").setLevel(chosen)
    logging.captureWarnings(capture=True)


def _announce(endpoints: str) -> None:
    click.echo(f"og-mcp serves {endpoints}; Ctrl-C ends it.", err=True)
