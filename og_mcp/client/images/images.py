"""Images that gateways drew: kept as files, each named by its SHA-256, one folder for each principal.

The type is told by the bytes, never by what was declared; the bytes are kept as they came. What
cannot be decoded whole is refused.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from tempfile import mkstemp
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyio import CapacityLimiter, to_thread

from og_mcp.client.files.kind import KINDS, Kind, kind_of
from og_mcp.client.images import answer as found
from og_mcp.client.images import picture
from og_mcp.client.images.fetch import ImageFetch, Pinned
from og_mcp.errors import ImageNotFoundError, ImageRefusedError, quote
from og_mcp.types import Image, StoredImage

if TYPE_CHECKING:
    from og_mcp.client.tee.registry import TEE

SHA256: Final = re.compile(r"[0-9a-f]{64}")
NEW_FOR: Final = timedelta(days=1)
"""How long a file is left alone: the call that it belongs to may not be recorded yet."""

ALL_S: Final = 45.0
"""For fetching all images of one answer: nothing else can end that, since they are paid for."""

LARGEST_SIDE: Final = 8192
"""Pixels of an image that is made in another size."""

_PLAIN: Final = re.compile(r"[a-z0-9_-]{1,32}")
"""Names of principals that can name a folder on any system."""


@dataclass(frozen=True)
class Kept:
    """An image file."""

    data: bytes
    mime_type: str


@dataclass(frozen=True)
class Found:
    """The images of an answer."""

    images: list[Image]
    refused: list[str]
    """Why each other one cannot be used."""


class Images:
    """The images of one data folder.

    Args:
        folder: Where they are kept; made when the first one is.
        local: Whether the network is the local one: images may come from this machine then.
        fetch: Gets those that an answer names by URL.
        all_s: Seconds that fetching all images of one answer may take.
    """

    def __init__(
        self, folder: Path, *, local: bool, fetch: ImageFetch | None = None, all_s: float = ALL_S
    ) -> None:
        self._folder, self._all_s = folder, all_s
        self._fetch = fetch or ImageFetch(local=local)
        # One decoded image takes up to 256 MiB, and cutting it as much again.
        self._one = CapacityLimiter(1)

    async def keep(
        self,
        answer: Mapping[str, Any],
        principal: str,
        *,
        gateway: TEE | None = None,
        width: int = 0,
        height: int = 0,
    ) -> Found:
        """Keep the images of an answer, and where another size is wanted, what is cut from them.

        One that cannot be used does not take the others along: they are paid for as well.

        Args:
            answer: A gateway's, as it came.
            principal: Whose they are.
            gateway: Whose answer it is.
            width: Pixels; 0 for the image's own, or what keeps its proportions.
            height: Likewise.

        Raises:
            ImageRefusedError: The answer holds none, or none that can be used and kept.
        """
        pinned = Pinned(gateway.endpoint, gateway.tls_certificate) if gateway else None
        folder, wanted = self._folder_of(principal), (width, height)
        kept, refused = [], []
        ends = anyio.current_time() + self._all_s
        # Even looking at tens of megabytes of text takes a while.
        addresses = await to_thread.run_sync(found.addresses, answer)
        for address in addresses[: found.MOST_IMAGES]:
            try:
                file = await self._file(address, pinned, ends)
                image = await to_thread.run_sync(_keep, folder, file, wanted, limiter=self._one)
            except ImageRefusedError as exc:
                refused.append(exc)
            else:
                kept.append(image)
        if not kept:
            raise refused[0]
        return Found(kept, [exc.what for exc in refused] + _too_many(addresses))

    async def _file(self, address: str, gateway: Pinned | None, ends: float) -> bytes:
        if not address:
            raise ImageRefusedError("its place in the answer holds no address")
        if found.is_data(address):
            return await to_thread.run_sync(found.content, address)
        left_s = ends - anyio.current_time()
        return await self._fetch.fetch(address, gateway, within_s=left_s)

    async def read(self, sha256: str, principal: str) -> Kept:
        """Return an image, whole.

        Raises:
            ImageNotFoundError: The principal has none of that hash, or its file was changed.
        """
        path = self._path(sha256, principal)

        def load() -> bytes:
            data = path.read_bytes()
            _check_hash(hashlib.sha256(data).hexdigest(), sha256)
            return data

        try:
            data = await to_thread.run_sync(load)
        except OSError as exc:
            raise ImageNotFoundError(sha256) from exc
        kind = kind_of(data)
        return Kept(data, kind.mime_type if kind else "")

    async def preview(self, sha256: str, principal: str, most_bytes: int) -> Kept:
        """Make a small image of an image; empty where none is small enough.

        Raises:
            ImageNotFoundError: The principal has none of that hash, or its file was changed.
        """
        path = self._path(sha256, principal)

        def make() -> Kept:
            with path.open("rb") as file:
                _check_hash(hashlib.file_digest(file, "sha256").hexdigest(), sha256)
                data, kind = picture.preview(file, most_bytes)
            return Kept(data, kind.mime_type)

        try:
            return await to_thread.run_sync(make, limiter=self._one)
        except (OSError, ImageRefusedError) as exc:
            raise ImageNotFoundError(sha256) from exc

    async def prune(self, named: Collection[str], before: datetime) -> int:
        """Remove files that no call names any more; returns how many.

        Args:
            named: The hashes that calls name.
            before: Files that are newer stay, and so do those of the last day.
        """
        return await to_thread.run_sync(_prune, self._folder, frozenset(named), before)

    def _folder_of(self, principal: str) -> Path:
        plain = _PLAIN.fullmatch(principal)
        return self._folder / (
            principal if plain else hashlib.sha256(principal.encode()).hexdigest()
        )

    def _path(self, sha256: str, principal: str) -> Path:
        if not SHA256.fullmatch(sha256):
            raise ImageNotFoundError(sha256)
        paths = (self._folder_of(principal) / f"{sha256}{kind.suffix}" for kind in KINDS)
        for path in paths:
            if path.is_file():
                return path
        raise ImageNotFoundError(sha256)


def _too_many(addresses: Sequence[str]) -> list[str]:
    if len(addresses) <= found.MOST_IMAGES:
        return []
    return [f"the answer holds {len(addresses)} images, and {found.MOST_IMAGES} are the most"]


def _check_hash(has: str, named: str) -> None:
    if has != named:
        raise ImageNotFoundError(named)


def _keep(folder: Path, file: bytes, wanted: tuple[int, int]) -> Image:
    """Check an image, keep it, and make one of the size wanted from it."""
    image, kind = picture.read(BytesIO(file))
    own = picture.upright_size(image)
    size = _size(own, wanted)
    original = _stored(folder, file, kind, own)
    if size == own:
        return Image(**original.model_dump())
    smaller, kept = picture.cut(image, kind, size)
    return Image(**_stored(folder, smaller, kept, size).model_dump(), original=original)


def _size(own: tuple[int, int], wanted: tuple[int, int]) -> tuple[int, int]:
    """Choose a size; what is left open keeps the proportions, as far as any side may be long."""
    width = wanted[0] or (round(own[0] * wanted[1] / own[1]) if wanted[1] else own[0])
    height = wanted[1] or (round(own[1] * wanted[0] / own[0]) if wanted[0] else own[1])
    if (width, height) == own:
        return own
    return min(max(width, 1), LARGEST_SIDE), min(max(height, 1), LARGEST_SIDE)


def _stored(folder: Path, file: bytes, kind: Kind, size: tuple[int, int]) -> StoredImage:
    sha256 = hashlib.sha256(file).hexdigest()
    path = folder / f"{sha256}{kind.suffix}"
    try:
        _write(path, file)
    except OSError as exc:
        raise ImageRefusedError(
            f"it cannot be written to {quote(path)}: {quote(exc.strerror)}"
        ) from exc
    return StoredImage(
        uri=f"og://images/{sha256}",
        path=str(path),
        mime_type=kind.mime_type,
        width=size[0],
        height=size[1],
        size=len(file),
        sha256=sha256,
    )


def _write(path: Path, content: bytes) -> None:
    """Write a file whole, by rename, for its owner alone; a new time of one that is there."""
    for folder in (path.parent.parent, path.parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def _prune(folder: Path, named: Collection[str], before: datetime) -> int:
    latest = min(before, datetime.now(UTC) - NEW_FOR).timestamp()
    removed = 0
    for path in folder.glob("*/*"):
        with suppress(OSError):
            if path.stem not in named and path.is_file() and path.stat().st_mtime < latest:
                path.unlink()
                removed += 1
    return removed
