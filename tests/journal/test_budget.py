"""The budget under any order of steps, and over a day."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from og_mcp.calls import Journal
from og_mcp.errors import BudgetExceededError, CallStateError
from og_mcp.journal import open_journal
from og_mcp.journal._budget import COUNT_AT, LaneSnapshot, check_caps
from og_mcp.journal._sums import BUCKET_US
from og_mcp.settings import Settings
from og_mcp.types import Call, FeeCaps, Stage
from tests.journal.steps import ACCOUNT, new_hash, opened, settled_call

CAP = 1000
LIMITS = FeeCaps(per_call=CAP, per_day=CAP)
HOUR_US = 3600 * 10**6
NOON = 500_000 * HOUR_US


class AnyOrder(RuleBasedStateMachine):
    """Two journals on one file, whose steps come in any order, beside a model of what they owe."""

    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        folder = self._stack.enter_context(tempfile.TemporaryDirectory())
        self._portal = self._stack.enter_context(start_blocking_portal())
        where = Settings(network_name="local", data_dir=Path(folder))
        self.journals: list[Journal] = [
            self._stack.enter_context(self._portal.wrap_async_context_manager(open_journal(where)))
            for _ in range(2)
        ]
        self.open: dict[str, int] = {}
        self.spent = 0
        self.seen: dict[str, Stage] = {}

    def teardown(self) -> None:
        self._stack.close()

    @rule(target=calls, which=st.integers(0, 1))
    def open_one(self, which: int) -> tuple[int, Call]:
        call = self._portal.call(opened, self.journals[which])
        return which, call

    @rule(one=calls, fee=st.integers(0, CAP))
    def sign_one(self, one: tuple[int, Call], fee: int) -> None:
        which, call = one
        try:
            self._portal.call(self._sign, self.journals[which], call, fee)
        except BudgetExceededError:
            others = sum(self.open.values()) - self.open.get(call.id, 0)
            assert self.spent + others + max(fee, self.open.get(call.id, 0)) > CAP
        except CallStateError:
            pass
        else:
            self.open[call.id] = max(fee, self.open.get(call.id, 0))

    async def _sign(self, journal: Journal, call: Call, fee: int) -> None:
        async with journal.lane(ACCOUNT) as lane:
            held = {open_.call_id: open_.nonce for open_ in lane.open}
            nonce = held.get(call.id, lane.next_nonce)
            nonce = max([-1, *held.values()]) + 1 if nonce is None else nonce
            await lane.reserve(call.id, nonce, fee, LIMITS)
            await lane.signed(call.id, nonce, new_hash(), "0x", fee)

    @rule(one=calls, other=st.booleans(), part=st.integers(0, 100))
    def settle_one(self, one: tuple[int, Call], other: bool, part: int) -> None:
        which, call = one
        journal = self.journals[which ^ other]
        fee = self.open.get(call.id, 0) * part // 100
        try:
            self._portal.call(journal.settle, call.id, Stage.CHARGED, fee, "{}")
        except CallStateError:
            return
        if self.open.pop(call.id, None) is not None:
            self.spent += fee

    @rule(one=calls, stage=st.sampled_from(list(Stage)[:3]))
    def fail_one(self, one: tuple[int, Call], stage: Stage) -> None:
        which, call = one
        fee = self.open.get(call.id, 0) if stage is Stage.CHARGED else 0
        try:
            self._portal.call(self.journals[which].fail, call.id, stage, "error", fee)
        except CallStateError:
            return
        if stage is Stage.CHARGED and self.open.pop(call.id, None) is not None:
            self.spent += fee

    @rule(one=calls)
    def give_one_back(self, one: tuple[int, Call]) -> None:
        which, call = one
        try:
            self._portal.call(self._give_back, self.journals[which], call)
        except CallStateError:
            return
        self.open.pop(call.id, None)
        self.seen.pop(call.id, None)

    async def _give_back(self, journal: Journal, call: Call) -> None:
        signed = await journal.transactions(call.id)
        async with journal.lane(ACCOUNT) as lane:
            for one in reversed(signed):
                await lane.give_back(call.id, one.transaction_hash)

    @rule(one=calls)
    def look_at_one(self, one: tuple[int, Call]) -> None:
        stage = self._portal.call(self.journals[0].get, one[1].id, "local").stage
        assert list(Stage).index(stage) >= list(Stage).index(self.seen.get(one[1].id, stage))
        self.seen[one[1].id] = stage

    @invariant()
    def the_journal_owes_what_the_model_owes(self) -> None:
        budget = self._portal.call(self.journals[1].budget, ACCOUNT, LIMITS)
        assert (budget.spent, budget.open) == (self.spent, sum(self.open.values()))
        assert 0 <= budget.spent + budget.open <= CAP
        assert budget.left == CAP - budget.spent - budget.open


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = hypothesis_settings(max_examples=15, stateful_step_count=25, deadline=None)


@pytest.mark.parametrize("calls", [1, COUNT_AT, 3 * COUNT_AT + 1])
async def test_spending_is_the_same_counted_or_not(journal: Journal, calls: int) -> None:
    for _ in range(calls):
        await settled_call(journal, fee=3)

    assert (await journal.budget(ACCOUNT, LIMITS)).spent == 3 * calls
    [totals] = await journal.totals("local")
    assert totals.fees_wei == 3 * calls


async def test_pruned_calls_still_count_for_a_day(journal: Journal) -> None:
    for _ in range(3):
        await journal.deliver((await settled_call(journal, fee=3)).id)

    pruned = await journal.prune(datetime.now(UTC))

    assert pruned.calls == 0
    assert (await journal.budget(ACCOUNT, LIMITS)).spent == 9


@pytest.mark.parametrize(
    ("hours_ago", "counts"), [(0, True), (23.9, True), (24.0, True), (24.4, False), (48, False)]
)
def test_a_fee_counts_for_a_day_and_at_most_ten_minutes_more(
    hours_ago: float, counts: bool
) -> None:
    settled = {
        "id": "a",
        "hold": "settled",
        "fee_wei": "5",
        "settled_at": NOON - int(hours_ago * HOUR_US),
    }
    floor = (NOON - 24 * HOUR_US) // BUCKET_US
    standing = LaneSnapshot(
        lane="l",
        next_nonce=None,
        epoch=0,
        window_wei=0,
        window_floor=floor,
        now=NOON,
        live=(settled,),
    )

    assert standing.spent_wei() == (5 if counts else 0)


@pytest.mark.parametrize(("hours_ago", "counts"), [(0, True), (23.9, True), (24.1, False)])
def test_t31_what_ended_without_effect_counts_for_a_day(hours_ago: float, counts: bool) -> None:
    released = {
        "id": "a",
        "hold": "released",
        "nonce": 3,
        "max_fee_wei": "5",
        "settled_at": NOON - int(hours_ago * HOUR_US),
    }
    signed = {"id": "b", "hold": "signed", "nonce": 3, "max_fee_wei": "4", "settled_at": None}
    standing = LaneSnapshot(
        lane="l",
        next_nonce=None,
        epoch=0,
        window_wei=0,
        window_floor=0,
        now=NOON,
        live=(released, signed),
    )

    # Of what was signed for one nonce, the largest counts.
    assert standing.open_wei() == (5 if counts else 4)
    assert standing.open_wei(3, 7) == 7
    assert standing.open_wei(4, 7) == (12 if counts else 11)


def test_a_window_that_has_moved_on_errs_on_the_safe_side() -> None:
    floor = (NOON - 48 * HOUR_US) // BUCKET_US
    standing = LaneSnapshot(
        lane="l",
        next_nonce=None,
        epoch=0,
        window_wei=CAP,
        window_floor=floor,
        now=NOON,
        live=(),
    )

    assert standing.is_due
    with pytest.raises(BudgetExceededError):
        check_caps(standing, 0, 1, LIMITS)
