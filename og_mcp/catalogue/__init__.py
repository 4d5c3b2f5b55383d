"""The language and image models of the network, as data: `models.json` beside this file.

Names: protocol.md section 1; prices and what is retired: the public gateway's model registry. Which
providers take `json_object` and tools: the documentation of the public SDK 1.1.4. What a model can
do is what its provider documents; `None` where that is not known here. The list is open: gateways
learn models faster than releases of og-mcp come, so a name that is not in it may be asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime
from decimal import Decimal
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

Kind = Literal["llm", "image"]

Generation = Literal["gateway", "on_chain"]
"""Which route answers: a TEE gateway, or the inference contract of the first generation."""

MAX_COMPARED: Final = 200
"""Characters of a text that are compared with names: comparing takes time by length."""

_UNKNOWN_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,63}/[A-Za-z0-9][\w.:-]{0,127}", re.ASCII)
_PER_MILLION: Final = 10**6


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """One model that answers chats, completions or drawing requests; prices are US dollars."""

    id: str
    """`provider/name`."""

    kind: Kind
    generation: Generation = "gateway"
    in_tee: bool = True
    """Whether it may be called in TEE mode; on chain one model alone may."""

    member: str = ""
    """Its name in the SDK's enums, where that is not the name in capitals."""

    aliases: tuple[str, ...] = ()
    """Further bare names that gateways know it by."""

    input_usd_per_million: Decimal | None = None
    """Price of a million tokens of the request."""

    output_usd_per_million: Decimal | None = None
    """Price of a million tokens of the answer's text."""

    image_output_usd_per_million: Decimal | None = None
    """Price of a million tokens of the answer's images, where images are billed by tokens."""

    usd_per_image: Decimal | None = None
    about_usd_per_image: Decimal | None = None
    """What an image comes to, where images are billed by tokens."""

    temperature: bool = True
    """Whether it takes a temperature."""

    image_input: bool | None = None
    """Whether it reads images."""

    tools: bool | None = None
    json_object: bool | None = None
    """Whether it takes the response format `json_object`; all take `json_schema`."""

    aspect_ratios: tuple[str, ...] = ()
    """Ratios that an image model draws in; empty: it takes none."""

    resolutions: Mapping[str, Decimal] = field(default_factory=dict)
    """Resolution of an image model with tiers -> price of an image; empty: it takes none."""

    references: bool = False
    """Whether an image model takes pictures to start from."""

    status: Literal["", "retired"] = ""
    until: date | None = None
    """The last day on which it answers."""

    note: str = ""
    """Why it is retired."""

    replaced_by: str = ""
    """Id of the model to use instead."""

    is_listed: bool = True
    """False for a model that is not in this catalogue."""

    @property
    def provider(self) -> str:
        """The part of the id before the slash."""
        return self.id.partition("/")[0]

    @property
    def name(self) -> str:
        """The part of the id after the slash."""
        return self.id.partition("/")[2]

    @property
    def wire_name(self) -> str:
        """What a request carries: the bare name to a gateway, the whole id on chain."""
        return self.name if self.generation == "gateway" else self.id

    @property
    def names(self) -> tuple[str, ...]:
        """Every way to name it; capitals, and `_` in place of `-` and `.`, make no difference."""
        bare = (self.name, *self.aliases)
        named = (*bare, *(f"{self.provider}/{name}" for name in bare), self.member)
        return tuple(filter(None, dict.fromkeys(named)))

    @property
    def abilities(self) -> str:
        """What it can do and cannot, as far as that is known; in words that a search can find."""
        if self.generation == "on_chain":
            mode = "inference_mode VANILLA or TEE" if self.in_tee else "inference_mode VANILLA"
            return f"Answers on chain, {mode}."
        if self.kind == "image":
            options = {
                "aspect_ratio": self.aspect_ratios,
                f"resolution {' or '.join(self.resolutions)}": self.resolutions,
                "pictures to start from": self.references,
            }
            taken = {name: True for name, known in options.items() if known}
            return _sentence("Draws images", taken)
        told = {
            "tools": self.tools,
            "json_object": self.json_object,
            "temperature": False if not self.temperature else None,
        }
        reads = {True: "; reads images (vision, image input)", False: "; text only", None: ""}
        return _sentence(f"Answers in a TEE{reads[self.image_input]}", told)

    @property
    def notice(self) -> str:
        """What whoever uses it has to know: that it ends, or that nothing is known of it."""
        if not self.is_listed:
            return (
                f"{self.id} is not in the catalogue of this release; its price is not known here."
            )
        if self.until is not None:
            return f"{self.id} ends after {self.until}; then use {self.replaced_by}."
        return ""

    @property
    def retirement(self) -> str:
        """Why it does not answer any more under this name."""
        return f"{self.id} is retired: {self.note or f'it ended after {self.until}'}."

    @property
    def price(self) -> str:
        """What it costs, in words."""
        if self.generation == "on_chain":
            return "gas"
        if self.resolutions:
            tiers = (f"{usd} USD at {name}" for name, usd in self.resolutions.items())
            return f"{', '.join(tiers)} an image"
        if (each := self.image_usd()) is not None:
            return f"{'' if self.usd_per_image else 'about '}{each} USD an image"
        if self.input_usd_per_million is None or self.output_usd_per_million is None:
            return "unknown"
        given, made = self.input_usd_per_million, self.output_usd_per_million
        return f"{given} USD in, {made} USD out, per million tokens"

    @property
    def price_rank(self) -> tuple[bool, Decimal]:
        """Sorts the cheapest first and unknown prices last: tokens in and out weigh alike."""
        usd = (
            self.image_usd()
            if self.kind == "image"
            else self.usd(input_tokens=_PER_MILLION, output_tokens=_PER_MILLION)
        )
        return usd is None, usd or Decimal(0)

    def is_named(self, text: str) -> bool:
        """Whether a text is one of its names."""
        return _key(text.strip()) in map(_key, self.names)

    def is_retired(self, today: date) -> bool:
        """Whether it does not answer any more under this name.

        Args:
            today: The day in UTC.
        """
        return self.status == "retired" or (self.until is not None and today > self.until)

    def usd(self, *, input_tokens: int, output_tokens: int) -> Decimal | None:
        """Price a request of a language model, US dollars; `None` where no price is known."""
        if self.input_usd_per_million is None or self.output_usd_per_million is None:
            return None
        given = self.input_usd_per_million * input_tokens
        return (given + self.output_usd_per_million * output_tokens) / _PER_MILLION

    def image_usd(self, resolution: str = "") -> Decimal | None:
        """Price one image, US dollars; `None` where no price is known."""
        return self.resolutions.get(resolution, self.usd_per_image or self.about_usd_per_image)

    def facts(self) -> dict[str, Any]:
        """Tell what is known of it, as `models.json` names it; what goes without saying is left out."""
        told = {one.name: (getattr(self, one.name), one.default) for one in fields(self)}
        differs = {name: value for name, (value, default) in told.items() if value != default}
        if not self.resolutions:
            del differs["resolutions"]
        return {"provider": self.provider, "generation": self.generation, **differs}


