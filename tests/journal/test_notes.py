"""Small documents by name that only this installation can write (T25)."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from og_mcp.calls import Journal
from og_mcp.journal import open_journal
from og_mcp.journal._opened import database_of
from og_mcp.journal._seal import Seal
from og_mcp.settings import Settings


def write(settings: Settings, sql: str) -> None:
    """Write to the database as somebody who has nothing else."""
    connection = database_of(settings).connect()
    connection.plain(sql)
    connection.close()


async def test_the_newest_note_of_a_name_is_recalled(journal: Journal, settings: Settings) -> None:
    assert await journal.recall("gateway") == ""

    for document in ('{"old": 1}', '{"new": "é"}'):
        await journal.remember("gateway", document)
    await journal.remember("other", "{}")

    assert await journal.recall("gateway") == '{"new": "é"}'
    async with open_journal(settings) as other:
        assert await other.recall("gateway") == '{"new": "é"}'


async def test_a_note_that_was_written_by_others_reads_as_nothing(
    journal: Journal, settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """T25."""
    forged = Seal(tmp_path / "theirs").seal("note gateway", b'{"pay_to": "0xbad"}')
    await journal.remember("gateway", "{}")
    write(settings, f"UPDATE notes SET sealed = '{forged}'")  # noqa: S608 - an attack

    with caplog.at_level(logging.WARNING):
        assert await journal.recall("gateway") == ""
    assert "note gateway" in caplog.text
    assert "0xbad" not in caplog.text


async def test_a_note_that_was_moved_to_another_name_reads_as_nothing(
    journal: Journal, settings: Settings
) -> None:
    """T25."""
    await journal.remember("gateway", "{}")
    write(settings, "UPDATE notes SET name = 'other'")

    assert await journal.recall("other") == ""


async def test_what_was_sealed_for_something_else_is_no_note(
    journal: Journal, settings: Settings
) -> None:
    """T25."""
    await journal.remember("gateway", "{}")
    write(settings, f"UPDATE notes SET sealed = '{journal.seal('gateway', b'evil')}'")  # noqa: S608 - an attack

    assert await journal.recall("gateway") == ""


async def test_a_note_is_replaced_after_its_seal_broke(
    journal: Journal, settings: Settings
) -> None:
    await journal.remember("gateway", "{}")
    write(settings, "UPDATE notes SET sealed = '?'")

    await journal.remember("gateway", '{"again": 1}')

    assert await journal.recall("gateway") == '{"again": 1}'
