"""A process that is killed at any step of a call neither pays twice nor loses what was paid."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
from mcp import Client

from og_mcp.calls import Journal
from og_mcp.client import Session
from og_mcp.errors import CallFailedError
from og_mcp.journal import open_journal
from og_mcp.server import build_server
from og_mcp.types import Call, Stage
from tests import journal_worker
from tests.books import CHARGED, Purse, check_books
from tests.localnet_client import LocalNetwork

pytestmark = pytest.mark.process

SEND: Final = "eth_sendRawTransaction"
ESTIMATE: Final = "eth_estimateGas"
KEY: Final = "pay once"

NEVER: Final = (
    "SELECT count(*) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
    " LIMIT 1000000000000) SELECT i FROM n)"
)
"""A statement that does not end in the time of a test."""

Seen = Callable[[Purse, Call], bool]


@pytest.fixture
def purse(localnet: LocalNetwork, tmp_path: Path) -> Purse:
    return Purse(localnet, tmp_path)


@dataclass(frozen=True)
class Step:
    """A moment of a call at which its process is killed."""

    left: str
    """What the journal holds of the call's budget at that moment."""

    stage: Stage
    """Where reconciliation leaves the call."""

    seen: Seen = lambda _purse, _call: True
    """Whether the moment has come, beside the journal's state."""

    before: str = ""
    """Journal: the change of a row that never ends, as the condition of a trigger."""

    fault: tuple[str, str] = ("", "")
    """Network: the method that hangs, and whether before or after it is carried out."""

    holds_blocks: bool = False


def _paid(purse: Purse, _call: Call) -> bool:
    return purse.sent() == 1


def _arrived(purse: Purse, _call: Call) -> bool:
    return purse.sent("pending") == 1


STEPS: Final = {
    "after it is opened, while the node is asked": Step(
        "none", Stage.NOT_SENT, fault=(ESTIMATE, "before")
    ),
    "after the fee is set aside, before the signature is recorded": Step(
        "none", Stage.NOT_SENT, before="NEW.hold = 'signed'"
    ),
    "after the signature is recorded, before it is sent": Step(
        "signed", Stage.SENT_UNKNOWN, fault=(SEND, "before")
    ),
    "after it is sent and mined, before the answer": Step(
        "signed", Stage.CHARGED, seen=_paid, fault=(SEND, "after")
    ),
    "after it is sent, while no block comes": Step(
        "signed", Stage.SENT_UNKNOWN, seen=_arrived, holds_blocks=True
    ),
    "after the answer, before it is settled": Step(
        "signed", Stage.CHARGED, seen=_paid, before="NEW.status = 'done'"
    ),
    "after it is settled, before it is delivered": Step(
        "settled",
        Stage.CHARGED,
        seen=lambda _purse, call: call.status == "done",
        before="NEW.delivered_at IS NOT NULL",
    ),
}


