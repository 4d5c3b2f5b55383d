"""Checks that a receipt's parts belong to the network that it names: a local one cannot be relabelled.

A public network's chains and contracts come from og-mcp's own table, or from the verifier's
configuration where that overrides a value of the same network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from og_mcp.client.receipts.reading import MismatchError, NotKeptError, equal
from og_mcp.errors import quote
from og_mcp.networks import NAMES, NETWORKS, UPTO_PROXY, Network

if TYPE_CHECKING:
    from og_mcp.client.receipts.checks import ReceiptParts

SOURCE: Final = "og-mcp's own table of networks"
SCHEME: Final = "upto"


def name_of(receipt: object) -> str:
    """Return the network that a receipt names, or `None` where og-mcp does not know it."""
    name = receipt.get("network") if isinstance(receipt, dict) else None
    return name if isinstance(name, str) and name in NAMES else ""


def chain_network(parts: ReceiptParts) -> str:
    """Compare chain and contract with the network's: its inference contract, or OPG for an approval."""
    chain_id = parts.part("chain", "chain_id")
    contract = str(parts.part("chain", "contract"))
    profile = _profile(parts, chain_id, "its transactions prove nothing")
    known = {
        (profile.chain_id, profile.inference_contract.lower()): "contract",
        (profile.base_chain_id, profile.opg_token.lower()): "payment token",
    }
    what = known.get((chain_id, contract.lower())) if type(chain_id) is int else None
    if what is None:
        raise MismatchError(
            f"network {profile.name} has chain {profile.chain_id} and contract "
            f"{profile.inference_contract}, and the receipt says chain {quote(chain_id)} and "
            f"contract {quote(contract)}"
        )
    return f"chain and {what} are those of network {profile.name}"


def tee_network(parts: ReceiptParts) -> str:
    """Compare the registry's chain with the network's."""
    chain_id = parts.part("tee", "registry", "chain_id")
    profile = _profile(parts, chain_id, "its TEEs prove nothing")
    if type(chain_id) is not int or chain_id != profile.chain_id:
        raise MismatchError(
            f"network {profile.name} has chain {profile.chain_id}, and the receipt's registry is "
            f"on chain {quote(chain_id)}"
        )
    return f"the registry's chain is that of network {profile.name}"


def payment_network(parts: ReceiptParts) -> str:
    """Compare scheme and spender with those that og-mcp signs for, chain and token with the network's."""
    equal(SCHEME, parts.part("payment", "scheme"), "the scheme")
    equal(UPTO_PROXY.lower(), str(parts.part("payment", "spender")).lower(), "the spender")
    network, asset = parts.part("payment", "network"), parts.part("payment", "asset")
    profile = _profile(parts, None, "its money is not real")
    equal(f"eip155:{profile.base_chain_id}", network, "the payment chain")
    equal(profile.opg_token.lower(), str(asset).lower(), "the token")
    return f"scheme and spender are og-mcp's, chain and token those of network {profile.name}"


def _profile(parts: ReceiptParts, chain_id: object, worth: str) -> Network:
    """Return the network that a receipt names.

    Raises:
        MismatchError: The chain is that of another network, which is the one that is asked.
        NotKeptError: og-mcp does not know it.
    """
    name, own = parts.part("network"), parts.known
    if own is not None and name == own.name:
        return own
    chains = () if own is None else (own.chain_id, own.base_chain_id)
    # The payment chain is that of several public networks.
    if own is not None and chain_id in chains and (chain_id == own.chain_id or name not in NAMES):
        raise MismatchError(
            f"the receipt names network {quote(name)}, and chain {quote(chain_id)} is that of {own.name}"
        )
    profile = NETWORKS.get(name) if isinstance(name, str) else None
    if profile is None:
        raise NotKeptError(f"{quote(name)} is not a public network: {worth}")
    return profile
