"""Another TEE is asked only before anything of a payment has left (threats.md T9)."""

from __future__ import annotations

import sqlite3
from contextlib import suppress

import anyio
import pytest
from anyio import to_thread

from og_mcp.errors import (
    AnswerLostError,
    ApprovalRequiredError,
    GatewayRejectedError,
    OGError,
    PaymentRejectedError,
    ServiceUnreachableError,
)
from og_mcp.types import ChatResult, Stage
from tests.books import Purse
from tests.client.payments.chats import (
    CAP,
    CHAT,
    MODEL,
    OPG,
    chat,
    of_payer,
    paid,
    settled,
    units,
)

MANY = 20


def requests(purse: Purse, service: str) -> int:
    return sum(purse.localnet.counters(service)["calls"].values())


def statuses(purse: Purse) -> dict[str, str]:
    """Return nonce -> status of every signed maximum, as it is in the database."""
    with sqlite3.connect(purse.folder / "data" / "journal.db") as database:
        return dict(database.execute("SELECT nonce, status FROM caps"))


def challenged(purse: Purse) -> int:
    """Count the challenges of the gateway."""
    return purse.localnet.payment_counters().get("challenges", 0)


async def allow(purse: Purse, amount: str) -> None:
    """Set the allowance, by a session of its own."""
    async with purse.session() as og:
        with pytest.raises(ApprovalRequiredError) as asked:
            await og.approve_opg(amount)
        await og.approve(asked.value.approval_of)
        await og.approve_opg(amount)


@pytest.mark.slow
@pytest.mark.parametrize("paid_before", [True, False], ids=["paid before", "asked before"])
async def test_t9_a_closed_port_costs_nothing_and_all_go_to_another_tee(
    purse: Purse, *, paid_before: bool
) -> None:
    async with purse.session() as og:
        if paid_before:
            await chat(og, "first")
        else:
            # Its price is known; whether it keeps sessions is not.
            await og.chat(MODEL, [{"role": "user", "content": "first"}], dry_run=True)
    before = paid(purse)
    other = purse.localnet.add_tee()
    purse.localnet.close_service("gateway")
    results: list[ChatResult] = []

    async def one(number: int) -> None:
        results.append(await chat(og, f"Question {number}"))

    async with purse.session() as og:
        async with anyio.create_task_group() as group:
            for number in range(MANY):
                group.start_soon(one, number)
        opened = of_payer(purse, purse.localnet.sessions())
        spent = paid(purse)
        await og.status()
        listed = await og.list_calls()

    assert {result.verification.tee_id for result in results} == {other["tee_id"]}
    assert len({result.payment.cap_id for result in results}) == 1
    assert len(opened) == 1 + paid_before
    assert sum(settled(purse)) == spent > before
    assert (listed.open_opg, units(listed.spent_opg)) == ("0", spent)
    nonces = {one["nonce"] for one in of_payer(purse, purse.localnet.settlements())}
    assert {nonce for nonce, status in statuses(purse).items() if status != "void"} == nonces


@pytest.mark.slow
@pytest.mark.parametrize("under", ["a session", "a signature"])
async def test_t9_no_other_tee_is_asked_once_a_payment_has_left(purse: Purse, under: str) -> None:
    async with purse.session() as og:
        await chat(og, "first")
        if under == "a signature":
            purse.localnet.settle()
            await og.status()
        other = purse.localnet.add_tee()
        purse.localnet.reset_counters(other["service"])
        purse.localnet.fault(CHAT, "drop", service="gateway")
        with pytest.raises(AnswerLostError) as failed:
            await chat(og, "second")

    assert failed.value.stage is Stage.SENT_UNKNOWN
    assert requests(purse, other["service"]) == 0


async def test_a_payment_that_no_gateway_was_there_to_take_counts_no_more(purse: Purse) -> None:
    async with purse.session() as og:
        # The price is known then, so that the first request is the one that pays.
        await chat(og, "What would it cost?", dry_run=True)
        purse.localnet.close_service("gateway")
        with pytest.raises(ServiceUnreachableError) as failed:
            await chat(og)
        listed = await og.list_calls()

    assert failed.value.stage is Stage.NOT_SENT
    assert list(statuses(purse).values()) == ["void"]
    assert listed.open_opg == "0"


async def test_a_payment_that_has_left_stays_on_record_where_the_next_request_finds_nobody(
    purse: Purse,
) -> None:
    async with purse.session() as og:
        await chat(og, "What would it cost?", dry_run=True)
        purse.localnet.fault(CHAT, "drop", service="gateway")
        with pytest.raises(AnswerLostError):
            await chat(og, "first")
        # The next one would join the session that the same payment may have opened.
        purse.localnet.close_service("gateway")
        with pytest.raises(ServiceUnreachableError) as failed:
            await chat(og, "second")
        listed = await og.list_calls()

    assert failed.value.stage is Stage.NOT_SENT
    assert list(statuses(purse).values()) == ["open"]
    assert listed.open_opg == "0.1"


async def test_t9_no_other_tee_is_asked_where_a_paid_request_was_refused(purse: Purse) -> None:
    async with purse.session() as og:
        await chat(og, "first")
        other = purse.localnet.add_tee()
        purse.localnet.reset_counters(other["service"])
        purse.localnet.fault(CHAT, "status", service="gateway", status=503)
        with pytest.raises(GatewayRejectedError, match="503") as failed:
            await chat(og, "second")

    assert failed.value.stage is Stage.SENT_UNKNOWN
    assert requests(purse, other["service"]) == 0