TELLING: Final = (
    "after the signature is recorded, before it is sent",
    "after it is sent and mined, before the answer",
    "after it is settled, before it is delivered",
)
"""Steps after which each stage is left once; the others leave the same and are slow tests."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in TELLING else pytest.mark.slow) for n in STEPS],
)
@pytest.mark.parametrize(
    "key",
    ["", pytest.param(KEY, marks=pytest.mark.slow)],
    ids=["without a key", "with a key"],
)
async def test_a_call_is_paid_once_when_its_process_is_killed(
    name: str, key: str, purse: Purse
) -> None:
    step = STEPS[name]
    killed = await killed_at(step, purse, key)

    async with purse.session() as og:
        ended = await reconciled(og, killed)
        assert ended.stage is step.stage
        assert (ended.status == "done") == (step.stage is Stage.CHARGED)
        repeated = await repeat(og, purse, key)
        if step.stage is Stage.NOT_SENT:
            # Nothing had left: with its key it is the same call, without it may be a new one.
            assert not key or repeated == killed.id
        else:
            assert repeated == killed.id
        purse.localnet.release_blocks()
        # A call of another kind goes through behind it, and settles what was in doubt.
        assert await infer(og, purse, scale=2.0) != killed.id
        found = await og.get_call(killed.id)
        assert (found.stage in CHARGED) == (repeated == killed.id)

    calls = await check_books(purse)
    assert purse.sent() == 2
    assert all(call.stage in {Stage.NOT_SENT, *CHARGED} for call in calls)


@pytest.mark.slow
async def test_a_process_that_is_killed_before_it_records_a_call_has_sent_nothing(
    purse: Purse,
) -> None:
    async with purse.session() as og:
        await og.list_calls()
    with endless(purse, "INSERT", "1"), journal_worker.running(purse.environ) as worker:
        worker.ask(*request(purse), key=KEY)
        assert worker.answer()["status"] == "asked"
        worker.kill()

    assert await purse.calls() == ()
    async with purse.session() as og:
        assert await og.reconcile() == []
        await infer(og, purse, key=KEY)
    assert purse.sent() == 1
    await check_books(purse)


@pytest.mark.slow
async def test_a_process_that_starts_right_after_a_death_settles_what_it_finds_unasked(
    purse: Purse,
) -> None:
    killed = await killed_at(STEPS["after it is sent and mined, before the answer"], purse, KEY)

    async with purse.session() as og, open_journal(purse.settings()) as journal:
        # The dead one still counts as alive.
        await infer(og, purse, scale=2.0)
        with anyio.fail_after(30):
            while (await journal.get(killed.id, None)).status == "running":
                await journal.wait(killed.id, killed.principal, 1.0)
                await anyio.sleep(0.1)

    assert purse.sent() == 2
    await check_books(purse)


@pytest.mark.slow
async def test_a_server_that_starts_settles_what_it_finds_before_anyone_asks(
    purse: Purse,
) -> None:
    killed = await killed_at(STEPS["after it is sent and mined, before the answer"], purse, KEY)

    async with (
        Client(build_server(purse.session())) as host,
        open_journal(purse.settings()) as journal,
    ):
        assert len((await host.list_tools()).tools) > 0
        with anyio.fail_after(30):
            while (await journal.get(killed.id, None)).status == "running":
                await journal.wait(killed.id, killed.principal, 1.0)
                await anyio.sleep(0.1)

    assert purse.sent() == 1
    await check_books(purse)


async def killed_at(step: Step, purse: Purse, key: str) -> Call:
    """Kill a process at a step of its first call; returns the call as it was left."""
    localnet = purse.localnet
    async with purse.session() as og:
        await og.list_calls()
    if step.holds_blocks:
        localnet.hold_blocks()
    # Closed after the kill: a closing journal writes, and could wait for the one that hangs.
    async with open_journal(purse.settings()) as journal:
        with endless(purse, "UPDATE", step.before), journal_worker.running(purse.environ) as worker:
            method, when = step.fault
            if method:
                localnet.fault(method, "hang", when=when)
            worker.ask(*request(purse), key=key)
            call = await at_step(step, purse, journal)
            worker.kill()
    return call


async def at_step(step: Step, purse: Purse, journal: Journal) -> Call:
    """Wait until the call is where it is to be killed."""
    with anyio.fail_after(60):
        while True:
            for call in await journal.list_calls(None, 10):
                is_left = hold_of(purse, call.id) == step.left and step.seen(purse, call)
                if is_left and not purse.localnet.pending_faults():
                    return call
            await anyio.sleep(0.02)


async def reconciled(og: Session, killed: Call) -> Call:
    """Find a killed call's end once its process counts as dead."""
    journal = await (await og._resources()).journal.get()  # noqa: SLF001 - the session's own look at the journal
    await journal.wait(killed.id, killed.principal, 30.0)
    await og.reconcile()
    return await journal.get(killed.id, None)


async def infer(og: Session, purse: Purse, *, key: str = "", scale: float = 1.0) -> str:
    model_cid, inputs = request(purse, scale)
    return (await og.infer(model_cid, inputs, idempotency_key=key)).call_id


async def repeat(og: Session, purse: Purse, key: str) -> str:
    """Ask the same again; returns the call's id, whatever became of it."""
    try:
        return await infer(og, purse, key=key)
    except CallFailedError as exc:
        return exc.call_id


def request(purse: Purse, scale: float = 1.0) -> tuple[str, dict[str, Any]]:
    """Give the sample model and its input, multiplied."""
    sample = purse.localnet.ready["sample_models"][0]
    return sample["cid"], {
        name: _scaled(value, scale) for name, value in sample["model_input"].items()
    }


def _scaled(value: Any, scale: float) -> Any:  # noqa: ANN401 - nested lists of numbers
    return [_scaled(one, scale) for one in value] if isinstance(value, list) else value * scale


def hold_of(purse: Purse, call_id: str) -> str:
    """Read what of the budget a call has, through a connection of our own."""
    with closing(sqlite3.connect(purse.settings().data_dir / "journal.db")) as database:
        found = database.execute("SELECT hold FROM calls WHERE id = ?", (call_id,)).fetchone()
    hold: str = found[0]
    return "settled" if hold == "counted" else hold


@contextmanager
def endless(purse: Purse, verb: str, condition: str) -> Iterator[None]:
    """Let a change of a call never end: whoever makes it hangs in the middle of it."""
    path = purse.settings().data_dir / "journal.db"
    if condition:
        with closing(sqlite3.connect(path)) as database:
            database.execute(
                f"CREATE TRIGGER endless BEFORE {verb} ON calls WHEN {condition} BEGIN {NEVER}; END"
            )
    yield
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TRIGGER IF EXISTS endless")
