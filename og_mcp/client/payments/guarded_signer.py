"""The guard in front of the key: one signature, over nothing but the payment that was checked.

What the package x402 asks to be signed is compared, field by field, with this network's record and
with what the gateway asked for (threats.md T2, T3), recorded in the journal, and only then signed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from anyio import from_thread
from eth_account.signers.local import LocalAccount
from x402.mechanisms.evm.constants import UPTO_PERMIT2_WITNESS_TYPES

from og_mcp.client.payments.requirement import LONGEST_DEADLINE_S, Requirement
from og_mcp.errors import PaymentRefusedError, quote
from og_mcp.networks import PERMIT2, UPTO_PROXY, Network

TYPES: Final = {
    "PermitWitnessTransferFrom": (
        ("permitted", "TokenPermissions"),
        ("spender", "address"),
        ("nonce", "uint256"),
        ("deadline", "uint256"),
        ("witness", "Witness"),
    ),
    "TokenPermissions": (("token", "address"), ("amount", "uint256")),
    "Witness": (("to", "address"), ("facilitator", "address"), ("validAfter", "uint256")),
}
"""The one EIP-712 type that is signed (protocol.md section 7)."""

PRIMARY: Final = "PermitWitnessTransferFrom"
CLOCK_S: Final = 5
"""Seconds between the package's reading of the clock and ours."""


@dataclass(frozen=True)
class Draft:
    """A payment that is about to be signed."""

    nonce: str
    deadline: int
    """Unix seconds."""


Record = Callable[[Draft], Coroutine[Any, Any, None]]
"""Writes a payment to the journal, within the caps, or raises; then it is signed."""


class GuardedSigner:
    """What the package may use of the key: an address, and one guarded signature.

    It can neither sign transactions nor read contracts, so the package finds nothing to answer an
    offered extension with (threats.md T2).

    Args:
        account: The wallet's key.
        network: What may be paid with, and where.
        requirement: What is asked, checked against the profile.
        gateway: What errors call the gateway.
        record: Called on the event loop with what is about to be signed, before it is.
    """

    def __init__(
        self,
        account: LocalAccount,
        network: Network,
        requirement: Requirement,
        gateway: str,
        record: Record,
    ) -> None:
        self._account, self._network, self._requirement = account, network, requirement
        self._gateway, self._record = gateway, record
        self._used = False

    @property
    def address(self) -> str:
        """Who pays."""
        return str(self._account.address)

    def sign_typed_data(
        self,
        domain: Any,  # noqa: ANN401 - the package's own type, checked below
        types: Mapping[str, Sequence[Any]],
        primary_type: str,
        message: Mapping[str, Any],
    ) -> bytes:
        """Check, record and sign; once. Runs in a thread that anyio started.

        Raises:
            PaymentRefusedError: It is not the payment that was asked for; says what differs.
            OGError: What `record` raised.
        """
        flaw = next(self._flaws(_plain(domain), types, primary_type, message), "")
        if flaw:
            raise PaymentRefusedError(self._gateway, f"the payment to be signed differs in {flaw}")
        self._used = True
        draft = Draft(str(message["nonce"]), int(message["deadline"]))
        from_thread.run(self._record, draft)
        signed = self._account.sign_typed_data(
            domain_data=self._domain(),
            message_types=UPTO_PERMIT2_WITNESS_TYPES,
            message_data=dict(message),
        )
        return bytes(signed.signature)

    def _domain(self) -> dict[str, Any]:
        return {
            "name": "Permit2",
            "chainId": self._network.base_chain_id,
            "verifyingContract": PERMIT2,
        }

    def _flaws(
        self,
        domain: Mapping[str, Any],
        types: Mapping[str, Sequence[Any]],
        primary_type: str,
        message: Mapping[str, Any],
    ) -> Iterator[str]:
        """Name what is not as it must be."""
        if self._used:
            yield "being the second"
        yield from _differences("its domain's ", domain, self._domain())
        if _fields(types) != TYPES or primary_type != PRIMARY:
            yield "its types"
        asked, now = self._requirement, int(time.time())
        nonce, deadline = message.get("nonce"), message.get("deadline")
        # validAfter: 0 by the package, now - 600 by others; either is past.
        after = _at(message, "witness", "validAfter")
        yield from _differences(
            "its ",
            message,
            {
                "permitted": {"token": self._network.opg_token, "amount": asked.amount},
                "spender": UPTO_PROXY,
                "nonce": nonce if _is_within(nonce, 2**256 - 1) else 0,
                "deadline": deadline if _is_within(deadline, now + self._longest_s()) else 0,
                "witness": {
                    "to": asked.pay_to,
                    "facilitator": asked.facilitator,
                    "validAfter": after if _is_within(after, now) else 0,
                },
            },
        )

    def _longest_s(self) -> int:
        return min(self._requirement.timeout_s, LONGEST_DEADLINE_S) + CLOCK_S


def _at(message: Mapping[str, Any], *path: str) -> object:
    found: object = message
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _is_within(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _plain(domain: Any) -> dict[str, Any]:  # noqa: ANN401 - see `sign_typed_data`
    if isinstance(domain, Mapping):
        return dict(domain)
    fields = {
        "name": getattr(domain, "name", None),
        "version": getattr(domain, "version", None),
        "chainId": getattr(domain, "chain_id", None),
        "verifyingContract": getattr(domain, "verifying_contract", None),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _fields(types: Mapping[str, Sequence[Any]]) -> dict[str, tuple[tuple[str, str], ...]]:
    def pair(field: Any) -> tuple[str, str]:  # noqa: ANN401 - a dict or the package's own record
        if isinstance(field, Mapping):
            return str(field["name"]), str(field["type"])
        return str(field.name), str(field.type)

    return {name: tuple(map(pair, fields)) for name, fields in types.items()}


def _differences(whose: str, given: object, expected: Mapping[str, Any]) -> Iterator[str]:
    """Name the fields that differ; of texts, which are addresses and names here, not by case."""
    if not isinstance(given, Mapping):
        yield f"{whose}{', '.join(expected)}"
        return
    for name in sorted(given.keys() - expected.keys()):
        yield f"{whose}{quote(name)}"
    for name, value in expected.items():
        if isinstance(value, Mapping):
            yield from _differences(whose, given.get(name), value)
        elif not _same(given.get(name), value):
            yield f"{whose}{name}"


def _same(given: object, expected: object) -> bool:
    if isinstance(expected, str):
        return isinstance(given, str) and given.lower() == expected.lower()
    return type(given) is type(expected) and given == expected
