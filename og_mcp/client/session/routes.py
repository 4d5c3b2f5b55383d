"""Which route leads to a model: a TEE gateway, or a transaction of the inference contract.

Networks of the first generation have the contract alone, later ones gateways alone, and the local
network has both (protocol.md sections 3 and 4).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from og_mcp import catalogue
from og_mcp.client.session.parts import Parts
from og_mcp.errors import InputError, quote
from og_mcp.types import LLMModeName

Route = Literal["gateway", "VANILLA", "TEE"]
"""A gateway, or the mode of an on-chain call."""


class Routes:
    """The routes of one session's network.

    Args:
        parts: What the session consists of.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def to_llm(self, model: str, mode: LLMModeName) -> tuple[Route, catalogue.Entry]:
        """Choose how a language model is reached.

        Raises:
            InputError: There is no such model, or not in this mode on this network.
        """
        network = await self._parts.network.get()
        by_gateway, on_chain = (catalogue.find(model, one) for one in ("gateway", "on_chain"))
        if not network.tee_registry:
            # The first generation: the contract alone. Its own words name the nearest models.
            return ("VANILLA" if mode == "AUTO" else mode), by_gateway or _any()
        if mode == "VANILLA":
            if not network.local:
                raise InputError(
                    f"Network {network.name} answers language models by TEE gateways alone.",
                    "Use inference_mode TEE or AUTO.",
                )
            return "VANILLA", by_gateway or _any()
        if by_gateway is not None and by_gateway.kind == "llm":
            return "gateway", by_gateway
        if on_chain is not None and network.local:
            return ("VANILLA" if mode == "AUTO" and not on_chain.in_tee else "TEE"), on_chain
        raise _unknown(model, "llm")

    async def to_image_model(self, model: str) -> catalogue.Entry:
        """Find a model that draws; gateways alone have them.

        Raises:
            InputError: There is no such model, or none on this network.
        """
        await self.to_gateway("images come from")
        entry = catalogue.find(model, "gateway")
        if entry is None or entry.kind != "image":
            raise _unknown(model, "image")
        return entry

    async def to_gateway(self, what: str) -> None:
        """Make sure that the network has gateways.

        Args:
            what: They do, in words.

        Raises:
            InputError: It has none.
        """
        network = await self._parts.network.get()
        if not network.tee_registry:
            raise InputError(
                f"Network {network.name} has no gateways, which {what}.",
                "Use OG_NETWORK=opengradient or local.",
            )


def _unknown(model: str, kind: catalogue.Kind) -> InputError:
    named = catalogue.find(model, "gateway")
    if named is not None:
        tool = "generate_image" if named.kind == "image" else "chat"
        return InputError(f"{named.id} is a model of kind {named.kind}.", f"Use it with {tool}.")
    alike = catalogue.living(datetime.now(UTC).date(), "gateway", kind)
    near = ", ".join(catalogue.nearest(model, alike))
    is_older = catalogue.find(model, "on_chain") is not None
    where = " that gateways answer, but one of the first generation" if is_older else ""
    return InputError(
        f"There is no {kind} model {quote(model)}{where}.",
        f"The nearest are {near}; search_models with kind {kind} lists all.",
    )


def _any() -> catalogue.Entry:
    """Return an entry for where none is looked at: the contract's route checks the name itself."""
    return catalogue.models()[0]
