"""OPG on the payment chain: what a wallet holds, what Permit2 may take, and what was taken.

Contracts and selectors: protocol.md sections 4 and 7; Permit2's nonces are unordered bitmaps.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from eth_abi import abi as eth_abi
from eth_utils.crypto import keccak

from og_mcp.client.chain.chain import Chain, quantity
from og_mcp.client.chain.rpc import RPC, Reply, RPCError
from og_mcp.errors import ServiceRejectedError, ServiceReplyError, WrongChainError
from og_mcp.networks import PERMIT2, Network
from og_mcp.types import Account, Cap


def _selector(signature: str) -> str:
    return "0x" + keccak(text=signature)[:4].hex()


BALANCE_OF: Final = _selector("balanceOf(address)")
ALLOWANCE: Final = _selector("allowance(address,address)")
APPROVE: Final = _selector("approve(address,uint256)")
NONCE_BITMAP: Final = _selector("nonceBitmap(address,uint256)")
TRANSFER: Final = "0x" + keccak(text="Transfer(address,address,uint256)").hex()

DAY_S: Final = 24 * 3600
DAY_BLOCKS: Final = 43_200
"""Blocks of Base in a day, one every two seconds."""

LOG_BLOCKS: Final = 9_999
"""Blocks that one question for events may span; public RPCs refuse more than 10,000."""

MARGIN_BLOCKS: Final = 300


@dataclass(frozen=True)
class Holdings:
    """What a wallet has on the payment chain."""

    opg: int
    """Base units."""

    allowance: int
    """OPG base units that Permit2 may take."""

    coins: int
    """Wei of the payment chain's own coin, which pays for `approve`."""


@dataclass(frozen=True)
class Fate:
    """How a signed maximum ended; `settled` false: it can never be taken any more."""

    settled: bool
    amount_opg: int = 0
    transaction_hash: str = ""


@dataclass(frozen=True)
class _Depth:
    """How deep the chain is, at one moment."""

    newest: int
    safe: int
    final: int
    final_time: int


