"""The accounts and contracts of the first block.

Clients tell networks apart by addresses, so the local contracts stand where the public ones do
(protocol.md section 2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from eth_utils.crypto import keccak

from og_mcp.localnet import contracts
from og_mcp.networks import INFERENCE_PRECOMPILE, OPENGRADIENT, PERMIT2, UPTO_PROXY

INFERENCE_CONTRACT: Final = OPENGRADIENT.inference_contract
TEE_REGISTRY: Final = OPENGRADIENT.tee_registry
OPG_TOKEN: Final = OPENGRADIENT.opg_token

HEARTBEAT_WINDOW_S: Final = 30 * 24 * 3600
"""Seconds within which a TEE's heartbeat counts; nothing sends heartbeats here, so it is very long."""

OPG: Final = 10**18
"""Base units of one OPG."""

GAS_PRICE_ORACLE: Final = "0x420000000000000000000000000000000000000F"
"""Where every OP Stack chain has the contract that tells its L1 data fee."""

L1_WEI_A_BYTE: Final = 10**9
"""What a transaction of the payment chain pays for each of its bytes."""

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


def payment(
    balances: Mapping[str, int], approvals: Mapping[str, int]
) -> tuple[GenesisAccount, ...]:
    """List the contracts of the payment chain.

    Args:
        balances: OPG in base units, by owner.
        approvals: What Permit2 may move in base units, by owner.
    """
    allowed = {
        _slot(PERMIT2, _slot(owner, _ALLOWANCES)): value for owner, value in approvals.items()
    }
    held = {_slot(owner, _BALANCES): value for owner, value in balances.items()}
    supply = {_SUPPLY: sum(balances.values())}
    return (
        GenesisAccount(
            address=OPG_TOKEN,
            code=contracts.load("OPG").deployed_bytecode,
            storage={**supply, **held, **allowed},
        ),
        GenesisAccount(address=PERMIT2, code=contracts.load("Permit2").deployed_bytecode),
        GenesisAccount(address=UPTO_PROXY, code=contracts.load("UptoProxy").deployed_bytecode),
        GenesisAccount(
            address=GAS_PRICE_ORACLE,
            code=contracts.load("GasPriceOracle").deployed_bytecode,
            storage={0: L1_WEI_A_BYTE},
        ),
    )


_BALANCES: Final = 0
_ALLOWANCES: Final = 1
_SUPPLY: Final = 2
"""Slots of `OPG.sol`."""


def _slot(address: str, mapping: int) -> int:
    """Find where Solidity keeps the entry of an address in the mapping of a slot."""
    key = bytes.fromhex(address.removeprefix("0x")).rjust(32, b"\0")
    return int.from_bytes(keccak(key + mapping.to_bytes(32, "big")), "big")


def wallets(addresses: Sequence[str], balance: int) -> tuple[GenesisAccount, ...]:
    """Fund each address with `balance` wei."""
    return tuple(GenesisAccount(address=address, balance=balance) for address in addresses)
