"""The command line of the local network."""

from __future__ import annotations

import asyncio
import logging
import re
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import click

from og_mcp.localnet import options
from og_mcp.localnet.lifetime import Lifetime
from og_mcp.localnet.options import Options

_NEEDED: Final = (
    *("PIL", "cryptography", "eth", "onnx", "onnxruntime"),
    *("python_multipart", "starlette", "uvicorn"),
)
"""Modules that the extra `local` brings."""


_PORT: Final = click.IntRange(0, 65535)
_CHAIN_ID: Final = click.IntRange(1, 2**53 - 1)


def _opg(_context: click.Context, _parameter: click.Parameter, text: str) -> Decimal:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,18})?", text) or not Decimal(text):
        raise click.BadParameter(f"{text!r} is not an amount of OPG, such as 5 or 0.1.")
    return Decimal(text)


@click.command("localnet")
@click.option("--port", type=_PORT, default=0, help="Port of the JSON-RPC (a free one).")
@click.option(
    "--ready-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write URLs, keys and sample models here as JSON once all of it answers (stdout).",
)
@click.option("--chain-id", type=_CHAIN_ID, default=options.CHAIN_ID, show_default=True)
@click.option("--base-chain-id", type=_CHAIN_ID, default=options.BASE_CHAIN_ID, show_default=True)
@click.option(
    "--session-opg",
    callback=_opg,
    default=str(options.SESSION_OPG),
    show_default=True,
    metavar="OPG",
    help="What a gateway wants an authorization for, which pays for a session.",
)
@click.option(
    "--session-deadline",
    "session_deadline_s",
    type=click.IntRange(1, 86_400),
    default=options.SESSION_DEADLINE_S,
    show_default=True,
    metavar="S",
    help="Seconds from the signature of an authorization to its deadline.",
)
@click.option(
    "--session-idle",
    "session_idle_s",
    type=click.FloatRange(0, min_open=True),
    default=options.SESSION_IDLE_S,
    show_default=True,
    metavar="S",
    help="Seconds between a gateway session's last charge and its settlement.",
)
@click.option(
    "--llm-url",
    envvar="OG_LOCAL_LLM_URL",
    default="",
    metavar="URL",
    help="OpenAI-compatible server that answers chats; also OG_LOCAL_LLM_URL (a built-in responder).",
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep model repositories here (nothing is kept).",
)
@click.option("--owner-stdin", is_flag=True, help="End when standard input closes.")
def localnet(*, owner_stdin: bool, **given: object) -> None:
    """Run the local network alone, for other clients and tests.

    No account, no key, no real money; it binds loopback only. Ctrl-C ends it. The chain is new at
    every start, with --data-dir too.
    """
    lifetime = Lifetime()
    if owner_stdin:
        lifetime.end_with_stdin()
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise click.ClickException(
            f"The local network needs {', '.join(missing)}: pip install 'og-mcp[local]'"
        )
    chosen = Options(**given)  # type: ignore[arg-type] # click checked them
    _check_folders(chosen)
    _check_url(chosen.llm_url)
    from og_mcp.localnet.network import run  # noqa: PLC0415 - there only with the extra
    from og_mcp.localnet.service import PortTakenError  # noqa: PLC0415 - as above

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    try:
        asyncio.run(run(chosen, lifetime))
    except PortTakenError as error:
        raise click.ClickException(str(error)) from error


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if url and not usable:
        # It is not repeated: it may hold a password.
        raise click.ClickException("--llm-url (or OG_LOCAL_LLM_URL) is not an http or https URL")


def _check_folders(chosen: Options) -> None:
    if chosen.ready_file is not None and not chosen.ready_file.parent.is_dir():
        raise click.ClickException(f"--ready-file: there is no folder {chosen.ready_file.parent}")
    if chosen.data_dir is not None:
        try:
            chosen.data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise click.ClickException(f"--data-dir: {error}") from error
