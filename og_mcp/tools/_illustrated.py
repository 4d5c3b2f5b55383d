"""Results that come with more than JSON: small previews of images, and links to what is kept whole."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import PurePath
from typing import Final

from mcp.types import ContentBlock, ImageContent, ResourceLink
from pydantic import PrivateAttr

from og_mcp.client import Session
from og_mcp.errors import NotFoundError
from og_mcp.types import CallInfo, Image, ImageResult, InferenceResult, Shape

PREVIEW_BYTES: Final = 600_000
"""Bytes of all previews together: 800,000 characters of base64; hosts take a million."""


class _Illustrated(Shape):
    """A result with the images that a host shows beside it."""

    _blocks: list[ContentBlock] = PrivateAttr(default_factory=list)

    def blocks(self) -> list[ContentBlock]:
        """Return the previews and the links to the whole images."""
        return self._blocks


class _IllustratedResult(_Illustrated, ImageResult):
    """The result of generate_image, with its images."""


class _IllustratedCall(_Illustrated, CallInfo):
    """The state of a call that drew images, with the images."""


async def illustrated_result(result: ImageResult, og: Session, principal: str) -> ImageResult:
    """Add the images to a result of generate_image."""
    shown = _IllustratedResult(**result.model_dump())
    shown.blocks().extend(await _blocks_of(result.images, og, principal, previews=True))
    return shown


async def illustrated_call(
    info: CallInfo, og: Session, principal: str, *, previews: bool
) -> CallInfo:
    """Add the images to the state of a call, if it drew any.

    Args:
        info: What is told.
        og: Keeps the images.
        principal: Whose they are.
        previews: Whether to show them, too: false where the tool itself has shown them.
    """
    if info.tool != "generate_image" or not info.result:
        return info
    shown = _IllustratedCall(**info.model_dump())
    images = ImageResult.model_validate(info.result).images
    shown.blocks().extend(await _blocks_of(images, og, principal, previews=previews))
    return shown


def output_links(result: Shape) -> list[ContentBlock]:
    """Link to the files of large outputs that a result names, if it names any."""
    if isinstance(result, CallInfo):
        outputs = result.result.get("model_output") or {}
    else:
        outputs = result.model_output if isinstance(result, InferenceResult) else {}
    return [
        ResourceLink(
            type="resource_link",
            uri=told["uri"],
            name=f"{name}{PurePath(told['path']).suffix}",
            mime_type="application/octet-stream",
            size=told["size"],
        )
        for name, told in outputs.items()
        if isinstance(told, dict) and str(told.get("uri", "")).startswith("og://outputs/")
    ]


async def _blocks_of(
    images: Sequence[Image], og: Session, principal: str, *, previews: bool
) -> list[ContentBlock]:
    blocks: list[ContentBlock] = []
    for image in images:
        if previews and og.settings.images == "preview":
            blocks += await _preview(image, PREVIEW_BYTES // len(images), og, principal)
        blocks.append(
            ResourceLink(
                type="resource_link",
                uri=image.uri,
                name=f"{image.sha256[:12]}, {image.width} x {image.height} pixels",
                mime_type=image.mime_type,
                size=image.size,
            )
        )
    return blocks


async def _preview(image: Image, max_bytes: int, og: Session, principal: str) -> list[ImageContent]:
    try:
        preview = await og.image_preview(image.sha256, max_bytes, principal=principal)
    except NotFoundError:
        # The call is paid and done: its result is shown even where the file is gone.
        return []
    data = base64.b64encode(preview.data).decode()
    return [ImageContent(type="image", data=data, mime_type=preview.mime_type)] if data else []
