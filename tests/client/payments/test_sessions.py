"""Payment sessions: ended, settled, changed or replayed, each is handled once."""

from __future__ import annotations

import anyio
import pytest

from og_mcp.client import Session, Timeouts
from og_mcp.errors import AnswerLostError, PaymentRefusedError, PaymentRejectedError
from og_mcp.types import ChatResult, Stage
from tests.books import Purse
from tests.client.payments.chats import CAP, CHAT, chat, of_payer, paid, settled, units

NOWHERE = "0x" + "22" * 20


def asked(purse: Purse) -> int:
    """Count the requests since the counters were reset."""
    return sum(purse.localnet.counters("gateway")["calls"].values())


async def open_caps(og: Session) -> list[int]:
    """Return what is signed and has no end yet."""
    journal = await (await og._resources()).journal.get()  # noqa: SLF001 - the one that signed
    return [cap.max_opg for cap in await journal.open_caps()]


async def test_an_ended_session_is_followed_by_one_signature_and_one_more_request(
    purse: Purse,
) -> None:
    async with purse.session() as og:
        first = await chat(og, "first")
        purse.localnet.end_sessions()
        purse.localnet.reset_counters("gateway")
        second = await chat(og, "second")
        third = await chat(og, "third")

    # The session's 402 asks for nothing (no PAYMENT-REQUIRED); what is known is signed.
    assert asked(purse) == 3
    assert first.payment.cap_id != second.payment.cap_id == third.payment.cap_id
    assert len(of_payer(purse, purse.localnet.sessions())) == 2


async def test_a_session_that_the_chain_shows_as_settled_is_not_used_again(purse: Purse) -> None:
    async with purse.session() as og:
        first = await chat(og, "first")
        purse.localnet.settle()
        await og.status()
        second = await chat(og, "second")
        spent = paid(purse)
        await og.status()
        listed = await og.list_calls()

    assert first.payment.cap_id != second.payment.cap_id
    assert (listed.open_opg, units(listed.spent_opg)) == ("0", spent)
    assert sum(settled(purse)) == spent


async def test_a_changed_price_of_an_open_session_is_signed_for_once(purse: Purse) -> None:
    async with purse.session() as og:
        await chat(og, "first")
        purse.localnet.settle()
        await og.status()
        purse.localnet.terms(amount=str(CAP // 2))
        purse.localnet.reset_counters("gateway")
        changed = await chat(og, "second")
        await chat(og, "third")
        open_ = await open_caps(og)

    # The remembered price, the new one, and the session that it opened.
    assert asked(purse) == 3
    assert changed.payment.max_opg == "0.05"
    assert sorted(open_) == [CAP // 2, CAP]


async def test_a_price_that_changes_with_every_challenge_is_signed_for_twice_at_most(
    purse: Purse,
) -> None:
    async with purse.session() as og:
        await chat(og, "first")
        purse.localnet.settle()
        await og.status()
        purse.localnet.terms(amount=str(CAP // 2))
        purse.localnet.terms(after_challenges=1, amount=str(CAP // 4))
        purse.localnet.reset_counters("gateway")
        with pytest.raises(PaymentRejectedError) as failed:
            await chat(og, "second")
        open_ = await open_caps(og)

    assert asked(purse) == 2
    assert failed.value.stage is Stage.SENT_UNKNOWN
    # Both signatures have left, so both stay exposure.
    assert sorted(open_) == [CAP // 2, CAP]


async def test_what_may_not_be_signed_any_more_is_told_and_never_signed_up_front_again(
    purse: Purse,
) -> None:
    async with purse.session() as og:
        await chat(og, "first")
        purse.localnet.settle()
        await og.status()
        purse.localnet.terms(payTo=NOWHERE)
        with pytest.raises(PaymentRejectedError, match="recipient") as failed:
            await chat(og, "second")
        for number in range(3):
            with pytest.raises(PaymentRefusedError, match="recipient") as refused:
                await chat(og, f"again {number}")
            assert refused.value.stage is Stage.NOT_SENT
        open_ = await open_caps(og)

    # The remembered price was signed for before the gateway said that it wants another recipient.
    assert failed.value.stage is Stage.SENT_UNKNOWN
    assert open_ == [CAP]


@pytest.mark.parametrize("sessions", [True, False])
async def test_a_payment_whose_answer_was_lost_pays_once_more_only_where_it_opened_a_session(
    purse: Purse, *, sessions: bool
) -> None:
    purse.localnet.payment_mode(sessions=sessions)
    async with purse.session() as og:
        purse.localnet.fault(CHAT, "drop", service="gateway", when="after", skip=1)
        with pytest.raises(AnswerLostError) as lost:
            await chat(og, "first")
        second = await chat(og, "second")
        told = await og.get_call(lost.value.call_id)
        spent = paid(purse)

    if sessions:
        # The very same payment: it joins the session that it has opened.
        assert second.payment.cap_id == told.payment.cap_id
        assert len(settled(purse)) == 1
    else:
        # A gateway that takes it for one request refuses it for another.
        assert second.payment.cap_id != told.payment.cap_id
        assert len(settled(purse)) == 2
    assert sum(settled(purse)) == spent


@pytest.mark.slow
async def test_a_session_is_left_well_before_its_deadline(purse: Purse) -> None:
    purse.localnet.terms(maxTimeoutSeconds=30)
    async with purse.session() as og:
        first = await chat(og, "first")
        second = await chat(og, "second")
        # 0.45 of the time to the deadline; 130 s of the public gateway's 300.
        await anyio.sleep(13.6)
        third = await chat(og, "third")

    assert first.payment.cap_id == second.payment.cap_id
    assert third.payment.cap_id != first.payment.cap_id


@pytest.mark.slow
async def test_calls_that_waited_too_long_for_a_session_to_open_open_another(
    purse: Purse,
) -> None:
    purse.localnet.terms(maxTimeoutSeconds=30)
    results: list[ChatResult] = []

    async with purse.session(Timeouts(gateway_s=15.0)) as og:
        # With the price known, the first request is the payment; nothing comes back for it until
        # the session is old.
        await chat(og, "What would it cost?", dry_run=True)
        purse.localnet.fault(CHAT, "hang", service="gateway", limit_s=20.0)

        async def one(text: str) -> None:
            results.append(await chat(og, text))

        async def lost() -> None:
            with pytest.raises(AnswerLostError):
                await chat(og, "first")

        async with anyio.create_task_group() as group:
            group.start_soon(lost)
            group.start_soon(one, "second")
            group.start_soon(one, "third")
        open_ = await open_caps(og)

    assert len(results) == 2
    assert len({result.payment.cap_id for result in results}) == 1
    assert open_ == [CAP, CAP]
