"""Settings tell every problem at once, name the variable, and show no secret."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from og_mcp.errors import ConfigurationError, SettingProblem
from og_mcp.networks import ALPHA_2025, LOCAL_WALLET_WEI, OPENGRADIENT
from og_mcp.settings import TOOLSETS, VARIABLES, Settings
from og_mcp.types import TOOL_NAMES, InputDoc, PublishedModel

KEY = "0x" + "11" * 32
TOKEN = "t0ken-" * 4
PUBLIC = {"OG_NETWORK": "opengradient"}
LOCAL = {"OG_NETWORK": "local"}
ADDRESS = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
"""With its checksum; from the text of EIP-55."""


def problems(environ: Mapping[str, str]) -> tuple[SettingProblem, ...]:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_env(environ)
    return caught.value.problems


def named(environ: Mapping[str, str]) -> list[str]:
    return [problem.variable for problem in problems(environ)]


def refused(environ: Mapping[str, str]) -> str:
    """Return what is wrong, nothing where it is not."""
    try:
        Settings.from_env(environ)
    except ConfigurationError as exc:
        return str(exc)
    return ""


def test_nothing_set_gives_the_local_network_and_the_documented_defaults() -> None:
    settings = Settings.from_env({})

    assert settings.local
    assert settings.network is None
    assert settings.wallet is None
    assert (settings.max_per_call, settings.max_per_day) == (5 * 10**18, 25 * 10**18)
    assert (settings.max_fee_per_call, settings.max_fee_per_day) == (LOCAL_WALLET_WEI,) * 2
    assert settings.confirm_above == 5 * 10**18
    assert (settings.wait_s, settings.grace_s) == (45, 3)
    assert Settings.from_env({"OG_TRANSPORT": "http"}).grace_s == 60
    assert Settings.from_env({"OG_TRANSPORT": "sse"}).grace_s == 60
    assert (settings.receipts, settings.images) == ("full", "preview")
    assert (settings.transport, settings.host, settings.port) == ("stdio", "127.0.0.1", 8000)
    assert settings.toolsets == TOOLSETS
    assert not settings.read_only
    assert settings.data_dir.is_absolute()
    assert settings.secret_paths == (settings.data_dir,)


def test_a_key_alone_means_the_public_network() -> None:
    settings = Settings.from_env({"OG_PRIVATE_KEY": KEY.removeprefix("0x")})

    assert (settings.max_fee_per_call, settings.max_fee_per_day) == (10**16, 5 * 10**16)
    assert settings.network == OPENGRADIENT
    assert not settings.rpc_overridden
    assert settings.wallet is not None
    assert (settings.wallet.kind, settings.wallet.variable) == ("key", "OG_PRIVATE_KEY")
    assert settings.wallet.secret.get_secret_value() == KEY


@pytest.mark.parametrize(
    ("name", "profile"), [("opengradient", OPENGRADIENT), ("Alpha-2025", ALPHA_2025)]
)
def test_a_named_network_is_its_profile(name: str, profile: object) -> None:
    assert Settings.from_env({"OG_NETWORK": name}).network == profile


def test_on_the_local_network_neither_a_configured_key_nor_an_account_is_kept() -> None:
    settings = Settings.from_env(
        {
            **LOCAL,
            "OG_PRIVATE_KEY": KEY,
            "OG_BASE_PRIVATE_KEY": KEY,
            "OG_EMAIL": "someone@example.com",
            "OG_PASSWORD": "pass word",
            "FIREBASE_API_KEY": "api-key",
        }
    )

    assert settings.wallet is None
    assert settings.base_key is None
    assert (settings.email, settings.password, settings.firebase_api_key) == ("", None, None)


def test_every_setting_can_be_set(tmp_path: Path) -> None:
    settings = Settings.from_env(
        {
            **PUBLIC,
            "OG_BASE_PRIVATE_KEY": KEY,
            "OG_EMAIL": " someone@example.com ",
            "OG_PASSWORD": " pass word ",
            "FIREBASE_API_KEY": "api-key",
            "OG_RPC_URL": "https://rpc.example.com/v1/api-key",
            "OG_CHAIN_ID": "77",
            "OG_CONTRACT_ADDRESS": ADDRESS.lower(),
            "OG_TEE_REGISTRY_ADDRESS": ADDRESS,
            "OG_BASE_RPC_URL": "https://base.example.com",
            "OG_BASE_CHAIN_ID": "84532",
            "OG_NODE_API_URL": "https://node.example.com/",
            "OG_HUB_URL": "https://hub.example.com/",
            "OG_HUB_READ_URL": "https://read.example.com",
            "OG_AUTH_URL": "https://auth.example.com/v1/accounts:signInWithPassword",
            "OG_TOKEN_URL": "https://token.example.com/v1/token",
            "OG_MAX_PER_CALL": "0.000000000000000001",
            "OG_MAX_PER_DAY": "12",
            "OG_MAX_FEE_PER_CALL": "0",
            "OG_MAX_FEE_PER_DAY": "1.50",
            "OG_CONFIRM_ABOVE": "0",
            "OG_UPLOAD_ROOTS": os.pathsep.join([str(tmp_path), str(tmp_path), ""]),
            "OG_DATA_DIR": str(tmp_path / "data"),
            "OG_RECEIPTS": "hashes",
            "OG_JOURNAL_URL": "postgresql://user:secret@db.example.com/og",
            "OG_WAIT_S": "1.5",
            "OG_GRACE_S": "0",
            "OG_TEE_PCR": f"{'ab' * 32}, 0x{'CD' * 32}",
            "OG_RPC_URLS": "https://a.example.com https://b.example.com",
            "OG_BASE_RPC_URLS": "https://c.example.com,https://d.example.com",
            "OG_ALLOW_INSECURE": "YES",
            "OG_ALLOW_IMAGE_URLS": "1",
            "OG_ALLOW_UNSIGNED": "yes",
            "OG_IMAGES": "omit",
            "OG_MODELS": "Qm1:one, Qm2:two",
            "OG_LOCAL_LLM_URL": "http://127.0.0.1:11434/v1",
            "OG_TOOLSETS": "models,wallet",
            "OG_READ_ONLY": "true",
            "OG_LOG_LEVEL": "debug",
            "OG_TRANSPORT": "http",
            "OG_HOST": "::1",
            "OG_PORT": "0",
            "OG_HTTP_TOKEN": TOKEN,
        }
    )

    network = settings.network
    assert network == replace(
        OPENGRADIENT,
        rpc_url="https://rpc.example.com/v1/api-key",
        chain_id=77,
        inference_contract=ADDRESS,
        tee_registry=ADDRESS,
        base_rpc_url="https://base.example.com",
        base_chain_id=84532,
        base_rpc_urls=(),
        node_api_url="https://node.example.com",
        hub_url="https://hub.example.com",
        hub_read_url="https://read.example.com",
        auth_url="https://auth.example.com/v1/accounts:signInWithPassword",
        token_url="https://token.example.com/v1/token",
        explorer_tx_url="",
        faucet_url="",
    )
    assert settings.rpc_overridden
    assert settings.base_rpc_urls == ("https://c.example.com", "https://d.example.com")
    assert settings.base_key is not None
    assert settings.email == "someone@example.com"
    assert settings.password is not None
    assert settings.password.get_secret_value() == " pass word "
    assert (settings.max_per_call, settings.max_per_day) == (1, 12 * 10**18)
    assert (settings.max_fee_per_call, settings.max_fee_per_day) == (0, 15 * 10**17)
    assert settings.confirm_above == 0
    assert settings.upload_roots == (tmp_path,)
    assert settings.data_dir == tmp_path / "data"
    assert settings.receipts == "hashes"
    assert settings.journal_url is not None
    assert (settings.wait_s, settings.grace_s) == (1.5, 0)
    assert settings.tee_pcr == (f"0x{'ab' * 32}", f"0x{'cd' * 32}")
    assert settings.rpc_urls == ("https://a.example.com", "https://b.example.com")
    assert settings.allow_insecure
    assert settings.allow_image_urls
    assert settings.allow_unsigned
    assert settings.images == "omit"
    assert settings.models == (
        PublishedModel(cid="Qm1", name="one"),
        PublishedModel(cid="Qm2", name="two"),
    )
    assert settings.local_llm_url == "http://127.0.0.1:11434/v1"
    assert settings.toolsets == ("models", "wallet")
    assert settings.read_only
    assert settings.log_level == "DEBUG"
    assert (settings.transport, settings.host, settings.port) == ("http", "::1", 0)
    assert settings.http_token is not None
    assert settings.http_token.get_secret_value() == TOKEN


BAD_VALUES = {
    "OG_NETWORK": ["mainnet", "opengradient,local"],
    "OG_PRIVATE_KEY": ["0x12", "11" * 31 + "1g", "00" * 32, "ff" * 32, "1" * 66],
    "OG_PRIVATE_KEY_FILE": ["/nowhere/at/all", "/", "bad\0path"],
    "OG_KEYSTORE": ["/nowhere/at/all"],
    "OG_BASE_PRIVATE_KEY": [
        "key",
        # The order of secp256k1 (SEC 2): the first number that is no private key.
        "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141",
    ],
    "OG_EMAIL": ["a\x00b"],
    "OG_RPC_URL": [
        "ftp://example.com",
        "example.com",
        "https://",
        "https://example.com:0",
        "https://example.com:port",
        "https://exa mple.com",
        "https://[::1",
        "file:///etc/passwd",
    ],
    "OG_CHAIN_ID": ["0", "-1", "0x1", "1.0", "1e3", "٣", "9" * 21, str(2**64)],
    "OG_CONTRACT_ADDRESS": [
        "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAe",
        "0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    ],
    "OG_TEE_REGISTRY_ADDRESS": ["0x"],
    "OG_BASE_RPC_URL": ["wss://example.com"],
    "OG_BASE_CHAIN_ID": ["base"],
    "OG_NODE_API_URL": ["https://example.com/?key=1"],
    "OG_HUB_URL": ["hub"],
    "OG_HUB_READ_URL": ["//hub"],
    "OG_AUTH_URL": ["javascript:alert(1)"],
    "OG_TOKEN_URL": ["https://example.com/#x"],
    "OG_LOCALNET": ["/"],
    "OG_MAX_PER_CALL": ["-1", "1e3", "0.0000000000000000001", "5 OPG", ".5", "5.", "1,5", "nan"],
    "OG_MAX_PER_DAY": ["inf", "1" * 31, "+1"],
    "OG_MAX_FEE_PER_CALL": ["0x10"],
    "OG_MAX_FEE_PER_DAY": ["1_000"],
    "OG_CONFIRM_ABOVE": ["always"],
    "OG_PUBLISH": ["never", "yes"],
    "OG_UPLOAD_ROOTS": ["relative/folder", "/nowhere/at/all", f"{os.sep}..{os.sep}tmp", "/"],
    "OG_DATA_DIR": ["relative/folder", "/dev/null", "~no-such-user-of-this-machine/data"],
    "OG_RECEIPTS": ["none"],
    "OG_JOURNAL_URL": ["mysql://db/og", "sqlite://", "postgresql:// x"],
    "OG_WAIT_S": ["-1", "soon", "nan", "86401", "1e3"],
    "OG_GRACE_S": ["-1", "a minute", "86401"],
    "OG_TEE_PCR": ["ab", f"{'ab' * 32};{'cd' * 32}"],
    "OG_RPC_URLS": ["https://a.example.com,b"],
    "OG_BASE_RPC_URLS": ["ftp://x", "https://a.example,nowhere"],
    "OG_ALLOW_INSECURE": ["maybe", "2"],
    "OG_ALLOW_IMAGE_URLS": ["https"],
    "OG_ALLOW_UNSIGNED": ["always"],
    "OG_CHAT_MODEL": ["gpt 5", "a\x07", "x" * 201],
    "OG_IMAGE_MODEL": ["gpt 5"],
    "OG_IMAGES": ["all"],
    "OG_MODELS": ["one", "Qm1:one\x07", "Qm1:infer", "Qm1:a,Qm2:a", ":a", "x.toml", "/none.toml"],
    "OG_LOCAL_LLM_URL": ["localhost:11434"],
    "OG_TOOLSETS": ["models,chat"],
    "OG_READ_ONLY": ["on"],
    "OG_LOG_LEVEL": ["loud"],
    "OG_TRANSPORT": ["websocket"],
    "OG_HOST": ["http://127.0.0.1", "a b"],
    "OG_PORT": ["65536", "-1", "http"],
    "OG_HTTP_TOKEN": ["short", "a b" * 10, "töken" * 10],
}

FREE = {"OG_KEYSTORE_PASSWORD", "OG_PASSWORD", "FIREBASE_API_KEY"}
"""Variables whose every text is a value."""


def test_every_variable_has_bad_values_here() -> None:
    assert BAD_VALUES.keys() | FREE == VARIABLES.keys()


@pytest.mark.parametrize(
    ("variable", "value"), [(name, bad) for name, all_bad in BAD_VALUES.items() for bad in all_bad]
)
def test_a_wrong_value_is_told_under_its_variable_and_not_shown(variable: str, value: str) -> None:
    environ = {**PUBLIC, variable: value}

    found = {problem.variable: problem.what for problem in problems(environ)}

    assert variable in found
    assert value not in found[variable].split("'") or len(value) < 4


def test_all_problems_are_told_at_once_in_the_order_of_the_documentation() -> None:
    environ = {
        "OG_MAX_PRE_CALL": "5",
        "OG_PORT": "eighty",
        "OG_PRIVATE_KEY": "abc",
        "OG_BASE_RPC_URL": "https://base.example.com",
        "OG_MAX_PER_DAY": "five",
        "OG_EMAIL": "someone@example.com",
    }

    assert named(environ) == [
        "OG_PRIVATE_KEY",
        "OG_PASSWORD",
        "OG_BASE_CHAIN_ID",
        "OG_MAX_PER_DAY",
        "OG_PORT",
        "OG_MAX_PRE_CALL",
    ]


@pytest.mark.parametrize(
    ("misspelt", "nearest"),
    [
        ("OG_MAX_PERDAY", "OG_MAX_PER_DAY"),
        ("OG_PRIVATEKEY", "OG_PRIVATE_KEY"),
        ("OG_MODEL_HUB_EMAIL", "OG_EMAIL"),
        ("og_max_per_call", "OG_MAX_PER_CALL"),
        ("firebase_api_key", "FIREBASE_API_KEY"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest_one(misspelt: str, nearest: str) -> None:
    (problem,) = problems({misspelt: "1"})

    assert problem.variable == misspelt
    assert problem.what.endswith(f"the nearest one is {nearest}")


def test_an_unknown_variable_cannot_write_lines_of_its_own() -> None:
    (problem,) = problems({"OG_A\nOG_B: fine": "1"})

    assert "\n" not in str(problem)


def test_names_without_the_prefix_are_left_alone() -> None:
    Settings.from_env({"PATH": "/bin", "OGRE": "1", "og_image": "1", "FIREBASE_URL": "x"})


def test_an_empty_value_counts_as_not_set() -> None:
    settings = Settings.from_env(dict.fromkeys(VARIABLES, "") | {"OG_PORT": "  ", "OG_HOST": "\n"})

    assert settings == Settings.from_env({})


@pytest.mark.parametrize("second", ["OG_PRIVATE_KEY_FILE", "OG_KEYSTORE"])
def test_more_than_one_wallet_is_an_error(second: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(KEY if second == "OG_PRIVATE_KEY_FILE" else '{"version": 3}')
    file.chmod(0o600)

    assert named({"OG_PRIVATE_KEY": KEY, second: str(file), "OG_KEYSTORE_PASSWORD": "p"}) == [
        second
    ]


def test_a_key_file_is_read_and_kept_by_its_path(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    file.chmod(0o600)

    settings = Settings.from_env({"OG_PRIVATE_KEY_FILE": str(file)})

    assert settings.wallet is not None
    assert (settings.wallet.kind, settings.wallet.variable) == ("key_file", "OG_PRIVATE_KEY_FILE")
    assert settings.wallet.secret.get_secret_value() == str(file)
    assert settings.secret_paths == (settings.data_dir, file)


@pytest.mark.parametrize("content", ["", "hello", "11" * 31, "\0" * 64])
def test_a_file_without_a_key_is_told(content: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(content)

    assert named({"OG_PRIVATE_KEY_FILE": str(file)}) == ["OG_PRIVATE_KEY_FILE"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes of files")
@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        (0o600, ""),
        (0o400, ""),
        (0o640, "others can read"),
        (0o644, "others can read"),
        (0o622, "others can write"),
        (0o666, "others can write"),
    ],
)
def test_t44_a_key_file_is_the_owner_s_alone(tmp_path: Path, mode: int, reason: str) -> None:
    file, link = tmp_path / "key", tmp_path / "link"
    file.write_text(KEY)
    file.chmod(mode)
    link.symlink_to(file)

    for path in (file, link):
        told = refused({"OG_PRIVATE_KEY_FILE": str(path)})
        assert bool(told) == bool(reason)
        assert reason in told


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes of files")
def test_t44_a_keystore_that_others_can_write_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "wallet.json"
    file.write_text('{"version": 3, "crypto": {}}')
    environ = {"OG_KEYSTORE": str(file), "OG_KEYSTORE_PASSWORD": "p"}

    file.chmod(0o644)
    assert not refused(environ)
    file.chmod(0o664)
    assert "OG_KEYSTORE: names a file that others can write" in refused(environ)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_t44_a_byte_order_mark_is_no_obstacle(tmp_path: Path, encoding: str) -> None:
    key, store = tmp_path / "key", tmp_path / "wallet.json"
    key.write_text(f"{KEY}\n", encoding=encoding)
    key.chmod(0o600)
    store.write_text('{"version": 3, "crypto": {}}', encoding=encoding)

    assert not refused({"OG_PRIVATE_KEY_FILE": str(key)})
    assert not refused({"OG_KEYSTORE": str(store), "OG_KEYSTORE_PASSWORD": "p"})


def test_a_keystore_needs_its_password(tmp_path: Path) -> None:
    file = tmp_path / "wallet.json"
    file.write_text('{"version": 3, "crypto": {}}')

    settings = Settings.from_env({"OG_KEYSTORE": str(file), "OG_KEYSTORE_PASSWORD": " p "})

    assert named({"OG_KEYSTORE": str(file)}) == ["OG_KEYSTORE_PASSWORD"]
    assert settings.wallet is not None
    assert settings.wallet.password is not None
    assert settings.wallet.password.get_secret_value() == " p "
    assert settings.secret_paths == (settings.data_dir, file)


@pytest.mark.parametrize("content", ["", "[3]", '{"version": 1}', "[" * 100_000])
def test_a_keystore_of_another_form_is_told(content: str, tmp_path: Path) -> None:
    file = tmp_path / "wallet.json"
    file.write_text(content)

    assert named({"OG_KEYSTORE": str(file), "OG_KEYSTORE_PASSWORD": "p"}) == ["OG_KEYSTORE"]


# threats.md T4


@pytest.mark.parametrize(
    ("rpc", "chain_id"),
    [("OG_RPC_URL", "OG_CHAIN_ID"), ("OG_BASE_RPC_URL", "OG_BASE_CHAIN_ID")],
)
def test_t4_another_rpc_needs_its_chain_id_said_out_loud(rpc: str, chain_id: str) -> None:
    environ = {**PUBLIC, rpc: "https://rpc.example.com"}

    assert named(environ) == [chain_id]
    assert not Settings.from_env({**environ, chain_id: "5"}).local


def test_t4_the_profiles_own_rpc_said_again_is_no_other_rpc() -> None:
    settings = Settings.from_env({**PUBLIC, "OG_RPC_URL": OPENGRADIENT.rpc_url})

    assert settings.network == OPENGRADIENT
    assert not settings.rpc_overridden


@pytest.mark.parametrize(
    "variable", ["OG_RPC_URL", "OG_HUB_URL", "OG_CHAIN_ID", "OG_CONTRACT_ADDRESS", "OG_RPC_URLS"]
)
@pytest.mark.parametrize("chosen", [{}, LOCAL])
def test_overrides_on_the_local_network_are_refused_with_the_reason(
    variable: str, chosen: dict[str, str]
) -> None:
    values = {"OG_CHAIN_ID": "1", "OG_CONTRACT_ADDRESS": ADDRESS}
    (problem,) = problems({**chosen, variable: values.get(variable, "https://example.com")})

    assert problem.variable == variable
    assert "ready file" in problem.what


def test_a_ready_file_belongs_to_the_local_network_only(tmp_path: Path) -> None:
    ready = {"OG_LOCALNET": str(tmp_path / "ready.json")}

    assert named({**ready, **PUBLIC}) == ["OG_LOCALNET"]
    assert named({**ready, "OG_PRIVATE_KEY": KEY}) == ["OG_LOCALNET"]
    assert Settings.from_env(ready).localnet_ready_file == tmp_path / "ready.json"


def test_half_an_account_is_told() -> None:
    assert named({"OG_EMAIL": "someone@example.com"}) == ["OG_PASSWORD"]
    assert named({"OG_PASSWORD": "p"}) == ["OG_EMAIL"]


# threats.md T24


@pytest.mark.parametrize("transport", ["http", "sse"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
@pytest.mark.parametrize("key", ["OG_PRIVATE_KEY", "OG_BASE_PRIVATE_KEY"])
def test_t24_a_real_wallet_behind_http_needs_a_token_on_loopback_too(
    transport: str, host: str, key: str
) -> None:
    environ = {key: KEY, "OG_TRANSPORT": transport, "OG_HOST": host}

    assert named(environ) == ["OG_HTTP_TOKEN"]
    assert Settings.from_env({**environ, "OG_HTTP_TOKEN": TOKEN}).http_token is not None


def test_t24_the_local_network_on_loopback_needs_no_token() -> None:
    Settings.from_env({**LOCAL, "OG_TRANSPORT": "http", "OG_PRIVATE_KEY": KEY})
    Settings.from_env({**PUBLIC, "OG_TRANSPORT": "http"})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.com"])  # noqa: S104 - not bound
@pytest.mark.parametrize("transport", ["http", "sse"])
def test_t24_off_loopback_http_always_needs_a_token(host: str, transport: str) -> None:
    environ = {**LOCAL, "OG_TRANSPORT": transport, "OG_HOST": host}

    assert named(environ) == ["OG_HTTP_TOKEN"]
    assert Settings.from_env({**environ, "OG_TRANSPORT": "stdio"}).host == host


# threats.md T26: what a tool may read when nobody said so


@pytest.fixture
def roots_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Path]]:
    """Ask for the roots of a process that stands in a folder."""

    def ask(folder: Path, home: Path, **environ: str) -> list[Path]:
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.setenv("USERPROFILE", str(home))
        monkeypatch.chdir(folder)
        return list(Settings.from_env(environ).upload_roots)

    return ask


def test_t26_on_the_local_network_the_working_folder_may_be_read(
    roots_in: Callable[..., list[Path]], tmp_path: Path
) -> None:
    project = tmp_path / "project"
    project.mkdir()

    assert roots_in(project, home=tmp_path) == [project.resolve()]
    assert roots_in(project, home=tmp_path, OG_UPLOAD_ROOTS=str(tmp_path)) == [tmp_path]


def test_t26_the_home_folder_and_what_is_above_it_are_no_default(
    roots_in: Callable[..., list[Path]], tmp_path: Path
) -> None:
    home = tmp_path / "people" / "someone"
    home.mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(home)

    assert roots_in(home, home=home) == []
    assert roots_in(tmp_path, home=home) == []
    assert roots_in(home, home=link) == []
    assert roots_in(link, home=home) == []
    assert roots_in(Path("/"), home=home) == []


def test_t26_over_http_or_on_a_real_network_there_is_no_default_root(
    roots_in: Callable[..., list[Path]], tmp_path: Path
) -> None:
    project = tmp_path / "project"
    project.mkdir()

    assert roots_in(project, home=tmp_path, OG_TRANSPORT="http") == []
    assert roots_in(project, home=tmp_path, OG_TRANSPORT="sse") == []
    assert roots_in(project, home=tmp_path, OG_NETWORK="opengradient") == []


# Secrets

SECRET = "Zq7-SECRET-Zq7"


def texts(error: BaseException) -> str:
    """Everything of an error that can reach a log, the errors behind it included."""
    chain: list[BaseException] = []
    behind: BaseException | None = error
    while behind is not None:
        chain.append(behind)
        behind = behind.__cause__ or behind.__context__
    formatted = "".join(traceback.format_exception(error))
    return formatted + "".join(f"{exc} {exc!r} {exc.args!r}" for exc in chain)


def outcome(environ: Mapping[str, str]) -> str:
    """Everything that the error says, or how the settings print."""
    try:
        settings = Settings.from_env(environ)
    except ConfigurationError as exc:
        return texts(exc) + "".join(repr(problem) for problem in exc.problems)
    # What stays in these is no secret by any rule; all other fields must not print theirs.
    open_fields = ("models", "data_dir", "localnet_ready_file", "secret_paths", "host")
    shown = repr(settings)
    for name in open_fields:
        shown = shown.replace(f"{name}={getattr(settings, name)!r}", name)
    return shown


SHAPES = (
    "{}",
    "0x{}",
    " {}\n",
    "https://{}",
    "https://user:{}@example.com",
    "https://example.com:{}",
    "https://example.com/v1/{}",
    "https://example.com/?key={}",
    "http://[{}",
    "{}://example.com",
    "postgresql://user:{}@db/og",
    "mysql://user:{}@db/og",
    "/nowhere/{}",
    "~{}/folder",
    "relative/{}",
    "0.5{}",
    "models,{}",
    "{}\0",
    "é{}",
)


@pytest.mark.sweep(quick=13)
@pytest.mark.parametrize("variable", VARIABLES)
def test_a_secret_in_one_variable_is_never_shown(variable: str) -> None:
    for shape in SHAPES:
        for network in ({}, LOCAL, PUBLIC):
            assert SECRET not in outcome({**network, variable: shape.format(SECRET)}), shape


@given(
    environ=st.dictionaries(
        st.sampled_from(sorted(VARIABLES)), st.sampled_from(SHAPES), min_size=2, max_size=12
    ),
    network=st.sampled_from([{}, LOCAL, PUBLIC]),
)
def test_secrets_in_several_variables_are_never_shown(
    environ: dict[str, str], network: dict[str, str]
) -> None:
    planted = {name: shape.format(SECRET) for name, shape in environ.items()}
    said = outcome({**planted, **network})

    assert SECRET not in said


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OG_RPC_URL", f"https://user:{SECRET}@rpc.example.com/{SECRET}?key={SECRET}"),
        ("OG_BASE_RPC_URL", f"https://base.example.com/{SECRET}"),
        ("OG_RPC_URLS", f"https://rpc.example.com/{SECRET}"),
        ("OG_JOURNAL_URL", f"postgresql://og:{SECRET}@db/og"),
        ("OG_LOCAL_LLM_URL", f"http://user:{SECRET}@127.0.0.1/v1"),
        ("OG_HTTP_TOKEN", SECRET * 2),
        ("OG_PASSWORD", SECRET),
        ("FIREBASE_API_KEY", SECRET),
        ("OG_PRIVATE_KEY", KEY),
        ("OG_BASE_PRIVATE_KEY", KEY),
    ],
)
def test_settings_that_hold_a_secret_do_not_show_it(variable: str, value: str) -> None:
    environ = {**PUBLIC, "OG_CHAIN_ID": "5", "OG_BASE_CHAIN_ID": "6", variable: value}
    if variable == "OG_PASSWORD":
        environ["OG_EMAIL"] = "someone@example.com"

    settings: Any = Settings.from_env(environ)

    shown = f"{settings!r} {settings} {settings.network!r} {settings.network}"
    assert SECRET not in shown
    assert "11" * 32 not in shown


def test_reading_settings_imports_nothing_heavy() -> None:
    code = (
        "import sys; from og_mcp.settings import Settings; "
        "Settings.from_env({'OG_PRIVATE_KEY': '11' * 32}); "
        "heavy = {'web3', 'eth_account', 'eth_utils', 'numpy', 'httpx', 'Crypto', 'eth_hash'}; "
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"


MODELS_FILE = """
[[models]]
cid = "Qm1"
name = "volatility"
title = "Volatility"
description = "How much ten candles move."
inference_mode = "TEE"

