"""The command line: `og-mcp COMMAND`; `og-mcp` alone is `og-mcp serve`."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import click

from og_mcp import __version__
from og_mcp.imports import importing

COMMANDS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "serve": ("og_mcp.cli.serve", "Serve MCP to an assistant; the default command."),
        "try": ("og_mcp.cli.try_", "Run the main job on a local network: no key, no account."),
        "doctor": ("og_mcp.cli.doctor", "Check what is configured and what works."),
        "localnet": ("og_mcp.cli.localnet", "Run the local network alone."),
        "receipt": ("og_mcp.cli.receipt", "Write a call's receipt to a file."),
        "verify": ("og_mcp.cli.verify", "Verify a saved receipt, offline or also on the chain."),
        "wallet": ("og_mcp.cli.wallet", "Make an encrypted keystore; show the wallet's address."),
        "calls": ("og_mcp.cli.calls", "List what was spent; approve, speed up or cancel a call."),
    }
)
"""Command -> the module whose `command` it is, and its line in the overview."""


class _MisconfiguredError(click.ClickException):
    """The environment is not usable; the program ends as with a wrong option."""

    exit_code = 2


class _Commands(click.Group):
    """Loads a command's module when that command is used: `--help` stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - overridden
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - overridden
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(COMMANDS[cmd_name][0]).command
        assert isinstance(command, click.Command)  # noqa: S101 - narrows the module's Any
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - overridden
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {"--help", "--version"}
        if not args or (args[0].startswith("-") and args[0] not in own):
            args = ["serve", *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        with importing():
            from og_mcp.errors import ConfigurationError, OGError  # noqa: PLC0415 - brings pydantic, which --help does without

        try:
            return super().invoke(ctx)
        except ConfigurationError as exc:
            raise _MisconfiguredError(str(exc)) from exc
        except OGError as exc:
            raise click.ClickException(str(exc)) from exc


@click.group(cls=_Commands, no_args_is_help=False)
@click.version_option(__version__, prog_name="og-mcp")
def _program() -> None:
    """Use the OpenGradient network from any assistant: verifiable AI over MCP.

    Without a command: og-mcp serve.
    """


def main() -> None:
    """Run the program `og-mcp`; what the console script and `python -m og_mcp` call."""
    # pydantic would look through every installed package for plugins; this program uses none.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    _program.main(prog_name="og-mcp")
