"""Which processes are alive: each keeps a lease, by the database's clock."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import BigInteger, bindparam, delete

from og_mcp.journal import _schema as s
from og_mcp.journal._sql import InsertInto, Statement, now
from og_mcp.journal._steps import Steps, change

owners = s.owners

FORGET_US: Final = 24 * 3600 * 10**6
"""A lease that ended so long ago is of no interest: a missing one means the same."""


def _put(insert: InsertInto) -> Any:  # noqa: ANN401 - either database's insert
    until = now() + bindparam("lease_us", type_=BigInteger)
    into = insert(owners).values(id=bindparam("new_id"), lease_until=until)
    return into.on_conflict_do_update(
        index_elements=["id"], set_={"lease_until": into.excluded.lease_until}
    )


_renew: Final = Statement(_put)
_remove: Final = Statement(delete(owners).where(owners.c.id == bindparam("of_owner")))
_forget: Final = Statement(delete(owners).where(owners.c.lease_until < now() - FORGET_US))


def renew(owner: str, lease_s: float) -> Steps[None]:
    """Live on for `lease_s` seconds."""
    yield from change(_renew, new_id=owner, lease_us=int(lease_s * 10**6))


def arrive(owner: str, lease_s: float) -> Steps[None]:
    """Begin to live, and clear away who died long ago."""
    yield from change(_forget)
    yield from renew(owner, lease_s)


def depart(owner: str) -> Steps[None]:
    """End the lease: nothing of this process runs any more."""
    yield from change(_remove, of_owner=owner)
