"""Images that a gateway's model draws; each is kept whole, as a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from anyio import to_thread

from og_mcp.catalogue import CatalogueEntry
from og_mcp.client.files.attachments import Attachments
from og_mcp.client.files.kind import KINDS
from og_mcp.client.files.saved import NOT_OVER_HTTP, check_name
from og_mcp.client.images.images import SAVED_AS, Images
from og_mcp.client.llm.gateway_answer import MAX_IMAGE_BYTES
from og_mcp.client.llm.gateway_llm import GatewayAnswer
from og_mcp.client.llm.question import CHAT
from og_mcp.client.operations.gateway import GatewayAccess, GatewayOperation, write_question
from og_mcp.client.operations.models import Fits
from og_mcp.client.operations.options import ImageOptions
from og_mcp.errors import InputError, quote
from og_mcp.types import ImageResult


class GenerateImage(GatewayOperation[ImageResult]):
    """A request for images."""

    tool = "generate_image"
    result = ImageResult
    attachments: Attachments
    images: Images
    options: ImageOptions

    @classmethod
    async def of(  # noqa: PLR0913, PLR0917 - what is asked, how, and what goes along
        cls,
        access: GatewayAccess,
        model: CatalogueEntry,
        prompt: str,
        options: ImageOptions,
        images: Images,
        attachments: Attachments,
    ) -> GenerateImage:
        """Write the request.

        Raises:
            InputError: No gateway can be asked this.
        """
        # The cheap refusals first: reading the pictures to start from takes time.
        sent = options.as_sent(model)
        if options.save_as:
            if access.settings.transport != "stdio":
                raise InputError(*NOT_OVER_HTTP)
            check_name(options.save_as, SAVED_AS)
        uris = await _pictures(options.images, images, attachments, access.principal)
        if not prompt.strip():
            raise InputError("There is no prompt.", "Say what is to be drawn.")

        body = partial(_image_body, model, prompt, uris, sent)
        question = await write_question(
            CHAT, body, (prompt, uris), access, max_bytes=MAX_IMAGE_BYTES
        )
        extra = {"width": options.width, "height": options.height, **attachments.in_request}
        extra |= {"save_as": options.save_as} if options.save_as else {}
        image = cls(access, question, model, extra)
        image.options, image.images, image.attachments = options, images, attachments
        return image

    @property
    def fields(self) -> dict[str, Any]:
        """The model, and the pictures to start from."""
        return {**super().fields, "attachments": self.attachments.told}

    async def check(self) -> None:
        """Check that no file has the names of the copies yet."""
        if self.options.save_as:
            await self.images.check_free(self.options.save_as, self.options.count)

    async def read(self, answered: GatewayAnswer, fields: Mapping[str, Any]) -> ImageResult:
        """Keep the images, and put together what `generate_image` returns."""
        options, principal = self.options, self._access.principal
        found = await self.images.keep(
            answered.answer,
            principal,
            gateway=answered.tee,
            width=options.width,
            height=options.height,
        )
        refused = [*found.refused]
        missing = options.count - len(found.images) - len(refused)
        if missing > 0:
            refused.append(f"{missing} of {options.count} images: the gateway sent no more")
        if options.save_as:
            refused += await self.images.save(found.images, principal, options.save_as)
        return ImageResult(**fields, images=found.images, refused=refused)


def fits_images(options: ImageOptions) -> Fits:
    """Tell which models can draw what is asked, so that one of them can be named."""
    return partial(_can_draw, options)


def _can_draw(options: ImageOptions, model: CatalogueEntry) -> bool:
    has_ratio = not options.aspect_ratio or options.aspect_ratio in model.aspect_ratios
    has_tier = not options.resolution or options.resolution.upper() in model.resolutions
    return has_ratio and has_tier and (model.references or not options.images)


def _image_body(
    model: CatalogueEntry, prompt: str, uris: Sequence[str], sent: Mapping[str, Any]
) -> dict[str, Any]:
    # The network's gateways take no size: another one is made of what they send.
    content: Any = prompt
    if uris:
        pictures = ({"type": "image_url", "image_url": {"url": uri}} for uri in uris)
        content = [{"type": "text", "text": prompt}, *pictures]
    asked = [{"role": "user", "content": content}]
    return {"model": model.wire_name, "messages": asked, "temperature": 0.0, **sent}


async def _pictures(
    given: Sequence[Mapping[str, Any] | str],
    images: Images,
    attachments: Attachments,
    principal: str,
) -> list[str]:
    """Read the pictures to start from, as `data:` URIs."""
    uris = []
    for index, one in enumerate(given):
        where = f"images[{index}]"
        named = dict(one) if isinstance(one, Mapping) else {"uri": one}
        path, uri = named.pop("file", None), named.pop("uri", None)
        if isinstance(path, str) and uri is None and not named:
            read = await to_thread.run_sync(attachments.read, path, KINDS)
        elif isinstance(uri, str) and path is None and not named:
            data = await images.held(uri, where, principal)
            name = where if uri[:5].lower() == "data:" else uri
            read = await to_thread.run_sync(attachments.add, name, data, KINDS)
        else:
            raise InputError(
                f"{where} is {quote(one)}, which names no picture.",
                'Use {"file": path}, or {"uri": ...} with og://images/... or a data: URI; '
                "nothing was sent or paid.",
            )
        uris.append(read.uri)
    return uris
