"""The networks og-mcp knows: one record each.

Addresses and URLs: protocol.md section 2. Chain ids are part of the profile, never taken from an
RPC's word (threats.md T4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

INFERENCE_PRECOMPILE: Final = "0x00000000000000000000000000000000000000F4"
PERMIT2: Final = "0x000000000022D473030F116dDEE9F6B43aC78BA3"
UPTO_PROXY: Final = "0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002"


@dataclass(frozen=True, kw_only=True)
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

    pay_to: frozenset[str] = frozenset()
    """Recipients of payments that are known beside the registry's payment addresses."""

    sample_models: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    """Models that are there from the start; only the local network names them."""

    @property
    def local(self) -> bool:
        """Whether this is the embedded network, whose money is not real."""
        return self.name == LOCAL


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


def from_ready_file(ready: Mapping[str, Any]) -> Network:
    """Describe a running local network by its ready file (interface.md section 5).

    Raises:
        KeyError: The file lacks a field.
    """
    return Network(
        name=LOCAL,
        chain_id=int(ready["chain_id"]),
        rpc_url=ready["rpc_url"],
        inference_contract=ready["inference_contract"],
        tee_registry=ready["tee_registry"],
        node_api_url=ready["node_api_url"],
        base_chain_id=int(ready["base_chain_id"]),
        base_rpc_url=ready["base_rpc_url"],
        opg_token=ready["opg_token"],
        hub_url=ready["hub_url"],
        hub_read_url=ready["hub_read_url"],
        auth_url=ready["auth_url"],
        token_url=ready["token_url"],
        sample_models=tuple(ready["sample_models"]),
    )