async def test_a_gateway_that_took_a_signature_and_answers_nothing_is_not_asked_next(
    purse: Purse,
) -> None:
    """Else one that keeps what it is given could be given the whole day's cap."""
    async with purse.session() as og:
        first = await chat(og, "first")
    other = purse.localnet.add_tee()
    purse.localnet.refuse_payments(1)
    async with purse.session() as og:
        with pytest.raises(PaymentRejectedError):
            await chat(og, "second")
        third = await chat(og, "third")

    assert first.verification.tee_id != third.verification.tee_id == other["tee_id"]


async def test_a_higher_price_that_needs_an_approval_is_told_where_a_payment_has_left(
    purse: Purse,
) -> None:
    async with purse.session(OG_CONFIRM_ABOVE="0.1") as og:
        await chat(og, "first")
        purse.localnet.settle()
        await og.status()
        purse.localnet.terms(amount=str(4 * CAP))
        with pytest.raises(
            PaymentRejectedError, match=r"0\.4 OPG, which needs an approval"
        ) as failed:
            await chat(og, "second")
        with pytest.raises(ApprovalRequiredError) as asked:
            await chat(og, "third")
        await og.approve(asked.value.approval_of)
        third = await chat(og, "third")

    assert failed.value.stage is Stage.SENT_UNKNOWN
    assert third.payment.max_opg == "0.4"


async def test_a_higher_price_that_no_cap_allows_is_told_where_a_payment_has_left(
    purse: Purse,
) -> None:
    async with purse.session(OG_CONFIRM_ABOVE="0.1", OG_MAX_PER_CALL="0.45") as og:
        await chat(og, "first")
        purse.localnet.settle()
        await og.status()
        # Below the cap by itself; with what was signed for the call before, above it.
        purse.localnet.terms(amount=str(4 * CAP))
        with pytest.raises(PaymentRejectedError, match=r"0\.4 OPG, which was not signed") as failed:
            await chat(og, "second")

    assert failed.value.stage is Stage.SENT_UNKNOWN
    assert "0.5 OPG, above the cap of 0.45 OPG that OG_MAX_PER_CALL sets" in str(failed.value)
    assert "Up to 0.1 OPG stay set aside" in str(failed.value)


@pytest.mark.slow
async def test_t9_no_other_tee_is_asked_where_an_earlier_payment_of_the_call_has_left(
    purse: Purse,
) -> None:
    await allow(purse, "0.3")
    ended: list[OGError] = []

    async def one() -> None:
        try:
            await chat(og, "second")
        except OGError as exc:
            ended.append(exc)

    async with purse.session(OG_CONFIRM_ABOVE="1") as og:
        await chat(og, "first")
        purse.localnet.settle()
        await og.status()
        await allow(purse, "50")
        other = purse.localnet.add_tee()
        purse.localnet.reset_counters(other["service"])
        # More than the allowance that was read: it is read again before the second signature.
        purse.localnet.terms(amount=str(4 * CAP))
        purse.localnet.fault("eth_call", "delay", service="base_rpc", delay_s=1.5)
        challenges = challenged(purse)
        async with anyio.create_task_group() as group:
            group.start_soon(one)
            with anyio.fail_after(20):
                # Asked for more, it reads what the wallet holds; its gateway goes meanwhile.
                while challenged(purse) == challenges:  # noqa: ASYNC110 - another process counts
                    await anyio.sleep(0.02)
            purse.localnet.close_service("gateway")
        told = await og.get_call(ended[0].call_id)

    assert isinstance(ended[0], PaymentRejectedError)
    assert ended[0].stage is told.stage is Stage.SENT_UNKNOWN
    assert told.payment.max_opg == "0.1"
    assert requests(purse, other["service"]) == 0


@pytest.mark.slow
async def test_t9_a_gateway_that_comes_and_goes_takes_nothing_that_the_journal_calls_void(
    purse: Purse,
) -> None:
    async with purse.session(OG_MAX_PER_DAY="45") as og:
        await chat(og, "first")
        ended = anyio.Event()

        async def one(number: int) -> None:
            # It fails where the gateway is gone in this moment.
            with suppress(OGError):
                await chat(og, f"Question {number}")

        async def come_and_go() -> None:
            while not ended.is_set():
                await to_thread.run_sync(purse.localnet.close_service, "gateway")
                await anyio.sleep(0.005)
                await to_thread.run_sync(purse.localnet.open_service, "gateway")
                await anyio.sleep(0.01)

        async with anyio.create_task_group() as group:
            group.start_soon(come_and_go)
            for burst in range(15):
                async with anyio.create_task_group() as chats:
                    for number in range(MANY):
                        chats.start_soon(one, burst * MANY + number)
            ended.set()
        spent = paid(purse)
        await og.status()
        listed = await og.list_calls()

    settlements = of_payer(purse, purse.localnet.settlements())
    found = statuses(purse)
    assert {found[one["nonce"]] for one in settlements} == {"settled"}
    assert units(listed.spent_opg) == sum(settled(purse)) == spent
    assert units(listed.open_opg) <= 45 * OPG
