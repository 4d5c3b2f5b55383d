"""A journal whose disk fails now and then: by a trigger in its file, which counts.

```
broken = BrokenJournal(folder / "journal.db")
broken.fails("done", times=1)     # the next attempt to end a call well raises; the one after is kept
assert broken.failures == 1
```
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


class BrokenJournal:
    """Makes writes of another connection fail.

    Args:
        path: The journal's file, with its tables.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def fails(self, status: str, *, times: int) -> None:
        """Let the next attempts to give a call that status fail, so many times."""
        # FAIL keeps what the trigger has written, so that it can count.
        self._run(
            f"""
            CREATE TABLE failures (status TEXT);
            CREATE TRIGGER broken BEFORE UPDATE ON calls
            WHEN NEW.status = '{status}' AND (SELECT count(*) FROM failures) < {times}
            BEGIN
                INSERT INTO failures VALUES (NEW.status);
                SELECT RAISE(FAIL, 'the disk is broken');
            END;
            """  # noqa: S608 - words of a test
        )

    @property
    def failures(self) -> int:
        """How many attempts have failed."""
        with closing(sqlite3.connect(self._path)) as connection:
            [[count]] = connection.execute("SELECT count(*) FROM failures").fetchall()
        return int(count)

    def _run(self, sql: str) -> None:
        with closing(sqlite3.connect(self._path)) as connection:
            connection.executescript(sql)
