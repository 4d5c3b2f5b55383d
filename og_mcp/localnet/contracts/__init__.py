"""The local network's contracts: Solidity, and beside each source what solc made of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

NAMES: Final = ("GasPriceOracle", "Inference", "OPG", "Permit2", "TEERegistry", "UptoProxy")


@dataclass(frozen=True)
class Contract:
    """One compiled contract."""

    name: str
    abi: list[dict[str, Any]]
    deployed_bytecode: bytes
    """Code as it stands on the chain, without the constructor."""


def load(name: str) -> Contract:
    """Read the compiled form of `NAME.sol`."""
    text = resources.files(__name__).joinpath(f"{name}.json").read_text(encoding="utf-8")
    compiled = json.loads(text)
    code = bytes.fromhex(compiled["deployed_bytecode"].removeprefix("0x"))
    return Contract(name, compiled["abi"], code)
