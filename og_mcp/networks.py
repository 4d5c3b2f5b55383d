"""The networks og-mcp knows: one record each.

Addresses and URLs: protocol.md section 2. Chain ids are part of the profile, never taken from an
RPC's word (threats.md T4).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

INFERENCE_PRECOMPILE: Final = "0x00000000000000000000000000000000000000F4"
PERMIT2: Final = "0x000000000022D473030F116dDEE9F6B43aC78BA3"
UPTO_PROXY: Final = "0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002"


def shown(url: str) -> str:
    """Cut a URL down to scheme, host and port: the rest may hold an API key or a password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in {"http", "https"}:
        return "(a URL that cannot be shown)"
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}" if port is None else f"{parts.scheme}://{host}:{port}"


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine, by its host alone: no name is looked up."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    # A connection to the unspecified address reaches the machine that makes it.
    return host in {"0.0.0.0", "::"} or is_loopback_host(host)  # noqa: S104 - compared, not bound


def is_loopback_host(host: str) -> bool:
    """Whether a server that binds to this host can be reached from this machine only."""
    host = host.removesuffix(".").lower()
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return _is_short_loopback(host)
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _is_short_loopback(host: str) -> bool:
    """Whether the resolver would read this as 127.0.0.0/8, as it does `127.1` or `0x7f000001`."""
    try:
        return socket.inet_aton(host).startswith(b"\x7f")
    except (OSError, UnicodeError, ValueError):
        return False


@dataclass(frozen=True, kw_only=True, repr=False)
class Network:
    """Where one network's parts are and which chains they belong to."""

    name: str
    chain_id: int
    rpc_url: str
    inference_contract: str
    node_api_url: str
    base_chain_id: int
    base_rpc_url: str
    opg_token: str
    hub_url: str
    hub_read_url: str
    auth_url: str
    token_url: str
    tee_registry: str = ""
    """Empty on the first generation, which has no gateways."""

    explorer_tx_url: str = ""
    """With `{hash}` in it; empty where there is no explorer."""

    faucet_url: str = ""
    """With `{address}` in it; empty where there is no faucet."""

    model_page_url: str = ""
    """With `{author}` and `{model}` in it; empty where there are no pages."""

    hub_file_url: str = ""
    """With `{cid}` in it; empty where the hub is not known to serve files by content id."""

    base_rpc_urls: tuple[str, ...] = ()
    """RPCs of the payment chain, of different operators: one beside `base_rpc_url` has to agree to
    what nothing but an RPC says."""

    limits_new_journals: bool = True
    """Whether a wallet may have been used from another data folder before (threats.md T34)."""

    settlement_depth: int = 12
    """Blocks of the payment chain on top of a settlement before it counts."""

    pay_to: frozenset[str] = frozenset()
    """Recipients of payments that are known beside the registry's payment addresses."""

    sample_models: tuple[Mapping[str, Any], ...] = field(default=())
    """Models that are there from the start; only the local network names them."""

    def __repr__(self) -> str:
        """Name the network; URLs may hold API keys and are cut to their origin."""
        return f"<Network {self.name}, chain {self.chain_id}, RPC {shown(self.rpc_url)}>"

    @property
    def local(self) -> bool:
        """Whether this is the embedded network, whose money is not real."""
        return self.name == LOCAL

    @property
    def authenticated(self) -> bool:
        """Whether the chain's answers cannot be altered on their way: HTTPS, or this machine.

        False on `alpha-2025`, whose RPC is plain HTTP (threats.md T30).
        """
        return urlsplit(self.rpc_url).scheme == "https" or is_loopback(self.rpc_url)


LOCAL: Final = "local"

