"""What gateways ask to be paid, as far as this network's record allows it."""

from __future__ import annotations

from typing import Final

import httpx

from og_mcp.calls import Journal
from og_mcp.client.payments.requirement import ZERO, Requirement, read_challenge
from og_mcp.client.payments.requirements import Known, Requirements
from og_mcp.client.tee.gateways import Gateway
from og_mcp.errors import PaymentRefusedError
from og_mcp.networks import Network, shown

CHALLENGE_HEADER: Final = "PAYMENT-REQUIRED"


class Prices:
    """The prices of one network's gateways.

    Args:
        network: What may be paid with, and to whom.
        journal: Where they are remembered.
        account: Key of the payer's account.
    """

    def __init__(self, network: Network, journal: Journal, account: str) -> None:
        self._network = network
        self._requirements = Requirements(journal, account)

    async def preferred(self, path: str) -> str:
        """Return the TEE that was paid last on a path; empty where none was."""
        return await self._requirements.preferred(path)

    async def known(self, gateway: Gateway, path: str) -> Known | None:
        """Return a remembered price, where it is still in order for this gateway."""
        known = await self._requirements.find(gateway.tee.tee_id, path)
        if known is None or self.flaw(known.requirement, gateway):
            return None
        return known

    async def remembered(self, tee_id: str, path: str) -> Requirement | None:
        """Return what a gateway asked for last on a path, whether it is in order or not."""
        known = await self._requirements.find(tee_id, path)
        return None if known is None else known.requirement

    async def challenged(self, gateway: Gateway, path: str, response: httpx.Response) -> Known:
        """Read and remember what a 402 asks for; closes it.

        Raises:
            PaymentRefusedError: It asks for something that is never signed.
        """
        header = response.headers.get(CHALLENGE_HEADER, "")
        await response.aclose()
        where, recipients = shown(gateway.tee.endpoint), self.recipients(gateway)
        tee_id = gateway.tee.tee_id
        try:
            requirement = read_challenge(header, where, self._network, recipients)
        except PaymentRefusedError:
            # What it asked for before, it does not ask for any more: that is not signed up front.
            await self._requirements.forget(tee_id, path)
            raise
        before = await self._requirements.find(tee_id, path)
        if before is not None and before.requirement == requirement:
            # A hundred that ask at once are told the same; it is written down once.
            return before
        known = Known(requirement, before.sessions if before else None)
        await self._requirements.keep(tee_id, path, known)
        return known

    async def learned(self, gateway: Gateway, path: str, known: Known, *, sessions: bool) -> None:
        """Remember whether a gateway keeps sessions."""
        if known.sessions is None or known.sessions != sessions:
            known.sessions = sessions
            await self._requirements.keep(gateway.tee.tee_id, path, known)

    def flaw(self, requirement: Requirement, gateway: Gateway) -> str:
        """Say what about a price this network's record does not allow; empty where in order."""
        return requirement.flaw(self._network, self.recipients(gateway))

    def recipients(self, gateway: Gateway) -> frozenset[str]:
        """Return who may be paid: whom the registry names for this TEE, and whom the profile does."""
        named = gateway.tee.payment_address
        return self._network.pay_to | ({named} if named and named != ZERO else frozenset())
