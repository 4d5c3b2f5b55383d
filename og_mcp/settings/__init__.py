"""Settings: everything the operator decides, read once from environment variables.

The variables are listed in interface.md section 2. All are checked together, and one error tells every
problem. No message, repr or traceback shows a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import SecretStr

from og_mcp.errors import ConfigurationError, quote
from og_mcp.networks import LOCAL, LOCAL_WALLET_WEI, NETWORKS, Network
from og_mcp.settings._rules import BASE_KEY, KEYS, OVERRIDES, SettingsDraft, broken
from og_mcp.settings._values import can_be_read_by_others, decoded
from og_mcp.settings._variables import PREFIX, TOOLSETS, VARIABLES, place, read, unknown
from og_mcp.types import Problem, PublishedModel

__all__ = [
    "TOOLSETS",
    "VARIABLES",
    "Settings",
    "WalletKind",
    "WalletSource",
    "decoded",
    "default_data_dir",
]

WalletKind = Literal["key", "key_file", "keystore"]

_KIND_OF: Final[Mapping[str, WalletKind]] = {
    "OG_PRIVATE_KEY": "key",
    "OG_PRIVATE_KEY_FILE": "key_file",
    "OG_KEYSTORE": "keystore",
}

_FIELD_OF: Final[Mapping[str, str]] = {
    BASE_KEY: "base_key",
    "OG_LOCALNET": "localnet_ready_file",
}
"""Variables whose field has another name than theirs in small letters without the prefix."""

_ACCOUNT: Final = ("OG_EMAIL", "OG_PASSWORD", "FIREBASE_API_KEY")
_COMPOSED: Final = frozenset(
    {"OG_NETWORK", *KEYS, "OG_KEYSTORE_PASSWORD", BASE_KEY, *_ACCOUNT, *OVERRIDES}
)
"""Variables that do not become a field of their own."""


HTTP_GRACE_S: Final = 60.0
"""OG_GRACE_S over HTTP, where it is not set."""


@dataclass(frozen=True, kw_only=True)
class WalletSource:
    """Where the wallet's key comes from; the key itself is opened when first needed."""

    kind: WalletKind
    secret: SecretStr
    """The key for kind `key`, else the path of the file that holds it."""

    password: SecretStr | None = None
    """What opens a keystore."""

    @property
    def variable(self) -> str:
        """The variable that configured it."""
        return next(name for name, kind in _KIND_OF.items() if kind == self.kind)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the operator decided. Amounts are in base units (10**18 to a coin)."""

    network_name: str
    network: Network | None = None
    """The profile with overrides applied; `None` for `local`, whose addresses are known once it runs."""

    rpc_overridden: bool = False
    wallet: WalletSource | None = None
    """`None` without a key, and on `local`, where a configured key is never used."""

    unused_keys: tuple[str, ...] = ()
    """On `local`, where no key is used: the variables that hold one all the same."""

    base_key: SecretStr | None = None
    """The key that pays OPG on Base, where it is another one; `None` on `local`."""

    email: str = field(default="", repr=False)
    """With `password` and `firebase_api_key` the hub account; empty on `local`."""

    password: SecretStr | None = None
    firebase_api_key: SecretStr | None = None
    localnet_ready_file: Path | None = None
    allow_insecure: bool = False
    allow_image_urls: bool = False
    """Whether gateways of a real network may fetch web addresses that a call names."""

    allow_unsigned: bool = False
    """Whether answers are shown that their gateway did not sign."""

    tee_pcr: tuple[str, ...] = ()
    rpc_urls: tuple[str, ...] = field(default=(), repr=False)
    base_rpc_urls: tuple[str, ...] = field(default=(), repr=False)
    """Further RPCs of the payment chain; empty: those of the network's record."""

    max_per_call: int = 5 * 10**18
    """Cap on OPG of one payment authorization: what today's gateways ask for a session."""

    max_per_day: int = 25 * 10**18
    """Cap on OPG, settled and open, for 24 hours."""

    max_fee_per_call: int = 10**16
    """Cap on native-coin fees of one call, wei; on `local` as much as its wallet has."""

    max_fee_per_day: int = 5 * 10**16
    """Cap on native-coin fees of 24 hours, per chain, wei; on `local` as above."""

    confirm_above: int = 5 * 10**18
    """OPG above which a person is asked first."""

    publish: Literal["", "ask", "allow"] = ""
    """Whether a person is asked before something is published; empty: on a real network always, on
    `local` where the host can ask."""

    upload_roots: tuple[Path, ...] = ()
    """Folders that files may be read from; never the root folder, and the home folder or one above
    it only where the operator names it."""

    data_dir: Path
    secret_paths: tuple[Path, ...] = ()
    """What no tool may read: the data folder, key files, keystores, ready files."""

    receipts: str = "full"
    journal_url: SecretStr | None = None
    """A database's URL, which may hold its password; `None`: SQLite in the data folder."""

    wait_s: float = 45.0
    """Seconds that a tool waits before it hands back a running call."""

    grace_s: float = 3.0
    """Seconds that calls which may be paid get when the server ends: hosts kill a stdio server
    after 2 to 4 s; over HTTP it is 60 if not set."""

    chat_model: str = field(default="", repr=False)
    """The model of chats and completions that do not name one."""

    image_model: str = field(default="", repr=False)
    """The model of images whose call does not name one."""

    images: str = "preview"
    models: tuple[PublishedModel, ...] = ()
    """Models that are published as tools of their own."""

    local_llm_url: str = field(default="", repr=False)
    toolsets: tuple[str, ...] = TOOLSETS
    read_only: bool = False
    log_level: str = "INFO"
    transport: str = "stdio"
    host: str = "127.0.0.1"
    port: int = 8000
    http_token: SecretStr | None = None

    @property
    def local(self) -> bool:
        """Whether the embedded network is used, which moves no real money."""
        return self.network_name == LOCAL

    def odd_keys(self) -> list[Problem]:
        """Tell what is odd about configured keys; it keeps nothing from working."""
        told = []
        if self.unused_keys:
            names = " and ".join(self.unused_keys)
            told.append(
                Problem(
                    what=f"{names}: set and not used, since OG_NETWORK=local has wallets of its own.",
                    fix=f"Set OG_NETWORK=opengradient to use the real network, or unset {names}.",
                )
            )
        source = self.wallet
        if source is not None and source.kind != "key":
            path = Path(source.secret.get_secret_value())
            if can_be_read_by_others(path):
                told.append(
                    Problem(
                        what=f"{source.variable}: other users of this machine can read {quote(path)}.",
                        fix="Mount the secret with mode 0400, or make sure that nobody else is there.",
                    )
                )
        return told

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read the settings.

        Args:
            environ: Environment variables; an empty value counts as not set. Names without the
                prefix `OG_` are left alone, `FIREBASE_API_KEY` excepted.

        Raises:
            ConfigurationError: Something is wrong; holds every problem there is.
        """
        values, problems = read(environ)
        draft = SettingsDraft(values, {*values, *(problem.variable for problem in problems)})
        problems += [*unknown(environ), *broken(draft)]
        if problems:
            raise ConfigurationError(sorted(problems, key=place))
        return cls(**_fields(draft))


def _fields(draft: SettingsDraft) -> dict[str, Any]:
    """Turn checked values into the fields of Settings; what is not set keeps its default."""
    values = draft.values
    fields = {_field(name): value for name, value in values.items() if name not in _COMPOSED}
    fields["network_name"] = draft.network_name
    if draft.network_name == LOCAL:
        fields = _local_fields(draft) | fields
    else:
        fields |= _public_fields(draft)
    if values.get("OG_TRANSPORT", "stdio") != "stdio":
        fields.setdefault("grace_s", HTTP_GRACE_S)
    if "data_dir" not in fields:
        fields["data_dir"] = default_data_dir()
    files = (values.get(name) for name in ("OG_PRIVATE_KEY_FILE", "OG_KEYSTORE", "OG_LOCALNET"))
    fields["secret_paths"] = (fields["data_dir"], *filter(None, files))
    return fields


def _field(variable: str) -> str:
    return _FIELD_OF.get(variable, variable.removeprefix(PREFIX).lower())


def _local_fields(draft: SettingsDraft) -> dict[str, Any]:
    """Return the defaults of the local network, where coins are worth nothing."""
    fields: dict[str, Any] = dict.fromkeys(
        ("max_fee_per_call", "max_fee_per_day"), LOCAL_WALLET_WEI
    )
    fields["unused_keys"] = tuple(name for name in (*KEYS, BASE_KEY) if name in draft.values)
    if draft.values.get("OG_TRANSPORT", "stdio") == "stdio":
        fields["upload_roots"] = _working_folder()
    return fields


def _public_fields(draft: SettingsDraft) -> dict[str, Any]:
    """Collect what only a real network has: its record, keys and account."""
    values, network = draft.values, _network(draft)
    given = {_field(name): values[name] for name in (BASE_KEY, *_ACCOUNT) if name in values}
    overridden = network.rpc_url != NETWORKS[network.name].rpc_url
    return given | {"network": network, "rpc_overridden": overridden, "wallet": _wallet(values)}


def _network(draft: SettingsDraft) -> Network:
    profile = NETWORKS[draft.network_name]
    given = OVERRIDES.keys() & draft.values
    changes = {OVERRIDES[name]: draft.values[name] for name in given}
    network = replace(profile, **changes)
    if network.chain_id != profile.chain_id:
        # The public explorer and faucet know nothing of another chain.
        network = replace(network, explorer_tx_url="", faucet_url="")
    if network.base_chain_id != profile.base_chain_id:
        network = replace(network, base_rpc_urls=())
    return network


def _wallet(values: Mapping[str, Any]) -> WalletSource | None:
    for name, kind in _KIND_OF.items():
        if name in values:
            value = values[name]
            secret = value if isinstance(value, SecretStr) else SecretStr(str(value))
            return WalletSource(
                kind=kind, secret=secret, password=values.get("OG_KEYSTORE_PASSWORD")
            )
    return None


def _working_folder() -> tuple[Path, ...]:
    """Return the working folder, unless that is the home folder or above it (threats.md T26)."""
    try:
        here, home = Path.cwd().resolve(), Path.home().resolve()
    except (OSError, RuntimeError):
        return ()
    return () if home.is_relative_to(here) else (here,)


def default_data_dir() -> Path:
    """Return the data folder that is used where OG_DATA_DIR is not set."""
    # Imported here because it is needed only where OG_DATA_DIR is not set.
    import platformdirs  # noqa: PLC0415 - see the line above

    return platformdirs.user_data_path("og-mcp", appauthor=False)
