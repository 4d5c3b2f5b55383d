"""The EVM under the chain: py-evm at the Cancun rules, with precompiles of ours.

Nothing here knows of RPC, pools or models. One `EVM` is one chain; several may run at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Any, Final, NamedTuple, cast

from eth.abc import (
    BlockHeaderAPI,
    ComputationAPI,
    ReceiptAPI,
    SignedTransactionAPI,
    StateAPI,
    UnsignedTransactionAPI,
    VirtualMachineAPI,
)
from eth.chains.base import MiningChain
from eth.consensus.applier import ConsensusApplier
from eth.consensus.noproof import NoProofConsensus
from eth.constants import (
    BLANK_ROOT_HASH,
    POST_MERGE_DIFFICULTY,
    POST_MERGE_MIX_HASH,
    POST_MERGE_NONCE,
)
from eth.db import get_db_backend
from eth.typing import AccountDetails
from eth.vm.forks.cancun import CancunVM
from eth.vm.forks.cancun.computation import CancunComputation
from eth.vm.forks.cancun.state import CancunState, CancunTransactionExecutor
from eth.vm.spoof import SpoofTransaction
from eth_typing import Address

from og_mcp.localnet.genesis import GenesisAccount

Precompile = Callable[[ComputationAPI], None]

BASE_FEE: Final = 7
"""Wei. So small that the base fee stays where it is, whatever the blocks hold."""

CALL_SHARE: Final = Fraction(64, 63)
"""A call keeps back one 64th of the gas that is left (EIP-150)."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """A message to simulate."""

    sender: Address
    to: Address
    """Empty to create a contract."""

    gas: int
    gas_price: int = 0
    value: int = 0
    data: bytes = b""


class Executed(NamedTuple):
    """A transaction with what it did."""

    transaction: SignedTransactionAPI
    receipt: ReceiptAPI
    computation: ComputationAPI
    l1_fee: int
    """Wei that were taken beside the gas."""


@dataclass(frozen=True)
class Mined:
    """A block that was added, with its transactions."""

    header: BlockHeaderAPI
    executed: tuple[Executed, ...]


class _Executor(CancunTransactionExecutor):
    def validate_transaction(self, transaction: SignedTransactionAPI) -> None:
        # The signature was checked when its sender was recovered; once more costs 10 ms.
        self.vm_state.validate_transaction(transaction)


class LocalState(CancunState):
    """A state that knows whether it only simulates."""

    transaction_executor_class = _Executor
    simulated: bool = False


class EVM:
    """States, headers and execution."""

    def __init__(
        self,
        *,
        chain_id: int,
        gas_limit: int,
        genesis: Iterable[GenesisAccount],
        precompiles: Mapping[bytes, Precompile],
        l1_wei_a_byte: int = 0,
    ) -> None:
        self._l1_wei_a_byte = l1_wei_a_byte
        chain_class = _chain_class(chain_id, _vm_class(precompiles))
        chain = chain_class.from_genesis(
            get_db_backend(), _genesis_header(gas_limit), _genesis_state(genesis)
        )
        self._chain = cast(MiningChain, chain)
        self.head: BlockHeaderAPI = self._chain.get_canonical_head()

    def state(self, header: BlockHeaderAPI) -> StateAPI:
        """Return the state after a block."""
        return self._chain.get_vm(header).state

    def next_header(self) -> BlockHeaderAPI:
        """Return the header that a block on top of the head would start from."""
        return self._chain.create_header_from_parent(self.head)

    def decode(self, raw: bytes) -> SignedTransactionAPI:
        """Read a signed transaction.

        Raises:
            rlp.exceptions.RLPException: The bytes are not a transaction.
            ValidationError: Its type is unknown.
        """
        return CancunVM.get_transaction_builder().decode(raw)

    def intrinsic_gas(self, call: Call) -> int:
        """Return the gas that a transaction costs before it runs."""
        return _unsigned(call, 0).intrinsic_gas

    def simulate(self, call: Call, header: BlockHeaderAPI) -> ComputationAPI:
        """Run a message on the state after a block and take everything back.

        Raises:
            ValidationError: The sender does not hold `call.value`.
        """
        with self._chain.get_vm(header).in_costless_state() as state:
            cast(LocalState, state).simulated = True
            transaction = _unsigned(call, state.get_nonce(call.sender))
            spoofed = SpoofTransaction(transaction, from_=call.sender)
            return state.costless_execute_transaction(cast(SignedTransactionAPI, spoofed))

    def mine(self, transactions: Sequence[SignedTransactionAPI]) -> Mined:
        """Add a block of transactions, each of which its sender can pay and is due to send."""
        header = self.next_header()
        vm = self._chain.get_vm(header)
        executed: list[Executed] = []
        for transaction in transactions:
            receipt, computation = vm.apply_transaction(header, transaction)
            header = vm.add_receipt_to_header(header, receipt)
            l1_fee = self._take_l1_fee(vm.state, transaction)
            executed.append(Executed(transaction, receipt, computation, l1_fee))
        self.head = self._seal(vm, header, executed)
        return Mined(self.head, tuple(executed))

    def _take_l1_fee(self, state: StateAPI, transaction: SignedTransactionAPI) -> int:
        """Charge the rollup's fee for the transaction's bytes, at most the balance."""
        sender = transaction.sender
        fee = min(len(transaction.encode()) * self._l1_wei_a_byte, state.get_balance(sender))
        state.delta_balance(sender, -fee)
        return fee

    def _seal(
        self, vm: VirtualMachineAPI, header: BlockHeaderAPI, executed: Sequence[Executed]
    ) -> BlockHeaderAPI:
        block = vm.set_block_transactions_and_withdrawals(
            vm.get_block(),
            header,
            tuple(each.transaction for each in executed),
            tuple(each.receipt for each in executed),
        )
        sealed = vm.mine_block(block).block
        self._chain.persist_block(sealed, perform_validation=False)
        return sealed.header


def _unsigned(call: Call, nonce: int) -> UnsignedTransactionAPI:
    return CancunVM.create_unsigned_transaction(
        nonce=nonce,
        gas_price=call.gas_price,
        gas=call.gas,
        to=call.to,
        value=call.value,
        data=call.data,
    )


def gas_needed(intrinsic: int, computation: ComputationAPI) -> int:
    """Return a gas limit with which the same execution runs through.

    Each call inside needs 64/63 of the gas it uses to be there when it starts. Scaling all gas once
    for each level of calls gives at least that at every one of them.
    """
    used = computation.get_gas_used()
    return intrinsic + ceil(used * CALL_SHARE ** _depth(computation))


def _depth(computation: ComputationAPI) -> int:
    return max((1 + _depth(child) for child in computation.children), default=0)


def _vm_class(precompiles: Mapping[bytes, Precompile]) -> type[CancunVM]:
    class Computation(CancunComputation):
        _precompiles = {  # noqa: RUF012 - py-evm declares it an instance's
            **CancunComputation.get_precompiles(),
            **precompiles,
        }

    class State(LocalState):
        computation_class = Computation

    class VM(CancunVM):
        _state_class = State

        @classmethod
        def validate_header(cls, header: BlockHeaderAPI, parent_header: BlockHeaderAPI) -> None:
            # Many blocks share a second; a rule that each is later would outrun the clock.
            later = max(header.timestamp, parent_header.timestamp + 1)
            super().validate_header(header.copy(timestamp=later), parent_header)

    return VM


def _chain_class(number: int, vm_class: type[CancunVM]) -> type[MiningChain]:
    vms = ConsensusApplier(NoProofConsensus).amend_vm_configuration(((0, vm_class),))

    class LocalChain(MiningChain):
        chain_id = number
        vm_configuration = vms

        def create_header_from_parent(
            self,
            parent_header: BlockHeaderAPI,
            **header_params: Any,  # noqa: ANN401 - py-evm's own signature
        ) -> BlockHeaderAPI:
            params = {
                "gas_limit": parent_header.gas_limit,
                "timestamp": max(int(time.time()), parent_header.timestamp),
            }
            return super().create_header_from_parent(parent_header, **{**params, **header_params})

    return LocalChain


def _genesis_header(gas_limit: int) -> dict[str, Any]:
    return {
        "coinbase": bytes(20),
        "difficulty": POST_MERGE_DIFFICULTY,
        "extra_data": b"",
        "gas_limit": gas_limit,
        "mix_hash": POST_MERGE_MIX_HASH,
        "nonce": POST_MERGE_NONCE,
        "receipt_root": BLANK_ROOT_HASH,
        "transaction_root": BLANK_ROOT_HASH,
        "timestamp": int(time.time()),
        "base_fee_per_gas": BASE_FEE,
    }


def _genesis_state(accounts: Iterable[GenesisAccount]) -> dict[Address, AccountDetails]:
    return {
        Address(bytes.fromhex(account.address.removeprefix("0x"))): {
            "balance": account.balance,
            "nonce": 1 if account.code else 0,
            "code": account.code,
            "storage": dict(account.storage),
        }
        for account in accounts
    }