class OPG:
    """The token, for one network.

    Args:
        rpc: The payment chain's endpoint.
        chain: The same, held to its chain id.
        network: Token and chain id are the profile's, never the RPC's word (threats.md T4).
    """

    def __init__(self, rpc: RPC, chain: Chain, network: Network) -> None:
        self._rpc, self._chain, self._network = rpc, chain, network

    async def account(self, address: str) -> Account:
        """Return whose budget is used; a local network counts by its genesis block."""
        await self._chain.check()
        network = self._network
        name = f"{network.name}:{self._chain.genesis_hash}" if network.local else network.name
        return Account(network=name, chain_id=network.base_chain_id, address=address)

    async def holdings(self, address: str) -> Holdings:
        """Read balance and allowance; one HTTP request.

        Raises:
            WrongChainError: The RPC serves another chain.
            ServiceError: No usable answer.
        """
        token = self._network.opg_token
        chain_id, *amounts = await self._ask(
            ("eth_chainId", []),
            _view(token, BALANCE_OF, ["address"], [address]),
            _view(token, ALLOWANCE, ["address", "address"], [address, PERMIT2]),
            ("eth_getBalance", [address, "latest"]),
        )
        actual = quantity(chain_id, self._rpc.service)
        if actual != self._network.base_chain_id:
            raise WrongChainError(self._network.base_chain_id, actual, self._rpc.shown)
        return Holdings(*(self._word(amount) for amount in amounts))

    async def paid_in_a_day(self, address: str, recipients: Collection[str]) -> int:
        """Sum the wallet's transfers to recipients of payments in the last 24 hours, base units.

        What the chain itself shows, whatever became of the journal (threats.md T6). Some blocks
        more than a day are counted.

        Raises:
            ServiceError: The RPC does not tell.
        """
        newest = await self._block("latest")
        first = await self._a_day_before(*newest)
        logs = await self._transfers(address, recipients, first, newest[0])
        return sum(int(log["data"], 16) for log in logs)

    async def fates(self, caps: Sequence[Cap]) -> dict[str, Fate]:
        """Find the ends of signed maxima; those whose end is not certain yet are left out.

        A settlement counts at a depth that the chain calls safe (threats.md T12); a maximum is
        void once a finalized block is past its deadline and its nonce unspent there (T7).

        Returns:
            Id of the cap -> its end.
        """
        depth = await self._depth()
        spent = await self._spent(caps, hex(depth.newest))
        found: dict[str, Fate] = {}
        for cap, is_spent in zip(caps, spent, strict=True):
            fate = (
                await self._settlement(cap, depth) if is_spent else await self._expiry(cap, depth)
            )
            if fate is not None:
                found[cap.id] = fate
        return found

    def approval(self, amount: int) -> tuple[str, bytes]:
        """Return contract and call data that allow Permit2 to take an amount, base units."""
        return self._network.opg_token, _data(APPROVE, ["address", "uint256"], [PERMIT2, amount])

    async def _settlement(self, cap: Cap, depth: _Depth) -> Fate | None:
        """Look for the transfer in whose transaction the cap's nonce stands."""
        age = int((datetime.now(UTC) - cap.created_at).total_seconds())
        # No chain here makes more than a block a second, but for the local one, which is short.
        first = 0 if self._network.local else max(0, depth.newest - age - MARGIN_BLOCKS)
        logs = await self._transfers(cap.account.address, [cap.pay_to], first, depth.newest)
        nonce = f"{int(cap.nonce):064x}"
        hashes = list(dict.fromkeys(str(log["transactionHash"]) for log in logs))
        sent = await self._ask(*(("eth_getTransactionByHash", [one]) for one in hashes))
        for hash_, transaction in zip(hashes, sent, strict=True):
            if not isinstance(transaction, dict) or nonce not in transaction.get("input", ""):
                continue
            of_it = [log for log in logs if log["transactionHash"] == hash_]
            # Where one transaction settles several, the largest that this cap allows errs safely.
            amounts = (int(log["data"], 16) for log in of_it)
            amount = max((one for one in amounts if one <= cap.max_opg), default=cap.max_opg)
            block = quantity(of_it[0]["blockNumber"], self._rpc.service)
            return Fate(True, amount, hash_) if block <= depth.safe else None
        # Spent and nothing taken: its owner voided it (`invalidateUnorderedNonces`).
        final = await self._spent([cap], hex(depth.final))
        return Fate(settled=False) if final[0] and depth.final_time > cap.deadline else None

    async def _expiry(self, cap: Cap, depth: _Depth) -> Fate | None:
        if depth.final_time <= cap.deadline:
            return None
        spent = await self._spent([cap], hex(depth.final))
        return None if spent[0] else Fate(settled=False)

    async def _spent(self, caps: Sequence[Cap], block: str) -> list[bool]:
        """Tell whose nonces Permit2 has used, as of a block."""
        if not caps:
            return []
        types = ["address", "uint256"]
        words = await self._ask(
            *(
                _view(PERMIT2, NONCE_BITMAP, types, [c.account.address, int(c.nonce) >> 8], block)
                for c in caps
            )
        )
        bits = (1 << (int(cap.nonce) & 0xFF) for cap in caps)
        return [bool(self._word(word) & bit) for word, bit in zip(words, bits, strict=True)]

    async def _depth(self) -> _Depth:
        tags = ("latest", "safe", "finalized")
        blocks = await self._ask(*(("eth_getBlockByNumber", [tag, False]) for tag in tags))
        newest, safe, final = (self._number_and_time(block) for block in blocks)
        return _Depth(newest[0], safe[0], *final)

    async def _a_day_before(self, number: int, time: int) -> int:
        span = DAY_BLOCKS + MARGIN_BLOCKS
        while span < number:
            block, then = await self._block(hex(number - span))
            if then <= time - DAY_S:
                return block
            span *= 2
        return 0

    async def _block(self, tag: str) -> tuple[int, int]:
        (block,) = await self._ask(("eth_getBlockByNumber", [tag, False]))
        return self._number_and_time(block)

    def _number_and_time(self, block: object) -> tuple[int, int]:
        if not isinstance(block, dict):
            raise ServiceReplyError(self._rpc.service, "a block is missing")
        service = self._rpc.service
        return quantity(block.get("number"), service), quantity(block.get("timestamp"), service)

    async def _transfers(
        self, sender: str, recipients: Collection[str], first: int, last: int
    ) -> list[dict[str, Any]]:
        """List OPG transfers between addresses, blocks inclusive."""
        questions = [
            (
                "eth_getLogs",
                [
                    {
                        "address": self._network.opg_token,
                        "topics": [TRANSFER, _topic(sender), [_topic(one) for one in recipients]],
                        "fromBlock": hex(start),
                        "toBlock": hex(end),
                    }
                ],
            )
            for start, end in _spans(first, last)
        ]
        found: list[dict[str, Any]] = []
        for logs in await self._ask(*questions):
            if not isinstance(logs, list) or not all(_is_transfer(log) for log in logs):
                raise ServiceReplyError(self._rpc.service, "a list of events is malformed")
            found += logs
        return found

    async def _ask(self, *calls: tuple[str, list[Any]]) -> list[Any]:
        replies: list[Reply] = await self._rpc.ask(*calls) if calls else []
        try:
            return [reply.value() for reply in replies]
        except RPCError as exc:
            raise ServiceRejectedError(self._rpc.service, exc.code, exc.message) from exc

    def _word(self, value: object) -> int:
        # An address without code answers nothing at all.
        return quantity(value, self._rpc.service) if value != "0x" else self._no_token()

    def _no_token(self) -> int:
        raise ServiceReplyError(self._rpc.service, "there is no OPG token at the profile's address")


def _spans(first: int, last: int) -> Iterator[tuple[int, int]]:
    for start in range(first, last + 1, LOG_BLOCKS + 1):
        yield start, min(start + LOG_BLOCKS, last)


def _is_transfer(log: object) -> bool:
    if not isinstance(log, dict):
        return False
    try:
        int(log["data"], 16), int(log["blockNumber"], 16)
    except (KeyError, TypeError, ValueError):
        return False
    return isinstance(log.get("transactionHash"), str)


def _topic(address: str) -> str:
    return "0x" + address.removeprefix("0x").lower().rjust(64, "0")


def _data(selector: str, types: Sequence[str], values: Sequence[Any]) -> bytes:
    return bytes.fromhex(selector[2:]) + eth_abi.encode(types, values)


def _view(
    to: str, selector: str, types: Sequence[str], values: Sequence[Any], block: str = "latest"
) -> tuple[str, list[Any]]:
    data = _data(selector, types, values)
    return "eth_call", [{"to": to, "data": "0x" + data.hex()}, block]
