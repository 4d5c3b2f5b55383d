"""What stands on the chain before its first block.

Clients tell networks apart by addresses, so the local contracts stand where the public ones do
(protocol.md section 2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from og_mcp.localnet import contracts
from og_mcp.networks import INFERENCE_PRECOMPILE, OPENGRADIENT

INFERENCE_CONTRACT: Final = OPENGRADIENT.inference_contract
TEE_REGISTRY: Final = OPENGRADIENT.tee_registry

HEARTBEAT_WINDOW_S: Final = 30 * 24 * 3600
"""Nothing beats while a local network stands idle; its gateway is there all the same."""

INVALID_OPCODE: Final = b"\xfe"
"""Code of an address that only a precompile answers: Solidity asks for some code before a call."""


@dataclass(frozen=True, kw_only=True)
class GenesisAccount:
    """One account that is there from block 0."""

    address: str
    """0x-hex, any case."""

    code: bytes = b""
    """Deployed bytecode; empty for a wallet."""

    storage: Mapping[int, int] = field(default_factory=dict)
    """Slot -> word, both as unsigned integers."""

    balance: int = 0
    """Wei."""


def opengradient(registry_owner: str) -> tuple[GenesisAccount, ...]:
    """List the contracts of the OpenGradient chain.

    Args:
        registry_owner: The address that may write to the TEE registry.
    """
    return (
        GenesisAccount(
            address=INFERENCE_CONTRACT, code=contracts.load("Inference").deployed_bytecode
        ),
        GenesisAccount(
            address=TEE_REGISTRY,
            code=contracts.load("TEERegistry").deployed_bytecode,
            storage={0: int(registry_owner, 16), 1: HEARTBEAT_WINDOW_S},
        ),
        GenesisAccount(address=INFERENCE_PRECOMPILE, code=INVALID_OPCODE),
    )


def wallets(addresses: Sequence[str], balance: int) -> tuple[GenesisAccount, ...]:
    """Fund each address with `balance` wei."""
    return tuple(GenesisAccount(address=address, balance=balance) for address in addresses)
