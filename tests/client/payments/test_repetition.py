"""After a gateway's own error the same call goes under the same payment, and under no other."""

from __future__ import annotations

import sqlite3
from itertools import product
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from og_mcp.client import Session, Timeouts
from og_mcp.errors import (
    AlreadySentError,
    AnswerLostError,
    GatewayRejectedError,
    OGError,
    RepetitionError,
)
from og_mcp.settings import Settings
from og_mcp.types import Stage
from tests.books import Purse
from tests.client.payments.chats import CHAT, chat, of_payer, paid, settled, units
from tests.localnet_client import running

STATUSES = [400, 404, 413, 451, 500, 502, 503, 504]
WORDS = {
    400: "refused the request",
    404: "does not have what was asked for",
    413: "larger than the gateway",
    451: "moderation of the gateway",
    500: "itself failed",
    502: "provider failed behind",
    503: "cannot answer just now",
    504: "did not answer the gateway",
}


def refuse(purse: Purse, status: int = 503, **more: Any) -> None:  # noqa: ANN401 - fields of a fault
    """Let the gateway answer with an error of its own."""
    given = {"how": "refuse", "retryable": False} | more
    purse.localnet.fault(CHAT, "spoil", service="gateway", status=status, **given)


def requests(purse: Purse) -> int:
    return sum(purse.localnet.counters("gateway")["calls"].values())


def signatures(purse: Purse) -> int:
    """Count what was ever signed."""
    with sqlite3.connect(purse.folder / "data" / "journal.db") as database:
        ((count,),) = database.execute("SELECT count(*) FROM caps").fetchall()
    return int(count)


async def _ignore(_count: int) -> None:
    """Hear progress: the answer is streamed then."""


@pytest.mark.parametrize("key", ["", "mine"])
async def test_after_an_error_that_repeating_does_not_help_the_same_chat_works_at_once(
    purse: Purse, key: str
) -> None:
    async with purse.session() as og:
        await chat(og, "first")
        for status in STATUSES:
            same = {"text": f"refused by {status}", "idempotency_key": key and f"{key} {status}"}
            purse.localnet.reset_counters("gateway")
            refuse(purse, status)
            with pytest.raises(GatewayRejectedError, match=WORDS[status]) as failed:
                await chat(og, **same)
            result = await chat(og, **same)
            told = await og.get_call(result.call_id)

            assert (failed.value.stage, failed.value.may_retry) == (Stage.SENT_UNKNOWN, False)
            assert "may be repeated" in str(failed.value)
            # One record, one authorization, and the answer asked for once and again.
            assert result.call_id == failed.value.call_id
            assert (told.status, told.stage) == ("done", Stage.CHARGED)
            assert (requests(purse), signatures(purse)) == (2, 1)
        spent = paid(purse)

    assert settled(purse) == [spent]


@pytest.mark.sweep(quick=2)
@pytest.mark.parametrize("status", STATUSES)
async def test_an_error_that_repeating_may_help_is_repeated_by_itself_once(
    purse: Purse, status: int
) -> None:
    async with purse.session() as og:
        await chat(og, "first")
        purse.localnet.reset_counters("gateway")
        refuse(purse, status, retryable=True)
        by_itself = await chat(og, "second")
        refuse(purse, status, retryable=True, times=2)
        with pytest.raises(GatewayRejectedError) as failed:
            await chat(og, "third")
        third = await chat(og, "third")
        signed = signatures(purse)

    assert by_itself.status == third.status == "done"
    assert failed.value.may_retry
    assert third.call_id == failed.value.call_id
    assert (requests(purse), signed) == (2 + 3, 1)


