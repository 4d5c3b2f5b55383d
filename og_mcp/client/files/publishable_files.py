"""Opens and checks the files that a session publishes, and recognises published ones."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import islice
from typing import Final

from anyio import CancelScope, to_thread
from pydantic_core import from_json

from og_mcp.calls import Journal
from og_mcp.client.files.ipfs_cid import IPFSHash
from og_mcp.client.files.model_file import Hasher, Publishable
from og_mcp.client.files.roots import FileRoots
from og_mcp.types import ModelFile

HASHES_KEPT: Final = 64
"""Files whose SHA-256 is remembered, so that asking a person does not mean reading them twice."""

UPLOADS_SEARCHED: Final = 100
"""Earlier calls that are looked through for one that published the same file."""

PIECES_AT_ONCE: Final = 64
"""Pieces that are hashed before a cancelled call is noticed."""

_IPFS: Final = "Qm"
"""Beginnings of IPFS's ids; hubs name files by IPFS, by Walrus or by SHA-256."""


class PublishableFiles:
    """Opens files for publishing and knows which of them are published.

    Args:
        roots: Whose files may be read.
        journal: Knows what was published before.
        secrets: What must not be published whatever it looks like: keys, passwords, tokens.
    """

    def __init__(self, roots: FileRoots, journal: Journal, secrets: tuple[str, ...]) -> None:
        self._roots, self._journal, self._secrets = roots, journal, secrets
        self._hashes: OrderedDict[tuple[int, ...], str] = OrderedDict()

    async def open(self, path: str, *, hashed: bool) -> Publishable:
        """Open and check a file; the caller closes it.

        Args:
            path: As the caller gave it.
            hashed: What a person agrees to is this content, not whatever the file holds later.

        Raises:
            InputError: It may not be read, or is none that is published.
        """
        model = await to_thread.run_sync(Publishable.open, self._roots, path, self._secrets)
        try:
            await to_thread.run_sync(model.check_structure)
            if hashed:
                await self._hash(model)
        except BaseException:
            await close(model)
            raise
        return model

    async def recognised(
        self, model: Publishable, listed: Iterable[ModelFile], principal: str
    ) -> str:
        """Return the content id of this file if the version has it; the file is hashed if needed.

        Ids that cannot be computed here (Walrus) are known from the calls that published them.
        """
        alike = {f.model_cid for f in listed if (f.name, f.size) == (model.name, model.size)}
        if not alike:
            return ""
        sha256 = await self._hash(model, ipfs=any(cid.startswith(_IPFS) for cid in alike))
        told = {cid async for cid in self._published(sha256, principal)}
        return next(iter(alike & {*told, _cid_of(sha256), model.ipfs_cid}), "")

    async def _hash(self, model: Publishable, *, ipfs: bool = False) -> str:
        """Return a file's SHA-256, reading and checking all of it where that was not done.

        Args:
            model: The file, open.
            ipfs: Whether its id on IPFS is asked for, too.
        """
        model.sha256 = model.sha256 or self._hashes.get(model.stamp, "")
        if ipfs and not model.ipfs_cid:
            hashing = IPFSHash()
            await _read(model, hashing)
            model.ipfs_cid = hashing.cid()
        elif not model.sha256:
            await _read(model)
        self._hashes[model.stamp] = model.sha256
        while len(self._hashes) > HASHES_KEPT:
            self._hashes.popitem(last=False)
        return model.sha256

    async def _published(self, sha256: str, principal: str) -> AsyncIterator[str]:
        """Return the content ids under which earlier calls published a content."""
        for tool in ("upload", "create_model"):
            for call in await self._journal.list_calls(principal, UPLOADS_SEARCHED, "done", tool):
                result = from_json((await self._journal.get(call.id, principal)).result or "{}")
                kept = result.get("upload", result) if tool == "create_model" else result
                if kept.get("sha256") == sha256:
                    yield kept["model_cid"]


async def close(model: Publishable | None) -> None:
    """Close a file, also where the call is being cancelled."""
    if model is not None:
        with CancelScope(shield=True):
            await to_thread.run_sync(model.close)


async def _read(model: Publishable, *also: Hasher) -> None:
    """Read all of a file, in steps: a cancelled call does not read on to its end."""
    pieces = model.pieces(*also)
    while await to_thread.run_sync(_pass_over, pieces):
        pass


def _pass_over(pieces: Iterator[bytes]) -> bool:
    """Read some pieces; false once there are no more."""
    return sum(1 for _ in islice(pieces, PIECES_AT_ONCE)) == PIECES_AT_ONCE


def _cid_of(sha256: str) -> str:
    """Return the content id that a hub which names files by their SHA-256 gives (the local one)."""
    return urlsafe_b64encode(bytes.fromhex(sha256)).rstrip(b"=").decode()
