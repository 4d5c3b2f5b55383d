"""The states of a call: the table of docs/architecture.md, the data here and the journal are one.

A call is brought into each state by the shortest way that the table has for it, by the journal's
public methods alone. Each step that the table names for the state leads where it says; every other
step is refused, or leaves the state as it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from itertools import count, product, takewhile
from pathlib import Path
from typing import Final

from anyio import to_thread

from og_mcp.calls import Journal
from og_mcp.errors import CallNotFoundError, CallStateError
from og_mcp.journal import open_journal
from og_mcp.journal._opened import database_of
from og_mcp.settings import Settings
from og_mcp.types import Account, Call, CallRequest, ConsentRequest, Stage
from tests.journal.paying import LIMITS, wanting
from tests.journal.steps import ACCOUNT, CAPS, FEE, asking, new_hash, opened

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "architecture.md"
HEADING: Final = "## States of a call"

State = tuple[str, str, str]
"""Status, stage, and what was signed."""

Moves = Mapping[str, int]
"""Step -> number of the state that it leads to."""

# What may end a call under a transaction that is not mined yet, whoever runs it.
MINED: Final[Moves] = {"answer": 15, "fail charged": 17}
RIVAL: Final[Moves] = {"rival mined": 14, "rival released": 14}

TABLE: Final[Mapping[int, tuple[State, Moves]]] = {
    1: (
        ("running", "not_sent", "nothing"),
        {
            "sign": 7,
            "authorize": 19,
            "share": 19,
            "answer": 6,
            "fail unsent": 4,
            "fail in doubt": 5,
            "ask": 3,
            "die": 2,
        },
    ),
    2: (
        ("interrupted", "not_sent", "nothing"),
        {"repeat": 1, "adopt": 1, "answer": 6, "fail unsent": 4, "fail in doubt": 5, "ask": 3},
    ),
    3: (("waiting", "not_sent", "nothing"), {"repeat": 1, "decline": 4}),
    4: (("failed", "not_sent", "nothing"), {"repeat": 1}),
    5: (("failed", "sent_unknown", "nothing"), {"answer": 6}),
    6: (("done", "confirmed", "nothing"), {}),
    7: (
        ("running", "sent_unknown", "transaction open"),
        {**MINED, "fail in doubt": 9, "give back": 1, "take over": 10, "release": 13, "die": 8},
    ),
    8: (
        ("interrupted", "sent_unknown", "transaction open"),
        {**MINED, "fail in doubt": 9, "give back": 2, "take over": 11, "release": 13, "adopt": 7},
    ),
    9: (
        ("failed", "sent_unknown", "transaction open"),
        {**MINED, "give back": 4, "take over": 12, "release": 13},
    ),
    10: (
        ("running", "sent_unknown", "transaction superseded"),
        {**MINED, **RIVAL, "rival given back": 7, "fail in doubt": 12, "die": 11},
    ),
    11: (
        ("interrupted", "sent_unknown", "transaction superseded"),
        {**MINED, **RIVAL, "rival given back": 8, "fail in doubt": 12, "adopt": 10},
    ),
    12: (
        ("failed", "sent_unknown", "transaction superseded"),
        {**MINED, **RIVAL, "rival given back": 9},
    ),
    13: (("failed", "sent_unknown", "transaction released"), {**MINED, "a day passes": 14}),
    14: (("failed", "sent_unknown", "transaction ended"), MINED),
    15: (("done", "charged", "transaction paid"), {"confirm": 16}),
    16: (("done", "confirmed", "transaction paid"), {}),
    17: (("failed", "charged", "transaction paid"), {"answer": 15, "confirm": 18}),
    18: (("failed", "confirmed", "transaction paid"), {"answer": 16}),
    19: (
        ("running", "sent_unknown", "authorization open"),
        {
            "answer": 28,
            "fail in doubt": 21,
            "fail charged": 31,
            "unpay": 1,
            "drop": 1,
            "take": 22,
            "expire": 25,
            "die": 20,
        },
    ),
    20: (
        ("interrupted", "sent_unknown", "authorization open"),
        {
            "answer": 28,
            "fail in doubt": 21,
            "fail charged": 31,
            "drop": 2,
            "take": 23,
            "expire": 26,
            "adopt": 19,
        },
    ),
    21: (
        ("failed", "sent_unknown", "authorization open"),
        {"run again": 19, "answer": 28, "fail charged": 31, "drop": 27, "take": 24, "expire": 27},
    ),
    22: (
        ("running", "sent_unknown", "authorization settled"),
        {
            "answer": 29,
            "fail in doubt": 24,
            "fail charged": 32,
            "authorize": 19,
            "share": 19,
            "unpay": 1,
            "vanish": 19,
            "die": 23,
        },
    ),
    23: (
        ("interrupted", "sent_unknown", "authorization settled"),
        {"answer": 29, "fail in doubt": 24, "fail charged": 32, "vanish": 20, "adopt": 22},
    ),
    24: (
        ("failed", "sent_unknown", "authorization settled"),
        {"answer": 29, "fail charged": 32, "vanish": 21},
    ),
    25: (
        ("running", "sent_unknown", "authorization void"),
        {
            "answer": 30,
            "fail in doubt": 27,
            "fail charged": 33,
            "authorize": 19,
            "share": 19,
            "unpay": 1,
            "drop": 1,
            "take": 22,
            "die": 26,
        },
    ),
    26: (
        ("interrupted", "sent_unknown", "authorization void"),
        {
            "answer": 30,
            "fail in doubt": 27,
            "fail charged": 33,
            "drop": 2,
            "take": 23,
            "adopt": 25,
        },
    ),
    27: (("failed", "not_sent", "authorization void"), {"repeat": 1, "take": 24}),
    28: (
        ("done", "charged", "authorization open"),
        {"take": 29, "expire": 30, "drop": 30},
    ),
    29: (("done", "confirmed", "authorization settled"), {"vanish": 28}),
    30: (("done", "confirmed", "authorization void"), {"take": 29}),
    31: (
        ("failed", "charged", "authorization open"),
        {"answer": 28, "take": 32, "expire": 33, "drop": 33},
    ),
    32: (("failed", "confirmed", "authorization settled"), {"answer": 29, "vanish": 31}),
    33: (("failed", "confirmed", "authorization void"), {"answer": 30, "take": 32}),
}

BY: Final[Mapping[str, str]] = {
    "repeat": "caller",
    "deliver": "caller",
    "run again": "caller",
    "sign": "engine, owner",
    "give back": "engine",
    "take over": "engine",
    "rival mined": "engine, recovery",
    "rival given back": "engine",
    "rival released": "recovery, owner",
    "authorize": "engine",
    "share": "engine",
    "unpay": "engine",
    "drop": "engine",
    "ask": "engine",
    "answer": "engine, recovery",
    "fail unsent": "engine, recovery",
    "fail in doubt": "engine, recovery",
    "fail charged": "engine, recovery",
    "adopt": "recovery",
    "release": "recovery, owner",
    "confirm": "settlement tracking",
    "take": "settlement tracking",
    "vanish": "settlement tracking",
    "expire": "settlement tracking",
    "agree": "owner",
    "decline": "owner",
    "die": "the process's death",
    "a day passes": "time",
}
"""Step -> who takes it. The owner does at a terminal."""

DAY_US: Final = 25 * 3600 * 10**6
_numbers = count(1)


@dataclass
class Subject:
    """A call, with an account of its own, so that no other call is in its way."""

    id: str
    request: CallRequest
    account: Account
    settings: Settings
    rival: str = ""
    """Id of the call that has taken its nonce over."""

    authorization: str = ""
    """Id of the newest one that pays for it."""

    async def sign(self, journal: Journal) -> None:
        nonce = (await journal.get(self.id, None)).nonce
        async with journal.lane(self.account) as lane:
            nonce = lane.next_nonce or 0 if nonce is None else nonce
            await lane.reserve(self.id, nonce, FEE, CAPS)
            await lane.signed(self.id, nonce, new_hash(), "0x02", FEE)

    async def give_back(self, journal: Journal, call_id: str = "") -> None:
        call_id = call_id or self.id
        signed = await journal.transactions(call_id)
        async with journal.lane(self.account) as lane:
            for one in [*(one.transaction_hash for one in reversed(signed)), ""]:
                await lane.give_back(call_id, one)

    async def take_over(self, journal: Journal) -> None:
        nonce, rival = (await journal.get(self.id, None)).nonce or 0, await opened(journal)
        async with journal.lane(self.account) as lane:
            await lane.reserve(rival.id, nonce, FEE, CAPS, supersedes=self.id)
            await lane.signed(rival.id, nonce, new_hash(), "0x02", FEE)
        self.rival = rival.id

    async def release(self, journal: Journal, call_id: str = "") -> None:
        async with journal.lane(self.account) as lane:
            await lane.release(call_id or self.id, "released")

    async def rival_mined(self, journal: Journal) -> None:
        if self.rival:
            await journal.settle(self.rival, Stage.CHARGED, FEE, "{}")

    async def rival_given_back(self, journal: Journal) -> None:
        if self.rival:
            await self.give_back(journal, self.rival)

    async def rival_released(self, journal: Journal) -> None:
        if self.rival:
            await self.release(journal, self.rival)

    async def authorize(self, journal: Journal) -> None:
        wanted = wanting(account=self.account)
        self.authorization = (await journal.open_cap(self.id, wanted, LIMITS)).id

    async def share(self, journal: Journal) -> None:
        other = await opened(journal)
        authorization = await journal.open_cap(other.id, wanting(account=self.account), LIMITS)
        await journal.pay_by(self.id, authorization.id)
        self.authorization = authorization.id

    async def answer(self, journal: Journal) -> None:
        call = await journal.get(self.id, None)
        stage = Stage.CHARGED if call.cap or call.transaction_hashes else Stage.CONFIRMED
        await journal.settle(self.id, stage, FEE if call.transaction_hashes else 0, "{}")

    async def fail_charged(self, journal: Journal) -> None:
        is_authorized = (await journal.get(self.id, None)).cap is not None
        fee_wei = 0 if is_authorized else FEE
        await journal.fail(self.id, Stage.CHARGED, "charged", fee_wei=fee_wei)

    async def ask(self, journal: Journal) -> None:
        consent = ConsentRequest(request_hash=self.request.request_hash, network="local")
        await journal.request_approval(self.id, "a person has to agree", consent)

    async def pass_a_day(self, journal: Journal) -> None:
        database = database_of(self.settings)
        connection = await to_thread.run_sync(database.connect)
        ago = f"UPDATE calls SET settled_at = settled_at - {DAY_US} WHERE id = '{self.id}'"  # noqa: S608 - our own words
        connection.plain(ago)
        connection.close()
        # What was spent is counted anew once another call of the account has its end.
        other = replace(self, id=(await opened(journal)).id)
        await other.sign(journal)
        await other.answer(journal)
        await journal.prune((await journal.get(self.id, None)).created_at)


STEPS: Final[Mapping[str, Callable[[Subject, Journal], Awaitable[object]]]] = {
    "repeat": lambda call, journal: journal.open_call(call.request),
    "deliver": lambda call, journal: journal.deliver(call.id),
    "run again": lambda call, journal: journal.repeat(call.id, call.authorization),
    "sign": Subject.sign,
    "give back": Subject.give_back,
    "take over": Subject.take_over,
    "rival mined": Subject.rival_mined,
    "rival given back": Subject.rival_given_back,
    "rival released": Subject.rival_released,
    "authorize": Subject.authorize,
    "share": Subject.share,
    "unpay": lambda call, journal: journal.unpay(call.id),
    "drop": lambda call, journal: journal.drop_cap(call.authorization),
    "ask": Subject.ask,
    "answer": Subject.answer,
    "fail unsent": lambda call, journal: journal.fail(call.id, Stage.NOT_SENT, "unsent"),
    "fail in doubt": lambda call, journal: journal.fail(call.id, Stage.SENT_UNKNOWN, "lost"),
    "fail charged": Subject.fail_charged,
    "adopt": lambda call, journal: journal.adopt(call.id),
    "release": Subject.release,
    "confirm": lambda call, journal: journal.confirm(call.id),
    "take": lambda call, journal: journal.settle_cap(call.authorization, 1, "0x1"),
    "vanish": lambda call, journal: journal.reopen_cap(call.authorization),
    "expire": lambda call, journal: journal.void_cap(call.authorization),
    "agree": lambda call, journal: journal.approve(call.id),
    "decline": lambda call, journal: journal.decline(call.id),
    "a day passes": Subject.pass_a_day,
}
"""Each but `die`, which ends all calls of a process at once."""


def state_of(call: Call) -> State:
    """Read a call's state from what the journal tells of it."""
    status: str = call.status
    if call.waiting_approval or call.orphaned:
        status = "waiting" if call.waiting_approval else "interrupted"
    signed = "nothing"
    if call.cap is not None:
        signed = f"authorization {call.cap.status}"
    elif call.fee_state != "none":
        signed = f"transaction {call.fee_state}"
    return status, call.stage.value, signed


