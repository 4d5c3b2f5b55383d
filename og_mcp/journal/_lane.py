"""The steps that only the holder of a lane may take.

Each step compares the lane's epoch with the one that this holder has seen, and each signature
raises it. So a holder whose lock was lost without its knowledge (a database that was restarted, a lock file that
was removed) is refused before anything of its signature can leave.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

from sqlalchemy import BigInteger, Text, and_, bindparam, case, exists, or_, select, update

from og_mcp.errors import BudgetExceededError, CallStateError, LaneLostError
from og_mcp.journal import _schema as s
from og_mcp.journal._budget import Standing, check_caps, count_settled, read_standing
from og_mcp.journal._sql import InsertInto, Row, Statement, now
from og_mcp.journal._steps import Steps, Work, change, row
from og_mcp.journal._store import Store
from og_mcp.types import Account, FeeCaps, OpenNonce, Stage

T = TypeVar("T")

calls, lanes, transactions = s.calls, s.lanes, s.transactions

_lane = bindparam("of_lane", type_=Text)
_call = bindparam("call_id", type_=Text)
_nonce = bindparam("of_nonce", type_=BigInteger)


def _make_lane(insert: InsertInto) -> Any:  # noqa: ANN401 - either database's insert
    columns = ("id", "network", "chain_id", "address")
    values = {name: bindparam(f"new_{name}", type_=Text) for name in columns}
    return insert(lanes).values(values).on_conflict_do_nothing()


def _record(insert: InsertInto) -> Any:  # noqa: ANN401 - either database's insert
    into = insert(transactions).values(
        hash=bindparam("new_hash"),
        call_id=_call,
        nonce=_nonce,
        raw=bindparam("new_raw"),
        max_fee_wei=bindparam("new_max_fee_wei"),
        created_at=now(),
    )
    return into.on_conflict_do_nothing()


_ensure_lane: Final = Statement(_make_lane)
_record_transaction: Final = Statement(_record)
_release_reserved: Final = Statement(
    update(calls)
    .where(s.live, calls.c.lane == _lane, calls.c.hold == s.RESERVED)
    .values(hold=s.FREE, nonce=None, max_fee_wei="0")
)
_step = update(lanes).where(lanes.c.id == _lane, lanes.c.epoch == bindparam("seen_epoch"))
_step_window: Final = Statement(
    _step.values(
        epoch=lanes.c.epoch + 1,
        window_wei=bindparam("new_window_wei"),
        window_floor=bindparam("new_window_floor"),
    )
)
_step_nonce: Final = Statement(
    _step.values(epoch=lanes.c.epoch + 1, next_nonce=bindparam("new_next_nonce"))
)
_reserve: Final = Statement(
    update(calls)
    .where(
        calls.c.id == _call,
        or_(
            and_(
                calls.c.status == s.RUNNING,
                calls.c.owner == bindparam("my_id"),
                s.holds(*s.UNSIGNED),
            ),
            and_(calls.c.hold == s.SIGNED, calls.c.nonce == _nonce, calls.c.lane == _lane),
        ),
        exists().where(lanes.c.id == _lane, lanes.c.epoch == bindparam("seen_epoch")),
    )
    .values(
        hold=case((calls.c.hold == s.SIGNED, s.SIGNED), else_=s.RESERVED),
        nonce=_nonce,
        max_fee_wei=bindparam("new_max_fee_wei"),
        lane=_lane,
        account_network=bindparam("new_network"),
        account_address=bindparam("new_address"),
        chain_id=bindparam("new_chain_id"),
        updated_at=now(),
    )
)
_sign: Final = Statement(
    update(calls)
    .where(
        calls.c.id == _call,
        s.holds(*s.OPEN),
        calls.c.lane == _lane,
        calls.c.nonce == _nonce,
    )
    .values(
        stage=Stage.SENT_UNKNOWN.value,
        hold=s.SIGNED,
        transaction_hashes=calls.c.transaction_hashes + " " + bindparam("new_hash", type_=Text),
        updated_at=now(),
    )
)
_give_back: Final = Statement(
    update(calls)
    .where(
        calls.c.id == _call,
        s.holds(*s.OPEN),
        calls.c.lane == _lane,
    )
    .values(
        stage=Stage.NOT_SENT.value,
        hold=s.GIVEN_BACK,
        nonce=None,
        max_fee_wei="0",
        updated_at=now(),
    )
)
_state: Final = Statement(
    select(calls.c.status, calls.c.stage, calls.c.hold, calls.c.nonce, calls.c.owner).where(
        calls.c.id == _call
    )
)
_is_recorded: Final = Statement(
    select(transactions.c.nonce).where(
        transactions.c.call_id == _call, transactions.c.hash == bindparam("new_hash")
    )
)


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

        self._epoch = 0
        self._entered: Standing | None = None
        """What was read on entering; `None` once this holder has changed it."""

        self._reserved: dict[str, tuple[int, int]] = {}
        """Call id -> nonce and fee that were reserved in this turn."""

        self._is_held = True

    async def enter(self) -> None:
        """Read the lane, and release what the last holder reserved and did not sign."""
        standing = await self._run(self._read)
        self._entered = standing
        self._epoch, self.next_nonce = standing.epoch, standing.next_nonce
        signed = (row for row in standing.live if row["hold"] == s.SIGNED)
        self.open = tuple(_open_nonce(row) for row in sorted(signed, key=lambda row: row["nonce"]))

    def leave(self) -> None:
        """Make further steps impossible."""
        self._is_held = False

    async def reserve(self, call_id: str, nonce: int, max_fee_wei: int, caps: FeeCaps) -> None:
        """Set aside what a signature may cost; see `og_mcp.calls.Lane`."""
        # Nobody else adds to what is open, so what was read on entering errs on the safe side.
        standing = self._entered
        if standing is None:
            standing = await self._run(self._current)
        if standing.is_due:
            standing = await self._count(standing)
        try:
            asked = _check(standing, call_id, nonce, max_fee_wei, caps)
        except BudgetExceededError:
            standing = await self._run(self._current)
            asked = _check(standing, call_id, nonce, max_fee_wei, caps)
        of = {**self._at(), **self._payer(), "call_id": call_id, "of_nonce": nonce}

        def work() -> Steps[None]:
            new = {"my_id": self._owner, "new_max_fee_wei": str(asked)}
            if not (yield from change(_reserve, **of, **new)):
                yield from self._check_epoch()
                raise (yield from _refused(call_id, "reserve a nonce"))

        self._entered = None
        await self._run(work)
        self._reserved[call_id] = (nonce, asked)

    async def signed(
        self,
        call_id: str,
        nonce: int,
        transaction_hash: str,
        raw_transaction: str,
        max_fee_wei: int,
    ) -> None:
        """Record a signature; see `og_mcp.calls.Lane`."""
        reserved_nonce, reserved = self._reserved.get(call_id, (None, 0))
        if reserved_nonce != nonce or max_fee_wei > reserved:
            raise CallStateError(call_id, "be signed", "this nonce and fee were not reserved")
        next_nonce = self._next_after(call_id, nonce)
        of = {**self._at(), "call_id": call_id, "of_nonce": nonce, "new_hash": transaction_hash}
        new = {"new_raw": raw_transaction, "new_max_fee_wei": str(max_fee_wei)}

        def work() -> Steps[None]:
            if not (yield from change(_step_nonce, **of, new_next_nonce=next_nonce)):
                # Where the connection broke while it committed, the step may be done already.
                if (yield from row(_is_recorded, **of)) is not None:
                    return
                raise self._lost()
            if not (yield from change(_sign, **of)):
                raise (yield from _refused(call_id, "be signed"))
            yield from change(_record_transaction, **of, **new)

        await self._run(work, durable=True, atomic=True)
        self._epoch, self.next_nonce = self._epoch + 1, next_nonce

    async def give_back(self, call_id: str) -> None:
        """Undo a reservation or a signature; see `og_mcp.calls.Lane`."""
        of = {**self._at(), "call_id": call_id}

        def work() -> Steps[bool]:
            if (yield from change(_give_back, **of)):
                yield from self._advance(_step_nonce, new_next_nonce=None)
                return True
            state = yield from row(_state, **of)
            if state is None or state["hold"] not in {s.FREE, s.GIVEN_BACK}:
                raise (yield from _refused(call_id, "be given back"))
            return False

        if await self._run(work, durable=True, atomic=True):
            self._epoch, self.next_nonce = self._epoch + 1, None
        self._entered = None
        self._reserved.pop(call_id, None)

    async def count_settled(self) -> None:
        """Add every settled call to the spending rows, so that none is needed for the budget."""
        await self._count(await self._run(self._current))

    async def _count(self, standing: Standing) -> Standing:
        def work() -> Steps[None]:
            window = yield from count_settled(standing)
            new = {"new_window_wei": str(window), "new_window_floor": standing.floor}
            yield from self._advance(_step_window, **new)

        await self._run(work, atomic=True)
        self._epoch += 1
        return await self._run(self._current)

    async def _run(self, work: Work[T], *, durable: bool = False, atomic: bool = False) -> T:
        if not self._is_held:
            raise RuntimeError("the lane was left")
        self._store.database.check()
        try:
            return await self._store.run(work, durable=durable, atomic=atomic)
        except LaneLostError:
            self.lost = True
            raise

    def _read(self) -> Steps[Standing]:
        standing = yield from read_standing(self.account.key)
        if standing is None:
            yield from change(_ensure_lane, new_id=self.account.key, **self._payer())
        elif any(row["hold"] == s.RESERVED for row in standing.live):
            yield from change(_release_reserved, of_lane=self.account.key)
        else:
            return standing
        return (yield from self._current())

    def _current(self) -> Steps[Standing]:
        standing = yield from read_standing(self.account.key)
        if standing is None:
            raise self._lost()
        return standing

    def _advance(self, step: Statement, **values: object) -> Steps[None]:
        if not (yield from change(step, **self._at(), **values)):
            raise self._lost()

    def _check_epoch(self) -> Steps[None]:
        if (yield from self._current()).epoch != self._epoch:
            raise self._lost()

    def _lost(self) -> LaneLostError:
        return LaneLostError(self.account.address)

    def _at(self) -> Row:
        return {"of_lane": self.account.key, "seen_epoch": self._epoch}

    def _payer(self) -> Row:
        return {
            "new_network": self.account.network,
            "new_address": self.account.address,
            "new_chain_id": str(self.account.chain_id),
        }

    def _next_after(self, call_id: str, nonce: int) -> int | None:
        """Return the lane's next nonce once `nonce` is signed; a replacement changes nothing."""
        if any(open_.call_id == call_id and open_.nonce == nonce for open_ in self.open):
            return self.next_nonce
        return nonce + 1 if self.next_nonce is None else max(self.next_nonce, nonce + 1)


