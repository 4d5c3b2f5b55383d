"""Writes entries of the TEE registry, by transactions of its owner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from og_mcp.localnet.chain import Chain
from og_mcp.localnet.genesis import TEE_REGISTRY
from og_mcp.localnet.wallet import Wallet, to_address

NO_ENCLAVE: Final = keccak(text="og-mcp local network: this gateway runs in no enclave")
"""Stands where the measurement of an enclave's code would."""

_OHTTP: Final = "(uint8,uint16,uint16,uint16,bytes,bytes,uint256)"
_TEE_INFO: Final = (
    f"(address,address,string,bytes,bytes,bytes32,uint8,bool,uint256,uint256,{_OHTTP})"
)
_NO_OHTTP: Final = (0, 0, 0, 0, b"", b"", 0)
_LLM_PROXY: Final = 0
_GAS: Final = 10_000_000


@dataclass(frozen=True, kw_only=True)
class RegistryEntry:
    """What the registry says of one TEE (protocol.md section 3.5)."""

    endpoint: str
    public_key: bytes
    """DER of the signing key's SubjectPublicKeyInfo."""

    tls_certificate: bytes
    """DER."""

    payment_address: str
    pcr_hash: bytes = NO_ENCLAVE
    enabled: bool = True
    registered_at: int
    """Unix seconds, as is the heartbeat."""

    heartbeat: int

    @property
    def tee_id(self) -> bytes:
        """Hash of the signing key."""
        return keccak(self.public_key)


class Registrar:
    """The owner of the registry."""

    def __init__(self, chain: Chain, wallet: Wallet) -> None:
        self._chain = chain
        self._wallet = wallet

    async def put(self, entry: RegistryEntry) -> None:
        """Add an entry, or replace the one of the same key; waits while blocks are held."""
        head = (self._wallet.address, entry.payment_address, entry.endpoint)
        keys = (entry.public_key, entry.tls_certificate, entry.pcr_hash)
        rest = (_LLM_PROXY, entry.enabled, entry.registered_at, entry.heartbeat, _NO_OHTTP)
        await self._write(f"put({_TEE_INFO})", [_TEE_INFO], (*head, *keys, *rest))

    async def _write(self, signature: str, kinds: list[str], *values: Any) -> None:  # noqa: ANN401 - ABI values
        data = keccak(text=signature)[:4] + encode(kinds, values)
        registry = to_address(TEE_REGISTRY)
        await self._chain.in_order(self._wallet.send, registry, gas=_GAS, data=data)
