"""What may be paid for is on record before, and followed to its end though its session closes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from threading import Event
from typing import Any

import anyio
import pytest
from anyio import from_thread
from PIL import Image
from x402 import x402ClientSync
from x402.schemas import PaymentAbortedError, PaymentRequired

from og_mcp.client import Session
from og_mcp.types import Stage
from tests.books import Purse
from tests.client.payments.chats import chat
from tests.lying_gateway import Answer, LyingGateway, lying_gateway

CHATS = "/v1/chat/completions"
PICTURE = "/picture.png"


@pytest.fixture
async def gateway(purse: Purse) -> AsyncIterator[LyingGateway]:
    async with lying_gateway(purse.localnet) as gateway:
        yield gateway


@asynccontextmanager
async def closing(og: Session) -> AsyncIterator[anyio.Event]:
    """Close a session beside what is done here; tells whether it has closed already."""
    closed = anyio.Event()

    async def close() -> None:
        await og.__aexit__(None, None, None)
        closed.set()

    async with anyio.create_task_group() as group:
        group.start_soon(close)
        await anyio.wait_all_tasks_blocked()
        yield closed


class Slow:
    """An answer of the gateway that is on its way until it is let go."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.arrived, self.may_come = anyio.Event(), anyio.Event()
        self._answer = answer

    async def __call__(self, answer: Answer) -> Answer:
        self.arrived.set()
        await self.may_come.wait()
        return self._answer or answer


async def test_a_session_that_closes_waits_for_the_answer_to_a_paid_request(
    purse: Purse, gateway: LyingGateway
) -> None:
    slow = Slow()
    og = purse.session()
    await chat(og, "What would it cost?", dry_run=True)
    gateway.on(slow, path=CHATS)
    await chat(og, "first", wait_s=0)
    await slow.arrived.wait()
    async with closing(og) as closed:
        closed_early = closed.is_set()
        slow.may_come.set()

    assert not closed_early


async def test_an_answer_that_has_come_is_settled_though_its_session_closes(
    purse: Purse, gateway: LyingGateway
) -> None:
    file = BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    slow = Slow(Answer(200, (("content-type", b"image/png"),), file.getvalue()))
    gateway.on(slow, path=PICTURE)
    [tee] = purse.localnet.tees()
    purse.localnet.spoil("http_images", body=tee["endpoint"] + PICTURE)
    og = purse.session()
    running = await og.generate_image("openai/gpt-image-2", "a boat", wait_s=0)
    # The answer is verified by then, and names what is fetched now.
    await slow.arrived.wait()
    async with closing(og):
        slow.may_come.set()
    async with purse.session() as later:
        told = await later.get_call(running.call_id)

    assert (told.status, told.stage) == ("done", Stage.CHARGED)
    assert [image["width"] for image in told.result["images"]] == [8]


class Held:
    """The package x402, which has its payment signed and then waits; it may refuse it after all."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, refuses: bool) -> None:
        self.signed, self.may_end = anyio.Event(), Event()
        create = x402ClientSync.create_payment_payload

        def held(client: x402ClientSync, challenge: PaymentRequired, **more: Any) -> object:  # noqa: ANN401 - as the package's
            payment = create(client, challenge, **more)
            from_thread.run_sync(self.signed.set)
            self.may_end.wait(30)
            if refuses:
                raise PaymentAbortedError("on second thoughts")
            return payment

        monkeypatch.setattr(x402ClientSync, "create_payment_payload", held)


async def test_a_payment_that_is_refused_once_it_was_signed_counts_no_more(
    purse: Purse, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch, refuses=True)
    async with purse.session() as og:
        running = await chat(og, "first", wait_s=0)
        await held.signed.wait()
        during = await og.list_calls()
        held.may_end.set()
        told = await og.get_call(running.call_id, wait_s=30)
        after = await og.list_calls()

    assert (told.status, told.stage) == ("failed", Stage.NOT_SENT)
    assert (during.open_opg, after.open_opg) == ("0.1", "0")


@pytest.mark.parametrize("refuses", [True, False], ids=["refused", "made"])
async def test_what_was_signed_counts_though_its_session_closes_and_nothing_else_does(
    purse: Purse, monkeypatch: pytest.MonkeyPatch, *, refuses: bool
) -> None:
    held = Held(monkeypatch, refuses=refuses)
    og = purse.session()
    running = await chat(og, "first", wait_s=0)
    await held.signed.wait()
    async with closing(og):
        held.may_end.set()
    async with purse.session() as later:
        told, listed = await later.get_call(running.call_id), await later.list_calls()

    expected = (Stage.NOT_SENT, "0") if refuses else (Stage.SENT_UNKNOWN, "0.1")
    assert (told.stage, listed.open_opg) == expected


async def test_a_call_is_on_record_as_paid_before_a_byte_of_it_leaves(
    purse: Purse, gateway: LyingGateway
) -> None:
    paid_by: list[str] = []

    async def look(answer: Answer) -> Answer:
        newest = (await purse.calls())[0]
        paid_by.append(newest.cap.id if newest.cap else "")
        return answer

    async with purse.session() as og:
        first = await chat(og, "It opens a session")
        gateway.on(look, path=CHATS)
        second = await chat(og, "second")

    assert paid_by == [first.payment.cap_id] == [second.payment.cap_id]