def utc_today() -> date:
    """Return the day by this machine's clock."""
    return datetime.now(UTC).date()


def models() -> tuple[CatalogueEntry, ...]:
    """Return every model, retired ones included; those of the first generation last."""
    return _read()[0]


def web_search_usd() -> Decimal:
    """Return the flat price of one web search, US dollars."""
    return _read()[1]


def living(
    today: date, generation: Generation | None = None, kind: Kind | None = None
) -> Iterator[CatalogueEntry]:
    """Give the models that answer, of a generation and kind or of all.

    Args:
        today: The day in UTC.
        generation: Only models of this route; every route if None.
        kind: Only models of this kind; every kind if None.
    """
    for entry in models():
        is_wanted = generation in {None, entry.generation} and kind in {None, entry.kind}
        if is_wanted and not entry.is_retired(today):
            yield entry


def find(text: str, generation: Generation | None = None) -> CatalogueEntry | None:
    """Look a model up by id, bare name, alias or enum member; retired ones are found, too.

    Args:
        text: What somebody called it.
        generation: Only models of this route; every route if None.
    """
    wanted = _key(text.strip())
    for route, named in _entries_by_name().items():
        if generation in {None, route} and wanted in named:
            return named[wanted]
    return None


def unlisted(text: str, kind: Kind = "llm") -> CatalogueEntry | None:
    """Describe a model of which only `provider/name` is known; `None` where the text is not that.

    A name that the catalogue has under another provider is not unlisted either: gateways are sent
    the bare name, and would answer with the other provider's model.
    """
    text = text.strip()
    if not _UNKNOWN_ID.fullmatch(text) or find(text.partition("/")[2], "gateway") is not None:
        return None
    return CatalogueEntry(id=text, kind=kind, is_listed=False)


def nearest(text: str, among: Iterable[CatalogueEntry], count: int = 3) -> tuple[str, ...]:
    """Name the models whose names look most like a text, the nearest first."""
    wanted = text.strip().casefold()[:MAX_COMPARED]

    def likeness(entry: CatalogueEntry) -> float:
        ratios = (SequenceMatcher(None, wanted, name.casefold()).ratio() for name in entry.names)
        return max(ratios)

    return tuple(entry.id for entry in sorted(among, key=likeness, reverse=True)[:count])


def _sentence(what: str, told: Mapping[str, bool | None]) -> str:
    can = ", ".join(name for name, known in told.items() if known)
    cannot = ", ".join(name for name, known in told.items() if known is False)
    parts = (f"takes {can}" if can else "", f"not {cannot}" if cannot else "")
    return "; ".join(filter(None, (what, *parts))) + "."


def _key(text: str) -> str:
    """Write a name as the SDK's enums would."""
    return re.sub("[-. _]+", "_", text.casefold())


@cache
def _read() -> tuple[tuple[CatalogueEntry, ...], Decimal]:
    text = (Path(__file__).parent / "models.json").read_text(encoding="utf-8")
    document = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    providers = document["providers"]
    found = tuple(_entry(one, providers) for one in document["models"])
    return found, document["web_search_usd_per_search"]


def _entry(given: Mapping[str, Any], providers: Mapping[str, Any]) -> CatalogueEntry:
    is_chat = given["kind"] == "llm"
    shared = providers.get(given["id"].partition("/")[0], {}) if is_chat else {}
    read: dict[str, Any] = {**shared, **given}
    for name in ("aliases", "aspect_ratios"):
        read[name] = tuple(read.get(name, ()))
    if "until" in read:
        read["until"] = date.fromisoformat(read["until"])
    return CatalogueEntry(**read)


@cache
def _entries_by_name() -> Mapping[Generation, Mapping[str, CatalogueEntry]]:
    named: dict[Generation, dict[str, CatalogueEntry]] = {"gateway": {}, "on_chain": {}}
    for entry in models():
        named[entry.generation] |= {_key(name): entry for name in entry.names}
    return named
