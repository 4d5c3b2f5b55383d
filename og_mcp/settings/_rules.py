"""What must hold between variables."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from og_mcp.errors import SettingProblem
from og_mcp.networks import LOCAL, NETWORKS, OPENGRADIENT, is_loopback_host

KEYS: Final = ("OG_PRIVATE_KEY", "OG_PRIVATE_KEY_FILE", "OG_KEYSTORE")
BASE_KEY: Final = "OG_BASE_PRIVATE_KEY"

OVERRIDES: Final[Mapping[str, str]] = {
    "OG_RPC_URL": "rpc_url",
    "OG_CHAIN_ID": "chain_id",
    "OG_CONTRACT_ADDRESS": "inference_contract",
    "OG_TEE_REGISTRY_ADDRESS": "tee_registry",
    "OG_BASE_RPC_URL": "base_rpc_url",
    "OG_BASE_CHAIN_ID": "base_chain_id",
    "OG_NODE_API_URL": "node_api_url",
    "OG_HUB_URL": "hub_url",
    "OG_HUB_READ_URL": "hub_read_url",
    "OG_AUTH_URL": "auth_url",
    "OG_TOKEN_URL": "token_url",
}
"""Variables that replace one field of the network's record."""

CHAIN_ID_OF: Final[Mapping[str, str]] = {
    "OG_RPC_URL": "OG_CHAIN_ID",
    "OG_BASE_RPC_URL": "OG_BASE_CHAIN_ID",
}
"""An RPC and the variable that names its chain (threats.md T4)."""


@dataclass(frozen=True)
class SettingsDraft:
    """The values that could be read so far."""

    values: Mapping[str, Any]
    """Values of the variables that could be read."""

    given: Collection[str]
    """Names of all variables that are set, right or wrong."""

    @property
    def network_name(self) -> str:
        """The chosen network, or the default; empty where OG_NETWORK is wrong."""
        if "OG_NETWORK" in self.given:
            return str(self.values.get("OG_NETWORK", ""))
        return OPENGRADIENT.name if self.has_key else LOCAL

    @property
    def has_key(self) -> bool:
        """Whether a key of a real network is configured."""
        return any(name in self.given for name in (*KEYS, BASE_KEY))


def broken(draft: SettingsDraft) -> Iterator[SettingProblem]:
    """Yield a problem for every rule that is broken."""
    yield from _wallet(draft)
    yield from _account(draft)
    if draft.network_name == LOCAL:
        yield from _local(draft)
    elif draft.network_name:
        yield from _public(draft)
    yield from _server(draft)


def _wallet(draft: SettingsDraft) -> Iterator[SettingProblem]:
    keys = [name for name in KEYS if name in draft.given]
    if len(keys) > 1:
        yield SettingProblem(keys[1], f"is set beside {keys[0]}; set only one of {', '.join(KEYS)}")
    if "OG_KEYSTORE" in draft.given and "OG_KEYSTORE_PASSWORD" not in draft.given:
        yield SettingProblem("OG_KEYSTORE_PASSWORD", "must be set to open OG_KEYSTORE")


def _account(draft: SettingsDraft) -> Iterator[SettingProblem]:
    for name, other in (("OG_EMAIL", "OG_PASSWORD"), ("OG_PASSWORD", "OG_EMAIL")):
        if name in draft.given and other not in draft.given:
            yield SettingProblem(other, f"must be set too: {name} alone is not enough to sign in")


def _local(draft: SettingsDraft) -> Iterator[SettingProblem]:
    how = (
        "OG_NETWORK=local" if "OG_NETWORK" in draft.given else "without a key, OG_NETWORK is local"
    )
    for name in (*OVERRIDES, "OG_RPC_URLS"):
        if name in draft.given:
            yield SettingProblem(
                name,
                f"has no meaning here ({how}): the local network tells its own addresses in its "
                f"ready file; set OG_NETWORK to one of {', '.join(NETWORKS)}, or unset {name}",
            )


def _public(draft: SettingsDraft) -> Iterator[SettingProblem]:
    if "OG_LOCALNET" in draft.given:
        yield SettingProblem("OG_LOCALNET", "is only for OG_NETWORK=local, which has to be set")
    profile = NETWORKS[draft.network_name]
    for rpc, chain_id in CHAIN_ID_OF.items():
        url = draft.values.get(rpc)
        if url not in {None, getattr(profile, OVERRIDES[rpc])} and chain_id not in draft.given:
            yield SettingProblem(chain_id, f"must be set too, since {rpc} names another RPC")


def _server(draft: SettingsDraft) -> Iterator[SettingProblem]:
    over_http = draft.values.get("OG_TRANSPORT") in {"http", "sse"}
    if not over_http or "OG_HTTP_TOKEN" in draft.given:
        return
    if not is_loopback_host(draft.values.get("OG_HOST", "127.0.0.1")):
        yield SettingProblem(
            "OG_HTTP_TOKEN", "must be set: OG_HOST can be reached from other machines"
        )
    elif draft.has_key and draft.network_name != LOCAL:
        yield SettingProblem(
            "OG_HTTP_TOKEN",
            "must be set: with a wallet of a real network, every program on this machine could spend",
        )
