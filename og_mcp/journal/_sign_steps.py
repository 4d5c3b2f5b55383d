"""What the holder of a lane writes: its row, signatures, their undoing, and nonces that change hands.

Each of these compares the lane's epoch with the one that the holder has seen, and raises it. So a
holder whose lock was lost without its knowledge (a database that was restarted, a lock file that
was removed) is refused before anything of its signature can leave.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, Text, and_, bindparam, case, delete, exists, or_, select, update

from og_mcp.errors import CallStateError, LaneLostError
from og_mcp.journal import _schema as s
from og_mcp.journal._records import transactions_under
from og_mcp.journal._sql import InsertInto, Row, Statement, now
from og_mcp.journal._steps import Query, Steps, change, changes, row, rows
from og_mcp.journal._sums import amount
from og_mcp.types import Account, Stage

calls, lanes, transactions = s.calls, s.lanes, s.transactions

_lane = bindparam("of_lane", type_=Text)
_call = bindparam("call_id", type_=Text)
_nonce = bindparam("of_nonce", type_=BigInteger)
_is_ours = and_(lanes.c.id == _lane, lanes.c.epoch == bindparam("seen_epoch"))
_lane_is_ours = exists().where(_is_ours)


def _make_lane(insert: InsertInto) -> Any:  # noqa: ANN401 - either database's insert
    columns = ("id", "network", "chain_id", "address")
    values = {name: bindparam(f"new_{name}", type_=Text) for name in columns}
    return insert(lanes).values(values).on_conflict_do_nothing()


def _record(insert: InsertInto) -> Any:  # noqa: ANN401 - either database's insert
    values: dict[str, Any] = {
        "hash": bindparam("new_hash", type_=Text),
        "call_id": _call,
        "nonce": _nonce,
        "raw": bindparam("new_raw", type_=Text),
        "max_fee_wei": bindparam("new_max_fee_wei", type_=Text),
        "created_at": now(),
    }
    # Only while the lane is ours: what is found on record later was committed.
    row = select(*(value.label(name) for name, value in values.items())).where(_lane_is_ours)
    return insert(transactions).from_select(list(values), row).on_conflict_do_nothing()


_ensure_lane: Final = Statement(_make_lane)
_record_transaction: Final = Statement(_record)
_step = update(lanes).where(_is_ours)
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
_sign: Final = Statement(
    update(calls)
    .where(
        calls.c.id == _call,
        or_(
            and_(
                calls.c.status == s.RUNNING,
                calls.c.owner == bindparam("my_id"),
                s.holds(*s.UNSIGNED),
                # A call that a gateway is paid for signs no transactions.
                calls.c.cap_id.is_(None),
            ),
            and_(calls.c.hold == s.SIGNED, calls.c.nonce == _nonce, calls.c.lane == _lane),
        ),
        # Without it, a repeated signing would add its hash a second time.
        _lane_is_ours,
    )
    .values(
        stage=Stage.SENT_UNKNOWN.value,
        hold=s.SIGNED,
        nonce=_nonce,
        max_fee_wei=bindparam("new_reserved_wei"),
        transaction_hashes=calls.c.transaction_hashes + " " + bindparam("new_hash", type_=Text),
        lane=_lane,
        account_network=bindparam("new_network"),
        account_address=bindparam("new_address"),
        chain_id=bindparam("new_chain_id"),
        updated_at=now(),
    )
)
_supersede: Final = Statement(
    update(calls)
    .where(
        calls.c.active,
        calls.c.lane == _lane,
        or_(
            and_(calls.c.id == bindparam("older_id", type_=Text), calls.c.hold == s.SIGNED),
            # Whoever had it before points to the newest, too.
            calls.c.superseded_by == bindparam("older_id", type_=Text),
        ),
        calls.c.nonce == _nonce,
        _lane_is_ours,
    )
    .values(hold=s.SUPERSEDED, superseded_by=_call, updated_at=now())
)
_forget_transaction: Final = Statement(
    delete(transactions).where(
        transactions.c.call_id == _call, transactions.c.hash == bindparam("old_hash", type_=Text)
    )
)
_keep_earlier: Final = Statement(
    update(calls)
    .where(calls.c.id == _call, calls.c.hold == s.SIGNED, calls.c.lane == _lane)
    .values(
        max_fee_wei=bindparam("new_max_fee_wei"),
        transaction_hashes=bindparam("new_hashes"),
        updated_at=now(),
    )
)
_give_back: Final = Statement(
    update(calls)
    .where(calls.c.id == _call, calls.c.hold == s.SIGNED, calls.c.lane == _lane)
    .values(
        stage=Stage.NOT_SENT.value,
        hold=s.GIVEN_BACK,
        nonce=None,
        transaction_hashes="",
        max_fee_wei="0",
        updated_at=now(),
    )
)
_superseded: Final = Statement(
    select(calls.c.id)
    .where(calls.c.active, calls.c.lane == _lane, calls.c.superseded_by == _call)
    .order_by(calls.c.created_at.desc())
    .limit(1)
)
_restore: Final = Statement(
    update(calls)
    .where(calls.c.active, calls.c.lane == _lane, calls.c.superseded_by == _call)
    .values(
        superseded_by=case(
            (calls.c.id == bindparam("newest_id", type_=Text), ""),
            else_=bindparam("newest_id", type_=Text),
        ),
        hold=case((calls.c.id == bindparam("newest_id", type_=Text), s.SIGNED), else_=calls.c.hold),
        updated_at=now(),
    )
)
_release: Final = Statement(
    update(calls)
    .where(calls.c.id == _call, calls.c.hold == s.SIGNED, calls.c.lane == _lane, _lane_is_ours)
    .values(
        status=s.FAILED,
        hold=s.RELEASED,
        settled_at=now(),
        error=bindparam("new_error"),
        updated_at=now(),
    )
)
_end_superseded: Final = Statement(
    update(calls)
    .where(calls.c.active, calls.c.lane == _lane, calls.c.superseded_by == _call)
    .values(status=s.FAILED, hold=s.ENDED, error=bindparam("new_error"), updated_at=now())
)
_state: Final = Statement(
    select(calls.c.status, calls.c.stage, calls.c.hold, calls.c.nonce).where(calls.c.id == _call)
)
_is_recorded: Final = Statement(
    select(transactions.c.nonce).where(
        transactions.c.call_id == _call, transactions.c.hash == bindparam("new_hash")
    )
)


@dataclass(frozen=True)
class Place:
    """A lane as its holder has seen it."""

    account: Account
    epoch: int

    @property
    def parameters(self) -> Row:
        """What finds its row as long as nobody else has stepped in."""
        return {"of_lane": self.account.key, "seen_epoch": self.epoch}

    @property
    def payer(self) -> Row:
        """What says whose it is."""
        return {
            "new_network": self.account.network,
            "new_address": self.account.address,
            "new_chain_id": str(self.account.chain_id),
        }

    def make(self) -> Steps[None]:
        """Make its row, unless another process just did."""
        yield from change(_ensure_lane, new_id=self.account.key, **self.payer)

    def set_window(self, window_wei: int, floor: int) -> Steps[None]:
        """Write what the account has spent since a bucket."""
        new = {"new_window_wei": str(window_wei), "new_window_floor": floor}
        if not (yield from change(_step_window, **self.parameters, **new)):
            raise self.lost()

    def lost(self) -> LaneLostError:
        """Say that somebody else has stepped in."""
        return LaneLostError(self.account.address)


@dataclass(frozen=True)
class SignStep:
    """A signature, as it goes on record."""

    place: Place
    owner: str
    """Id of this process."""

    call_id: str
    nonce: int
    transaction_hash: str
    raw_transaction: str
    max_fee_wei: int
    reserved_wei: int
    """What counts as open: of several signatures for the nonce, the largest fee."""

    next_nonce: int | None
    """The lane's, after it."""

    supersedes: str = ""
    """Id of the call that has signed under the nonce before."""

    def __call__(self) -> Steps[None]:
        """Record it, in one exchange; must hold together."""
        of = {**self.place.parameters, "call_id": self.call_id, "of_nonce": self.nonce}
        what = {**of, "new_hash": self.transaction_hash}
        mine = {"my_id": self.owner, "new_reserved_wei": str(self.reserved_wei)}
        new = {"new_raw": self.raw_transaction, "new_max_fee_wei": str(self.max_fee_wei)}
        queries = [
            Query(_sign, {**what, **mine, **self.place.payer}),
            Query(_record_transaction, {**what, **new}),
            Query(_step_nonce, {**of, "new_next_nonce": self.next_nonce}),
        ]
        if self.supersedes:
            queries.insert(0, Query(_supersede, {**of, "older_id": self.supersedes}))
        *superseded, signed, _, stepped = yield from changes(*queries)
        if signed and 0 in superseded:
            # It was mined, or released, since the lane was read.
            why = f"call {self.supersedes} does not hold nonce {self.nonce} any more"
            raise CallStateError(self.call_id, "be signed", why)
        if signed and stepped:
            return
        if stepped:
            raise (yield from refused(self.call_id, "be signed"))
        # Where the connection broke while it committed, it may be done already.
        if (yield from row(_is_recorded, **what)) is None or signed:
            raise self.place.lost()


