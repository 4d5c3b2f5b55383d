"""Payments under any order of steps, beside a model of what they owe."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anyio.from_thread import start_blocking_portal
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from og_mcp.calls import Journal
from og_mcp.errors import BudgetExceededError, CallStateError, OPGCapError
from og_mcp.journal import open_journal
from og_mcp.settings import Settings
from og_mcp.types import Call, Cap, OPGCaps, Stage
from tests.journal.paying import PAYER, cap_for
from tests.journal.steps import opened

LIMITS = OPGCaps(per_call=100, per_day=300)
RANKS = list(Stage)


@dataclass
class Paid:
    """What the model knows of one call."""

    which: int
    """The journal that runs it."""

    call: Call
    signed: int = 0
    """Signed for it and not void."""

    under: set[str] = field(default_factory=set)
    """Maxima under which something may have left."""


class AnyOrder(RuleBasedStateMachine):
    """Two journals on one file, whose steps come in any order."""

    calls = Bundle("calls")
    caps = Bundle("caps")

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
        self.open: dict[str, Cap] = {}
        self.signed_for: dict[str, Paid] = {}
        self.spent = 0

    def teardown(self) -> None:
        self._stack.close()

    def _try(self, step: Callable[..., Awaitable[Any]], *arguments: object) -> bool:
        """Take a step; false where its state forbids it."""
        try:
            self._portal.call(step, *arguments)
        except CallStateError:
            return False
        return True

    @rule(target=calls, which=st.integers(0, 1))
    def open_call(self, which: int) -> Paid:
        return Paid(which, self._portal.call(opened, self.journals[which]))

    @rule(target=caps, one=calls, amount=st.integers(0, 110))
    def open_cap(self, one: Paid, amount: int) -> Cap | None:
        async def sign() -> Cap:
            return await cap_for(self.journals[one.which], one.call, max_opg=amount, limits=LIMITS)

        before = sum(cap.max_opg for cap in self.open.values())
        try:
            cap: Cap = self._portal.call(sign)
        except OPGCapError:
            assert one.signed + amount > LIMITS.per_call
        except BudgetExceededError:
            assert self.spent + before + amount > LIMITS.per_day
        except CallStateError:
            assert self._portal.call(self._call, one).status != "running"
        else:
            one.signed += amount
            one.under.add(cap.id)
            self.open[cap.id], self.signed_for[cap.id] = cap, one
            return cap
        return None

    @rule(one=calls, cap=caps)
    def pay_by(self, one: Paid, cap: Cap | None) -> None:
        if cap is None:
            return
        if self._try(self.journals[one.which].pay_by, one.call.id, cap.id):
            assert cap.id in self.open
            one.under.add(cap.id)

    @rule(one=calls)
    def unpay(self, one: Paid) -> None:
        if self._try(self.journals[one.which].unpay, one.call.id):
            one.under.clear()

    @rule(one=calls, other=st.booleans(), stage=st.sampled_from(RANKS[:3]))
    def fail(self, one: Paid, other: bool, stage: Stage) -> None:
        self._try(self.journals[one.which ^ other].fail, one.call.id, stage, "error")

    @rule(one=calls, other=st.booleans())
    def answer(self, one: Paid, other: bool) -> None:
        self._try(self.journals[one.which ^ other].settle, one.call.id, Stage.CHARGED, 0, "{}")

    @rule(cap=caps, which=st.integers(0, 1), part=st.integers(0, 100))
    def settle_cap(self, cap: Cap | None, which: int, part: int) -> None:
        if cap is None:
            return
        was = self._portal.call(self.journals[0].cap, cap.id).status
        amount = cap.max_opg * part // 100
        self._portal.call(self.journals[which].settle_cap, cap.id, amount, "0xaa")
        if was == "void":
            self.signed_for[cap.id].signed += cap.max_opg
        if was != "settled":
            self.spent += amount
        self.open.pop(cap.id, None)

    @rule(cap=caps, which=st.integers(0, 1), dropped=st.booleans())
    def end_unpaid(self, cap: Cap | None, which: int, dropped: bool) -> None:
        if cap is None:
            return
        journal = self.journals[which]
        if not self._try(journal.drop_cap if dropped else journal.void_cap, cap.id):
            assert cap.id not in self.open
        elif self.open.pop(cap.id, None) is not None:
            self.signed_for[cap.id].signed -= cap.max_opg

    @rule(one=calls)
    def look(self, one: Paid) -> None:
        call = self._portal.call(self._call, one)
        under = [self._portal.call(self.journals[1].cap, cap_id) for cap_id in one.under]
        if call.status == "done":
            ended = call.cap is None or call.cap.status != "open"
            assert call.stage is (Stage.CONFIRMED if ended and call.cap else Stage.CHARGED)
        if any(cap.status == "open" for cap in under) and call.status != "done":
            # Something of it may still cost something.
            assert call.stage is not Stage.NOT_SENT
        if call.cap is not None:
            assert call.amount_opg == call.cap.amount_opg

    async def _call(self, one: Paid) -> Call:
        return await self.journals[0].get(one.call.id, "local")

    @invariant()
    def the_journal_owes_what_the_model_owes(self) -> None:
        budget = self._portal.call(self.journals[1].opg_budget, PAYER, LIMITS)
        open_opg = sum(cap.max_opg for cap in self.open.values())
        assert (budget.spent, budget.open) == (self.spent, open_opg)
        assert self._portal.call(self.journals[0].opg_totals) == (self.spent, open_opg)
        assert budget.left == max(LIMITS.per_day - self.spent - open_opg, 0)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = hypothesis_settings(max_examples=10, stateful_step_count=30, deadline=None)
