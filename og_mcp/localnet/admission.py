"""What a transaction needs before the pool takes it, and geth's words of refusal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from eth.abc import SignedTransactionAPI
from eth.vm.forks.shanghai.constants import MAX_INITCODE_SIZE
from eth_keys.exceptions import BadSignature
from eth_typing import Address
from eth_utils.exceptions import ValidationError
from rlp.exceptions import RLPException

from og_mcp.localnet.evm import BASE_FEE, EVM
from og_mcp.localnet.node_errors import NodeError
from og_mcp.localnet.pool import Pending

TYPES: Final = frozenset({1, 2})
"""Envelope types with access lists and with a fee market; legacy transactions have none."""

FIRST_LEGACY_BYTE: Final = 0x80

HALF_CURVE_ORDER: Final = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
"""A signature with a greater `s` could be turned into another of the same key (EIP-2)."""


def read(evm: EVM, raw: bytes) -> Pending:
    """Decode a signed transaction and recover its sender.

    Raises:
        NodeError: The bytes are not a transaction, or no key signed it.
    """
    if raw and raw[0] < FIRST_LEGACY_BYTE and raw[0] not in TYPES:
        raise NodeError("transaction type not supported")
    try:
        transaction = evm.decode(raw)
    except (RLPException, ValidationError) as exc:
        raise NodeError(f"rlp: {exc}") from exc
    return Pending(transaction, _sender(transaction))


def _sender(transaction: SignedTransactionAPI) -> Address:
    if transaction.s > HALF_CURVE_ORDER:
        raise NodeError("invalid sender: invalid transaction v, r, s values")
    try:
        return transaction.sender
    except (BadSignature, ValidationError, ValueError) as exc:
        raise NodeError("invalid sender: invalid transaction v, r, s values") from exc


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The chain as a transaction's sender finds it."""

    chain_id: int
    gas_limit: int
    """Gas units of a block."""

    nonce: int
    """The sender's next."""

    balance: int
    """Wei the sender holds."""

    queued_cost: int
    """Wei that the sender's other waiting transactions may cost."""


def check(pending: Pending, standing: Standing) -> None:
    """Check a transaction against the chain.

    Raises:
        NodeError: The transaction is not acceptable.
    """
    transaction = pending.transaction
    _check_chain(transaction, standing.chain_id)
    if transaction.gas > standing.gas_limit:
        raise NodeError("exceeds block gas limit")
    _check_fees(transaction)
    if transaction.nonce < standing.nonce:
        raise NodeError(f"nonce too low: next nonce {standing.nonce}, tx nonce {transaction.nonce}")
    _check_funds(pending, standing)
    check_creation(transaction.to, transaction.data)
    if transaction.gas < transaction.intrinsic_gas:
        raise intrinsic_gas_too_low(transaction.gas, transaction.intrinsic_gas)


def _check_chain(transaction: SignedTransactionAPI, chain_id: int) -> None:
    if transaction.chain_id is None:
        raise NodeError("only replay-protected (EIP-155) transactions allowed over RPC")
    if transaction.chain_id != chain_id:
        raise NodeError(f"invalid chain id for signer: have {transaction.chain_id} want {chain_id}")


def _check_fees(transaction: SignedTransactionAPI) -> None:
    tip, most = transaction.max_priority_fee_per_gas, transaction.max_fee_per_gas
    if tip > most:
        raise NodeError("max priority fee per gas higher than max fee per gas")
    if most < BASE_FEE:
        raise NodeError("transaction underpriced")


def _check_funds(pending: Pending, standing: Standing) -> None:
    words = "insufficient funds for gas * price + value"
    balance, queued_cost = standing.balance, standing.queued_cost
    if balance < pending.cost:
        raise NodeError(
            f"{words}: balance {balance}, tx cost {pending.cost}, overshot {pending.cost - balance}"
        )
    if balance < queued_cost + pending.cost:
        overshot = queued_cost + pending.cost - balance
        raise NodeError(
            f"{words}: balance {balance}, queued cost {queued_cost}, tx cost {pending.cost}, "
            f"overshot {overshot}"
        )


def check_creation(to: bytes, code: bytes) -> None:
    """Refuse code that is too long to create a contract (EIP-3860).

    Raises:
        NodeError: It is.
    """
    if not to and len(code) > MAX_INITCODE_SIZE:
        raise NodeError(
            f"max initcode size exceeded: code size {len(code)}, limit {MAX_INITCODE_SIZE}"
        )


def intrinsic_gas_too_low(gas: int, needed: int) -> NodeError:
    """Return the error for a gas limit below what a transaction costs before it runs."""
    return NodeError(f"intrinsic gas too low: gas {gas}, minimum needed {needed}")
