"""The TEE registry: which gateways there are, known without waiting for it.

A snapshot is good for a minute. An older one is still used while it is read anew in the background,
up to ten minutes; after that no TEE counts as active.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from anyio import Lock
from anyio.abc import TaskGroup

from og_mcp.client.chain.rpc import RPC
from og_mcp.client.tee.registry_entries import (
    TEE,
    RegistryBlock,
    RegistryEntries,
    read_entries,
    same_entries,
    usable,
)
from og_mcp.client.wire.offloading import off_loop
from og_mcp.errors import (
    NoGatewayError,
    OGError,
    RegistryConflictError,
    VerificationError,
    quote,
)
from og_mcp.networks import Network
from og_mcp.settings import Settings
from og_mcp.types import RegistrySource

__all__ = ["TEE", "Registry"]

logger = logging.getLogger(__name__)

RENEW_AFTER_S: Final = 30.0
"""Age in seconds from which a snapshot is renewed in the background."""

FRESH_S: Final = 60.0
"""Age in seconds up to which a snapshot shows that a TEE is still active."""

USABLE_S: Final = 600.0
"""Age in seconds up to which a snapshot is used while the registry cannot be read."""


REASONS: Final = 5
"""Number of faulty entries that an error lists."""


@dataclass(frozen=True)
class _Snapshot:
    tees: tuple[TEE, ...]
    why_not: tuple[str, ...]
    """Why entries were left out."""

    read_at: float
    """When it was asked for, by the registry's clock."""


class Registry:
    """The active TEEs of one network.

    Args:
        rpcs: Endpoints of the network's chain; all of them must agree (OG_RPC_URLS).
        network: Whose registry.
        settings: Holds the code measurements that are accepted (OG_TEE_PCR).
        tasks: Where the registry is read in the background.
        clock: Seconds, ever growing.
    """

    def __init__(
        self,
        rpcs: Sequence[RPC],
        network: Network,
        settings: Settings,
        tasks: TaskGroup,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rpcs, self._network, self._settings = tuple(rpcs), network, settings
        self._tasks, self._clock = tasks, clock
        self._lock = Lock()
        self._snapshot: _Snapshot | None = None
        self._renewing = False

    async def active(self) -> tuple[TEE, ...]:
        """Return the TEEs that can be used; at least one.

        Raises:
            NoGatewayError: There is none; says why each entry was left out.
            RegistryConflictError: The RPCs do not agree.
            ServiceError: The registry cannot be read, and was not within ten minutes.
        """
        snapshot = self._snapshot
        if snapshot is None or self._age_s(snapshot) > USABLE_S:
            # What `prefetch` has begun to read is new enough.
            snapshot = await self._read_unless_newer(self._clock() - RENEW_AFTER_S)
        elif self._age_s(snapshot) > RENEW_AFTER_S:
            self._renew()
        if not snapshot.tees:
            raise NoGatewayError(self._why_none(snapshot))
        return snapshot.tees

    def prefetch(self) -> None:
        """Begin to read the registry in the background, unless that was done; an error shows later."""
        if self._snapshot is None:
            self._renew()

    async def is_active(self, tee_id: str) -> bool:
        """Tell whether a TEE is active, by a snapshot of the last minute.

        Where the registry cannot be read just now, one of the last ten minutes counts.

        Raises:
            VerificationError: There is none. It is not a ServiceError: an answer may have been paid for
                by now, and nobody may take it for one that was never asked for.
        """
        snapshot = self._snapshot
        if snapshot is None or self._age_s(snapshot) > FRESH_S:
            try:
                snapshot = await self._read_unless_newer(self._clock() - FRESH_S)
            except OGError as exc:
                if snapshot is None or self._age_s(snapshot) > USABLE_S:
                    what = f"the TEE registry cannot be read ({quote(exc)})"
                    raise VerificationError(what, tee_id) from exc
        return any(tee.tee_id == tee_id.lower() for tee in snapshot.tees)

    async def refresh(self) -> None:
        """Read the registry, so that what changed until now is known.

        Raises:
            ServiceError: It cannot be read.
        """
        await self._read_unless_newer(self._clock())

    def _age_s(self, snapshot: _Snapshot) -> float:
        return self._clock() - snapshot.read_at

    async def _read_unless_newer(self, since: float) -> _Snapshot:
        """Return a snapshot that was asked for at `since` or later; readers join one another."""
        async with self._lock:
            if self._snapshot is None or self._snapshot.read_at < since:
                self._snapshot = await self._read()
            return self._snapshot

    def _renew(self) -> None:
        if not self._renewing:
            self._renewing = True
            self._tasks.start_soon(self._renew_in_background)

    async def _renew_in_background(self) -> None:
        try:
            await self._read_unless_newer(self._clock() - RENEW_AFTER_S)
        except OGError as exc:
            logger.warning("the TEE registry was not read: %s", exc)
        finally:
            self._renewing = False

    async def _read(self) -> _Snapshot:
        started = self._clock()
        snapshots = await self._ask_all()
        first = snapshots[0]
        if not all(same_entries(first, other) for other in snapshots):
            # They may stand at different blocks: at the lowest of these, all must agree.
            lowest = min((snapshot.block for snapshot in snapshots), key=lambda block: block.number)
            snapshots = await self._ask_all(lowest)
            first = snapshots[0]
            self._must_agree(snapshots)
        source = RegistrySource(
            rpc=", ".join(rpc.shown for rpc in self._rpcs),
            chain_id=self._network.chain_id,
            block_number=first.block.number,
            block_hash=first.block.hash,
        )
        # Each certificate takes a millisecond.
        tees, why_not = await off_loop(
            lambda: usable(first, source, self._settings.tee_pcr), first.tees
        )
        return _Snapshot(tees, why_not, started)

    async def _ask_all(self, block: RegistryBlock | None = None) -> list[RegistryEntries]:
        network = self._network
        asked = (
            read_entries(rpc, network.chain_id, network.tee_registry, block) for rpc in self._rpcs
        )
        # Wait for all: none may go on reading after the session has ended.
        answers = await asyncio.gather(*asked, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return [answer for answer in answers if isinstance(answer, RegistryEntries)]

    def _must_agree(self, snapshots: Sequence[RegistryEntries]) -> None:
        """List the RPCs that disagree with the majority, or with the first if there is no majority."""
        alike = [sum(same_entries(one, other) for other in snapshots) for one in snapshots]
        norm = snapshots[alike.index(max(alike))]
        odd: list[str] = []
        agreed: list[str] = []
        for rpc, snapshot in zip(self._rpcs, snapshots, strict=True):
            (agreed if same_entries(norm, snapshot) else odd).append(rpc.shown)
        if odd:
            raise RegistryConflictError(odd, agreed, norm.block.number)

    def _why_none(self, snapshot: _Snapshot) -> str:
        first, more = snapshot.why_not[:REASONS], len(snapshot.why_not) - REASONS
        told = (*first, f"and so on for {more} more") if more > 0 else first
        left_out = "; ".join(told) or "it holds no active one"
        return f"by {', '.join(rpc.shown for rpc in self._rpcs)}, the TEE registry says: {left_out}"