@dataclass(frozen=True)
class GiveBackStep:
    """The end of a signature of which nothing left this process."""

    place: Place
    call_id: str
    transaction_hash: str

    def __call__(self) -> Steps[bool]:
        """Undo it, and forget the lane's next nonce; false where there is none to undo.

        What was signed for the call before, or for the calls whose nonce it took over, stays.
        """
        of = {**self.place.parameters, "call_id": self.call_id}
        state = yield from row(_state, **of)
        if state is None or state["hold"] != s.SIGNED:
            if state is None or state["hold"] not in s.UNSIGNED:
                raise (yield from refused(self.call_id, "be given back"))
            return False
        under = yield from rows(transactions_under, of_call=self.call_id)
        earlier = [
            one
            for one in under
            if one["call_id"] == self.call_id and one["hash"] != self.transaction_hash
        ]
        if earlier:
            left = [one for one in under if one["hash"] != self.transaction_hash]
            most = max(amount(one["max_fee_wei"]) for one in left)
            hashes = "".join(f" {one['hash']}" for one in earlier)
            yield from change(_keep_earlier, **of, new_max_fee_wei=str(most), new_hashes=hashes)
        else:
            yield from change(_give_back, **of)
            newest = yield from row(_superseded, **of)
            if newest is not None:
                yield from change(_restore, **of, newest_id=newest["id"])
        yield from change(_forget_transaction, **of, old_hash=self.transaction_hash)
        if not (yield from change(_step_nonce, **of, new_next_nonce=None)):
            raise self.place.lost()
        return True


@dataclass(frozen=True)
class ReleaseStep:
    """The end of a call without effect: its fee counts for 24 hours more, its nonce is free."""

    place: Place
    call_id: str
    error: str

    def __call__(self) -> Steps[None]:
        """Release it, and end the calls whose nonce it had taken over."""
        of = {**self.place.parameters, "call_id": self.call_id}
        if not (yield from change(_release, **of, new_error=self.error)):
            raise (yield from refused(self.call_id, "be released"))
        yield from change(_end_superseded, **of, new_error=self.error)
        if not (yield from change(_step_nonce, **of, new_next_nonce=None)):
            raise self.place.lost()


def refused(call_id: str, step: str) -> Steps[CallStateError]:
    """Say in which state the call is instead."""
    state = yield from row(_state, call_id=call_id)
    if state is None:
        return CallStateError(call_id, step, "the journal does not have it")
    nonce = "" if state["nonce"] is None else f" nonce {state['nonce']}"
    why = f"it is {state['status']} at {state['stage']}, with{nonce} {state['hold']}"
    return CallStateError(call_id, step, why)
