"""Images that gateways drew: kept as files, each named by its SHA-256, one folder for each principal.

The type is told by the bytes, never by what was declared; the bytes are kept as they came. What
cannot be decoded whole is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyio import CapacityLimiter, to_thread

from og_mcp.client.files import saved
from og_mcp.client.files.kept import KeptFiles
from og_mcp.client.files.kind import JPEG, KINDS, PNG, WEBP, Kind, kind_of
from og_mcp.client.images import answer as found
from og_mcp.client.images import picture
from og_mcp.client.images.fetch import ImageFetch, Pinned
from og_mcp.errors import ImageNotFoundError, ImageRefusedError, InputError, OGError, quote
from og_mcp.types import Image, StoredImage

if TYPE_CHECKING:
    from og_mcp.client.tee.registry import TEE

SAVED_AS: Final[Mapping[str, Kind]] = {
    ".png": PNG,
    ".jpg": JPEG,
    ".jpeg": JPEG,
    ".webp": WEBP,
}
"""Ending of a file name -> the format that is written."""

URI: Final = "og://images/"

ALL_S: Final = 45.0
"""Seconds for fetching all images of one answer; they are paid for, so nothing else ends that."""

MAX_SIDE: Final = 8192
"""Longest side of an image that is made in another size, pixels."""


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
    """Why each of the others cannot be used."""


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
        self._files = KeptFiles(folder, [kind.suffix for kind in KINDS])
        self._saved, self._all_s = folder.parent / saved.FOLDER, all_s
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
        wanted, kept, refused = (width, height), [], []
        ends = anyio.current_time() + self._all_s
        # Even looking at tens of megabytes of text takes a while.
        addresses = await to_thread.run_sync(found.addresses, answer)
        for address in addresses[: found.MAX_IMAGES]:
            try:
                file = await self._file(address, pinned, ends)
                image = await to_thread.run_sync(
                    self._keep, file, wanted, principal, limiter=self._one
                )
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
        try:
            data = await to_thread.run_sync(self._files.read, sha256, principal)
        except OSError as exc:
            raise ImageNotFoundError(sha256) from exc
        kind = kind_of(data)
        return Kept(data, kind.mime_type if kind else "")

    async def held(self, uri: str, where: str, principal: str) -> bytes:
        """Return the picture that a caller names by a `data:` or og://images/ URI.

        Raises:
            InputError: It is neither, or the URI holds nothing that can be read.
            ImageNotFoundError: The principal has no such image.
        """
        if uri.startswith(URI):
            return (await self.read(uri.removeprefix(URI), principal)).data
        if not found.is_data(uri):
            raise InputError(
                f"{where} is {quote(uri)}, and only og://images/... and data: URIs are taken.",
                'To send a file, use {"file": "/path"}. Nothing was sent or paid.',
            )
        try:
            return await to_thread.run_sync(found.content, uri)
        except ImageRefusedError as exc:
            raise InputError(
                f"{where} cannot be read: {exc.what}.", "Nothing was sent or paid."
            ) from exc

    async def check_free(self, name: str, count: int) -> None:
        """Make sure that images can be saved under a name.

        Raises:
            InputError: They cannot.
        """
        await to_thread.run_sync(saved.check_free, self._saved, saved.numbered(name, count))

    async def save(self, images: Sequence[Image], principal: str, name: str) -> list[str]:
        """Write images anew under names of their user's, as the type that the names' ending says.

        Args:
            images: Each is told where its copy is.
            principal: Whose they are.
            name: Of the first one; see `files.saved`.

        Returns:
            Why the others were not saved; they are kept all the same.
        """
        kind, failures = SAVED_AS[PurePath(name).suffix.lower()], []

        def write(data: bytes, name: str) -> str:
            image, _ = picture.read(BytesIO(data))
            return str(saved.save(self._saved, name, picture.encoded(image, kind)))

        for image, its_name in zip(images, saved.numbered(name, len(images)), strict=True):
            try:
                kept = await self.read(image.sha256, principal)
                image.saved = await to_thread.run_sync(
                    write, kept.data, its_name, limiter=self._one
                )
            except OGError as exc:
                failures.append(str(exc.args[0]))
        return failures

    async def preview(self, sha256: str, principal: str, max_bytes: int) -> Kept:
        """Make a small image of an image; empty where none is small enough.

        Raises:
            ImageNotFoundError: The principal has none of that hash, or its file was changed.
        """

        def make() -> Kept:
            with self._files.find(sha256, principal).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                    raise ImageNotFoundError(sha256)
                data, kind = picture.preview(file, max_bytes)
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
        return await to_thread.run_sync(self._files.prune, named, before)

    def _keep(self, file: bytes, wanted: tuple[int, int], principal: str) -> Image:
        """Check an image, keep it, and scale it to the size that is wanted."""
        image, kind = picture.read(BytesIO(file))
        own = picture.upright_size(image)
        size = _size(own, wanted)
        original = self._stored(file, kind, own, principal)
        if size == own:
            return Image(**original.model_dump())
        smaller, kept = picture.cut(image, kind, size)
        made = self._stored(smaller, kept, size, principal)
        return Image(**made.model_dump(), original=original)

    def _stored(
        self, file: bytes, kind: Kind, size: tuple[int, int], principal: str
    ) -> StoredImage:
        try:
            path = self._files.keep(file, kind.suffix, principal)
        except OSError as exc:
            raise ImageRefusedError(f"it cannot be written: {quote(exc.strerror)}") from exc
        return StoredImage(
            uri=f"{URI}{path.stem}",
            path=str(path),
            mime_type=kind.mime_type,
            width=size[0],
            height=size[1],
            size=len(file),
            sha256=path.stem,
        )


def _too_many(addresses: Sequence[str]) -> list[str]:
    if len(addresses) <= found.MAX_IMAGES:
        return []
    return [f"the answer holds {len(addresses)} images, and {found.MAX_IMAGES} are the most"]


def _size(own: tuple[int, int], wanted: tuple[int, int]) -> tuple[int, int]:
    """Choose a size; a side that is not given keeps the proportions, up to the longest side."""
    width = wanted[0] or (round(own[0] * wanted[1] / own[1]) if wanted[1] else own[0])
    height = wanted[1] or (round(own[1] * wanted[0] / own[0]) if wanted[0] else own[1])
    if (width, height) == own:
        return own
    return min(max(width, 1), MAX_SIDE), min(max(height, 1), MAX_SIDE)
