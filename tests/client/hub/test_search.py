"""Which models of the catalogue answer on which network."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from og_mcp.client.hub.search import catalogued
from og_mcp.networks import ALPHA_2025, OPENGRADIENT, Network


@pytest.mark.parametrize(
    ("network", "generations"),
    [
        (OPENGRADIENT, {"gateway"}),
        (ALPHA_2025, {"on_chain"}),
        (replace(OPENGRADIENT, name="local"), {"gateway", "on_chain"}),
    ],
    ids=["with gateways", "without", "local"],
)
def test_a_network_has_the_models_of_its_generation(
    network: Network, generations: set[str]
) -> None:
    assert {entry.generation for entry in catalogued(network, date.min)} == generations
