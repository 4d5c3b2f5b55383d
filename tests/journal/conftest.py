"""A journal to test with, on each of the two databases."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from og_mcp.calls import Journal
from og_mcp.journal import open_journal
from og_mcp.settings import Settings
from tests.postgres import Postgres, programs, running


@pytest.fixture(scope="session")
def _one_server() -> Iterator[Postgres]:
    if programs() is None:
        pytest.skip("no PostgreSQL server is installed; Debian's package is postgresql")
    with running() as server:
        yield server


@pytest.fixture
def server() -> Iterator[Postgres]:
    """A PostgreSQL of one's own, to be killed."""
    if programs() is None:
        pytest.skip("no PostgreSQL server is installed; Debian's package is postgresql")
    with running() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Where an empty journal is."""
    url = None
    if request.param == "postgresql":
        url = SecretStr(_new_schema(request.getfixturevalue("_one_server")))
    return Settings(network_name="local", data_dir=tmp_path / "data", journal_url=url)


@pytest.fixture
async def journal(settings: Settings) -> AsyncIterator[Journal]:
    """An open journal."""
    async with open_journal(settings) as journal:
        yield journal


def _new_schema(server: Postgres) -> str:
    """Make a place for one journal; a schema, as a whole database takes a second."""
    name = f"journal_{secrets.token_hex(8)}"
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
    return f"{server.url}?options=-csearch_path%3D{name}"
