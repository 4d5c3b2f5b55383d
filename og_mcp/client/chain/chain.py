"""The OpenGradient chain: what is asked before a transaction and read after it.

Method names and error words are geth's (protocol.md section 3.3).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from eth_abi import abi as eth_abi
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address
from web3 import AsyncWeb3
from web3.exceptions import Web3Exception, Web3RPCError

from og_mcp.client.chain.rpc import RPC, RPCError
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


@dataclass(frozen=True)
class Quote:
    """What a call would take, asked in one round trip."""

    gas: int
    """Estimated gas units."""

    gas_price: int
    """Wei for one gas unit, as the node suggests for legacy transactions."""

    balance: int
    """Wei of the sender at the latest block."""

    nonce: int | None
    """Transactions of the sender including pending ones; asked only with the first quote."""


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
    """Wei for one gas unit that was in fact paid."""

    logs: tuple[Log, ...]

    @property
    def fee_wei(self) -> int:
        """What the transaction cost."""
        return self.gas_used * self.gas_price


class Chain:
    """Reads of one chain; the id is the profile's, and the RPC is held to it.

    Args:
        rpc: The endpoint.
        chain_id: What the RPC must serve (threats.md T4).
    """

    def __init__(self, rpc: RPC, chain_id: int) -> None:
        self._rpc = rpc
        self.chain_id = chain_id
        self.w3: AsyncWeb3[RPC] = AsyncWeb3(rpc)
        """For reads off the hot path; same endpoint, same pool."""

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
        """Whether the endpoint has shown to serve the right chain."""
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
                self._learn(*(reply.value() for reply in replies))
            except RPCError as exc:
                raise ServiceRejectedError(self.service, exc.code, exc.message) from exc

    async def quote(self, sender: str, to: str, data: bytes) -> Quote:
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
        ]
        first = not self._known
        if first:
            calls += [
                ("eth_getTransactionCount", [sender, "pending"]),
                *_FIRST_CONTACT,
            ]
        replies = await self._rpc.ask(*calls)
        try:
            if first:
                self._learn(*(reply.value() for reply in replies[4:]))
            gas, price, balance = (quantity(r.value(), self.service) for r in replies[:3])
            nonce = quantity(replies[3].value(), self.service) if first else None
        except RPCError as exc:
            raise self._simulation_error(exc) from exc
        return Quote(min(gas, self.block_gas_limit), price, balance, nonce)

    @property
    def block_gas_limit(self) -> int:
        """Gas units a block holds; known after the first contact."""
        if self._block_gas_limit is None:
            raise AssertionError("asked before the first contact")
        return self._block_gas_limit

    async def pending_nonce(self, address: str) -> int:
        """Count the transactions of an address, pending ones included."""
        with self.web3_errors():
            return await self.w3.eth.get_transaction_count(to_checksum_address(address), "pending")

    async def balance(self, address: str) -> int:
        """Return the wei of an address at the latest block."""
        with self.web3_errors():
            return await self.w3.eth.get_balance(to_checksum_address(address), "latest")

    async def mined_nonce(self, address: str) -> int:
        """Count the mined transactions of an address."""
        with self.web3_errors():
            return await self.w3.eth.get_transaction_count(to_checksum_address(address), "latest")

    async def gas_price(self) -> int:
        """Return the price of a gas unit that the node suggests now, wei."""
        return quantity(await self._call("eth_gasPrice"), self.service)

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
        now = await self._block("latest")
        if now is None:
            return 0
        number, time = now
        low, high = 0, number
        while low < high:
            middle = (low + high) // 2
            block = await self._block(hex(middle))
            if block is None:
                return 0
            low, high = (middle + 1, high) if block[1] < time - DAY_S else (low, middle)
        try:
            then = quantity(await self._call("eth_getBalance", address, hex(low)), self.service)
        except ServiceRejectedError:
            return 0
        return max(0, then - await self.balance(address))

    async def _block(self, tag: str) -> tuple[int, int] | None:
        """Return a block's number and timestamp; `None` where the node does not have it."""
        block = await self._call("eth_getBlockByNumber", tag, False)
        if not isinstance(block, dict):
            return None
        return (
            quantity(block.get("number"), self.service),
            quantity(block.get("timestamp"), self.service),
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
        return None if mined.result is None else self._read_receipt(mined.result, transaction_hash)

    async def revert_reason(self, sender: str, to: str, data: bytes, block: int) -> str:
        """Replay a reverted call on the state before its block to learn why."""
        call = {"from": sender, "to": to, "data": "0x" + data.hex()}
        try:
            await self._rpc.call("eth_call", call, hex(max(block - 1, 0)))
        except RPCError as exc:
            return reason_of(exc)
        return "no reason given"

    def _read_receipt(self, raw: Any, transaction_hash: str) -> Receipt:  # noqa: ANN401 - JSON
        try:
            receipt = Receipt(
                transaction_hash=raw["transactionHash"],
                succeeded=int(raw["status"], 16) == 1,
                block_number=int(raw["blockNumber"], 16),
                block_hash=raw["blockHash"],
                gas_used=int(raw["gasUsed"], 16),
                gas_price=int(raw.get("effectiveGasPrice") or "0x0", 16),
                logs=tuple(map(_read_log, raw["logs"])),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise ServiceReplyError(self.service, "a receipt is malformed") from exc
        if receipt.transaction_hash != transaction_hash:
            raise ServiceReplyError(self.service, "a receipt is of another transaction")
        return receipt

    @contextmanager
    def web3_errors(self) -> Iterator[None]:
        """Map web3's exceptions to ours; the one place where they are."""
        try:
            yield
        except Web3RPCError as exc:
            error = (exc.rpc_response or {}).get("error")
            code = error.get("code", 0) if isinstance(error, dict) else 0
            raise ServiceRejectedError(self.service, code, exc.message or "") from exc
        except Web3Exception as exc:
            raise ServiceReplyError(self.service, type(exc).__name__) from exc

    async def _call(self, method: str, *params: Any) -> Any:  # noqa: ANN401 - JSON
        try:
            return await self._rpc.call(method, *params)
        except RPCError as exc:
            raise ServiceRejectedError(self.service, exc.code, exc.message) from exc

    def _learn(self, chain_id: object, block: object, genesis: object) -> None:
        actual = quantity(chain_id, self.service)
        if actual != self.chain_id:
            raise WrongChainError(self.chain_id, actual, self.rpc_shown)
        limit = block.get("gasLimit") if isinstance(block, dict) else None
        self._block_gas_limit = quantity(limit, self.service)
        # Public chains are known by name; a node may have dropped its first block.
        self.genesis_hash = str(genesis.get("hash", "")) if isinstance(genesis, dict) else ""

    def _simulation_error(self, exc: RPCError) -> SimulationRevertedError | ServiceRejectedError:
        if exc.code == REVERTED or "revert" in exc.message:
            return SimulationRevertedError(reason_of(exc))
        return ServiceRejectedError(self.service, exc.code, exc.message)


_FIRST_CONTACT: Final[tuple[tuple[str, list[Any]], ...]] = (
    ("eth_chainId", []),
    ("eth_getBlockByNumber", ["latest", False]),
    ("eth_getBlockByNumber", ["0x0", False]),
)


def quantity(value: object, service: str) -> int:
    """Read a JSON-RPC quantity (`0x1a`).

    Raises:
        ServiceReplyError: It is none.
    """
    try:
        return int(value, 16)  # type: ignore[call-overload, no-any-return]  # anything else is caught
    except (TypeError, ValueError) as exc:
        raise ServiceReplyError(service, "a number is not a hexadecimal quantity") from exc


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


def _read_log(raw: dict[str, Any]) -> Log:
    topics: Sequence[str] = raw["topics"]
    data = bytes.fromhex(raw["data"].removeprefix("0x"))
    return Log(raw["address"].lower(), tuple(topic.lower() for topic in topics), data)
