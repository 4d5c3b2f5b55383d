"""Work on the database as generators: they yield statements and are sent answers.

So one piece of work knows no database, and pieces that run at the same time can go to a server
together, the next statements of each in one exchange: over a network, and in processor time, it is
the exchanges that cost.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeAlias, TypeVar

from og_mcp.journal._sql import Row, Statement

T = TypeVar("T")


class Query(NamedTuple):
    """A statement and what it is asked with."""

    statement: Statement
    parameters: Row


class Answer(NamedTuple):
    """What a statement gave."""

    names: Sequence[str]
    rows: Sequence[Sequence[Any]]
    changed: int
    """Rows that it changed; where it returns rows, of no use."""


Steps: TypeAlias = Generator[Sequence[Query], Sequence[Answer], T]
"""Yields statements that go out together, in order; is sent as many answers."""

Work: TypeAlias = Callable[[], Steps[T]]
"""Starts anew each time. Repeating it must give the same: a lost connection may have done it."""

Exchange: TypeAlias = Callable[[Sequence[Query]], Sequence[Answer]]


def rows(statement: Statement, **parameters: object) -> Steps[list[Row]]:
    """Run a statement that returns rows."""
    [answer] = yield [Query(statement, parameters)]
    return [dict(zip(answer.names, found, strict=True)) for found in answer.rows]


def row(statement: Statement, **parameters: object) -> Steps[Row | None]:
    """Run a statement that returns one row or none."""
    found = yield from rows(statement, **parameters)
    return found[0] if found else None


def change(statement: Statement, **parameters: object) -> Steps[int]:
    """Run a statement that returns no rows; returns how many it changed."""
    [changed] = yield from changes(Query(statement, parameters))
    return changed


def changes(*queries: Query) -> Steps[list[int]]:
    """Run statements that return no rows, in one exchange; returns how many each changed.

    All are run, whatever the first ones changed: whoever needs that they hold together raises
    where they do not, within atomic work.
    """
    answers = yield queries
    return [answer.changed for answer in answers]


def do_all(works: Sequence[Work[Any]], exchange: Exchange) -> list[Any]:
    """Do pieces of work side by side; returns their results in order."""
    results: list[Any] = [None] * len(works)
    running: list[tuple[int, Steps[Any], Sequence[Query]]] = []

    def go_on(index: int, steps: Steps[Any], answers: Sequence[Answer] | None) -> None:
        try:
            queries = next(steps) if answers is None else steps.send(answers)
        except StopIteration as end:
            results[index] = end.value
        else:
            running.append((index, steps, queries))

    for index, work in enumerate(works):
        go_on(index, work(), None)
    while running:
        turn, running = running, []
        answers = iter(exchange([query for _, _, queries in turn for query in queries]))
        for index, steps, queries in turn:
            go_on(index, steps, list(islice(answers, len(queries))))
    return results
