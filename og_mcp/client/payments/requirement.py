"""What a gateway asks to be paid, and whether that is what the network's record allows.

x402 version 2, scheme `upto` (protocol.md section 4). Everything of a challenge comes from outside:
nothing of it reaches a signature that was not compared with the profile (threats.md T3).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from pydantic_core import from_json, to_json

from og_mcp.errors import PaymentRefusedError, quote
from og_mcp.networks import Network

SCHEME: Final = "upto"
LONGEST_DEADLINE_S: Final = 3_600
"""How far away the deadline of a signature may be (threats.md T3)."""

SHORTEST_DEADLINE_S: Final = 30
ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")
ZERO: Final = "0x" + "0" * 40
MAX_CHALLENGE: Final = 64 * 2**10
"""Characters of a PAYMENT-REQUIRED header."""


@dataclass(frozen=True)
class Requirement:
    """One way to pay, as a gateway offers it."""

    scheme: str
    network: str
    """CAIP-2: `eip155:{chain id}`."""

    asset: str
    amount: int
    """The cap to be signed, base units."""

    pay_to: str
    facilitator: str
    """Who alone may take the payment."""

    timeout_s: int
    """Seconds from the signature to its deadline."""

    transfer_method: str
    token_name: str
    token_version: str

    @classmethod
    def of(cls, offer: dict[str, Any]) -> Self:
        """Read one entry of `accepts`.

        Raises:
            ValueError: A field is missing or of the wrong kind.
        """
        extra = offer.get("extra") or {}
        if not isinstance(extra, dict):
            raise ValueError("extra is no object")  # noqa: TRY004 - all that is wrong is one error
        texts = {name: offer.get(name) for name in ("scheme", "network", "asset", "payTo")}
        texts |= {name: extra.get(name, "") for name in ("name", "version")}
        texts["facilitatorAddress"] = extra.get("facilitatorAddress")
        texts["assetTransferMethod"] = extra.get("assetTransferMethod", "permit2")
        for name, value in texts.items():
            if not isinstance(value, str):
                raise ValueError(f"{name} is no text")  # noqa: TRY004 - as above
        return cls(
            scheme=str(texts["scheme"]),
            network=str(texts["network"]),
            asset=str(texts["asset"]),
            amount=_whole(offer.get("amount"), "amount"),
            pay_to=str(texts["payTo"]),
            facilitator=str(texts["facilitatorAddress"]),
            timeout_s=_whole(offer.get("maxTimeoutSeconds"), "maxTimeoutSeconds"),
            transfer_method=str(texts["assetTransferMethod"]),
            token_name=str(texts["name"]),
            token_version=str(texts["version"]),
        )

    @classmethod
    def from_json(cls, document: str) -> Self:
        """Read what `to_json` wrote.

        Raises:
            ValueError: It is something else.
        """
        try:
            written = cls(**from_json(document))
        except TypeError as exc:
            raise ValueError("it is no requirement") from exc
        return cls.of(written.offer())

    def to_json(self) -> str:
        """Write it down."""
        return to_json(asdict(self)).decode()

    def offer(self) -> dict[str, Any]:
        """Write it as an entry of `accepts`."""
        return {
            "scheme": self.scheme,
            "network": self.network,
            "asset": self.asset,
            "amount": str(self.amount),
            "payTo": self.pay_to,
            "maxTimeoutSeconds": self.timeout_s,
            "extra": {
                "name": self.token_name,
                "version": self.token_version,
                "assetTransferMethod": self.transfer_method,
                "facilitatorAddress": self.facilitator,
            },
        }

    def flaw(self, network: Network, recipients: Collection[str]) -> str:
        """Say what about it the network's record does not allow; empty where it is in order.

        Args:
            network: The profile.
            recipients: Addresses that may be paid: the registry's and the profile's.
        """
        chain = f"eip155:{network.base_chain_id}"
        wanted = (
            ("scheme", self.scheme, SCHEME),
            ("network", self.network, chain),
            ("asset", self.asset.lower(), network.opg_token.lower()),
            ("transfer method", self.transfer_method, "permit2"),
        )
        for what, offered, expected in wanted:
            if offered != expected:
                return f"its {what} is {quote(offered)}, not {expected}"
        if self.pay_to.lower() not in {one.lower() for one in recipients}:
            known = ", ".join(sorted(recipients)) or "none is known"
            return f"its recipient is {quote(self.pay_to)}; known are: {known}"
        if not ADDRESS.fullmatch(self.facilitator) or self.facilitator == ZERO:
            return f"its facilitator is {quote(self.facilitator)}"
        if not SHORTEST_DEADLINE_S <= self.timeout_s <= LONGEST_DEADLINE_S:
            return (
                f"its deadline is {self.timeout_s} s away, allowed are {SHORTEST_DEADLINE_S} to "
                f"{LONGEST_DEADLINE_S}"
            )
        # The signed type is uint256.
        return "" if 0 < self.amount < 2**256 else f"its amount is {quote(self.amount)}"


def read_challenge(
    header: str, gateway: str, network: Network, recipients: Collection[str]
) -> Requirement:
    """Choose what to pay by from the header `PAYMENT-REQUIRED`: the first offer that is in order.

    Offered extensions are dropped here: none of them is ever signed (threats.md T2).

    Raises:
        PaymentRefusedError: It cannot be read, or no offer is in order; says why for the first.
    """
    flaws: list[str] = []
    for offer in _offers(header, gateway):
        try:
            requirement = Requirement.of(offer)
        except ValueError as exc:
            flaws.append(str(exc))
            continue
        flaw = requirement.flaw(network, recipients)
        if not flaw:
            return requirement
        flaws.append(flaw)
    raise PaymentRefusedError(gateway, flaws[0] if flaws else "it offers no way to pay")


def _offers(header: str, gateway: str) -> list[dict[str, Any]]:
    if len(header) > MAX_CHALLENGE:
        raise PaymentRefusedError(gateway, f"its challenge is over {MAX_CHALLENGE} characters long")
    try:
        challenge = from_json(base64.b64decode(header, validate=True))
    except ValueError as exc:
        raise PaymentRefusedError(gateway, "its challenge cannot be read") from exc
    offers = challenge.get("accepts") if isinstance(challenge, dict) else None
    version = challenge.get("x402Version") if isinstance(challenge, dict) else None
    if version != 2:  # noqa: PLR2004 - x402's version
        raise PaymentRefusedError(gateway, f"its challenge is of x402 version {quote(version)}")
    return (
        [offer for offer in offers if isinstance(offer, dict)] if isinstance(offers, list) else []
    )


def _whole(value: object, name: str) -> int:
    """Read a whole number, plain or as decimal text; nothing else counts as one."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,78}", value):
        return int(value)
    raise ValueError(f"{name} is {quote(value)}, no whole number")
