"""What gateways ask today is paid at the default settings, and limits come before questions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from og_mcp.client import Session
from og_mcp.errors import (
    AllowanceError,
    ApprovalRequiredError,
    BudgetExceededError,
    FeeCapError,
    InsufficientOPGError,
    OGError,
    OPGCapError,
    PaymentRefusedError,
)
from og_mcp.settings import Settings
from og_mcp.types import ChatResult, Stage
from tests.books import Purse
from tests.client.payments.chats import CAP, MODEL, OPG, chat, opg, paid
from tests.clock import MovedClock
from tests.localnet_client import LocalNetwork

TINY = "0.000000000000000001"


class Owner:
    """Somebody who uses a local network at the default settings, by a clock of their own."""

    def __init__(self, localnet: LocalNetwork, environ: dict[str, str]) -> None:
        self.localnet, self.environ, self.clock = localnet, environ, MovedClock()

    def session(self, **more: str) -> Session:
        return Session(Settings.from_env({**self.environ, **more}), clock=self.clock)

    def advance(self, seconds: float) -> None:
        """Let time pass for this side and for the gateway."""
        self.clock.ahead_s += seconds
        self.localnet.advance_sessions(seconds)


@pytest.fixture
def owner(purse: Purse) -> Owner:
    """The wallet of the fixture, on the shared network, whose gateway asks 0.1 OPG."""
    return Owner(purse.localnet, purse.environ)


@pytest.fixture
def at_defaults(fresh_localnet: LocalNetwork, tmp_path: Path) -> Owner:
    """The first account of a local network that was started without options."""
    return Owner(fresh_localnet, {**fresh_localnet.environ, "OG_DATA_DIR": str(tmp_path / "data")})


@pytest.mark.slow
@pytest.mark.parametrize("deadline_s", [600, 900])
async def test_at_the_defaults_the_first_chat_works_unasked(
    at_defaults: Owner, deadline_s: int
) -> None:
    if deadline_s != 600:
        at_defaults.localnet.terms(maxTimeoutSeconds=deadline_s)

    async with at_defaults.session() as og:
        first = await chat(og)
        status = await og.status()

    [session] = at_defaults.localnet.sessions()
    assert first.status == "done"
    assert (first.payment.max_opg, session["cap"]) == ("5", str(5 * OPG))
    assert (status.ready, status.problems) == (True, [])


@pytest.mark.slow
async def test_at_the_defaults_a_chat_every_20_s_for_15_minutes_is_never_refused(
    at_defaults: Owner,
) -> None:
    results: list[ChatResult] = []
    async with at_defaults.session() as og:
        for _ in range(15 * 3 + 1):
            results.append(await chat(og, f"Question {len(results)}"))
            at_defaults.advance(20)
    sessions = at_defaults.localnet.sessions()
    at_defaults.localnet.settle()

    # 45 % of 600 s are 270 s: fourteen chats a session.
    assert len(results) == 46
    assert len(sessions) == len({result.payment.cap_id for result in results}) == 4
    assert [one["status"] for one in at_defaults.localnet.settlements()] == ["settled"] * 4


@pytest.mark.parametrize(
    ("idle_s", "is_left"), [(45, False), (55, True)], ids=["in use", "close to 60 s"]
)
async def test_a_session_that_was_idle_for_close_to_a_minute_is_not_used_again(
    owner: Owner, idle_s: int, is_left: bool
) -> None:
    async with owner.session() as og:
        first = await chat(og, "first")
        owner.clock.ahead_s += idle_s
        second = await chat(og, "second")

    assert (first.payment.cap_id != second.payment.cap_id) is is_left


@pytest.mark.sweep(quick=2)
@pytest.mark.parametrize("deadline_s", [30, 600, 900, 3600])
async def test_a_session_is_used_for_45_percent_of_its_deadline(
    owner: Owner, deadline_s: int
) -> None:
    owner.localnet.terms(maxTimeoutSeconds=deadline_s)
    used_s, step_s = 0.45 * deadline_s, min(40.0, 0.2 * deadline_s)
    async with owner.session() as og:
        first = await chat(og, "first")
        passed = 0.0
        while passed + step_s < used_s - 5:
            owner.clock.ahead_s += step_s
            passed += step_s
            assert (await chat(og, f"after {passed}")).payment.cap_id == first.payment.cap_id
        owner.clock.ahead_s += used_s - passed
        last = await chat(og, "last")

    assert last.payment.cap_id != first.payment.cap_id


@pytest.mark.parametrize("deadline_s", [29, 3601])
async def test_a_deadline_that_is_too_near_or_too_far_is_never_signed(
    owner: Owner, deadline_s: int
) -> None:
    owner.localnet.terms(maxTimeoutSeconds=deadline_s)
    async with owner.session() as og:
        with pytest.raises(PaymentRefusedError, match="allowed are 30 to 3600") as refused:
            await chat(og)

    assert refused.value.stage is Stage.NOT_SENT


async def test_where_open_payments_alone_are_in_the_way_the_open_session_goes_on(
    owner: Owner,
) -> None:
    owner.localnet.terms(maxTimeoutSeconds=600)
    results: list[ChatResult] = []
    # Room for one authorization: none can be signed beside the open one.
    async with owner.session(OG_MAX_PER_DAY=opg(CAP + CAP // 2), OG_WAIT_S="1") as og:
        while len(results) < 12:
            results.append(await chat(og, f"Question {len(results)}"))
            dry = await chat(og, dry_run=True)
            owner.advance(40)
        # 480 s old: less than 150 s from its deadline, and settled by force on the other side.
        last = await chat(og, "last")

    assert {check.name: check.result for check in dry.checks}["caps"] == "ok"
    assert len({result.payment.cap_id for result in results}) == 1
    assert last.payment.cap_id != results[0].payment.cap_id


async def test_what_is_in_the_way_is_refused_with_the_time_at_which_it_frees(owner: Owner) -> None:
    owner.localnet.terms(maxTimeoutSeconds=600)
    async with owner.session(OG_MAX_PER_DAY=opg(CAP + CAP // 2), OG_WAIT_S="1") as og:
        await chat(og, "first")
        for _ in range(11):
            owner.clock.ahead_s += 40
            await chat(og, f"after {owner.clock.ahead_s}")
        # Its gateway's time stands still, so that it never settles.
        owner.clock.ahead_s += 40
        with pytest.raises(BudgetExceededError, match=r"until .* UTC at the latest") as refused:
            await chat(og, "last")
        with pytest.raises(BudgetExceededError, match=r"until .* UTC at the latest"):
            await chat(og, "last", dry_run=True)
        owner.advance(60)
        after = await chat(og, "after the settlement")

    assert refused.value.stage is Stage.NOT_SENT
    assert after.status == "done"


@pytest.mark.slow
async def test_a_settlement_that_comes_soon_is_waited_for(owner: Owner) -> None:
    async with (
        owner.session(OG_MAX_PER_DAY=opg(CAP + CAP // 2)) as og,
        anyio.create_task_group() as group,
    ):
        first = await chat(og, "first")
        owner.clock.ahead_s += 55

        async def settle_later() -> None:
            await anyio.sleep(2)
            owner.localnet.settle()

        group.start_soon(settle_later)
        second = await chat(og, "second")

    assert second.payment.cap_id != first.payment.cap_id


# A person is asked last, once nothing else is in the way.


ASKS: list[dict[str, Any]] = [
    {"tool": "chat", "model": MODEL, "messages": [{"role": "user", "content": "Who are you?"}]},
    {"tool": "completion", "model": MODEL, "prompt": "Once"},
    {"tool": "generate_image", "model": "openai/gpt-image-2", "prompt": "a boat"},
]


async def ask(og: Session, request: dict[str, Any]) -> object:
    arguments = dict(request)
    return await getattr(og, arguments.pop("tool"))(**arguments)


@pytest.mark.parametrize("request_", ASKS, ids=lambda one: str(one["tool"]))
@pytest.mark.parametrize(
    ("limits", "error"),
    [
        ({"OG_MAX_PER_CALL": "0.05"}, OPGCapError),
        ({"OG_MAX_PER_DAY": "0.05"}, BudgetExceededError),
    ],
    ids=["a call's cap", "the day's cap"],
)
async def test_a_cap_that_is_in_the_way_is_told_before_a_person_is_asked(
    purse: Purse, request_: dict[str, Any], limits: dict[str, str], error: type[OGError]
) -> None:
    async with purse.session(**limits, OG_CONFIRM_ABOVE="0") as og:
        with pytest.raises(error) as refused:
            await ask(og, request_)

    assert refused.value.stage is Stage.NOT_SENT
    assert paid(purse) == 0


@pytest.mark.parametrize("request_", ASKS, ids=lambda one: str(one["tool"]))
@pytest.mark.parametrize(
    ("funds", "error"),
    [(OPG // 20, InsufficientOPGError), (OPG, AllowanceError)],
    ids=["balance", "allowance"],
)
async def test_a_wallet_that_cannot_pay_is_told_before_a_person_is_asked(
    localnet: LocalNetwork,
    tmp_path: Path,
    request_: dict[str, Any],
    funds: int,
    error: type[OGError],
) -> None:
    poor = Purse(localnet, tmp_path)
    localnet.fund_opg(poor.address, funds)

    async with poor.session(OG_CONFIRM_ABOVE="0") as og:
        with pytest.raises(error):
            await ask(og, request_)


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        ({"OG_MAX_FEE_PER_CALL": TINY}, FeeCapError),
        ({"OG_MAX_FEE_PER_DAY": TINY}, BudgetExceededError),
    ],
    ids=["a call's cap", "the day's cap"],
)
async def test_fees_that_no_cap_allows_are_told_before_a_person_is_asked(
    purse: Purse, limits: dict[str, str], error: type[OGError]
) -> None:
    sample = purse.localnet.ready["sample_models"][0]
    async with purse.session(**limits, OG_CONFIRM_ABOVE="0") as og:
        with pytest.raises(error):
            await og.infer(sample["cid"], sample["model_input"])
        with pytest.raises(error):
            await og.approve_opg("1")


async def test_within_all_limits_a_person_is_asked(purse: Purse) -> None:
    sample = purse.localnet.ready["sample_models"][0]
    async with purse.session(OG_CONFIRM_ABOVE="0") as og:
        for request in ASKS:
            with pytest.raises(ApprovalRequiredError):
                await ask(og, request)
        with pytest.raises(ApprovalRequiredError):
            await og.infer(sample["cid"], sample["model_input"])
        with pytest.raises(ApprovalRequiredError):
            await og.approve_opg("1")