@pytest.mark.parametrize("retryable", [True, False])
async def test_an_error_in_mid_stream_says_what_happened_and_is_repeated_alike(
    purse: Purse, *, retryable: bool
) -> None:
    async with purse.session() as og:
        refuse(purse, 503, how="refuse_midway", retryable=retryable, times=1 + retryable)
        with pytest.raises(GatewayRejectedError) as failed:
            await chat(og, on_progress=_ignore)
        result = await chat(og, on_progress=_ignore)
        signed = signatures(purse)

    told = str(failed.value)
    assert "ended its answer with an error of the model's provider (status 429)" in told
    assert "answered 200" not in told
    assert (result.call_id, signed) == (failed.value.call_id, 1)


async def test_where_there_is_no_time_left_nothing_is_repeated_by_itself(purse: Purse) -> None:
    async with purse.session() as og:
        await chat(og, "first")
        purse.localnet.reset_counters("gateway")
        refuse(purse, retryable=True)
        with pytest.raises(GatewayRejectedError):
            await chat(og, "second", wait_s=0.9)

    assert requests(purse) == 1


async def test_a_call_is_sent_five_times_at_most(purse: Purse) -> None:
    async with purse.session() as og:
        await chat(og, "first")
        purse.localnet.reset_counters("gateway")
        refuse(purse, times=10)
        for number in range(1, 6):
            with pytest.raises(GatewayRejectedError) as failed:
                await chat(og, "second", idempotency_key="mine")
            left = f"up to {5 - number} more times" if number < 5 else "sent 5 times and is not"
            assert left in str(failed.value)
        for _ in range(2):
            with pytest.raises(AlreadySentError):
                await chat(og, "second", idempotency_key="mine")
        purse.localnet.clear_faults("gateway")
        listed = await og.list_calls()
        signed = signatures(purse)

    assert (requests(purse), signed) == (5, 1)
    assert [call.tool for call in listed.calls].count("chat") == 2


async def test_two_who_repeat_it_at_once_send_it_once(purse: Purse) -> None:
    async with purse.session() as og:
        await chat(og, "first")
        refuse(purse)
        with pytest.raises(GatewayRejectedError):
            await chat(og, "second")
        purse.localnet.reset_counters("gateway")
        found: list[str] = []

        async def one() -> None:
            found.append((await chat(og, "second")).call_id)

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(one)

    assert (len(found), len(set(found))) == (3, 1)
    assert requests(purse) == 1


@pytest.mark.sweep(quick=2)
@pytest.mark.parametrize(
    ("how", "streams"), [("cut", False), ("cut", True), ("error_frame", True), ("not_json", False)]
)
async def test_what_is_not_the_gateway_s_own_error_stays_refused(
    purse: Purse, how: str, *, streams: bool
) -> None:
    counted = _ignore if streams else None
    async with purse.session() as og:
        await chat(og, "first")
        purse.localnet.reset_counters("gateway")
        purse.localnet.fault(CHAT, "spoil", service="gateway", how=how)
        with pytest.raises((AnswerLostError, GatewayRejectedError)) as failed:
            await chat(og, "second", on_progress=counted)
        with pytest.raises(AlreadySentError):
            await chat(og, "second", on_progress=counted)

    assert isinstance(failed.value, OGError)
    assert not failed.value.may_retry
    assert requests(purse) == 1


async def test_a_repetition_whose_answer_is_lost_is_not_repeated(purse: Purse) -> None:
    async with purse.session(Timeouts(gateway_s=1.0)) as og:
        await chat(og, "first")
        refuse(purse)
        with pytest.raises(GatewayRejectedError):
            await chat(og, "second")
        purse.localnet.reset_counters("gateway")
        purse.localnet.fault(CHAT, "hang", service="gateway", limit_s=3.0)
        with pytest.raises(AnswerLostError):
            await chat(og, "second")
        with pytest.raises(AlreadySentError):
            await chat(og, "second")
        signed = signatures(purse)

    assert (requests(purse), signed) == (1, 1)


async def test_another_process_does_not_have_the_payment_and_refuses(purse: Purse) -> None:
    async with purse.session() as og:
        refuse(purse)
        with pytest.raises(GatewayRejectedError):
            await chat(og, "second", idempotency_key="mine")
    purse.localnet.reset_counters("gateway")
    async with purse.session() as og:
        for key in ("mine", ""):
            with pytest.raises(AlreadySentError):
                await chat(og, "second", idempotency_key=key)
        signed = signatures(purse)

    assert (requests(purse), signed) == (0, 1)


