"""Options of an answer: how it is made, and what it may hold."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from og_mcp.catalogue import CatalogueEntry, models
from og_mcp.errors import UNPAID, InputError, quote
from og_mcp.types import DEFAULT_MAX_TOKENS

MAX_TOKENS: Final = 2**20
MAX_TEMPERATURE: Final = 2.0
MAX_STOPS: Final = 16
MAX_IMAGES: Final = 10
"""Of one answer, and to start from."""

MAX_SIDE: Final = 8192
"""Pixels of an image that is made in another size."""

_OPTION: Final = re.compile(r"[0-9.]{1,6}(:[0-9.]{1,6}|[Kk])")


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How an answer is to be made."""

    max_tokens: int = DEFAULT_MAX_TOKENS
    stop_sequence: Sequence[str] = ()
    temperature: float = 0.0

    def as_sent(self, model: CatalogueEntry) -> dict[str, Any]:
        """Check it, and write it as gateways are sent it; a model without temperature is sent none.

        Raises:
            InputError: A value is out of bounds, or the model does not take it.
        """
        if not 1 <= self.max_tokens <= MAX_TOKENS:
            raise InputError(f"max_tokens is {self.max_tokens}.", f"Use 1 to {MAX_TOKENS}.")
        if not 0 <= self.temperature <= MAX_TEMPERATURE:
            raise InputError(f"temperature is {self.temperature}.", f"Use 0 to {MAX_TEMPERATURE}.")
        stops = list(self.stop_sequence)
        if len(stops) > MAX_STOPS or not all(stops):
            raise InputError(
                f"stop_sequence has {len(stops)} texts, or an empty one.",
                f"Use up to {MAX_STOPS}.",
            )
        if self.temperature and not model.temperature:
            raise InputError(
                f"{model.id} does not take a temperature, and {self.temperature} was given. "
                f"{UNPAID}",
                "Leave temperature out, or use another model.",
            )
        sent: dict[str, Any] = {"max_tokens": self.max_tokens}
        if model.temperature:
            # Zero has one form in what is hashed, whatever sign it came with.
            sent["temperature"] = float(self.temperature) or 0.0
        return sent | ({"stop": stops} if stops else {})


@dataclass(frozen=True, kw_only=True)
class ChatOptions:
    """Options of a chat: tools, format, web search."""

    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: str = ""
    response_format: Mapping[str, Any] = field(default_factory=dict)
    web_search: bool = False


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """Size, format and number of images."""

    width: int = 0
    """Pixels; 0 for the model's own, as for `height`."""

    height: int = 0
    aspect_ratio: str = ""
    resolution: str = ""
    count: int = 1
    images: Sequence[Mapping[str, Any] | str] = ()
    """Pictures to start from."""

    save_as: str = ""

    def as_sent(self, model: CatalogueEntry) -> dict[str, Any]:
        """Check it against what a model takes, and write it as gateways are sent it.

        Raises:
            InputError: A value is out of bounds, or the model does not take it.
        """
        for name, side in (("width", self.width), ("height", self.height)):
            if not 0 <= side <= MAX_SIDE:
                raise InputError(f"{name} is {side}.", f"Use 0 (the model's own) to {MAX_SIDE}.")
        if not 1 <= self.count <= MAX_IMAGES:
            raise InputError(f"count is {self.count}.", f"Use 1 to {MAX_IMAGES}. {UNPAID}")
        if len(self.images) > MAX_IMAGES:
            raise InputError(
                f"images has {len(self.images)} pictures to start from.",
                f"Use up to {MAX_IMAGES}. {UNPAID}",
            )
        if self.images and model.is_listed and not model.references:
            can = (one.id for one in models() if one.references and one.status != "retired")
            raise InputError(
                f"{model.id} does not take pictures to start from.",
                f"Leave images out, or use one of {', '.join(can)}. {UNPAID}",
            )
        ratio = _option(model, "aspect_ratio", self.aspect_ratio, model.aspect_ratios)
        tier = _option(model, "resolution", self.resolution.upper(), tuple(model.resolutions))
        options = {"aspect_ratio": ratio, "resolution": tier, "n": self.count}
        return {name: value for name, value in options.items() if value not in {"", 1}}


def _option(model: CatalogueEntry, name: str, value: str, taken: Sequence[str]) -> str:
    """Check an option of an image model; the gateway decides about a model that is not in the catalogue."""
    if not value or value in taken or (not model.is_listed and _OPTION.fullmatch(value)):
        return value
    takes = f"It takes {', '.join(taken)}." if taken else f"Leave {name} out."
    raise InputError(f"{model.id} does not take the {name} {quote(value)}.", f"{takes} {UNPAID}")
