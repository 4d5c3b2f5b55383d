"""`og-mcp calls cancel` of an open payment authorization: at a terminal alone, and once."""

from __future__ import annotations

import re
import sys
import time

import pytest
from anyio import to_thread

from og_mcp.journal import open_journal
from tests.books import Purse
from tests.cli.program import inside
from tests.cli.terminal import Terminal
from tests.client.payments.chats import OPG, chat, paid
from tests.client.payments.conftest import purse
from tests.client.payments.test_cancellation import sent
from tests.localnet_client import LocalNetwork

__all__ = ["purse"]

needs_terminal = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind"
)
QUESTION = re.compile(r"Type the amount in coins to agree, ([0-9.]+): ")


async def paid_chat(purse: Purse) -> str:
    """Chat; returns the id of the call, whose payment is open."""
    async with purse.session() as og:
        return (await chat(og)).call_id


def asked(terminal: Terminal) -> str:
    """Wait for the question; returns the amount that it wants typed."""
    terminal.read_until("coins to agree, ")
    found = QUESTION.search(terminal.read_until(": "))
    assert found is not None, terminal.seen
    return found[1]


def answered(call_id: str, environ: dict[str, str], answer: str = "") -> tuple[int, str]:
    """Answer the question, by the amount if not told otherwise; returns exit code and screen."""
    with Terminal("calls", "cancel", call_id, environ=environ) as terminal:
        amount = asked(terminal)
        terminal.type(answer or amount)
        return terminal.end()


@pytest.mark.parametrize("above", ["5", "0"])
async def test_a_payment_is_not_cancelled_without_a_terminal(purse: Purse, above: str) -> None:
    call_id = await paid_chat(purse)
    before = sent(purse)

    environ = {**purse.environ, "OG_CONFIRM_ABOVE": above}
    done = await to_thread.run_sync(lambda: inside("calls", "cancel", call_id, environ=environ))

    assert done.returncode == 1
    assert f"Run `og-mcp calls cancel {call_id}` at a terminal" in done.stderr
    assert "nothing was sent" in done.stderr
    assert sent(purse) == before


@pytest.mark.process
@needs_terminal
async def test_a_person_cancels_a_payment_or_lets_it_be(purse: Purse) -> None:
    call_id = await paid_chat(purse)
    before = sent(purse)

    declined, no = await to_thread.run_sync(answered, call_id, purse.environ, "no")
    between = sent(purse)
    accepted, yes = await to_thread.run_sync(answered, call_id, purse.environ)

    assert (declined, between) == (1, before)
    assert "nothing was signed or sent" in no
    assert accepted == 0
    assert "at most 0.1 OPG" in yes
    assert "pays for 1 call" in yes
    assert "an honest service's settlement of answers that are finished fails, too" in yes
    assert re.search(r"can no longer be taken.* until \d\d:\d\d UTC", yes, re.DOTALL)
    assert (sent(purse), paid(purse)) == (before + 1, 0)


@pytest.mark.process
@needs_terminal
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_cancellation_whose_process_is_killed_is_one_transaction(
    purse: Purse, localnet: LocalNetwork, moment: str
) -> None:
    """Killed while the node is told of it: before it has the bytes, or after it has mined them."""
    call_id = await paid_chat(purse)
    before = sent(purse)
    localnet.fault("eth_sendRawTransaction", "hang", service="base_rpc", when=moment)

    def killed() -> None:
        with Terminal("calls", "cancel", call_id, environ=purse.environ) as terminal:
            terminal.type(asked(terminal))
            deadline = time.monotonic() + 30
            while localnet.pending_faults("base_rpc") and time.monotonic() < deadline:
                time.sleep(0.05)

    await to_thread.run_sync(killed)
    localnet.clear_faults("base_rpc")
    async with open_journal(purse.settings()) as journal:
        [cancelling] = await journal.list_calls(None, 10, tool="cancel_payment")
        await journal.wait(cancelling.id, cancelling.principal, 60)
    if moment == "before":
        code, screen = await to_thread.run_sync(answered, call_id, purse.environ)
        assert code == 0, screen
        assert cancelling.id in screen
    else:
        async with purse.session() as og:
            found = await og.get_call(cancelling.id)
        assert (found.status, found.transaction_hash) == (
            "done",
            cancelling.transaction_hashes[-1],
        )

    async with open_journal(purse.settings()) as journal:
        [ended] = await journal.list_calls(None, 10, tool="cancel_payment")
    assert ended.transaction_hashes == cancelling.transaction_hashes
    assert sent(purse) == before + 1
    assert (paid(purse), localnet.opg(purse.address)) == (0, 100 * OPG)
