"""The payment chain as payments read it: contracts, blocks, and the token's transfers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from eth_abi import abi as eth_abi
from eth_utils.crypto import keccak

from og_mcp.client.chain.rpc import RPC, Reply, RPCError
from og_mcp.client.wire.quantities import SECONDS, WORD, quantity
from og_mcp.errors import ServiceReplyError


def event_topic(signature: str) -> str:
    """Return the hash of an event, as hex: its first topic."""
    return "0x" + keccak(text=signature).hex()


LOG_BLOCKS: Final = 9_999
"""Blocks that one question for events may span; public RPCs refuse more than 10,000."""

BLOCK_S: Final = 2.0
"""Seconds between two blocks of Base."""

MARGIN_BLOCKS: Final = 300

MAX_SPANS: Final = 64
"""Questions for events that one search may take: some two weeks of Base."""

MAX_STEPS: Final = 64
"""Blocks that are looked at to find one of a given time; a handful do."""

MAX_EVENTS: Final = 10_000
"""Events that one search may give."""

TRANSFER: Final = event_topic("Transfer(address,address,uint256)")

Question = tuple[str, list[Any]]
"""Method and parameters of one call."""


@dataclass(frozen=True)
class Block:
    """A block's number and time."""

    number: int
    time: int
    """Unix seconds, by the chain."""


@dataclass(frozen=True)
class Transfer:
    """Tokens that moved."""

    transaction_hash: str
    block: int
    amount: int
    """Base units."""


