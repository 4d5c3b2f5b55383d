"""Opening a journal: where it is, what it is made of, and what stands in its way."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import SecretStr
from sqlalchemy import create_engine, text

from og_mcp.calls import Journal
from og_mcp.errors import ConfigurationError, JournalError
from og_mcp.journal import open_journal
from og_mcp.journal._migrating import HEAD, SCRIPTS
from og_mcp.journal._opened import FILE, database_of
from og_mcp.journal._schema import metadata
from og_mcp.journal._sqlite import NEW
from og_mcp.settings import Settings
from og_mcp.types import CallRequest, Stage
from tests.journal.paying import cap_for
from tests.journal.steps import (
    ACCOUNT,
    CAPS,
    asking,
    opened,
    reserve,
    settled_call,
    sign,
    taken_over,
)


def at(folder: Path, url: str = "") -> Settings:
    """Configure a journal."""
    return Settings(
        network_name="local", data_dir=folder, journal_url=SecretStr(url) if url else None
    )


async def test_a_journal_is_found_again(settings: Settings) -> None:
    async with open_journal(settings) as journal:
        call = await settled_call(journal)
    async with open_journal(settings) as journal:
        assert await journal.get(call.id, "local") == call


@pytest.mark.process
async def test_a_journal_that_is_opened_twice_in_one_process_keeps_its_locks(
    tmp_path: Path,
) -> None:
    code = (
        "import anyio, pathlib, sys\n"
        "from tests.journal.test_opened import at, open_journal\n"
        "async def main():\n"
        "    async with open_journal(at(pathlib.Path(sys.argv[1]))) as journal:\n"
        "        await journal.list_calls(None, 1)\n"
        "anyio.run(main)\n"
    )
    async with open_journal(at(tmp_path)) as journal:
        first = await settled_call(journal)
        async with open_journal(at(tmp_path)) as second:
            await second.get(first.id, "local")
        # Another process that believed itself alone would remove the log on leaving.
        await anyio.run_process([sys.executable, "-c", code, str(tmp_path)])

        assert (tmp_path / "journal.db-wal").exists()


async def test_a_relative_file_lies_in_the_data_folder(tmp_path: Path) -> None:
    async with open_journal(at(tmp_path / "data", "sqlite:///other.db")) as journal:
        await opened(journal)

    assert (tmp_path / "data" / "other.db").stat().st_mode & 0o777 == 0o600


async def test_an_absolute_file_lies_where_it_says(tmp_path: Path) -> None:
    path = tmp_path / "else where" / "50%.db"
    async with open_journal(at(tmp_path / "data", f"sqlite:///{path}")) as journal:
        await opened(journal)

    assert path.is_file()
    assert path.with_name("journal.key").is_file()


@pytest.mark.parametrize(
    "url", ["sqlite:///:memory:", "sqlite:///a.db?mode=ro", "postgresql://u:geheim@host:port/db"]
)
async def test_a_url_that_names_no_usable_journal_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        async with open_journal(at(tmp_path, url)):
            pass

    assert caught.value.problems[0].variable == "OG_JOURNAL_URL"
    assert "geheim" not in f"{caught.value!r} {caught.value.__cause__!r}"


async def test_a_server_that_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    """T29."""
    url = "postgresql://someone:geheim@127.0.0.1:1/journal"

    with pytest.raises(JournalError) as caught:
        async with open_journal(at(tmp_path, url)):
            pass

    told = f"{caught.value} {caught.value!r} {caught.value.__cause__}"
    assert "127.0.0.1:1/journal" in told
    assert "OG_JOURNAL_URL" in told
    assert "geheim" not in told


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(JournalError, match="file"):
        async with open_journal(at(tmp_path / "file" / "data")):
            pass


async def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_text("not a database, but long enough to look like one" * 99)

    with pytest.raises(JournalError, match=r"journal\.db.*not a database"):
        async with open_journal(at(tmp_path)):
            pass


async def test_a_journal_that_was_deleted_signs_nothing_more(tmp_path: Path) -> None:
    """T6."""
    async with open_journal(at(tmp_path)) as journal:
        call = await opened(journal)
        (tmp_path / "journal.db").unlink()

        with pytest.raises(JournalError, match="moved or replaced"):
            await reserve(journal, call)


async def test_a_journal_that_cannot_be_written_stops_the_call(tmp_path: Path) -> None:
    async with open_journal(at(tmp_path)) as journal:
        call = await opened(journal)
        writer = database_of(at(tmp_path)).connect()
        writer.plain(
            "CREATE TRIGGER no BEFORE UPDATE ON calls BEGIN SELECT RAISE(FAIL, 'full'); END"
        )
        writer.close()

        with pytest.raises(JournalError, match="full"):
            await sign(journal, call)


async def test_other_writers_are_waited_for(tmp_path: Path) -> None:
    async with open_journal(at(tmp_path)) as journal:
        writer = database_of(at(tmp_path)).connect()
        writer.begin()
        async with anyio.create_task_group() as group:
            group.start_soon(opened, journal)
            await anyio.wait_all_tasks_blocked()
            writer.commit()
        writer.close()

        assert len(await journal.list_calls("local", 10)) == 1


@pytest.mark.slow
async def test_many_processes_may_make_one_journal_at_once(settings: Settings) -> None:
    url = settings.journal_url.get_secret_value() if settings.journal_url else ""
    code = (
        "import sys, anyio, pathlib, pydantic\n"
        "from og_mcp.journal import open_journal\n"
        "from og_mcp.settings import Settings\n"
        "async def main():\n"
        "    url = pydantic.SecretStr(sys.argv[2]) if sys.argv[2] else None\n"
        "    where = Settings(network_name='local', data_dir=pathlib.Path(sys.argv[1]), journal_url=url)\n"
        "    async with open_journal(where):\n"
        "        pass\n"
        "anyio.run(main)\n"
    )

    def make() -> None:
        command = [sys.executable, "-c", code, str(settings.data_dir), url]
        subprocess.run(command, check=True, timeout=60)  # noqa: S603 - our own lines

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: make(), range(3)))
    async with open_journal(settings) as journal:
        assert (await journal.budget(ACCOUNT, CAPS)).spent == 0


async def test_the_journal_of_a_newer_version_is_refused(settings: Settings) -> None:
    async with open_journal(settings):
        pass
    connection = await anyio.to_thread.run_sync(database_of(settings).connect)
    connection.plain("UPDATE alembic_version SET version_num = '9999'")
    connection.close()

    with pytest.raises(JournalError, match=r"of version 9999.*upgrade og-mcp"):
        async with open_journal(settings):
            pass


def test_the_newest_migration_is_the_one_the_code_expects() -> None:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))

    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


async def test_migrations_make_what_the_schema_says(settings: Settings) -> None:
    async with open_journal(settings):
        pass
    engine = create_engine(_engine_url(settings))
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()

    assert differences == []


async def test_a_new_file_has_the_tables_that_the_migrations_make(tmp_path: Path) -> None:
    new, migrated = tmp_path / "new", tmp_path / "migrated"
    migrated.mkdir()
    with closing(sqlite3.connect(migrated / FILE)) as database:
        # As Alembic makes it first of all; a file that holds something is migrated.
        database.execute(
            "CREATE TABLE alembic_version (\n\tversion_num VARCHAR(32) NOT NULL, \n\t"
            "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)\n)"
        )
    for folder in (new, migrated):
        async with open_journal(at(folder)):
            pass

    assert _made(new / FILE) == _made(migrated / FILE), f"write it to {NEW}"


def _made(file: Path) -> list[str]:
    """List the statements that made a journal's tables, and its version."""
    with closing(sqlite3.connect(file)) as database:
        made = database.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
        version = database.execute("SELECT version_num FROM alembic_version")
        return [" ".join(text.split()) for (text,) in (*made, *version)]


