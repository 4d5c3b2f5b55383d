"""The payer: signs one kind of message, an x402 `upto` payment in OPG, and nothing else.

The package x402 puts the payment together; what it then asks to be signed is compared, field by
field, with what this network's record and the caller allow (threats.md T2, T3), recorded in the
journal, and only then signed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from anyio import from_thread, to_thread
from eth_account.signers.local import LocalAccount
from x402 import x402ClientSync
from x402.client_base import SpendControlAsset, SpendControls
from x402.http.utils import encode_payment_signature_header
from x402.mechanisms.evm.constants import UPTO_PERMIT2_WITNESS_TYPES
from x402.mechanisms.evm.upto.client import UptoEvmScheme
from x402.schemas import (
    AbortResult,
    PaymentAbortedError,
    PaymentCreationContext,
    PaymentRequired,
    PaymentRequirements,
)
from x402.schemas.errors import PaymentError as X402Error

from og_mcp.client.payments.requirement import LONGEST_DEADLINE_S, Requirement
from og_mcp.errors import PaymentRefusedError
from og_mcp.networks import PERMIT2, UPTO_PROXY, Network
from og_mcp.redaction import hide_briefly

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


class Payer:
    """Signs payments of one wallet.

    Args:
        account: The wallet's key.
        network: What may be paid with, and where.
    """

    def __init__(self, account: LocalAccount, network: Network) -> None:
        self._account, self._network = account, network

    @property
    def address(self) -> str:
        """Who pays."""
        return str(self._account.address)

    async def sign(self, gateway: str, requirement: Requirement, record: Record) -> str:
        """Sign a payment; returns the value of the header `PAYMENT-SIGNATURE`, a bearer secret.

        Args:
            gateway: What errors call the gateway.
            requirement: What is asked, checked against the profile.
            record: Called with what is about to be signed, before it is.

        Raises:
            PaymentRefusedError: What the package would sign is not what was asked for.
            OGError: What `record` raised; nothing was signed.
        """
        # secp256k1 and the package's own work take over 10 ms.
        header = await to_thread.run_sync(self._sign, gateway, requirement, record)
        hide_briefly(header)
        return header

    def _sign(self, gateway: str, requirement: Requirement, record: Record) -> str:
        signer = _Signer(self._account, self._network, requirement, gateway, record)
        client = x402ClientSync()
        client.register(requirement.network, UptoEvmScheme(signer))
        client.set_spend_controls(self._controls(requirement))
        client.on_before_payment_creation(_only(requirement))
        challenge = PaymentRequired(
            x402_version=2,
            accepts=[PaymentRequirements.model_validate(requirement.offer())],
        )
        try:
            payload = client.create_payment_payload(challenge)
        except (X402Error, PaymentAbortedError, ValueError) as exc:
            raise PaymentRefusedError(gateway, f"x402 refuses it ({type(exc).__name__})") from exc
        return encode_payment_signature_header(payload)

    def _controls(self, requirement: Requirement) -> SpendControls:
        asset: SpendControlAsset = {
            "network": f"eip155:{self._network.base_chain_id}",
            "asset": self._network.opg_token,
            "max_amount_per_payment": str(requirement.amount),
        }
        return {"max_amount_per_payment": False, "allowed_assets": [asset]}


def _only(requirement: Requirement) -> Callable[[PaymentCreationContext], AbortResult | None]:
    """Stop the package where it chose anything but the one requirement that was checked."""

    def hook(context: PaymentCreationContext) -> AbortResult | None:
        chosen = Requirement.of(context.selected_requirements.model_dump(by_alias=True))
        return None if chosen == requirement else AbortResult(reason="another requirement")

    return hook


class _Signer:
    """What the package may use of the key: an address, and one guarded signature.

    It can neither sign transactions nor read contracts, so the package finds nothing to answer an
    offered extension with (threats.md T2).
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
        return str(self._account.address)

    def sign_typed_data(
        self,
        domain: Any,  # noqa: ANN401 - the package's own type, checked below
        types: Mapping[str, Sequence[Any]],
        primary_type: str,
        message: Mapping[str, Any],
    ) -> bytes:
        """Check, record and sign; once."""
        flaw = self._flaw(_plain(domain), types, primary_type, message)
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

    def _flaw(
        self,
        domain: Mapping[str, Any],
        types: Mapping[str, Sequence[Any]],
        primary_type: str,
        message: Mapping[str, Any],
    ) -> str:
        """Name the first field that is not what it must be."""
        now, asked = int(time.time()), self._requirement
        expected = {
            "permitted": {"token": self._network.opg_token, "amount": asked.amount},
            "spender": UPTO_PROXY,
            "nonce": message.get("nonce"),
            "deadline": message.get("deadline"),
            "witness": {"to": asked.pay_to, "facilitator": asked.facilitator, "validAfter": 0},
        }
        deadline, nonce = message.get("deadline"), message.get("nonce")
        checks = {
            "being the second": not self._used,
            "its domain": _same(domain, self._domain()),
            "its types": _fields(types) == TYPES and primary_type == PRIMARY,
            "its fields": _same(message, expected),
            "its nonce": isinstance(nonce, int) and 0 <= nonce < 2**256,
            "its deadline": isinstance(deadline, int)
            and deadline <= now + min(asked.timeout_s, LONGEST_DEADLINE_S) + CLOCK_S,
        }
        return next((what for what, holds in checks.items() if not holds), "")


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


def _same(given: object, expected: object) -> bool:
    """Compare values; of texts, which are addresses and names here, not the case of letters."""
    if isinstance(expected, Mapping):
        return (
            isinstance(given, Mapping)
            and given.keys() == expected.keys()
            and all(_same(given[key], expected[key]) for key in expected)
        )
    if isinstance(expected, str):
        return isinstance(given, str) and given.lower() == expected.lower()
    return type(given) is type(expected) and given == expected