def shortest_ways() -> dict[int, tuple[str, ...]]:
    """Find the steps that lead from a new call into each state, by the table."""
    ways: dict[int, tuple[str, ...]] = {1: ()}
    reached = [1]
    for number in reached:
        for step, to in TABLE[number][1].items():
            if to not in ways:
                ways[to] = (*ways[number], step)
                reached.append(to)
    return ways


async def brought(
    journal: Journal, settings: Settings, way: tuple[str, ...], number: int
) -> list[Subject]:
    """Make new calls, and take the steps of a way with each."""
    at = way.index("die") if "die" in way else len(way)
    before, after = way[:at], way[at + 1 :]
    async with AsyncExitStack() as stack:
        process = journal
        if at < len(way):
            process = await stack.enter_async_context(open_journal(settings))
        calls = [await _new(process, settings) for _ in range(number)]
        for step, call in product(before, calls):
            await STEPS[step](call, process)
    for step, call in product(after, calls):
        await STEPS[step](call, journal)
    return calls


async def _new(journal: Journal, settings: Settings) -> Subject:
    number = next(_numbers)
    request = asking(idempotency_key=f"call {number}")
    call_id = (await journal.open_call(request)).call.id
    account = replace(ACCOUNT, address=f"0x{number:040x}")
    return Subject(call_id, request, account, settings)