[models.inputs.candles]
description = "Ten candles."
fields = { open = "First price.", close = "" }
dtype = "float"
shape = [1, -1, 2]

[models.inputs.plain]
fields = ["a", "b"]

[[models]]
cid = "Qm2"
name = "second"
"""


def test_published_models_can_be_described_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text(MODELS_FILE, encoding="utf-8")

    settings = Settings.from_env({**LOCAL, "OG_MODELS": str(file)})

    assert settings.models == (
        PublishedModel(
            cid="Qm1",
            name="volatility",
            title="Volatility",
            description="How much ten candles move.",
            mode="TEE",
            inputs=(
                InputDoc(
                    name="candles",
                    description="Ten candles.",
                    fields=(("open", "First price."), ("close", "")),
                    dtype="float",
                    shape=(1, -1, 2),
                ),
                InputDoc(name="plain", fields=(("a", ""), ("b", ""))),
            ),
        ),
        PublishedModel(cid="Qm2", name="second"),
    )


INPUT = "[[models]]\ncid = 'Qm1'\nname = 'a'\n[models.inputs.x]\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[[models]\n", "which is not valid TOML (at line 1, column 9)"),
        ("\n\nname = secret", "which is not valid TOML (at line 3, column 8)"),
        ("\ud800", "which is not valid TOML"),
        ("a = " + "[" * 5000, "which is not valid TOML"),
        ("[[models]]\ncid = 5\nname = 'a'", "is wrong at models.1.cid: Input should be a valid"),
        ("[[models]]\ncid = 'Qm1'", "is wrong at models.1.name: Field required"),
        ("[[models]]\ncid = 'Qm1'\nname = 'a b'", "is wrong at models.1.name: String should match"),
        ("[[models]]\ncid = 'Qm1'\nname = 'a'\nmode = 'x'", "is wrong at models.1.mode: Extra"),
        ("[[models]]\ncid = 'Qm1'\nname = 'a'\ninference_mode = 'FAST'", "models.1.inference_mode"),
        ("models = 3", "is wrong at models: Input should be a valid list"),
        ("models = []\nmodel = 3", "is wrong at model: Extra"),
        (
            f"{INPUT}fields = ['a', 'a']",
            "models.1.inputs.x: Value error, fields has the same name twice",
        ),
        (f"{INPUT}fields = ['a']\nshape = [1, 2]", "the last of shape is the number of fields, 1"),
        (f"{INPUT}fields = ['a']\nshape = []", "the last of shape is the number of fields, 1"),
        (f"{INPUT}fields = ['a b']", "is wrong at models.1.inputs.x.fields"),
        (f"{INPUT}shape = [-2]", "is wrong at models.1.inputs.x.shape.1: Input should be greater"),
        ("#" * (2**20 + 1), "of more than 1048576 bytes"),
    ],
)
def test_a_file_of_models_that_is_wrong_is_told_by_place(
    content: str, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "models.toml"
    file.write_text(content, encoding="utf-8", errors="surrogatepass")

    (problem,) = problems({**LOCAL, "OG_MODELS": str(file)})

    assert problem.variable == "OG_MODELS"
    assert f"names the file '{file}'" in problem.what
    assert said in problem.what
    assert "secret" not in problem.what


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("infer",), "names model 1 like a tool that is there"),
        (("a", "calls", "get_call"), "names model 3 like a tool that is there"),
        (("a", "b", "a"), "names model 3 like one before it"),
        (("Infer",), "names model 1 like a tool that is there"),
        (("a", "A"), "names model 2 like one before it"),
        (tuple(f"m{number}" for number in range(51)), "may publish at most 50 models"),
    ],
)
def test_names_of_published_models_are_told_apart_in_both_forms(
    names: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    file = tmp_path / "models.toml"
    tables = (f"[[models]]\ncid = 'Qm1'\nname = '{name}'\n" for name in names)
    file.write_text("".join(tables), encoding="utf-8")
    listed = ",".join(f"Qm1:{name}" for name in names)

    for value in (str(file), listed):
        (problem,) = problems({**LOCAL, "OG_MODELS": value})
        assert said in problem.what


@pytest.mark.parametrize("name", sorted(TOOL_NAMES))
def test_no_published_model_takes_the_name_of_a_tool(name: str) -> None:
    (problem,) = problems({**LOCAL, "OG_MODELS": f"Qm1:{name}"})

    assert "like a tool that is there already" in problem.what


def test_a_second_rpc_of_base_is_of_another_operator_and_of_the_same_chain() -> None:
    first, second = OPENGRADIENT.base_rpc_urls
    own = Settings.from_env({**PUBLIC, "OG_BASE_RPC_URL": second, "OG_BASE_CHAIN_ID": "8453"})
    elsewhere = {"OG_BASE_RPC_URL": "https://rpc.example.com", "OG_BASE_CHAIN_ID": "84532"}
    other = Settings.from_env({**PUBLIC, **elsewhere})

    assert OPENGRADIENT.base_rpc_url == first != second
    assert own.network is not None
    assert set(own.network.base_rpc_urls) - {own.network.base_rpc_url} == {first}
    assert other.network is not None
    assert other.network.base_rpc_urls == ()