def _open_nonce(row: Row) -> OpenNonce:
    return OpenNonce(
        call_id=row["id"],
        nonce=row["nonce"],
        transaction_hashes=tuple(row["transaction_hashes"].split()),
        max_fee_wei=int(row["max_fee_wei"]),
    )


def _check(standing: Standing, call_id: str, nonce: int, max_fee_wei: int, caps: FeeCaps) -> int:
    """Refuse what a cap or another call's nonce forbids; returns what the call may cost in all."""
    asked = max_fee_wei
    for other in standing.live:
        if other["hold"] != s.SIGNED:
            continue
        if other["id"] == call_id:
            # What was signed before for this nonce is still good.
            asked = max(asked, int(other["max_fee_wei"]))
        elif other["nonce"] == nonce:
            # Of two transactions with one nonce one could never be mined.
            raise CallStateError(call_id, "reserve a nonce", f"nonce {nonce} is {other['id']}'s")
    check_caps(standing, asked, caps, call_id=call_id)
    return asked


def _refused(call_id: str, step: str) -> Steps[CallStateError]:
    """Say in which state the call is instead."""
    state = yield from row(_state, call_id=call_id)
    if state is None:
        return CallStateError(call_id, step, "the journal does not have it")
    nonce = "" if state["nonce"] is None else f" nonce {state['nonce']}"
    why = f"it is {state['status']} at {state['stage']}, with{nonce} {state['hold']}"
    return CallStateError(call_id, step, why)
