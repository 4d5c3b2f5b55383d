"""The OpenGradient chain: what is asked before a transaction and read after it.

Method names and error words are geth's (protocol.md section 3.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from eth_abi import abi as eth_abi
from eth_abi.exceptions import DecodingError
from eth_utils.crypto import keccak

from og_mcp.client.chain.rpc import RPC, Reply, RPCError
from og_mcp.client.chain.wallet import TRANSFER_GAS, Transaction
from og_mcp.client.wire.quantities import SECONDS, WORD, quantity
from og_mcp.errors import (
    ServiceRejectedError,
    ServiceReplyError,
    SimulationRevertedError,
    WrongChainError,
)

ERROR_SELECTOR: Final = "0x08c379a0"
"""`Error(string)`: Solidity's revert with a reason."""

PANIC_SELECTOR: Final = "0x4e487b71"
"""`Panic(uint256)`: Solidity's failed assertions."""

DAY_S: Final = 24 * 3600

REVERTED: Final = 3
"""JSON-RPC error code of a reverted simulation."""

SAFE_DEPTH: Final = 64
"""Blocks below the newest that count as safe where the chain has no tag for it."""

GAS_PRICE_ORACLE: Final = "0x420000000000000000000000000000000000000F"
"""Tells the L1 data fee on Base and its like; the same address on each of them."""

L1_FEE_UPPER_BOUND: Final = keccak(text="getL1FeeUpperBound(uint256)")[:4].hex()

L1_FEE_MARGIN: Final = 2
"""What is set aside over the quoted L1 data fee: no signature bounds it, and it moves."""

ENVELOPE_BYTES: Final = 160
"""Highest size of a legacy transaction without its call data."""


class Counts(NamedTuple):
    """The transactions of an address."""

    latest: int
    pending: int
    """With those that wait."""


class SafeCount(NamedTuple):
    """The transactions of an address at a safe depth."""

    transactions: int
    by_tag: bool
    """Whether the chain itself calls the depth safe."""


@dataclass(frozen=True)
class GasQuote:
    """What a call would take, asked in one round trip."""

    gas: int
    """Estimated gas units."""

    gas_price: int
    """Wei for one gas unit, as the node suggests for legacy transactions."""

    balance: int
    """Wei of the sender at the latest block."""

    nonce: int
    """Transactions of the sender including pending ones."""

    l1_fee: int = 0
    """Wei that the chain may take beside the gas: Base's L1 data fee."""

    output: bytes = b""
    """What the simulated call returns, where that was asked."""


@dataclass(frozen=True)
class Log:
    """One event of a receipt."""

    address: str
    topics: tuple[str, ...]
    data: bytes


@dataclass(frozen=True)
class Receipt:
    """A mined transaction."""

    transaction_hash: str
    succeeded: bool
    block_number: int
    block_hash: str
    gas_used: int
    gas_price: int
    """Wei for one gas unit, by the RPC's word; 0 where it does not tell."""

    l1_fee: int | None
    """Wei that were taken beside the gas, by the RPC's word; `None` where it does not tell."""

    logs: tuple[Log, ...]
    vouched_by: str
    """The RPC whose word it is."""

    fee_wei: int = 0
    """What the transaction counts for; see `charged`."""

    def says_the_same(self, other: Receipt) -> bool:
        """Whether another RPC tells the same outcome."""
        names = ("transaction_hash", "succeeded", "block_number", "block_hash", "logs")
        return all(getattr(self, name) == getattr(other, name) for name in names)

    def charged(self, signed: Transaction) -> Receipt:
        """Return the receipt with what the transaction counts for (threats.md T32).

        That is the gas used at the signed price, or what the RPC says where that is more. Gas that
        cannot be (below a transfer's, above the limit) counts as the limit.
        """
        is_possible = TRANSFER_GAS <= self.gas_used <= signed.gas_limit
        gas_used = self.gas_used if is_possible else signed.gas_limit
        fee = max(gas_used * signed.gas_price, self.gas_used * self.gas_price)
        l1_fee = signed.l1_fee if self.l1_fee is None else self.l1_fee
        return replace(self, gas_used=gas_used, fee_wei=fee + l1_fee)


