"""What was taken from a wallet in 24 hours that its journal does not know (threats.md T6, T34).

Another data folder, or a journal that was deleted, has signed for it: only the chain shows it. It
is read whole once, then by new blocks alone, and counts for a day from when it was seen, by this
machine's clock.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from anyio import Lock
from anyio.abc import TaskGroup
from pydantic_core import from_json, to_json

from og_mcp.calls import Journal
from og_mcp.client.payments.clock import Clock, Moment
from og_mcp.client.payments.ledger import LOG_BLOCKS, Ledger, Transfer
from og_mcp.client.payments.settlement_proof import SETTLE
from og_mcp.errors import OGError, ServiceError, ServiceRejectedError
from og_mcp.types import Account

logger = logging.getLogger(__name__)

DAY_S: Final = 24 * 3600
BUCKET_S: Final = 600
PAUSE_S: Final = 2.0
"""Seconds between two readings: at most 30 a minute."""

LEAST_SPAN: Final = 500
"""Blocks that a question for events is cut down to, where an RPC refuses more."""

MOST_BLOCKS: Final = 100_000
"""Blocks that are read at once, whatever the RPC says of the newest; a day of Base has 43,200."""

NONCE_AT: Final = 2 + 2 * len(SETTLE) + 2 * 64
"""Where a call of `settle` has the nonce: behind token and signed maximum, in characters of hex."""

HINT: Final = (
    "What other data folders spent has to be known before the first signature: set OG_BASE_RPC_URL "
    "to an RPC that tells events of the last day (eth_getLogs)."
)


@dataclass
class _Seen:
    """What was read so far."""

    through: int = -1
    """The last block."""

    span: int = LOG_BLOCKS
    """Blocks that one question spans."""

    taken: dict[int, int] = field(default_factory=dict)
    """Ten minutes of this machine's clock -> base units seen in them."""


class SpentElsewhere:
    """Spending of one wallet's OPG by others than this journal.

    Args:
        journal: Knows its own payments; keeps what was read, under its seal.
        ledger: The payment chain.
        account: Whose.
        tasks: Where it is read in the background.
        clock: This machine's.
    """

    note: str = ""
    """Why the last reading failed; what was read before is told then."""

    def __init__(
        self, journal: Journal, ledger: Ledger, account: Account, tasks: TaskGroup, clock: Clock
    ) -> None:
        self._journal, self._ledger, self._account = journal, ledger, account
        self._tasks, self._clock = tasks, clock
        self._reading = Lock()
        self._seen: _Seen | None = None
        self._read_at: Moment | None = None
        self._is_ahead = False

    def prefetch(self) -> None:
        """Begin to read in the background, unless that was done a moment ago."""
        if not self._is_ahead and self._is_due():
            self._is_ahead = True
            self._tasks.start_soon(self._read_ahead)

    async def amount(self) -> int:
        """Return its sum, base units; waits for the chain only where it was never read.

        Raises:
            ServiceError: It was never read, and the chain does not tell.
        """
        if self._seen is None:
            await self._read(anew=False)
        else:
            self.prefetch()
        assert self._seen is not None  # noqa: S101 - it was read, or that failed
        since = self._bucket(DAY_S)
        return sum(amount for at, amount in self._seen.taken.items() if at >= since)

    async def _read_ahead(self) -> None:
        try:
            await self._read(anew=True)
        except OGError as exc:
            logger.info("what others spent was not read ahead: %s", exc)
        finally:
            self._is_ahead = False

    async def _read(self, *, anew: bool) -> None:
        """Read what was kept, and new blocks where wanted or nothing was kept."""
        async with self._reading:
            if self._seen is None:
                self._seen = _kept(await self._journal.recall(self._name))
            if self._seen is not None and not (anew and self._is_due()):
                return
            try:
                seen = await self._follow(self._seen or _Seen())
            except ServiceError as exc:
                self.note = f"what other data folders spent was not read: {exc.args[0]}"
                if self._seen is None:
                    exc.hint = HINT
                    raise
                logger.info("%s", self.note)
                return
            self.note, self._seen, self._read_at = "", seen, self._clock.now()
            await self._journal.remember(self._name, _written(seen))

    async def _follow(self, seen: _Seen) -> _Seen:
        """Read the blocks since the last that was read; a chain that is shorter is read anew."""
        [newest] = await self._ledger.blocks("latest")
        taken, span, first = dict(seen.taken), seen.span, seen.through + 1
        if first == 0 or newest.number < seen.through:
            taken = {}
            first = (await self._ledger.block_before(newest.time - DAY_S, newest)).number
        first = max(first, newest.number - MOST_BLOCKS)
        now = self._bucket()
        while first <= newest.number:
            last = min(first + span - 1, newest.number)
            try:
                found = await self._ledger.transfers(self._account.address, (), first, last)
            except ServiceRejectedError:
                if span <= LEAST_SPAN:
                    raise
                span = max(span // 2, LEAST_SPAN)
                continue
            taken[now] = taken.get(now, 0) + await self._by_others(found)
            first = last + 1
        day = self._bucket(DAY_S)
        recent = {at: amount for at, amount in taken.items() if at >= day and amount}
        return _Seen(newest.number, span, recent)

    async def _by_others(self, transfers: Sequence[Transfer]) -> int:
        """Sum what neither this journal signed for nor the wallet itself has sent."""
        records = await self._ledger.transactions([one.transaction_hash for one in transfers])
        nonces = {hash_: _nonce(record) for hash_, record in records.items()}
        wanted = [nonce for nonce in nonces.values() if nonce]
        known = await self._journal.known_nonces(self._account, wanted)
        owner = self._account.address.lower()

        def is_ours(transfer: Transfer) -> bool:
            record = records.get(transfer.transaction_hash, {})
            is_own = str(record.get("from")).lower() == owner
            return is_own or nonces.get(transfer.transaction_hash) in known

        return sum(one.amount for one in transfers if not is_ours(one))

    def _bucket(self, ago_s: int = 0) -> int:
        return int(self._clock.now().wall - ago_s) // BUCKET_S

    def _is_due(self) -> bool:
        return self._read_at is None or self._clock.now().since(self._read_at) >= PAUSE_S

    @property
    def _name(self) -> str:
        return f"spent elsewhere {self._account.key}"


def _nonce(record: dict[str, Any]) -> str:
    """Return the nonce that a call of `settle` names, as decimal text; empty where it is none."""
    data = str(record.get("input")).lower()
    word = data[NONCE_AT : NONCE_AT + 64]
    is_settle = data.startswith("0x" + SETTLE.hex()) and len(word) == 64  # noqa: PLR2004 - a word
    try:
        return str(int(word, 16)) if is_settle else ""
    except ValueError:
        return ""


def _written(seen: _Seen) -> str:
    # As text: amounts are beyond what JSON's numbers carry everywhere.
    taken = {str(at): str(amount) for at, amount in seen.taken.items()}
    return to_json({"through": seen.through, "span": seen.span, "taken": taken}).decode()


def _kept(document: str) -> _Seen | None:
    if not document:
        return None
    try:
        found: dict[str, Any] = from_json(document)
        taken = {int(at): int(amount) for at, amount in found["taken"].items()}
        return _Seen(int(found["through"]), int(found["span"]), taken)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
