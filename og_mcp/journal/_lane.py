"""A lane while it is held: what only its holder may do."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from og_mcp.errors import BudgetExceededError, CallStateError, LaneLostError
from og_mcp.journal import _schema as s
from og_mcp.journal._budget import LaneSnapshot, check_caps, count_settled, read_standing
from og_mcp.journal._documents import storable
from og_mcp.journal._sign_steps import GiveBackStep, Place, ReleaseStep, SignStep
from og_mcp.journal._sql import Row
from og_mcp.journal._steps import Steps, Work
from og_mcp.journal._store import Store
from og_mcp.types import Account, FeeCaps, OpenNonce

T = TypeVar("T")


class _Reservation(NamedTuple):
    """What was set aside.

    In memory alone: nobody else may sign meanwhile, and if the lane is lost, or the process,
    nothing of the signature was recorded, and so nothing sent.
    """

    call_id: str
    nonce: int
    max_fee_wei: int
    """Of the signature that is asked for."""

    counts_wei: int
    """What counts as open: of all that was signed for the nonce, the largest fee."""

    supersedes: str


class HeldLane:
    """A lane while it is held; implements `og_mcp.calls.Lane`.

    Args:
        store: The journal's.
        account: Whose lane.
        owner: Id of this process.
    """

    def __init__(self, store: Store, account: Account, owner: str) -> None:
        self._store, self._owner, self.account = store, owner, account
        self.next_nonce: int | None = None
        self.open: tuple[OpenNonce, ...] = ()
        self.lost = False
        """Whether a step showed that the lock is gone."""

        self._place = Place(account, 0)
        self._standing: LaneSnapshot | None = None
        """What was read last; `None` once this holder has changed it."""

        self._reserved: _Reservation | None = None
        self._is_held = True

    async def enter(self) -> None:
        """Read the lane."""
        standing = await self._run(self._read)
        self._standing = standing
        self._place, self.next_nonce = Place(self.account, standing.epoch), standing.next_nonce
        signed = (row for row in standing.live if row["hold"] == s.SIGNED)
        self.open = tuple(_open_nonce(row) for row in sorted(signed, key=lambda row: row["nonce"]))

    def leave(self) -> None:
        """Make further steps impossible."""
        self._is_held = False

    async def reserve(
        self, call_id: str, nonce: int, max_fee_wei: int, caps: FeeCaps, *, supersedes: str = ""
    ) -> None:
        """Set aside what a signature may cost; see `og_mcp.calls.Lane`."""
        self._check_held()
        # Nobody else adds to what is open, so what was read on entering errs on the safe side.
        standing = self._standing
        if standing is None:
            standing = await self._run(self._current)
        if standing.is_due:
            standing = await self._count(standing)
        reservation = _Reservation(call_id, nonce, max_fee_wei, max_fee_wei, supersedes)
        try:
            counts = _check(standing, reservation, caps)
        except BudgetExceededError:
            standing = await self._run(self._current)
            counts = _check(standing, reservation, caps)
        self._standing, self._reserved = standing, reservation._replace(counts_wei=counts)

    async def signed(
        self,
        call_id: str,
        nonce: int,
        transaction_hash: str,
        raw_transaction: str,
        max_fee_wei: int,
    ) -> None:
        """Record a signature; see `og_mcp.calls.Lane`."""
        reserved = self._reserved
        is_same = reserved is not None and (reserved.call_id, reserved.nonce) == (call_id, nonce)
        if reserved is None or not is_same or max_fee_wei > reserved.max_fee_wei:
            raise CallStateError(call_id, "be signed", "this nonce and fee were not reserved")
        signing = SignStep(
            self._place,
            self._owner,
            call_id,
            nonce,
            transaction_hash,
            raw_transaction,
            max_fee_wei,
            reserved_wei=reserved.counts_wei,
            next_nonce=self._next_after(nonce),
            supersedes=reserved.supersedes,
        )
        await self._run(signing, durable=True, atomic=True)
        self._stepped(signing.next_nonce)

    async def give_back(self, call_id: str, transaction_hash: str = "") -> None:
        """Undo a reservation or a signature; see `og_mcp.calls.Lane`."""
        giving_back = GiveBackStep(self._place, call_id, transaction_hash)
        if await self._run(giving_back, durable=True, atomic=True):
            self._stepped(None)
        if self._reserved is not None and self._reserved.call_id == call_id:
            self._reserved = None

    async def release(self, call_id: str, error: str) -> None:
        """End a call without effect; see `og_mcp.calls.Lane`."""
        releasing = ReleaseStep(self._place, call_id, storable(error))
        await self._run(releasing, durable=True, atomic=True)
        self._stepped(None)

    async def count_settled(self) -> None:
        """Add every settled call to the spending rows, so that none is needed for the budget."""
        await self._count(await self._run(self._current))

    async def _count(self, standing: LaneSnapshot) -> LaneSnapshot:
        def work() -> Steps[None]:
            window = yield from count_settled(standing)
            yield from self._place.set_window(window, standing.floor)

        await self._run(work, atomic=True)
        self._place = Place(self.account, self._place.epoch + 1)
        return await self._run(self._current)

    def _stepped(self, next_nonce: int | None) -> None:
        """Take in what this holder has written."""
        self._place, self.next_nonce = Place(self.account, self._place.epoch + 1), next_nonce
        self._standing = self._reserved = None

    async def _run(self, work: Work[T], *, durable: bool = False, atomic: bool = False) -> T:
        self._check_held()
        self._store.database.check()
        try:
            return await self._store.run(work, durable=durable, atomic=atomic)
        except LaneLostError:
            self.lost = True
            raise

    def _check_held(self) -> None:
        if not self._is_held:
            raise RuntimeError("the lane was left")

    def _read(self) -> Steps[LaneSnapshot]:
        standing = yield from read_standing(self.account.key)
        if standing is not None:
            return standing
        yield from self._place.make()
        return (yield from self._current())

    def _current(self) -> Steps[LaneSnapshot]:
        standing = yield from read_standing(self.account.key)
        if standing is None:
            raise self._place.lost()
        return standing

    def _next_after(self, nonce: int) -> int | None:
        """Return the lane's next nonce once `nonce` is signed; signing it again changes nothing."""
        return self.next_nonce if any(one.nonce == nonce for one in self.open) else nonce + 1


def _open_nonce(row: Row) -> OpenNonce:
    return OpenNonce(
        call_id=row["id"],
        nonce=row["nonce"],
        transaction_hashes=tuple(row["transaction_hashes"].split()),
        max_fee_wei=int(row["max_fee_wei"]),
    )


def _check(standing: LaneSnapshot, asked: _Reservation, caps: FeeCaps) -> int:
    """Refuse what a cap or another call's nonce forbids; returns what the nonce holds then."""
    counts = asked.max_fee_wei
    for other in standing.live:
        if other["hold"] != s.SIGNED:
            continue
        is_same = other["id"] == asked.call_id
        if is_same != (other["nonce"] == asked.nonce) and other["id"] != asked.supersedes:
            # One call is never signed under two nonces, and a nonce changes hands on request alone.
            why = f"nonce {other['nonce']} is signed for {other['id']}"
            raise CallStateError(asked.call_id, "reserve a nonce", why)
        if other["nonce"] == asked.nonce:
            # What was signed before for this nonce is still good.
            counts = max(counts, int(other["max_fee_wei"]))
    check_caps(standing, asked.nonce, asked.max_fee_wei, caps)
    return counts