class Chain:
    """Reads one chain; the RPC has to serve the profile's chain id.

    Args:
        rpc: The endpoint.
        chain_id: What the RPC must serve (threats.md T4).
        takes_l1_fees: Whether transactions pay an L1 data fee beside their gas, as on Base.
    """

    def __init__(self, rpc: RPC, chain_id: int, *, takes_l1_fees: bool = False) -> None:
        self.rpc = self._rpc = rpc
        self.chain_id, self._takes_l1_fees = chain_id, takes_l1_fees
        self._block_gas_limit: int | None = None
        self.genesis_hash = ""
        """Hash of block 0; known after the first contact."""

    @property
    def rpc_shown(self) -> str:
        """The endpoint's origin, fit for results."""
        return self._rpc.shown

    @property
    def service(self) -> str:
        """What errors call the endpoint."""
        return self._rpc.service

    @property
    def _known(self) -> bool:
        """Whether the endpoint is known to serve the right chain."""
        return self._block_gas_limit is not None

    async def check(self) -> None:
        """Make sure once that the RPC serves the profile's chain.

        Raises:
            WrongChainError: It serves another one.
            ServiceError: It does not answer.
        """
        if not self._known:
            replies = await self._rpc.ask(*_FIRST_CONTACT)
            try:
                self._note_identity(*(reply.value() for reply in replies))
            except RPCError as exc:
                raise self._rpc.rejected(exc) from exc

    async def quote(
        self, sender: str, to: str, data: bytes, *, with_output: bool = False
    ) -> GasQuote:
        """Simulate a call and ask what it takes; one HTTP request.

        Raises:
            WrongChainError: The RPC serves another chain.
            SimulationRevertedError: The contract refuses the call.
            ServiceError: No usable answer.
        """
        call = {"from": sender, "to": to, "data": "0x" + data.hex()}
        calls: list[tuple[str, list[Any]]] = [
            ("eth_estimateGas", [call]),
            ("eth_gasPrice", []),
            ("eth_getBalance", [sender, "latest"]),
            ("eth_getTransactionCount", [sender, "pending"]),
        ]
        if self._takes_l1_fees:
            calls.append(_l1_fee_bound(len(data) + ENVELOPE_BYTES))
        asked, first = len(calls), not self._known
        called = [("eth_call", [call, "latest"])] if with_output else []
        replies = await self._rpc.ask(*calls, *(_FIRST_CONTACT if first else ()), *called)
        returned = replies.pop() if with_output else None
        try:
            if first:
                self._note_identity(*(reply.value() for reply in replies[asked:]))
            gas = quantity(replies[0].value(), self.service)
            balance = quantity(replies[2].value(), self.service, WORD)
            nonce = quantity(replies[3].value(), self.service)
            l1_fee = quantity(replies[4].value(), self.service, WORD) if asked > 4 else 0  # noqa: PLR2004 - as asked above
            output = b"" if returned is None else _bytes(returned.value(), self.service)
        except RPCError as exc:
            raise self._simulation_error(exc) from exc
        price = await self._price(replies[1])
        gas = min(gas, self.block_gas_limit)
        return GasQuote(gas, price, balance, nonce, l1_fee * L1_FEE_MARGIN, output)

    @property
    def block_gas_limit(self) -> int:
        """Gas units a block holds; known after the first contact."""
        if self._block_gas_limit is None:
            raise AssertionError("asked before the first contact")
        return self._block_gas_limit

    async def counts(self, address: str) -> Counts:
        """Count the transactions of an address, mined and pending."""
        replies = await self._rpc.ask(
            *(("eth_getTransactionCount", [address, tag]) for tag in Counts._fields)
        )
        try:
            return Counts(*(quantity(reply.value(), self.service) for reply in replies))
        except RPCError as exc:
            raise self._rpc.rejected(exc) from exc

    async def safe_count(self, address: str) -> SafeCount | None:
        """Count the transactions of an address at a depth that can be called safe.

        Returns:
            The count at the tag `safe`, else 64 blocks below the newest; `None` where the node has
            neither.
        """
        try:
            return SafeCount(await self._count(address, "safe"), by_tag=True)
        except ServiceRejectedError:
            newest = quantity(await self._call("eth_blockNumber"), self.service)
        if newest <= SAFE_DEPTH:
            return None
        try:
            return SafeCount(await self._count(address, hex(newest - SAFE_DEPTH)), by_tag=False)
        except ServiceRejectedError:
            return None

    async def _count(self, address: str, tag: str) -> int:
        return quantity(await self._call("eth_getTransactionCount", address, tag), self.service)

    async def balance(self, address: str) -> int:
        """Return the wei of an address at the latest block."""
        return quantity(await self._call("eth_getBalance", address, "latest"), self.service, WORD)

    async def gas_price(self) -> int:
        """Return the price of a gas unit that the node suggests now, wei."""
        return await self._price((await self._rpc.ask(("eth_gasPrice", [])))[0])

    async def _price(self, reply: Reply) -> int:
        """Read a suggested price; where there is none, take the base fee of the newest block.

        0 is a price where the chain has no base fee, or one of 0.
        """
        told = None if reply.error else reply.result
        price = None if told is None else quantity(told, self.service, WORD)
        if price:
            return price
        block = await self._call("eth_getBlockByNumber", "latest", False)
        base_fee = block.get("baseFeePerGas") if isinstance(block, dict) else None
        if base_fee is not None:
            # The next block's base fee can be an eighth higher.
            return -(-quantity(base_fee, self.service, WORD) * 9 // 8)
        if reply.error:
            raise self._rpc.rejected(reply.error)
        if price is None:
            raise ServiceReplyError(self.service, "it tells no gas price")
        return price

    async def is_safe(self, receipt: Receipt) -> bool:
        """Tell whether a block is at a depth that the chain calls safe.

        Chains without the tag `safe` (it came with proof of stake) never say so.
        """
        try:
            block = await self._call("eth_getBlockByNumber", "safe", False)
        except ServiceRejectedError:
            return False
        number = block.get("number") if isinstance(block, dict) else None
        return number is not None and quantity(number, self.service) >= receipt.block_number

    async def spent_in_a_day(self, address: str) -> int:
        """Return how much less an address holds than 24 hours ago, wei; 0 where that is unknown.

        A pruned node does not tell old balances; what came in meanwhile hides what went out.
        """
        now = await self.block("latest")
        if now is None:
            return 0
        number, time = now
        low, high = 0, number
        while low < high:
            middle = (low + high) // 2
            block = await self.block(hex(middle))
            if block is None:
                return 0
            low, high = (middle + 1, high) if block[1] < time - DAY_S else (low, middle)
        try:
            held = await self._call("eth_getBalance", address, hex(low))
        except ServiceRejectedError:
            return 0
        return max(0, quantity(held, self.service, WORD) - await self.balance(address))

    async def block(self, tag: str) -> tuple[int, int] | None:
        """Return a block's number and timestamp; `None` where the node does not have it."""
        block = await self._call("eth_getBlockByNumber", tag, False)
        if not isinstance(block, dict):
            return None
        return (
            quantity(block.get("number"), self.service),
            quantity(block.get("timestamp"), self.service, SECONDS),
        )

    async def knows(self, transaction_hash: str) -> bool:
        """Tell whether the node has a transaction, mined or pending."""
        return await self._call("eth_getTransactionByHash", transaction_hash) is not None

    async def transaction(self, transaction_hash: str) -> dict[str, Any] | None:
        """Return a transaction as the node tells it; `None` where it has none."""
        raw = await self._call("eth_getTransactionByHash", transaction_hash)
        return raw if isinstance(raw, dict) else None

    async def receipt(self, transaction_hash: str) -> Receipt | None:
        """Return the receipt of a transaction; `None` until it is mined."""
        raw = await self._call("eth_getTransactionReceipt", transaction_hash)
        return None if raw is None else self._read_receipt(raw, transaction_hash)

    async def broadcast(self, raw: bytes, transaction_hash: str) -> Receipt | None:
        """Send a signed transaction and ask for its receipt; one HTTP request with batches.

        Returns:
            The receipt, where the transaction was mined at once.

        Raises:
            RPCError: The node answered the sending with an error.
            ServiceUnreachableError: Nothing was sent.
            ServiceError: No usable answer; the transaction may have arrived.
        """
        send = ("eth_sendRawTransaction", ["0x" + raw.hex()])
        if not self._rpc.batches:
            await self._rpc.call("eth_sendRawTransaction", *send[1])
            return None
        sent, mined = await self._rpc.ask(send, ("eth_getTransactionReceipt", [transaction_hash]))
        sent.value()
        try:
            told = mined.result
            return None if told is None else self._read_receipt(told, transaction_hash)
        except ServiceReplyError:
            # It was taken; its receipt is asked for again.
            return None

    async def revert_reason(self, sender: str, to: str, data: bytes, block: int) -> str:
        """Replay a reverted call on the state before its block to learn why."""
        call = {"from": sender, "to": to, "data": "0x" + data.hex()}
        try:
            await self._rpc.call("eth_call", call, hex(max(block - 1, 0)))
        except RPCError as exc:
            return reason_of(exc)
        return "no reason given"

    def _read_receipt(self, raw: Any, transaction_hash: str) -> Receipt:  # noqa: ANN401 - JSON
        service = self.service
        try:
            l1_fee = raw.get("l1Fee") if self._takes_l1_fees else "0x0"
            receipt = Receipt(
                transaction_hash=raw["transactionHash"],
                succeeded=quantity(raw["status"], service, maximum=1) == 1,
                block_number=quantity(raw["blockNumber"], service),
                block_hash=raw["blockHash"],
                # Some nodes leave these out, or answer 0.
                gas_used=quantity(raw.get("gasUsed") or "0x0", service),
                gas_price=quantity(raw.get("effectiveGasPrice") or "0x0", service, WORD),
                l1_fee=None if l1_fee is None else quantity(l1_fee, service, WORD),
                logs=tuple(map(_read_log, raw["logs"])),
                vouched_by=self.rpc_shown,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise ServiceReplyError(service, "a receipt is malformed") from exc
        if receipt.transaction_hash != transaction_hash:
            raise ServiceReplyError(service, "a receipt is of another transaction")
        return receipt

    async def _call(self, method: str, *params: Any) -> Any:  # noqa: ANN401 - JSON
        try:
            return await self._rpc.call(method, *params)
        except RPCError as exc:
            raise self._rpc.rejected(exc) from exc

    def _note_identity(self, chain_id: object, block: object, genesis: object) -> None:
        actual = quantity(chain_id, self.service, WORD)
        if actual != self.chain_id:
            raise WrongChainError(self.chain_id, actual, self.rpc_shown)
        limit = block.get("gasLimit") if isinstance(block, dict) else None
        self._block_gas_limit = quantity(limit, self.service)
        # Public chains are known by name; a node may have dropped its first block.
        self.genesis_hash = str(genesis.get("hash", "")) if isinstance(genesis, dict) else ""

    def _simulation_error(self, exc: RPCError) -> SimulationRevertedError | ServiceRejectedError:
        if exc.code == REVERTED or "revert" in exc.message:
            return SimulationRevertedError(reason_of(exc))
        return self._rpc.rejected(exc)


_FIRST_CONTACT: Final[tuple[tuple[str, list[Any]], ...]] = (
    ("eth_chainId", []),
    ("eth_getBlockByNumber", ["latest", False]),
    ("eth_getBlockByNumber", ["0x0", False]),
)


def _l1_fee_bound(size: int) -> tuple[str, list[Any]]:
    """Ask for the most that a transaction of so many bytes pays for its data on L1.

    Source: `getL1FeeUpperBound(uint256)` of the OP Stack's GasPriceOracle (since Fjord).
    """
    call = {"to": GAS_PRICE_ORACLE, "data": f"0x{L1_FEE_UPPER_BOUND}{size:064x}"}
    return "eth_call", [call, "latest"]


def reason_of(error: RPCError) -> str:
    """Read why a simulation reverted: `Error(string)`, `Panic(uint256)`, else the node's words."""
    data = error.data if isinstance(error.data, str) else ""
    try:
        if data.startswith(ERROR_SELECTOR):
            return str(eth_abi.decode(["string"], bytes.fromhex(data[10:]))[0])
        if data.startswith(PANIC_SELECTOR):
            return f"panic code {eth_abi.decode(['uint256'], bytes.fromhex(data[10:]))[0]:#x}"
    except (ValueError, DecodingError, OverflowError):
        pass
    return error.message.removeprefix("execution reverted").lstrip(": ") or "no reason given"


def _bytes(value: object, service: str) -> bytes:
    try:
        return bytes.fromhex(value.removeprefix("0x"))  # type: ignore[attr-defined]  # anything else is caught
    except (AttributeError, TypeError, ValueError) as exc:
        raise ServiceReplyError(service, "what a call returns is not hexadecimal") from exc


def _read_log(raw: dict[str, Any]) -> Log:
    topics: Sequence[str] = raw["topics"]
    data = bytes.fromhex(raw["data"].removeprefix("0x"))
    return Log(raw["address"].lower(), tuple(topic.lower() for topic in topics), data)