class Ledger:
    """Reads the payment chain.

    Args:
        rpc: Its endpoint.
        token: Address of the token that payments are made in.
    """

    def __init__(self, rpc: RPC, token: str) -> None:
        self._rpc, self._token = rpc, token

    async def ask(self, *questions: Question) -> list[Any]:
        """Ask in one HTTP request.

        Raises:
            ServiceError: No usable answer to one of them.
        """
        replies: list[Reply] = await self._rpc.ask(*questions) if questions else []
        try:
            return [reply.value() for reply in replies]
        except RPCError as exc:
            raise self._rpc.rejected(exc) from exc

    async def blocks(self, *tags: str) -> list[Block]:
        """Read blocks by tag or hex number.

        Raises:
            ServiceError: One of them cannot be had.
        """
        found = await self.ask(*(("eth_getBlockByNumber", [tag, False]) for tag in tags))
        return [self.block(block) for block in found]

    async def newest(self) -> tuple[Block, bool]:
        """Read the newest block.

        Returns:
            It, and whether the blocks `latest`, `safe` and `finalized` are in order; an RPC may
            lack the last two.

        Raises:
            ServiceError: There is none.
        """
        tags = ("latest", "safe", "finalized")
        replies = await self._rpc.ask(*(("eth_getBlockByNumber", [tag, False]) for tag in tags))
        newest = self.block(_value(replies[0]))
        found = [newest, *(self.block(one) for one in map(_value, replies[1:]) if one is not None)]
        pairs = list(pairwise(found))
        return newest, all(
            one.number >= deeper.number and one.time >= deeper.time for one, deeper in pairs
        )

    async def block_before(self, time: int, newest: Block) -> Block:
        """Find a block that is no younger than a moment, and, where it can be, not much older.

        Raises:
            ServiceError: The RPC does not tell.
        """
        found, pace = newest, BLOCK_S
        for _ in range(MAX_STEPS):
            if found.time <= time or found.number == 0:
                return found
            back = max(int((found.time - time) / pace), 1) + MARGIN_BLOCKS
            number = max(0, found.number - back)
            [found] = await self.blocks(hex(number))
            if found.number != number:
                raise ServiceReplyError(self._rpc.service, "a block is another than asked for")
            if found.number < newest.number:
                # As fast as the chain itself has been since.
                seconds = max(newest.time - found.time, 1)
                pace = seconds / (newest.number - found.number)
        raise ServiceReplyError(self._rpc.service, "its blocks have no times that can be")

    async def transfers(
        self, sender: str, recipients: Collection[str], first: int, last: int
    ) -> list[Transfer]:
        """List the token's transfers from an address, blocks inclusive.

        Args:
            sender: From whom.
            recipients: To whom; empty for everybody.
            first: Block.
            last: Block.

        Raises:
            ServiceError: The RPC does not tell.
        """
        topics: list[Any] = [TRANSFER, topic(sender)]
        if recipients:
            topics.append([topic(one) for one in recipients])
        return [self._transfer(log) for log in await self.events(self._token, topics, first, last)]

    def _transfer(self, log: dict[str, Any]) -> Transfer:
        transaction_hash, service = log.get("transactionHash"), self._rpc.service
        if not isinstance(transaction_hash, str):
            raise ServiceReplyError(service, "a list of events is malformed")
        return Transfer(
            transaction_hash,
            quantity(log.get("blockNumber"), service),
            quantity(log.get("data"), service, WORD),
        )

    async def events(
        self, contract: str, topics: list[Any], first: int, last: int
    ) -> list[dict[str, Any]]:
        """List events of a contract, blocks inclusive.

        Raises:
            ServiceError: The RPC does not tell.
        """
        if last - first > MAX_SPANS * LOG_BLOCKS:
            raise ServiceReplyError(self._rpc.service, f"it tells of {last - first} blocks")
        asked = {"address": contract, "topics": topics}
        questions = (
            ("eth_getLogs", [{**asked, "fromBlock": hex(start), "toBlock": hex(end)}])
            for start, end in _spans(first, last)
        )
        found: list[dict[str, Any]] = []
        for logs in await self.ask(*questions):
            if not isinstance(logs, list) or not all(isinstance(log, dict) for log in logs):
                raise ServiceReplyError(self._rpc.service, "a list of events is malformed")
            found += logs
        if len(found) > MAX_EVENTS:
            raise ServiceReplyError(self._rpc.service, f"it tells of {len(found)} events")
        return found

    async def transactions(self, hashes: Collection[str]) -> dict[str, dict[str, Any]]:
        """Read transactions by hash; those that the RPC does not know are left out.

        Raises:
            ServiceError: No usable answer.
        """
        unique = list(dict.fromkeys(hashes))
        found = await self.ask(*(("eth_getTransactionByHash", [one]) for one in unique))
        return {
            one: transaction
            for one, transaction in zip(unique, found, strict=True)
            if isinstance(transaction, dict)
        }

    def word(self, value: object) -> int:
        """Read a number that a contract gave.

        Raises:
            ServiceReplyError: It is none; an address without code answers nothing at all.
        """
        if value == "0x":
            what = "there is no OPG token at the profile's address"
            raise ServiceReplyError(self._rpc.service, what)
        return quantity(value, self._rpc.service, WORD)

    def block(self, block: object) -> Block:
        """Read a block's number and time.

        Raises:
            ServiceReplyError: It is none.
        """
        service = self._rpc.service
        if not isinstance(block, dict):
            raise ServiceReplyError(service, "a block is missing")
        return Block(
            quantity(block.get("number"), service),
            quantity(block.get("timestamp"), service, SECONDS),
        )


def selector(signature: str) -> str:
    """Return the first four bytes of a function's hash, as hex."""
    return "0x" + keccak(text=signature)[:4].hex()


def call_data(function: str, types: Sequence[str], values: Sequence[Any]) -> bytes:
    """Write a call of a function, by its selector."""
    return bytes.fromhex(function[2:]) + eth_abi.encode(types, values)


def view(
    to: str, function: str, types: Sequence[str], values: Sequence[Any], block: str = "latest"
) -> Question:
    """Ask a contract."""
    data = "0x" + call_data(function, types, values).hex()
    return "eth_call", [{"to": to, "data": data}, block]


def topic(address: str) -> str:
    """Write an address as an event's topic."""
    return "0x" + address.removeprefix("0x").lower().rjust(64, "0")


def _value(reply: Reply) -> object:
    """Read an answer; an RPC that refuses the question has none."""
    try:
        return reply.value()
    except RPCError:
        return None


def _spans(first: int, last: int) -> Iterator[tuple[int, int]]:
    for start in range(first, last + 1, LOG_BLOCKS + 1):
        yield start, min(start + LOG_BLOCKS, last)
