"""Gateways that lie beside the answer: nothing is signed or lost more than that one call."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import AsyncIterator
from email.utils import formatdate

import pytest

from og_mcp.client import Session
from og_mcp.client.payments.gateway_session import SESSION_HEADER, SIGNATURE_HEADER
from og_mcp.client.tee.rejected_answer import SIGNED_FIELDS
from og_mcp.errors import AnswerLostError, GatewayClockError, OGError, VerificationError
from og_mcp.redaction import Redaction
from og_mcp.types import Stage
from tests.books import Purse
from tests.client.payments.chats import CAP, chat, paid
from tests.lying_gateway import (
    Lie,
    LyingGateway,
    document,
    drops,
    header,
    lying_gateway,
    whole,
    without_fields,
)

ODD_IDS = {
    "not ASCII": b"caf\xe9",
    "UTF-8": "sitzung-ü".encode(),
    "a tab within": b"a\tb",
    "too long": b"x" * 513,
    "empty": b"",
}


@pytest.fixture
async def gateway(purse: Purse) -> AsyncIterator[LyingGateway]:
    async with lying_gateway(purse.localnet) as gateway:
        yield gateway


async def open_opg(og: Session) -> int:
    """Sum up what is signed and has no end yet, base units."""
    journal = await (await og._resources()).journal.get()  # noqa: SLF001 - the one that signed
    return sum(cap.max_opg for cap in await journal.open_caps())


async def test_an_honest_gateway_behind_the_bench_is_as_any_other(
    purse: Purse, gateway: LyingGateway
) -> None:
    async with purse.session() as og:
        first, second = await chat(og, "first"), await chat(og, "second")

    assert first.verification.status == second.verification.status == "local"
    assert first.payment.cap_id == second.payment.cap_id
    assert [SIGNATURE_HEADER in sent for sent in gateway.received] == [False, True, False]
    assert SESSION_HEADER in gateway.received[-1]


async def test_t38_a_session_id_with_odd_bytes_opens_no_session(
    purse: Purse, gateway: LyingGateway
) -> None:
    paid_by = []
    async with purse.session() as og:
        for name, given in ODD_IDS.items():
            gateway.on(header(SESSION_HEADER, given))
            paid_by += [(await chat(og, f"{name}, {number}")).payment.cap_id for number in (1, 2)]
        listed = await og.list_calls()

    assert {call.status for call in listed.calls} == {"done"}
    assert len(set(paid_by)) == 2 * len(ODD_IDS)
    # Every payment is for one request: its id is never sent back.
    assert all(SESSION_HEADER not in sent for sent in gateway.received)


@pytest.mark.parametrize("given", [b"x" * 512, b"an id: with ~all! kinds"])
async def test_t38_a_session_id_of_printable_ascii_is_sent_back_as_it_came(
    purse: Purse, gateway: LyingGateway, given: bytes
) -> None:
    gateway.on(header(SESSION_HEADER, given))

    async with purse.session() as og:
        await chat(og, "first")
        gateway.on(drops)
        with pytest.raises(AnswerLostError):
            await chat(og, "second")

    assert gateway.received[-1][SESSION_HEADER].encode() == given


LIES: dict[str, Lie] = {
    "every signed field stripped": without_fields(*SIGNED_FIELDS),
    "every signed field empty": document(lambda told: told | dict.fromkeys(SIGNED_FIELDS, "")),
    "one signed field stripped": without_fields("tee_id"),
    "another text": document(
        lambda told: told | {"choices": [{"message": {"content": "Send all"}, "index": 0}]}
    ),
    "a list": document(lambda told: [told]),
    "a number": document(lambda _: 5),
    "a page": whole(b"<html>"),
    "nothing": whole(b""),
    "a number that JSON cannot carry": whole(b'{"choices": NaN}'),
    "a document without end": whole(b'{"choices": ' + b"[" * 100_000),
    "an unknown encoding": header("content-encoding", b"zstd"),
    "an encoding that it is not": header("content-encoding", b"gzip"),
    "a type that it is not": header("content-type", b"text/event-stream"),
    "silence": drops,
}


@pytest.mark.sweep(quick=4)
@pytest.mark.parametrize("name", LIES)
async def test_whatever_a_paid_gateway_answers_costs_one_signature_and_shows_nothing(
    purse: Purse, gateway: LyingGateway, name: str
) -> None:
    gateway.on(lambda answer: LIES[name](answer) if answer.status == 200 else answer)

    async with purse.session() as og:
        with pytest.raises(OGError) as failed:
            await chat(og, "first", idempotency_key="once")
        with pytest.raises(OGError):
            await chat(og, "first", idempotency_key="once")
        call = (await og.list_calls()).calls[0]
        open_ = await open_opg(og)

    assert failed.value.stage in {Stage.CHARGED, Stage.SENT_UNKNOWN}
    assert isinstance(failed.value, VerificationError) is (failed.value.stage is Stage.CHARGED)
    assert "unexpected" not in str(failed.value)
    assert "did not expect" not in str(failed.value)
    assert call.status == "failed"
    assert sum(SIGNATURE_HEADER in sent for sent in gateway.received) == 1
    assert open_ == CAP
    assert paid(purse) <= CAP


async def test_t29_a_payment_and_its_session_are_masked_in_logs_once_they_are_known(
    purse: Purse, gateway: LyingGateway
) -> None:
    log, logger = io.StringIO(), logging.getLogger("test")
    handler = logging.StreamHandler(log)
    handler.addFilter(Redaction())
    logger.addHandler(handler)
    async with purse.session() as og:
        await chat(og, "first")
        await chat(og, "second")
    names = (SIGNATURE_HEADER, SESSION_HEADER)
    secrets = [sent[name] for sent in gateway.received for name in names if name in sent]
    for secret in secrets:
        logger.warning("sent %s", secret)
    logger.removeHandler(handler)

    assert log.getvalue() == "sent [secret]\n" * 2


# Clocks


@pytest.mark.parametrize(("behind_s", "words"), [(1000, "ahead of"), (-1000, "behind")])
async def test_a_clock_that_is_wrong_is_found_before_paying(
    purse: Purse, gateway: LyingGateway, behind_s: int, words: str
) -> None:
    gateway.on(header("Date", formatdate(time.time() - behind_s, usegmt=True).encode()))

    async with purse.session() as og:
        with pytest.raises(GatewayClockError, match=f"s {words} its Date header") as failed:
            await chat(og, "first")
        with pytest.raises(GatewayClockError):
            await chat(og, "first", dry_run=True)
        open_ = await open_opg(og)
        gateway.honest()
        second = await chat(og, "second")

    assert failed.value.stage is Stage.NOT_SENT
    assert open_ == 0
    assert second.status == "done"


async def test_one_gateway_whose_clock_is_wrong_is_left_for_another(
    purse: Purse, gateway: LyingGateway
) -> None:
    purse.localnet.add_tee()
    gateway.on(header("Date", formatdate(0, usegmt=True).encode()))

    async with purse.session() as og:
        answers = [await chat(og, text) for text in ("first", "second")]

    assert [answer.status for answer in answers] == ["done", "done"]
    assert not any(SIGNATURE_HEADER in sent for sent in gateway.received)


async def test_a_date_that_cannot_be_read_tells_nothing(
    purse: Purse, gateway: LyingGateway
) -> None:
    for date in (b"", b"soon", b"Thu, 99 Foo 99999 99:99:99 GMT", b"\xff", b"9" * 1000):
        gateway.on(header("Date", date))
        async with purse.session() as og:
            assert (await chat(og, f"at {date!r}")).status == "done"


# Unexpected errors


async def test_an_unexpected_error_is_told_as_one_and_as_perhaps_paid_where_something_left(
    purse: Purse, gateway: LyingGateway
) -> None:
    async def broken(_count: int) -> None:
        raise ZeroDivisionError

    async with purse.session() as og:
        with pytest.raises(OGError, match="did not expect") as failed:
            await chat(og, "first", on_progress=broken)
        open_ = await open_opg(og)

    assert SIGNATURE_HEADER in gateway.received[-1]
    assert failed.value.stage is Stage.SENT_UNKNOWN
    assert open_ == CAP


ENDPOINTS = [
    "https://[::1",
    "https://exa mple",
    "not a url",
    "https://127.0.0.1:99999999",
    "https://",
    "https://caf\u00e9\ud7ff.example",
    "https://127.0.0.1:1/\r\nX: y",
    "https://" + "a" * 300 + ".example",
]


async def test_a_registered_endpoint_that_is_none_ends_before_the_first_byte(purse: Purse) -> None:
    for endpoint in ENDPOINTS:
        purse.localnet.change_tee(endpoint=endpoint)
        async with purse.session() as og:
            with pytest.raises(OGError) as failed:
                await chat(og, "first")
            open_ = await open_opg(og)

        assert failed.value.stage is Stage.NOT_SENT, endpoint
        assert "did not expect" not in str(failed.value)
        assert open_ == 0


async def test_t38_an_error_before_the_first_byte_is_not_sent(
    purse: Purse, gateway: LyingGateway
) -> None:
    async with purse.session() as og:
        first = await chat(og, "first")
        payments = await (await og._resources()).payments.get()  # noqa: SLF001 - where the id is kept
        (line,) = payments._slots.values()  # noqa: SLF001 - as above
        assert line.session is not None
        # What the answers' reader lets through no more.
        line.session.id = "sitzung-ü"
        asked = len(gateway.received)
        with pytest.raises(OGError, match="did not expect") as failed:
            await chat(og, "second")
        calls = (await og.list_calls()).calls
        open_ = await open_opg(og)

    assert len(gateway.received) == asked
    assert failed.value.stage is Stage.NOT_SENT
    failed_call = next(call for call in calls if call.call_id == failed.value.call_id)
    assert (failed_call.stage, failed_call.payment.cap_id) == (Stage.NOT_SENT, "")
    # The first call's payment stands, as it has left.
    assert first.payment.cap_id
    assert open_ == CAP
