"""Work on the database as generators: they yield statements and are sent answers.

So one piece of work knows no database, and pieces that run at the same time can go to a server
together, one statement of each in one exchange: over a network, and in processor time, it is the
exchanges that cost.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
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


Steps: TypeAlias = Generator[Query, Answer, T]
Work: TypeAlias = Callable[[], Steps[T]]
"""Starts anew each time. Repeating it must give the same: a lost connection may have done it."""

Exchange: TypeAlias = Callable[[Sequence[Query]], Sequence[Answer]]


def rows(statement: Statement, **parameters: object) -> Steps[list[Row]]:
    """Run a statement that returns rows."""
    answer = yield Query(statement, parameters)
    return [dict(zip(answer.names, found, strict=True)) for found in answer.rows]


def row(statement: Statement, **parameters: object) -> Steps[Row | None]:
    """Run a statement that returns one row or none."""
    found = yield from rows(statement, **parameters)
    return found[0] if found else None


def change(statement: Statement, **parameters: object) -> Steps[int]:
    """Run a statement that returns no rows; returns how many it changed."""
    answer = yield Query(statement, parameters)
    return answer.changed


def do_all(works: Sequence[Work[Any]], exchange: Exchange) -> list[Any]:
    """Do pieces of work side by side; returns their results in order."""
    results: list[Any] = [None] * len(works)
    running: list[tuple[int, Steps[Any], Query]] = []

    def go_on(index: int, steps: Steps[Any], answer: Answer | None) -> None:
        try:
            query = next(steps) if answer is None else steps.send(answer)
        except StopIteration as end:
            results[index] = end.value
        else:
            running.append((index, steps, query))

    for index, work in enumerate(works):
        go_on(index, work(), None)
    while running:
        turn, running = running, []
        answers = exchange([query for _, _, query in turn])
        for (index, steps, _), answer in zip(turn, answers, strict=True):
            go_on(index, steps, answer)
    return results
