"""Where things are on the Model Hub (protocol.md section 5).

Names come from callers and from the hub; each stays one part of its address, whatever it holds.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote as percent_encode

from og_mcp.errors import InputError, quote
from og_mcp.networks import Network

_MODELS: Final = "/api/v0/models"


def new_model_url(network: Network) -> str:
    """Return where models are created."""
    return f"{network.hub_url}{_MODELS}/"


def versions_url(network: Network, model_name: str) -> str:
    """Return where a model's versions are, on the side that takes an account.

    Raises:
        InputError: The name cannot be part of an address.
    """
    return f"{network.hub_url}{_MODELS}/{_segment(model_name)}/versions"


def files_url(network: Network, model_name: str, version: str) -> str:
    """Return where a version's files are, on the side that takes an account.

    Raises:
        InputError: A name cannot be part of an address.
    """
    return f"{versions_url(network, model_name)}/{_segment(plain_version(version))}/files"


def public_models_url(network: Network) -> str:
    """Return where all models are listed for everybody."""
    return f"{network.hub_read_url}{_MODELS}/"


def public_model_url(network: Network, model_name: str) -> str:
    """Return where a model is described, for everybody.

    Raises:
        InputError: The name cannot be part of an address.
    """
    return f"{network.hub_read_url}{_MODELS}/{_segment(model_name)}"


def page_url(network: Network, author: str, model_name: str) -> str:
    """Return where a model's page is; empty where there are no pages, or the author is not known."""
    page = network.model_page_url
    return page.format(author=_encoded(author), model=_encoded(model_name)) if author else ""


def plain_version(version: str) -> str:
    """Write a version as the hub does, without a `v`."""
    return version.strip().removeprefix("v")


def _segment(text: str) -> str:
    """Encode one part of a path so that it stays one part.

    Raises:
        InputError: It is empty or consists of dots, which URLs give a meaning of their own, or
            holds half a surrogate pair, which cannot be sent.
    """
    try:
        encoded = _encoded(text)
    except UnicodeEncodeError:
        encoded = ""
    if not encoded.strip("."):
        raise InputError(f"{quote(text)} is not a name on the Model Hub.")
    return encoded


def _encoded(text: str) -> str:
    return percent_encode(text, safe="")
