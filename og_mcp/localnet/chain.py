"""One chain: py-evm behind the verbs of a node.

Verbs are plain and block. Only one thread may call them: from an event loop,
`await chain.in_order(chain.send_raw, raw)` runs them on the chain's own thread, in the order of
the calls. `gas_price`, `least_gas_price`, `answers`, `held` and `records` may be read anywhere.

A block is mined as soon as a transaction can be carried out, so that its receipt is there when
`send_raw` returns. `hold_blocks` stops that until `release_blocks`; `mine` adds blocks by hand,
also while they are held.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

from eth.abc import BlockHeaderAPI, ComputationAPI
from eth.exceptions import OutOfGas, Revert
from eth_typing import Address
from eth_utils.exceptions import ValidationError

from og_mcp.localnet import admission, genesis, precompile
from og_mcp.localnet.admission import Standing
from og_mcp.localnet.evm import EVM, Call, gas_needed
from og_mcp.localnet.genesis import GenesisAccount
from og_mcp.localnet.models import ModelSource
from og_mcp.localnet.node_errors import NodeError, reverted
from og_mcp.localnet.pool import Pending, Pool
from og_mcp.localnet.precompile import Answers, InferencePrecompile
from og_mcp.localnet.records import Records
from og_mcp.networks import LOCAL_WALLET_WEI

P = ParamSpec("P")
R = TypeVar("R")

GAS_LIMIT: Final = 10**11
"""Gas units of a block; a million numbers take some 10**10."""

GAS_PRICE: Final = 10**9
"""Wei, what the node advises."""


class Chain:
    """A chain with its pool, its model runner and its thread.

    Args:
        chain_id: What signatures are checked against and the CHAINID opcode gives.
        accounts: Addresses of the wallets to fund.
        models: Where the precompile finds model files.
        gas_limit: Gas units of a block.
        contracts: What stands on the chain beside the wallets; the OpenGradient contracts if not
            given, their registry owned by the first account.
        balance: Wei for each of `accounts`.
        l1_wei_a_byte: What a transaction pays for each of its bytes beside its gas, as on a rollup.
    """

    gas_price: int
    """Wei that `eth_gasPrice` advises."""

    least_gas_price: int
    """Wei; transactions that offer less are taken and stay pending."""

    held: bool
    """Whether blocks are held back."""

    safe_depth: int
    """How many blocks below the newest the tags `safe` and `finalized` mean."""

    def __init__(  # noqa: PLR0913 - each is a fact of the chain, given by its name
        self,
        *,
        chain_id: int,
        accounts: Sequence[str],
        models: ModelSource,
        gas_limit: int = GAS_LIMIT,
        contracts: Sequence[GenesisAccount] | None = None,
        balance: int = LOCAL_WALLET_WEI,
        l1_wei_a_byte: int = 0,
    ) -> None:
        self.chain_id = chain_id
        self.gas_price, self.least_gas_price, self.held = GAS_PRICE, 0, False
        self.safe_depth = 0
        self._precompile = InferencePrecompile(models)
        standing = genesis.opengradient(accounts[0]) if contracts is None else contracts
        self._evm = EVM(
            chain_id=chain_id,
            gas_limit=gas_limit,
            genesis=(*standing, *genesis.wallets(accounts, balance)),
            precompiles={precompile.ADDRESS: self._precompile},
            l1_wei_a_byte=l1_wei_a_byte,
        )
        self.records = Records(self._evm.head)
        self._pool = Pool()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"chain-{chain_id}")

    async def in_order(self, verb: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a verb on the chain's thread, after all verbs that were asked for before."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, partial(verb, *args, **kwargs))

    def close(self) -> None:
        """End the chain's thread; verbs that wait for it are dropped."""
        self._thread.shutdown(cancel_futures=True)

    # Inference

    @property
    def answers(self) -> Answers:
        """Where results of inferences appear; assign another to switch."""
        return self._precompile.answers

    @answers.setter
    def answers(self, answers: Answers) -> None:
        self._precompile.answers = answers

    @property
    def model_runs(self) -> int:
        """How often a model ran, simulations included."""
        return self._precompile.runs

    def node_result(self, inference_id: str) -> dict[str, Any] | None:
        """Return what the node API says of an inference, or None of one it does not know."""
        return self._precompile.node_result(inference_id)

    # Blocks

    def hold_blocks(self) -> None:
        """Let transactions pend until `release_blocks` or `mine`."""
        self.held = True

    def release_blocks(self) -> None:
        """Mine what waits, and mine at once again."""
        self.held = False
        self._mine_ready()

    def mine(self, blocks: int = 1) -> int:
        """Add blocks, the first with all that can be carried out; returns the head's number."""
        for _ in range(blocks):
            self._mine(list(self._ready()))
        return self.records.head.number

    def _mine_ready(self) -> None:
        # A block may leave no room for all.
        while not self.held and (ready := list(self._ready())):
            self._mine(ready)

    def _mine(self, ready: list[Pending]) -> None:
        # First of all: what cannot be mined must not stand in the way of every later block.
        for pending in ready:
            self._pool.remove(pending)
        self.records.add(self._evm.mine([pending.transaction for pending in ready]))

    def _ready(self) -> Iterator[Pending]:
        header = self._evm.next_header()
        least = max(self.least_gas_price, header.base_fee_per_gas or 0)
        room = header.gas_limit
        for sender in self._pool.senders():
            for pending in self._pool.ready(sender, self.nonce(sender)):
                transaction = pending.transaction
                if transaction.max_fee_per_gas < least or transaction.gas > room:
                    break
                room -= transaction.gas
                yield pending

    # Transactions

    def send_raw(self, raw: bytes) -> bytes:
        """Take a signed transaction; returns its hash.

        Raises:
            NodeError: It is not taken; in geth's words.
        """
        pending = admission.read(self._evm, raw)
        if self._pool.get(pending.hash) is not None:
            raise NodeError("already known")
        standing = Standing(
            chain_id=self.chain_id,
            gas_limit=self._evm.head.gas_limit,
            nonce=self.nonce(pending.sender),
            balance=self.balance(pending.sender),
            queued_cost=self._pool.cost(pending.sender, besides=pending.nonce),
        )
        admission.check(pending, standing)
        self._pool.add(pending)
        self._mine_ready()
        return pending.hash

    def waiting(self, transaction_hash: bytes) -> Pending | None:
        """Return a transaction that waits in the pool."""
        return self._pool.get(transaction_hash)

    def all_waiting(self) -> list[Pending]:
        """List the transactions that wait in the pool."""
        return list(self._pool)

    # State

    def next_header(self) -> BlockHeaderAPI:
        """Return the header that the next block would start from."""
        return self._evm.next_header()

    def balance(self, address: Address, at: BlockHeaderAPI | None = None) -> int:
        """Return the wei an address holds, after the block `at` or the last one."""
        return self._evm.state(at or self._evm.head).get_balance(address)

    def nonce(self, address: Address, at: BlockHeaderAPI | None = None) -> int:
        """Return the number of transactions of an address that were mined."""
        return self._evm.state(at or self._evm.head).get_nonce(address)

    def pending_nonce(self, address: Address) -> int:
        """Return the first nonce that is neither mined nor waiting in sequence."""
        mined = self.nonce(address)
        return mined + sum(1 for _ in self._pool.ready(address, mined))

    def code(self, address: Address, at: BlockHeaderAPI | None = None) -> bytes:
        """Return the bytecode at an address."""
        return self._evm.state(at or self._evm.head).get_code(address)

    def storage(self, address: Address, slot: int, at: BlockHeaderAPI | None = None) -> int:
        """Return a word of an address's storage."""
        return self._evm.state(at or self._evm.head).get_storage(address, slot)

    # Simulation

    def call(self, call: Call, at: BlockHeaderAPI | None = None) -> bytes:
        """Run a message without a transaction and return what it returns.

        Raises:
            NodeError: It reverts or fails.
        """
        return self._run(call, at).output

    def estimate(self, call: Call, at: BlockHeaderAPI | None = None) -> int:
        """Return a gas limit that is enough for a transaction; runs it once.

        Raises:
            NodeError: It reverts, fails, or `call.gas` is not enough.
        """
        computation = self._run(call, at)
        # With all of `call.gas` it just ran through.
        return min(gas_needed(self._evm.intrinsic_gas(call), computation), call.gas)

    def _run(self, call: Call, at: BlockHeaderAPI | None) -> ComputationAPI:
        admission.check_creation(call.to, call.data)
        intrinsic = self._evm.intrinsic_gas(call)
        if intrinsic > call.gas:
            raise admission.intrinsic_gas_too_low(call.gas, intrinsic)
        try:
            computation = self._evm.simulate(call, at or self._evm.head)
        except ValidationError as exc:
            raise NodeError("insufficient funds for transfer") from exc
        if computation.is_success:
            return computation
        if isinstance(computation.error, Revert):
            raise reverted(computation.output)
        if isinstance(computation.error, OutOfGas):
            raise NodeError(f"gas required exceeds allowance ({call.gas})")
        raise NodeError(f"execution failed: {computation.error}")
