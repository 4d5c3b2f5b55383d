"""A signed cap, as it comes in a PAYMENT-SIGNATURE header."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

from pydantic import BaseModel, Field
from x402.schemas import PaymentPayload, PaymentRequirements


class _Permitted(BaseModel):
    token: str
    amount: str


class _Authorization(BaseModel):
    owner: str = Field(alias="from")
    nonce: str
    deadline: int
    permitted: _Permitted


class _Signed(BaseModel):
    authorization: _Authorization = Field(alias="permit2Authorization")
    signature: str


@dataclass(frozen=True, kw_only=True)
class Payment:
    """What a client signed, and what it was asked for."""

    digest: bytes
    """SHA-256 of the header: tells whether two requests carry the same payment."""

    payload: PaymentPayload
    payer: str
    """0x-hex in lower case; proven only once the facilitator has verified the payment."""

    nonce: str
    """Permit2's, as decimal text."""

    deadline: int
    """Unix seconds."""

    requirement: PaymentRequirements
    """What the gateway asked for when the payment came."""

    @classmethod
    def read(cls, header: str, requirement: PaymentRequirements) -> Payment:
        """Read the base64 JSON of a header.

        Raises:
            ValueError: It is not a payment by Permit2.
        """
        payload = PaymentPayload.model_validate_json(base64.b64decode(header, validate=True))
        signed = _Signed.model_validate(payload.payload).authorization
        return cls(
            digest=hashlib.sha256(header.encode()).digest(),
            payload=payload,
            payer=signed.owner.lower(),
            nonce=signed.nonce,
            deadline=signed.deadline,
            requirement=requirement,
        )

    @property
    def cap(self) -> int:
        """The most that can be taken, in base units."""
        return int(self.requirement.amount)

    @property
    def as_asked(self) -> bool:
        """Whether the client signed for what the gateway asks for at the moment."""
        asked, accepted = self.requirement, self.payload.accepted
        return asked.model_dump(exclude={"extra"}) == accepted.model_dump(
            exclude={"extra"}
        ) and all(accepted.extra.get(name) == value for name, value in asked.extra.items())
