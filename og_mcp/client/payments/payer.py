"""The payer: signs one kind of message, an x402 `upto` payment in OPG, and nothing else.

The package x402 puts the payment together; what it then asks to be signed goes through a guard.
"""

from __future__ import annotations

from collections.abc import Callable

from anyio import to_thread
from eth_account.signers.local import LocalAccount
from x402 import x402ClientSync
from x402.client_base import SpendControlAsset, SpendControls
from x402.http.utils import encode_payment_signature_header
from x402.mechanisms.evm.upto.client import UptoEvmScheme
from x402.schemas import (
    AbortResult,
    PaymentAbortedError,
    PaymentCreationContext,
    PaymentRequired,
    PaymentRequirements,
)
from x402.schemas.errors import PaymentError as X402Error

from og_mcp.client.payments.guarded_signer import GuardedSigner, Record
from og_mcp.client.payments.requirement import Requirement
from og_mcp.errors import PaymentRefusedError
from og_mcp.networks import Network
from og_mcp.redaction import hide_briefly


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
        signer = GuardedSigner(self._account, self._network, requirement, gateway, record)
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
