"""A person's agreement to one call (threats.md T22, T25).

What was asked and what was agreed to are sealed records; the row around them counts for nothing.
That an approval was used is kept in the row, and by a file outside the database, so that whoever
writes to the database cannot make it good for a second time.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Text, bindparam, or_, select, update

from og_mcp.errors import CallNotFoundError, CallStateError, SealBrokenError
from og_mcp.journal import _schema as s
from og_mcp.journal._moments import moment
from og_mcp.journal._seal import Seal
from og_mcp.journal._sql import InsertInto, Row, Statement
from og_mcp.journal._steps import Steps, change, row
from og_mcp.types import Account, Approval, ConsentRequest

approvals = s.approvals
logger = logging.getLogger(__name__)

LIFE_S: Final = 3600
ASKED: Final = "what a person is asked to approve"
APPROVED: Final = "what a person approved"
"""Purposes of the two seals."""

FOLDER: Final = "approvals"
KEPT_MARKS_S: Final = 24 * LIFE_S

_call = bindparam("of_call", type_=Text)


def _put(insert: InsertInto) -> Any:  # noqa: ANN401 - either database's insert
    into = insert(approvals).values(call_id=_call, asked=bindparam("new_asked"))
    return into.on_conflict_do_update(
        index_elements=["call_id"],
        set_={"asked": into.excluded.asked, "approved": "", "taken_by": ""},
    )


_ask: Final = Statement(_put)
_read: Final = Statement(select(approvals).where(approvals.c.call_id == _call))
_approve: Final = Statement(
    update(approvals)
    .where(approvals.c.call_id == _call, approvals.c.asked == bindparam("old_asked"))
    .values(approved=bindparam("new_approved"), taken_by="")
)
_take: Final = Statement(
    update(approvals)
    .where(
        approvals.c.call_id == _call,
        approvals.c.approved == bindparam("old_approved"),
        or_(approvals.c.taken_by == "", approvals.c.taken_by == bindparam("taker")),
    )
    .values(taken_by=bindparam("taker"))
)


@dataclass(frozen=True)
class Approvals:
    """Reads and writes the records."""

    seal: Seal
    folder: Path
    """The journal's."""

    def ask(self, call_id: str, consent: ConsentRequest) -> Steps[None]:
        """Record what a person is to be asked; an older question and its answer are gone."""
        payer = consent.payer
        record = {
            "call_id": call_id,
            "request_hash": consent.request_hash,
            "network": consent.network,
            "payer": f"{payer.network}/{payer.chain_id}/{payer.address}" if payer else "",
            "cap_wei": str(consent.cap_wei),
            "cap_opg": str(consent.cap_opg),
            "what": consent.what,
        }
        yield from change(_ask, of_call=call_id, new_asked=self._sealed(ASKED, record))

    def read(self, call_id: str) -> Steps[Approval]:
        """Return the question, and the answer where there is one."""
        found = yield from self._row(call_id)
        asked = self._opened(ASKED, call_id, found["asked"])
        if not found["approved"]:
            return _approval(asked, taken=False)
        return _approval(
            self._opened(APPROVED, call_id, found["approved"]), taken=bool(found["taken_by"])
        )

    def approve(self, call_id: str, token: str, shown: Approval | None = None) -> Steps[Approval]:
        """Record the answer.

        Args:
            call_id: The call.
            token: 128 random bits of this answer.
            shown: The question that was answered.
        """
        found = yield from self._row(call_id)
        record = self._opened(ASKED, call_id, found["asked"])
        if shown is not None and not _covers(_approval(record, taken=False), shown, exactly=True):
            raise CallStateError(call_id, "be approved", "what is asked has changed meanwhile")
        # Our clock and not the database's, whose owner may not be trusted here.
        record |= {"expires_at": str((int(time.time()) + LIFE_S) * 10**6), "token": token}
        yield from change(
            _approve,
            of_call=call_id,
            old_asked=found["asked"],
            new_approved=self._sealed(APPROVED, record),
        )
        return _approval(record, taken=False)

    def take(self, call_id: str, consent: ConsentRequest, taker: str) -> Steps[bool]:
        """Use up the answer, if it covers the consent."""
        found = yield from row(_read, of_call=call_id)
        if found is None or not found["approved"]:
            return False
        try:
            record = self._opened(APPROVED, call_id, found["approved"])
        except SealBrokenError as exc:
            logger.warning("call %s: %s", call_id, exc)
            return False
        if not _is_good(record) or not _covers(_approval(record, taken=False), consent):
            return False
        old = {"old_approved": found["approved"]}
        taken = yield from change(_take, of_call=call_id, **old, taker=taker)
        return bool(taken) and self._mark(record["token"], taker)

    def _mark(self, token: str, taker: str) -> bool:
        """Note outside the database that an answer is used; false where it was."""
        folder = self.folder / FOLDER
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / token
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return path.read_text(encoding="ascii") == taker
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(taker)
        self._clear_marks(folder)
        return True

    def _clear_marks(self, folder: Path) -> None:
        for path in folder.iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - KEPT_MARKS_S:
                    path.unlink()

    def _row(self, call_id: str) -> Steps[Row]:
        found = yield from row(_read, of_call=call_id)
        if found is None:
            raise CallNotFoundError(call_id)
        return found

    def _sealed(self, purpose: str, record: dict[str, str]) -> str:
        return self.seal.seal(purpose, json.dumps(record).encode())

    def _opened(self, purpose: str, call_id: str, sealed: str) -> dict[str, str]:
        record: dict[str, str] = json.loads(self.seal.unseal(purpose, sealed))
        if record["call_id"] != call_id:
            raise SealBrokenError(purpose)
        return record


def new_token() -> str:
    """Draw 128 random bits."""
    return secrets.token_hex(16)


def _is_good(record: dict[str, str]) -> bool:
    return time.time() * 10**6 < int(record["expires_at"])


def _covers(answered: ConsentRequest, asked: ConsentRequest, *, exactly: bool = False) -> bool:
    """Tell whether an answer to one question is one to another: the same, for as much or less."""
    over = (answered.cap_wei - asked.cap_wei, answered.cap_opg - asked.cap_opg)
    is_enough = over == (0, 0) if exactly else min(over) >= 0
    return is_enough and _matter(answered) == _matter(asked)


def _matter(consent: ConsentRequest) -> tuple[str, ...]:
    payer = consent.payer.key if consent.payer else ""
    return consent.request_hash, consent.network, payer, consent.what


def _approval(record: dict[str, str], *, taken: bool) -> Approval:
    expires = record.get("expires_at")
    return Approval(
        call_id=record["call_id"],
        request_hash=record["request_hash"],
        network=record.get("network", ""),
        payer=_payer(record.get("payer", "")),
        cap_wei=int(record["cap_wei"]),
        cap_opg=int(record["cap_opg"]),
        what=record.get("what", ""),
        expires_at=None if expires is None else moment(int(expires)),
        taken=taken,
    )


def _payer(text: str) -> Account | None:
    if not text:
        return None
    network, chain_id, address = text.split("/")
    return Account(network=network, chain_id=int(chain_id), address=address)
