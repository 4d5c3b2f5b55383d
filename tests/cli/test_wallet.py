"""`og-mcp wallet`: keystores that others can open, and keys that nobody sees."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from eth_account import Account

from og_mcp.client.chain.wallet import Wallet
from og_mcp.errors import ConfigurationError
from og_mcp.settings import Settings
from tests.cli.program import inside
from tests.cli.terminal import Terminal
from tests.localnet_client import LocalNetwork
from tests.server_process import clean, command

PASSWORD = "correct horse battery staple"

KNOWN_KEY = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d"
KNOWN_ADDRESS = "0x008AeEda4D805471dF9b2A5B0f38A0C3bCBA786b"
KNOWN_KEYSTORE = {
    "crypto": {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": "6087dab2f9fdbbfaddc31a909735c1e6"},
        "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
        "kdf": "pbkdf2",
        "kdfparams": {
            "c": 262144,
            "dklen": 32,
            "prf": "hmac-sha256",
            "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd",
        },
        "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2",
    },
    "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
    "version": 3,
}
"""The test vector of the Web3 secret storage definition; its password is `testpassword`."""

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")


def piped(*arguments: str, text: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return inside("wallet", *arguments, environ=environ, text=text)


def facts(output: str) -> tuple[str, Path]:
    found = re.search(r"Address: +(0x\w{40})\r?\nKeystore: (.+?)\r?\n", output)
    assert found, output
    return found[1], Path(found[2])


@pytest.mark.slow
def test_a_new_wallet_is_a_keystore_that_its_owner_alone_can_read(tmp_path: Path) -> None:
    data = tmp_path / "data"
    done = inside(
        "wallet", "new", environ={"OG_DATA_DIR": str(data), "OG_KEYSTORE_PASSWORD": PASSWORD}
    )

    address, path = facts(done.stdout)
    key = Account.decrypt(json.loads(path.read_text()), PASSWORD)
    assert done.returncode == 0, done.stderr
    assert Account.from_key(key).address == address
    assert path.parent == data / "keystore"
    assert re.fullmatch(r"UTC--[\dT.-]+Z--[0-9a-f]{40}\.json", path.name)
    assert key.hex().removeprefix("0x") not in done.stdout + done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    assert f"OG_KEYSTORE={path}" in done.stdout
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(data.stat().st_mode) == 0o700


@pytest.mark.parametrize("password", ["x", "seven.7"])
def test_a_short_password_is_refused_and_nothing_made(tmp_path: Path, password: str) -> None:
    path = tmp_path / "k.json"
    environ = {"OG_DATA_DIR": str(tmp_path), "OG_KEYSTORE_PASSWORD": password}
    new = inside("wallet", "new", "--file", str(path), environ=environ)
    kept = inside("wallet", "import", "--file", str(path), environ=environ, text=KNOWN_KEY)

    for done in (new, kept):
        assert done.returncode == 1
        assert f"has {len(password)} character(s): use 8 or more" in done.stderr
        assert password not in done.stderr.replace("characters", "")
    assert not path.exists()


@pytest.mark.slow
@posix_only
def test_a_password_is_asked_for_twice_and_not_shown(tmp_path: Path) -> None:
    environ = {"OG_DATA_DIR": str(tmp_path)}
    with Terminal("wallet", "new", environ=environ) as terminal:
        terminal.read_until("Password of the keystore: ")
        terminal.type(PASSWORD)
        terminal.read_until("Repeat")
        terminal.type("another one")
        again = "do not match.\r\nPassword of the keystore: "
        terminal.read_until(again)
        terminal.type(PASSWORD)
        terminal.read_until(f"{again}\r\nRepeat for confirmation: ")
        terminal.type(PASSWORD)
        code, seen = terminal.end()

    address, path = facts(seen)
    assert code == 0
    assert PASSWORD not in seen
    assert "another one" not in seen
    assert Account.from_key(Account.decrypt(path.read_text(), PASSWORD)).address == address


@pytest.mark.slow
@posix_only
def test_a_key_is_typed_without_being_shown(tmp_path: Path) -> None:
    environ = {"OG_KEYSTORE_PASSWORD": PASSWORD}
    path = tmp_path / "mine.json"
    with Terminal("wallet", "import", "--file", str(path), environ=environ) as terminal:
        terminal.read_until("Private key: ")
        terminal.type(f"0x{KNOWN_KEY}")
        code, seen = terminal.end()

    assert code == 0, seen
    assert facts(seen) == (KNOWN_ADDRESS, path)
    assert KNOWN_KEY not in seen


@pytest.mark.slow
def test_a_key_can_be_piped_in_and_the_wallet_used(tmp_path: Path) -> None:
    path = tmp_path / "a folder" / "mine.json"
    done = subprocess.run(  # noqa: S603 - our own program
        command("wallet", "import", "--file", str(path)),
        env=clean({"OG_KEYSTORE_PASSWORD": PASSWORD}),
        input=f"\ufeff {KNOWN_KEY}\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    environ = {"OG_KEYSTORE": str(path)}
    shown = inside("wallet", "address", environ=environ)
    derived = inside(*("wallet", "address"), environ={**environ, "OG_KEYSTORE_PASSWORD": PASSWORD})

    assert facts(done.stdout) == (KNOWN_ADDRESS, path)
    assert f"OG_KEYSTORE='{path}'" in done.stdout
    assert (shown.returncode, shown.stdout) == (0, f"{KNOWN_ADDRESS}\n")
    assert shown.stderr.startswith("As the file says; ")
    assert (derived.returncode, derived.stdout, derived.stderr) == (0, f"{KNOWN_ADDRESS}\n", "")


def test_a_file_that_is_there_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text("precious")

    done = piped("new", "--file", str(path), text="", OG_KEYSTORE_PASSWORD=PASSWORD)

    assert done.returncode == 1
    assert "never overwritten" in done.stderr
    assert path.read_text() == "precious"


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    done = piped(
        *("new", "--file", str(tmp_path / "file" / "x")), text="", OG_KEYSTORE_PASSWORD=PASSWORD
    )

    assert done.returncode == 1
    assert "cannot be written" in done.stderr


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        KNOWN_KEY[:-1],
        f"{KNOWN_KEY} {KNOWN_KEY}",
        f"0x{'f' * 64}",
        "0" * 64,
        KNOWN_KEY.replace("7", "g", 1),
    ],
)
def test_what_is_no_key_is_refused_and_not_repeated(text: str, tmp_path: Path) -> None:
    done = piped("import", text=text, OG_DATA_DIR=str(tmp_path), OG_KEYSTORE_PASSWORD=PASSWORD)

    assert done.returncode == 1
    assert "not a private key" in done.stderr
    assert KNOWN_KEY[2:40] not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_key_given_as_an_argument_is_refused_and_not_repeated() -> None:
    done = piped("import", KNOWN_KEY, text="", OG_KEYSTORE_PASSWORD=PASSWORD)

    assert done.returncode == 2
    assert "no arguments" in done.stderr
    assert KNOWN_KEY not in done.stdout + done.stderr


def test_without_a_terminal_the_password_s_variable_is_named() -> None:
    done = piped("new", text="")

    assert done.returncode == 1
    assert "OG_KEYSTORE_PASSWORD" in done.stderr


def test_a_keystore_that_names_no_address_is_decrypted_for_it(tmp_path: Path) -> None:
    path = tmp_path / "vector.json"
    path.write_text(json.dumps(KNOWN_KEYSTORE))

    right = inside(
        *("wallet", "address"),
        environ={"OG_KEYSTORE": str(path), "OG_KEYSTORE_PASSWORD": "testpassword"},
    )
    wrong = inside(
        *("wallet", "address"),
        environ={"OG_KEYSTORE": str(path), "OG_KEYSTORE_PASSWORD": "wrongpassword"},
    )

    assert right.stdout == f"{KNOWN_ADDRESS}\n"
    assert wrong.returncode == 2
    assert "OG_KEYSTORE_PASSWORD is wrong" in wrong.stderr
    assert "wrongpassword" not in wrong.stderr


def test_t44_the_address_is_derived_where_a_password_is_there_whatever_the_file_says(
    tmp_path: Path,
) -> None:
    path, other = tmp_path / "vector.json", "0x" + "ab" * 20
    path.write_text(json.dumps({**KNOWN_KEYSTORE, "address": other}), encoding="utf-8-sig")
    environ = {"OG_KEYSTORE": str(path)}

    derived = inside(
        *("wallet", "address"), environ={**environ, "OG_KEYSTORE_PASSWORD": "testpassword"}
    )
    said = inside("wallet", "address", environ=environ)

    assert derived.stdout == f"{KNOWN_ADDRESS}\n"
    assert said.stdout.lower() == f"{other}\n"
    assert said.stderr.startswith("As the file says; with OG_KEYSTORE_PASSWORD it is derived")


def test_the_address_of_a_key_or_of_a_key_file_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{KNOWN_KEY}\n")
    path.chmod(0o600)

    from_key = inside("wallet", "address", environ={"OG_PRIVATE_KEY": KNOWN_KEY})
    from_file = inside("wallet", "address", environ={"OG_PRIVATE_KEY_FILE": str(path)})

    assert from_key.stdout == from_file.stdout == f"{KNOWN_ADDRESS}\n"


def test_on_the_local_network_the_address_is_that_network_s(localnet: LocalNetwork) -> None:
    there = inside("wallet", "address", environ=localnet.environ)
    nowhere = inside("wallet", "address", environ={"OG_NETWORK": "local"})
    nothing = inside("wallet", "address", environ={"OG_NETWORK": "opengradient"})

    assert there.stdout.strip() == localnet.ready["accounts"][0]["address"]
    assert (nowhere.returncode, nothing.returncode) == (1, 1)
    assert "OG_LOCALNET" in nowhere.stderr
    assert "OG_KEYSTORE" in nothing.stderr


async def test_a_keystore_is_decrypted_once_and_only_when_it_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "vector.json"
    path.write_text(json.dumps(KNOWN_KEYSTORE))
    environ = {"OG_KEYSTORE": str(path), "OG_KEYSTORE_PASSWORD": "testpassword"}
    source = Settings.from_env(environ).wallet
    assert source is not None

    wallet, later = Wallet(source), Wallet(source)
    assert await wallet.address() == KNOWN_ADDRESS
    path.unlink()

    assert await wallet.address() == KNOWN_ADDRESS
    with pytest.raises(ConfigurationError, match="OG_KEYSTORE"):
        await later.address()
