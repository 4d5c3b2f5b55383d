"""How the x402 package's facilitator reads and writes a local chain: directly, without HTTP.

Import this module late: what it imports takes a second.
"""

from __future__ import annotations

from typing import Any, Final

from eth_abi.abi import decode, encode
from eth_utils.abi import (
    filter_abi_by_name,
    function_abi_to_4byte_selector,
    get_abi_input_types,
    get_abi_output_types,
)
from x402.mechanisms.evm.constants import BALANCE_OF_ABI
from x402.mechanisms.evm.types import TransactionReceipt, TypedDataDomain, TypedDataField
from x402.mechanisms.evm.upto.facilitator import UptoEvmScheme
from x402.mechanisms.evm.verify import verify_typed_data_strict

from og_mcp.localnet.chain import Chain
from og_mcp.localnet.evm import Call
from og_mcp.localnet.wallet import Wallet, to_address

_CALL_GAS: Final = 10**7
_SETTLE_GAS: Final = 500_000
"""A settlement takes some 110,000."""


def scheme(chain: Chain, wallet: Wallet) -> UptoEvmScheme:
    """Make a facilitator of the scheme `upto`; its methods run on the chain's thread."""
    return UptoEvmScheme(_ChainSigner(chain, wallet))


class _ChainSigner:
    """What the package asks of a facilitator's signer (`FacilitatorEvmSigner`)."""

    def __init__(self, chain: Chain, wallet: Wallet) -> None:
        self._chain = chain
        self._wallet = wallet

    def get_addresses(self) -> list[str]:
        return [self._wallet.address]

    def get_chain_id(self) -> int:
        return self._chain.chain_id

    def get_code(self, address: str) -> bytes:
        return self._chain.code(to_address(address))

    def get_balance(self, address: str, token_address: str) -> int:
        return int(self.read_contract(token_address, BALANCE_OF_ABI, "balanceOf", address))

    def read_contract(
        self,
        address: str,
        abi: list[dict[str, Any]],
        function_name: str,
        *args: Any,  # noqa: ANN401 - the package's own signature, here and below
    ) -> Any:  # noqa: ANN401
        function = _function(abi, function_name)
        call = Call(
            sender=self._wallet.raw_address,
            to=to_address(address),
            gas=_CALL_GAS,
            data=_call_data(function, args),
        )
        values = decode(get_abi_output_types(function), self._chain.call(call))
        return values[0] if len(values) == 1 else values

    def verify_typed_data(  # noqa: PLR0913, PLR0917 - the package's own signature
        self,
        address: str,
        domain: TypedDataDomain,
        types: dict[str, list[TypedDataField]],
        primary_type: str,
        message: dict[str, Any],
        signature: bytes,
    ) -> bool:
        fields: dict[str, list[TypedDataField | dict[Any, Any]]] = {
            name: [*members] for name, members in types.items()
        }
        return verify_typed_data_strict(
            self, address, domain, fields, primary_type, message, signature
        )

    def write_contract(
        self,
        address: str,
        abi: list[dict[str, Any]],
        function_name: str,
        *args: Any,  # noqa: ANN401
        data_suffix: str | None = None,
    ) -> str:
        data = _call_data(_function(abi, function_name), args)
        return self.send_transaction(address, data + bytes.fromhex((data_suffix or "0x")[2:]))

    def send_transaction(self, to: str, data: bytes) -> str:
        return self._wallet.send(to_address(to), gas=_SETTLE_GAS, data=data)

    def wait_for_transaction_receipt(self, tx_hash: str) -> TransactionReceipt:
        found = self._chain.records.transaction(bytes.fromhex(tx_hash.removeprefix("0x")))
        if found is None:
            # This is the thread that mines: blocks are held, and waiting would be for ever.
            raise TimeoutError(f"{tx_hash} is not mined yet")
        block, record = found
        return TransactionReceipt(int(record.succeeded), block.number, tx_hash)


def _function(abi: list[dict[str, Any]], name: str) -> Any:  # noqa: ANN401 - an ABI's own type
    (function,) = filter_abi_by_name(name, abi)  # type: ignore[arg-type] # the package types its ABIs as dicts
    return function


def _call_data(function: Any, args: tuple[Any, ...]) -> bytes:  # noqa: ANN401 - as above
    selector = function_abi_to_4byte_selector(function)
    return bytes(selector) + encode(get_abi_input_types(function), args)
