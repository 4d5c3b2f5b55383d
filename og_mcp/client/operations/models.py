"""Which model is meant, and which route leads to it: a TEE gateway, or the inference contract.

Networks of the first generation have the contract alone, later ones gateways alone, and the local
network has both (protocol.md sections 3 and 4).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Final, Literal

from og_mcp import catalogue
from og_mcp.catalogue import CatalogueEntry, Generation, Kind
from og_mcp.errors import UNPAID, InputError, quote
from og_mcp.networks import Network
from og_mcp.settings import Settings
from og_mcp.types import LLMModeName

Route = Literal["gateway", "VANILLA", "TEE"]
"""A gateway, or the mode of an on-chain call."""

Fits = Callable[[CatalogueEntry], bool | None]
"""Tells whether a model can do what a request asks, as far as that is known."""

VARIABLES: Final[dict[Kind, str]] = {"llm": "OG_CHAT_MODEL", "image": "OG_IMAGE_MODEL"}
"""Kind -> the variable with the default model."""


class Models:
    """The models of one session's network, and how each is reached.

    Args:
        settings: Holds the default models.
        network: Where they are.
        today: The day in UTC, by which models are retired.
    """

    def __init__(self, settings: Settings, network: Network, today: date) -> None:
        self._settings, self._network, self._today = settings, network, today

    def to_llm(self, model: str, mode: LLMModeName, fits: Fits) -> tuple[Route, CatalogueEntry]:
        """Choose how a language model is reached.

        Args:
            model: What the caller calls it; empty for OG_CHAT_MODEL.
            mode: How it is to be asked.
            fits: Which models an error may suggest if the call names none.

        Raises:
            InputError: There is no such model, or not in this mode on this network.
        """
        network = self._network
        if mode == "VANILLA" and network.tee_registry and not network.local:
            raise InputError(
                f"Network {network.name} answers language models by TEE gateways alone.",
                "Use inference_mode TEE or AUTO.",
            )
        only_on_chain = mode == "VANILLA" or not network.tee_registry
        generation: Generation = "on_chain" if only_on_chain else "gateway"
        model = self._name_or_default(model, generation, "llm", fits)
        on_chain = catalogue.find(model, "on_chain")
        if only_on_chain:
            # The contract's route checks the name itself, and names the nearest on chain.
            unknown = CatalogueEntry(id=model, kind="llm", generation="on_chain", is_listed=False)
            return ("VANILLA" if mode == "AUTO" else mode), on_chain or unknown
        if on_chain is not None and network.local:
            return ("VANILLA" if mode == "AUTO" and not on_chain.in_tee else "TEE"), on_chain
        return "gateway", self._of_gateways(model, "llm")

    def to_image_model(self, model: str, fits: Fits) -> CatalogueEntry:
        """Find a model that draws; gateways alone have them.

        Args:
            model: What the caller calls it; empty for OG_IMAGE_MODEL.
            fits: Which models an error may suggest if the call names none.

        Raises:
            InputError: There is no such model, or none on this network.
        """
        self.to_gateway("images come from")
        return self._of_gateways(self._name_or_default(model, "gateway", "image", fits), "image")

    def to_gateway(self, what: str) -> None:
        """Make sure that the network has gateways.

        Args:
            what: They do, in words.

        Raises:
            InputError: It has none.
        """
        network = self._network
        if not network.tee_registry:
            raise InputError(
                f"Network {network.name} has no gateways, which {what}.",
                "Use OG_NETWORK=opengradient or local.",
            )

    def _name_or_default(self, model: str, generation: Generation, kind: Kind, fits: Fits) -> str:
        if name := model.strip() or self._default(kind):
            return name
        variable = VARIABLES[kind]
        fitting = filter(fits, catalogue.living(self._today, generation, kind))
        cheapest = min(fitting, key=lambda entry: entry.price_rank, default=None)
        example = (
            f", e.g. {cheapest.id}, the cheapest that fits ({cheapest.price})" if cheapest else ""
        )
        raise InputError(
            f"The call names no model, and {variable} is not set. {UNPAID}",
            f"Name one{example}, or set {variable}.",
        )

    def _of_gateways(self, model: str, kind: Kind) -> CatalogueEntry:
        """Find a model that gateways answer, or describe one that only they may know."""
        entry = catalogue.find(model, "gateway")
        if entry is None and catalogue.find(model, "on_chain") is None:
            entry = catalogue.unlisted(model, kind)
        if entry is None:
            raise self._unknown(model, kind)
        if entry.kind != kind:
            tool = "generate_image" if entry.kind == "image" else "chat"
            raise InputError(
                f"{entry.id} is a model of kind {entry.kind}. {UNPAID}", f"Use it with {tool}."
            )
        if entry.is_retired(self._today):
            raise InputError(
                f"{entry.retirement} {UNPAID}",
                f"Use {entry.replaced_by}.{self._set_by(model, kind)}",
            )
        return entry

    def _unknown(self, model: str, kind: Kind) -> InputError:
        alike = catalogue.living(self._today, "gateway", kind)
        near = ", ".join(catalogue.nearest(model, alike))
        is_older = catalogue.find(model, "on_chain") is not None
        where = " that gateways answer, but one of the first generation" if is_older else ""
        return InputError(
            f"There is no {kind} model {quote(model)}{where}. {UNPAID}",
            f"The nearest are {near}; search_models with kind {kind} lists all, and a newer one is "
            f"asked for as provider/name.{self._set_by(model, kind)}",
        )

    def _set_by(self, model: str, kind: Kind) -> str:
        """Tell that a variable names the model, where one does."""
        return f" {VARIABLES[kind]} names it." if model == self._default(kind) else ""

    def _default(self, kind: Kind) -> str:
        return self._settings.chat_model if kind == "llm" else self._settings.image_model