OPENGRADIENT: Final = Network(
    name="opengradient",
    chain_id=10740,
    rpc_url="https://ogevmdevnet.opengradient.ai",
    inference_contract="0x8383C9bD7462F12Eb996DD02F78234C0421A6FaE",
    tee_registry="0x703cB174AEadB35D611858369B4b1111dC9Abda6",
    node_api_url="https://sdk-devnet.opengradient.ai",
    base_chain_id=8453,
    base_rpc_url="https://base-rpc.publicnode.com",
    base_rpc_urls=("https://base-rpc.publicnode.com", "https://mainnet.base.org"),
    opg_token="0xFbC2051AE2265686a469421b2C5A2D5462FbF5eB",  # noqa: S106 - an address
    hub_url="https://api.opengradient.ai",
    hub_read_url="https://hub-api.opengradient.ai",
    auth_url="https://identitytoolkit.googleapis.com/v1/accounts:signInWithPassword",
    token_url="https://securetoken.googleapis.com/v1/token",  # noqa: S106 - a URL
    explorer_tx_url="https://explorer.opengradient.ai/tx/{hash}",
    faucet_url="https://faucet.opengradient.ai/?address={address}",
    model_page_url="https://hub.opengradient.ai/models/{author}/{model}",
    pay_to=frozenset({"0x9deEBB5D1b22e4a6e027977CeAd13893A7E4cC1a"}),
)

ALPHA_2025: Final = Network(
    name="alpha-2025",
    # Public RPC metadata of the first generation (Hyperlane registry, "opengradienttestnet").
    chain_id=2970285607590380,
    rpc_url="http://18.218.115.248:8545",
    inference_contract="0x3fDCb0394CF4919ff4361f4EbA0750cEc2e3bBc7",
    node_api_url=OPENGRADIENT.node_api_url,
    base_chain_id=OPENGRADIENT.base_chain_id,
    base_rpc_url=OPENGRADIENT.base_rpc_url,
    base_rpc_urls=OPENGRADIENT.base_rpc_urls,
    opg_token=OPENGRADIENT.opg_token,
    hub_url=OPENGRADIENT.hub_url,
    hub_read_url=OPENGRADIENT.hub_read_url,
    auth_url=OPENGRADIENT.auth_url,
    token_url=OPENGRADIENT.token_url,
    explorer_tx_url=OPENGRADIENT.explorer_tx_url,
    faucet_url=OPENGRADIENT.faucet_url,
    model_page_url=OPENGRADIENT.model_page_url,
)

NETWORKS: Final[Mapping[str, Network]] = MappingProxyType(
    {network.name: network for network in (OPENGRADIENT, ALPHA_2025)}
)
"""The public networks by name; `local` exists only once it runs (`from_ready_file`)."""

NAMES: Final = (*NETWORKS, LOCAL)


LOCAL_BASE_CHAIN_ID: Final = 7308453
"""Of a local network's payment chain, unless it is told another."""

LOCAL_WALLET_WEI: Final = 10**6 * 10**18
"""Wei that each wallet of a local network has at its start, on either chain."""


def from_ready_file(ready: Mapping[str, Any]) -> Network:
    """Describe a running local network by its ready file (interface.md section 5).

    Raises:
        KeyError: The file lacks a field.
        ValueError: A URL leads to another machine (threats.md T5), or a chain id is not a number.
    """
    for name, value in ready.items():
        if name.endswith("_url") and value and not is_loopback(str(value)):
            raise ValueError(
                f"{name} of the ready file is not on this machine: {shown(str(value))}"
            )
    return Network(
        name=LOCAL,
        chain_id=int(ready["chain_id"]),
        rpc_url=ready["rpc_url"],
        inference_contract=ready["inference_contract"],
        tee_registry=ready["tee_registry"],
        node_api_url=ready["node_api_url"],
        base_chain_id=int(ready["base_chain_id"]),
        base_rpc_url=ready["base_rpc_url"],
        # Blocks come only where something is sent.
        settlement_depth=0,
        # Wallets are as new as the network.
        limits_new_journals=False,
        opg_token=ready["opg_token"],
        hub_url=ready["hub_url"],
        hub_read_url=ready["hub_read_url"],
        hub_file_url=f"{ready['hub_read_url']}/api/v0/files/{{cid}}",
        auth_url=ready["auth_url"],
        token_url=ready["token_url"],
        sample_models=tuple(ready["sample_models"]),
    )