async def test_each_step_leads_where_the_table_says_and_no_other_leads_anywhere(
    journal: Journal, settings: Settings
) -> None:
    ways = shortest_ways()
    assert ways.keys() == TABLE.keys()

    async def state(call: Subject) -> State:
        return state_of(await journal.get(call.id, None))

    for number, (start, moves) in TABLE.items():
        resting, *moving = await brought(journal, settings, ways[number], 1 + len(moves))
        for (step, to), call in zip(moves.items(), moving, strict=True):
            assert await state(call) == start, f"the way to {number}"
            if step == "die":
                [call] = await brought(journal, settings, (*ways[number], "die"), 1)  # noqa: PLW2901 - one that dies
            else:
                await STEPS[step](call, journal)
            assert await state(call) == TABLE[to][0], f"{step} in {number}"
        for step in STEPS.keys() - moves.keys():
            with suppress(CallStateError, CallNotFoundError):
                await STEPS[step](resting, journal)
            assert await state(resting) == start, f"{step} in {number}"


def rows_of(header: str) -> list[list[str]]:
    """Read a table of the section, by the beginning of its first line; without backticks."""
    section = DOCUMENT.read_text(encoding="utf-8").split(f"{HEADING}\n")[1].split("\n## ")[0]
    lines = iter(section.splitlines())
    assert any(line.startswith(header) for line in lines), header
    next(lines)
    rows = takewhile(lambda line: line.startswith("|"), lines)
    return [[cell.strip() for cell in row.replace("`", "").strip("|").split("|")] for row in rows]


def test_the_document_has_the_same_states_and_steps() -> None:
    assert rows_of("| # |") == [
        [str(number), *state, " · ".join(f"{step} → {to}" for step, to in moves.items()) or "-"]
        for number, (state, moves) in TABLE.items()
    ]
    assert {step: by for step, by, _ in rows_of("| step |")} == BY
    assert BY.keys() == {*STEPS, "die"}