async def test_a_journal_of_the_first_version_keeps_its_calls(settings: Settings) -> None:
    settings.data_dir.mkdir()
    engine, config = create_engine(_engine_url(settings)), Config()
    config.set_main_option("script_location", str(SCRIPTS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql(
            "INSERT INTO calls (id, principal, tool, network, request_hash, status, stage, owner,"
            " created_at, updated_at) VALUES ('a', 'local', 'chat', 'local', 'aa', 'running',"
            " 'not_sent', 'gone', 1, 1)"
        )
    engine.dispose()

    async with open_journal(settings) as journal:
        found = await journal.get("a", "local")
        assert (found.request_hash, found.cap, found.orphaned) == ("aa", None, True)
        assert await journal.adopt("a")
        cap = await cap_for(journal, found)
        assert (await journal.get("a", "local")).cap == cap


@pytest.mark.parametrize("version", ["0001", "0003", "0004"])
async def test_t31_a_journal_of_an_earlier_version_keeps_what_is_open(
    settings: Settings, version: str
) -> None:
    settings.data_dir.mkdir()
    engine, config = create_engine(_engine_url(settings)), Config()
    config.set_main_option("script_location", str(SCRIPTS))
    payer = {"key": ACCOUNT.key, "network": ACCOUNT.network, "address": ACCOUNT.address}
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, version)
        lane = text(
            "INSERT INTO lanes (id, network, chain_id, address, next_nonce)"
            " VALUES (:key, :network, '7', :address, 1)"
        )
        call = text(
            "INSERT INTO calls (id, principal, tool, network, request_hash, status, stage, hold,"
            " owner, lane, account_network, account_address, chain_id, nonce, transaction_hashes,"
            " max_fee_wei, created_at, updated_at) VALUES ('a', 'local', 'infer', 'local', 'aa',"
            " 'failed', 'sent_unknown', 'signed', 'gone', :key, :network, :address, '7', 0, ' 0x1',"
            " '5', 1, 1)"
        )
        for statement in (lane, call):
            connection.execute(statement, payer)
        connection.exec_driver_sql(
            "INSERT INTO transactions VALUES ('a', '0x1', 0, '0x02', '5', 1)"
        )
    engine.dispose()

    async with open_journal(settings) as journal:
        older = await journal.get("a", "local")
        assert (older.fee_state, older.superseded_by) == ("open", "")
        assert (await journal.budget(ACCOUNT, CAPS)).open == 5
        # In doubt, as before: whoever repeats the request joins it.
        assert (await journal.open_call(asking(request_hash="aa"))).joined
        newer = await taken_over(journal, older, fee=3)
        assert (await journal.budget(ACCOUNT, CAPS)).open == 5
        await journal.settle(newer.id, Stage.CHARGED, 2, "{}")
        assert (await journal.get("a", "local")).fee_state == "ended"


def _engine_url(settings: Settings) -> str:
    if settings.journal_url is None:
        return f"sqlite:///{settings.data_dir / 'journal.db'}"
    return settings.journal_url.get_secret_value().replace("postgresql:", "postgresql+psycopg:")


@pytest.mark.parametrize("history", [0, 200])
async def test_no_step_of_a_call_reads_the_whole_journal(tmp_path: Path, history: int) -> None:
    """SQLite's own plans of every statement that a call takes: an index each time."""
    settings = at(tmp_path)
    async with open_journal(settings) as journal:
        for _ in range(history):
            await settled_call(journal, fee=1)
        statements = await _statements_of_a_call(journal)
    connection = database_of(settings).connect()
    for sql in statements:
        for *_, plan in connection.plain(f"EXPLAIN QUERY PLAN {sql}"):
            assert not str(plan).startswith("SCAN calls"), (sql, plan)
    connection.close()


async def _statements_of_a_call(journal: Journal) -> list[str]:
    """Return the SQL that one call takes, as SQLite saw it."""
    seen: list[str] = []
    nearby = journal._store._nearby._raw  # type: ignore[attr-defined] # noqa: SLF001 - only there can statements be seen
    nearby.set_trace_callback(seen.append)
    call = await settled_call(journal)
    await journal.deliver(call.id)
    nearby.set_trace_callback(None)
    assert len(seen) > 4
    return [sql for sql in seen if not sql.startswith(("BEGIN", "COMMIT", "ROLLBACK", "--"))]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes of files")
async def test_t44_files_are_not_made_through_links_and_others_lose_the_right_to_write(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(0o777)
    async with open_journal(at(folder)):
        pass
    mended = folder.stat().st_mode & 0o777
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    with pytest.raises(JournalError, match="Others can write to the folder"):
        async with open_journal(at(shared)):
            pass
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "journal.db").symlink_to(tmp_path / "elsewhere.db")
    with pytest.raises(JournalError, match="cannot be used"):
        async with open_journal(at(linked)):
            pass

    assert mended == 0o755
    assert shared.stat().st_mode & 0o7777 == 0o1777
    assert not (tmp_path / "elsewhere.db").exists()


@pytest.mark.slow
async def test_t44_a_journal_that_another_program_has_locked_is_told_within_the_wait(
    tmp_path: Path,
) -> None:
    patient = replace(at(tmp_path / "data"), wait_s=6.0)
    request = CallRequest(tool="infer", principal="local", network="local", request_hash="0" * 64)
    async with open_journal(patient) as journal:
        browser = sqlite3.connect(patient.data_dir / "journal.db", isolation_level=None)
        browser.execute("BEGIN EXCLUSIVE")
        told: list[str] = []

        async def call(number: int) -> None:
            with pytest.raises(JournalError) as locked:
                await journal.open_call(replace(request, idempotency_key=str(number)))
            told.append(str(locked.value))

        with anyio.fail_after(patient.wait_s):
            async with anyio.create_task_group() as group:
                for number in range(5):
                    group.start_soon(call, number)
        browser.execute("ROLLBACK")
        browser.close()
        after = await journal.open_call(request)

    assert len(told) == 5
    assert all("is locked by another program. Close what has it open" in text for text in told)
    assert after.joined is False
