"""`og-mcp wallet`: an encrypted keystore, made or filled with a key, and the wallet's address.

A key is typed without being shown, or piped in. It is never an argument, which other programs could
read, and is never printed.
"""

from __future__ import annotations

import os
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from og_mcp.settings import Settings

PASSWORD: Final = "OG_KEYSTORE_PASSWORD"  # noqa: S105 - the name of a variable
MIN_PASSWORD: Final = 8
"""Fewest characters of a new keystore's password."""

MAX_LINE: Final = 1024
"""Characters read from a pipe; a key has 66."""

_FILE: Final = click.option(
    "--file",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to create (one in OG_DATA_DIR/keystore).",
)


@click.group("wallet")
def command() -> None:
    """Make an encrypted keystore, or show the address of the configured wallet."""


@command.command("new")
@_FILE
def new(path: Path | None) -> None:
    """Make a key and keep it in an encrypted keystore.

    The password is asked for twice, or taken from OG_KEYSTORE_PASSWORD.
    """
    from og_mcp.client.chain.keystore import new_key  # noqa: PLC0415 - --help does without

    _keep(new_key(), path)


@command.command("import", context_settings={"allow_extra_args": True})
@_FILE
@click.pass_context
def import_(context: click.Context, path: Path | None) -> None:
    """Keep an existing private key in an encrypted keystore.

    The key is asked for without showing it, or read from a pipe on stdin. The password is asked for
    twice, or taken from OG_KEYSTORE_PASSWORD.
    """
    from og_mcp.client.chain.keystore import read_key  # noqa: PLC0415 - --help does without

    if context.args:
        # click itself would repeat the argument, which may be the key.
        message = "import takes no arguments: it asks for the key, or reads it from a pipe."
        raise click.UsageError(message)
    if sys.stdin.isatty():
        text = click.prompt("Private key", hide_input=True, err=True)
    else:
        text = sys.stdin.readline(MAX_LINE)
    _keep(read_key(text), path)


@command.command("address")
def address() -> None:
    """Print the address of the configured wallet.

    It is derived from the key; for a keystore without its password, it is what the file says.
    """
    from og_mcp.settings import Settings  # noqa: PLC0415 - --help does without

    given = dict(os.environ)
    is_locked = bool(given.get("OG_KEYSTORE", "").strip()) and not given.get(PASSWORD)
    if is_locked:
        # Reading the address in the file takes no password.
        given[PASSWORD] = "-"
    settings = Settings.from_env(given)
    if settings.local:
        click.echo(_local_address(settings))
    elif is_locked:
        click.echo(_address_in_file(settings))
        click.echo(f"As the file says; with {PASSWORD} it is derived from the key.", err=True)
    else:
        click.echo(_address(settings))


def _keep(account: LocalAccount, path: Path | None) -> None:
    from og_mcp.client.chain.keystore import file_name, write_keystore  # noqa: PLC0415 - as above
    from og_mcp.networks import OPENGRADIENT  # noqa: PLC0415 - as above

    password = _password()
    if len(password) < MIN_PASSWORD:
        raise click.ClickException(
            f"The keystore's password has {len(password)} character(s): use {MIN_PASSWORD} or more. "
            "Whoever has the file can guess a short one."
        )
    path = (path or _folder() / file_name(account.address, datetime.now(UTC))).absolute()
    write_keystore(account, password, path)
    click.echo(f"Address:  {account.address}")
    click.echo(f"Keystore: {path}")
    click.echo("\nTo use it, set")
    click.echo(f"  OG_KEYSTORE={shlex.quote(str(path))}")
    click.echo(f"  {PASSWORD}=...")
    click.echo(
        "\nKeep copies of the file and its password: the key cannot be recovered without them."
    )
    click.echo(f"Fund it:  {OPENGRADIENT.faucet_url.format(address=account.address)}")


def _folder() -> Path:
    """Return the keystore folder; other variables may be wrong or missing yet."""
    from og_mcp.settings import Settings  # noqa: PLC0415 - as above

    given = {name: os.environ[name] for name in ("OG_DATA_DIR",) if name in os.environ}
    folder = Settings.from_env(given).data_dir
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / "keystore"


def _password() -> str:
    password = os.environ.get(PASSWORD, "")
    if password:
        return password
    if not sys.stdin.isatty():
        raise click.ClickException(
            f"The keystore needs a password: set {PASSWORD}, or run this in a terminal."
        )
    asked: str = click.prompt(
        "Password of the keystore", hide_input=True, confirmation_prompt=True, err=True
    )
    return asked


def _local_address(settings: Settings) -> str:
    from og_mcp.client.local_network import read_ready_file  # noqa: PLC0415 - as above

    if settings.localnet_ready_file is None:
        raise click.ClickException(
            "The local network makes its wallets when it starts: set OG_LOCALNET to its ready "
            "file, or OG_NETWORK and a key for a real network."
        )
    return str(read_ready_file(settings.localnet_ready_file)["accounts"][0]["address"])


def _address_in_file(settings: Settings) -> str:
    from og_mcp.client.chain.keystore import address_in  # noqa: PLC0415 - as above

    assert settings.wallet is not None  # noqa: S101 - OG_KEYSTORE is set
    named = address_in(Path(settings.wallet.secret.get_secret_value()))
    if not named:
        raise click.ClickException(
            f"The keystore does not name its address: set {PASSWORD}, and it is derived."
        )
    return named


def _address(settings: Settings) -> str:
    import anyio  # noqa: PLC0415 - as above

    from og_mcp.client.chain.wallet import Wallet  # noqa: PLC0415 - as above
    from og_mcp.errors import NoWalletError  # noqa: PLC0415 - as above

    if settings.wallet is None:
        raise NoWalletError("wallet address", settings.network_name)
    return anyio.run(Wallet(settings.wallet).address)