async def test_a_session_that_has_ended_ends_the_call_and_nothing_is_signed(purse: Purse) -> None:
    async with purse.session() as og:
        await chat(og, "first")
        refuse(purse)
        with pytest.raises(GatewayRejectedError) as first:
            await chat(og, "second")
        purse.localnet.end_sessions()
        with pytest.raises(RepetitionError, match="not take the payment any more") as failed:
            await chat(og, "second")
        with pytest.raises(AlreadySentError):
            await chat(og, "second")
        signed = signatures(purse)
        third = await chat(og, "third")

    assert failed.value.call_id == first.value.call_id
    assert failed.value.stage is Stage.SENT_UNKNOWN
    assert signed == 1
    assert third.status == "done"


@pytest.mark.parametrize("is_taken", [True, False])
async def test_without_sessions_the_very_same_signature_goes_again(
    purse: Purse, *, is_taken: bool
) -> None:
    purse.localnet.payment_mode(sessions=False)
    async with purse.session() as og:
        await chat(og, "first")
        before = signatures(purse)
        refuse(purse)
        with pytest.raises(GatewayRejectedError):
            await chat(og, "second")
        if is_taken:
            await chat(og, "second")
        else:
            purse.localnet.refuse_payments(1)
            with pytest.raises(RepetitionError):
                await chat(og, "second")
            with pytest.raises(AlreadySentError):
                await chat(og, "second")
        signed = signatures(purse)
        settlements = of_payer(purse, purse.localnet.settlements())

    assert signed == before + 1
    assert len(settlements) == 1 + is_taken
    assert len({one["nonce"] for one in settlements}) == len(settlements)


async def test_a_call_that_was_paid_for_is_repeated_at_no_other_tee(purse: Purse) -> None:
    async with purse.session() as og:
        refuse(purse)
        with pytest.raises(GatewayRejectedError):
            await chat(og, "first")
        other = purse.localnet.add_tee()
        purse.localnet.close_service("gateway")
        with pytest.raises(RepetitionError, match="another gateway would have to be paid anew"):
            await chat(og, "first")

    assert sum(purse.localnet.counters(other["service"])["calls"].values()) == 0


async def test_a_gateway_that_is_gone_for_a_moment_may_be_asked_again(purse: Purse) -> None:
    async with purse.session() as og:
        await chat(og, "first")
        refuse(purse)
        with pytest.raises(GatewayRejectedError):
            await chat(og, "second")
        await to_thread.run_sync(purse.localnet.close_service, "gateway")
        # The end of the connection that was kept has to be seen.
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(RepetitionError, match="cannot be reached"):
            await chat(og, "second")
        purse.localnet.open_service("gateway")
        result = await chat(og, "second")
        signed = signatures(purse)

    assert (result.status, signed) == ("done", 1)


@pytest.mark.slow
async def test_at_the_defaults_every_error_is_followed_by_an_answer_under_one_authorization(
    tmp_path: Path,
) -> None:
    with running() as network:
        environ = {**network.environ, "OG_DATA_DIR": str(tmp_path)}
        async with Session(Settings.from_env(environ)) as og:
            results = [await chat(og, "first")]
            for status, retryable in product(STATUSES, (True, False)):
                text = f"{status} {retryable}"
                network.spoil("refuse", status=status, retryable=retryable, times=1 + retryable)
                with pytest.raises(GatewayRejectedError):
                    await chat(og, text)
                results.append(await chat(og, text))
            sessions = network.sessions()
            (settled_,) = network.settle()

    assert {result.payment.max_opg for result in results} == {"5"}
    assert len({result.payment.cap_id for result in results}) == len(sessions) == 1
    assert int(settled_["amount"]) == sum(units(result.cost.opg) for result in results)
