"""Small documents by name, sealed (threats.md T25).

Whoever can write to the database can remove one, or bring back an older one of the same name, and
can make none: what is recalled is checked again where it is used.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, select

from og_mcp.errors import SealBrokenError
from og_mcp.journal import _schema as s
from og_mcp.journal._seal import Seal
from og_mcp.journal._sql import InsertInto, Statement
from og_mcp.journal._steps import Steps, change, row

notes = s.notes
logger = logging.getLogger(__name__)


def _put(insert: InsertInto) -> Any:  # noqa: ANN401 - either database's insert
    into = insert(notes).values(name=bindparam("of_name"), sealed=bindparam("new_sealed"))
    return into.on_conflict_do_update(
        index_elements=["name"], set_={"sealed": into.excluded.sealed}
    )


_write: Final = Statement(_put)
_read: Final = Statement(select(notes.c.sealed).where(notes.c.name == bindparam("of_name")))


@dataclass(frozen=True)
class Notes:
    """Writes and reads them."""

    seal: Seal

    def remember(self, name: str, document: str) -> Steps[None]:
        """Keep a document; the newest of its name counts."""
        sealed = self.seal.seal(_purpose(name), document.encode())
        yield from change(_write, of_name=name, new_sealed=sealed)

    def recall(self, name: str) -> Steps[str]:
        """Return the document, or nothing where there is none or its seal is broken."""
        found = yield from row(_read, of_name=name)
        if found is None:
            return ""
        try:
            return self.seal.unseal(_purpose(name), found["sealed"]).decode()
        except SealBrokenError as exc:
            logger.warning("a note is left aside: %s", exc)
            return ""


def _purpose(name: str) -> str:
    return f"note {name}"
