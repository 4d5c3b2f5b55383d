"""A process that dies while it pays: nothing is paid again, and its payment is followed to its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import anyio
import pytest

from og_mcp.calls import Journal
from og_mcp.client import Session
from og_mcp.errors import AlreadySentError, CallFailedError
from og_mcp.journal import open_journal
from og_mcp.types import Call, Stage
from tests import journal_worker
from tests.books import Purse
from tests.client.payments.chats import CAP, CHAT, MODEL, chat, of_payer, paid
from tests.test_crash import endless

KEY: Final = "pay once"
TEXT: Final = "Who are you?"


@dataclass(frozen=True)
class Step:
    """A moment of a paid call at which its process is killed."""

    stage: Stage
    """Where the call ends."""

    signed: bool
    """Whether the journal holds a payment at that moment."""

    fault: tuple[str, int] = ("", 0)
    """Whether the gateway hangs before or after it carries a request out, and which request."""

    before: str = ""
    """Journal: the change of a call that never ends, as the condition of a trigger."""

    charged: bool = False
    """Whether the gateway has charged the answer."""


STEPS: Final = {
    "while the gateway is asked what it wants": Step(
        Stage.NOT_SENT, signed=False, fault=("before", 0)
    ),
    "before the payment is on record": Step(
        Stage.NOT_SENT, signed=False, before="NEW.stage = 'sent_unknown'"
    ),
    "after the payment is sent, before it is carried out": Step(
        Stage.SENT_UNKNOWN, signed=True, fault=("before", 1)
    ),
    "after the answer is charged, before it arrives": Step(
        Stage.SENT_UNKNOWN, signed=True, fault=("after", 1), charged=True
    ),
    "after the answer is verified, before it is on record": Step(
        Stage.SENT_UNKNOWN, signed=True, before="NEW.status = 'done'", charged=True
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
async def test_a_chat_is_paid_once_when_its_process_is_killed(name: str, purse: Purse) -> None:
    step = STEPS[name]
    killed = await killed_at(step, purse)
    purse.localnet.clear_faults("gateway")
    purse.localnet.reset_counters("gateway")

    async with purse.session() as og, open_journal(purse.settings()) as journal:
        await journal.wait(killed.id, killed.principal, 30.0)
        repeated = await repeat(og)
        requests = sum(purse.localnet.counters("gateway")["calls"].values())
        before = paid(purse)
        found = await og.get_call(killed.id)
        open_opg = (await og.list_calls()).open_opg

    sessions = of_payer(purse, purse.localnet.sessions())
    if step.stage is Stage.NOT_SENT:
        # Nothing had left: the same key is the same call, tried again.
        assert (repeated, found.status, len(sessions)) == (killed.id, "done", 1)
    else:
        assert (repeated, found.status, found.stage) == (killed.id, "failed", step.stage)
        assert requests == 0
        assert len(sessions) == step.charged
        assert found.payment.max_opg == "0.1"
        assert (found.payment.amount_opg != "") == step.charged
        assert open_opg == ("0" if step.charged else "0.1")
    assert (before > 0) == (step.charged or step.stage is Stage.NOT_SENT)
    assert before < CAP


@pytest.mark.slow
async def test_a_chat_whose_process_is_killed_while_it_repeats_itself_is_not_sent_again(
    purse: Purse,
) -> None:
    localnet = purse.localnet
    localnet.reset_counters("gateway")
    localnet.spoil("refuse", status=503, retryable=True)
    # What asks for the price, the refused request, and its repetition.
    localnet.fault(CHAT, "hang", service="gateway", skip=2)
    async with open_journal(purse.settings()) as journal:
        with journal_worker.running(purse.environ) as worker:
            worker.ask_chat(MODEL, TEXT, key=KEY)
            with anyio.fail_after(60):
                while localnet.pending_faults("gateway"):  # noqa: ASYNC110 - another process counts
                    await anyio.sleep(0.05)
            worker.kill()
        (killed,) = await journal.list_calls(None, 10, tool="chat")
        localnet.clear_faults("gateway")
        localnet.reset_counters("gateway")
        async with purse.session() as og:
            await journal.wait(killed.id, killed.principal, 30.0)
            repeated = await repeat(og)
            found = await og.get_call(killed.id)

    assert (repeated, found.status, found.stage) == (killed.id, "failed", Stage.SENT_UNKNOWN)
    assert sum(localnet.counters("gateway")["calls"].values()) == 0
    assert paid(purse) == 0


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_chat_of_a_killed_process_is_asked_again_once_it_is_known_to_be_unpaid(
    purse: Purse, when: str
) -> None:
    localnet = purse.localnet
    async with open_journal(purse.settings()) as journal:
        with journal_worker.running(purse.environ) as worker:
            worker.ask_chat(MODEL, "to open a session")
            assert worker.answer()["status"] == "asked"
            assert worker.answer()["status"] == "done"
            localnet.fault(CHAT, "hang", service="gateway", when=when)
            worker.ask_chat(MODEL, TEXT, key=KEY)
            with anyio.fail_after(60):
                while localnet.pending_faults("gateway"):  # noqa: ASYNC110 - another process counts
                    await anyio.sleep(0.05)
            worker.kill()
        [killed, _] = await journal.list_calls(None, 10, tool="chat")
        localnet.clear_faults("gateway")
        localnet.reset_counters("gateway")
        async with purse.session() as og:
            await journal.wait(killed.id, killed.principal, 30.0)
            with pytest.raises(AlreadySentError, match=r"known by .* the same request then asks"):
                await chat(og, TEXT, idempotency_key=KEY)
            asked = sum(localnet.counters("gateway")["calls"].values())
            paid(purse)
            repeated = await repeat(og)
            found = await og.get_call(killed.id)

    assert (asked, repeated) == (0, killed.id)
    assert found.status == ("done" if when == "before" else "failed")


async def killed_at(step: Step, purse: Purse) -> Call:
    """Kill a process at a step of its chat; returns the call as it was left."""
    when, skip = step.fault
    async with open_journal(purse.settings()) as journal:
        with endless(purse, "UPDATE", step.before), journal_worker.running(purse.environ) as worker:
            if when:
                purse.localnet.fault(CHAT, "hang", service="gateway", when=when, skip=skip)
            worker.ask_chat(MODEL, TEXT, key=KEY)
            call = await at_step(step, purse, journal)
            worker.kill()
    return call


async def at_step(step: Step, purse: Purse, journal: Journal) -> Call:
    """Wait until the chat is where it is to be killed."""
    asked = 0 if step.stage is Stage.NOT_SENT else 1
    with anyio.fail_after(60):
        while True:
            chats = await journal.list_calls(None, 10, tool="chat")
            charged = any(int(one["spent"]) for one in of_payer(purse, purse.localnet.sessions()))
            requests = sum(purse.localnet.counters("gateway")["calls"].values())
            there = requests > asked and not purse.localnet.pending_faults("gateway")
            for call in chats:
                if there and (call.cap is not None) == step.signed and charged == step.charged:
                    return call
            await anyio.sleep(0.05)


async def repeat(og: Session) -> str:
    """Ask the same again; returns the call's id, whatever became of it."""
    try:
        return (await chat(og, TEXT, idempotency_key=KEY)).call_id
    except CallFailedError as exc:
        return exc.call_id
