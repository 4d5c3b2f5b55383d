"""A person's agreement to a call: the one place where it is asked for and used up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from og_mcp.calls import Journal
from og_mcp.client.calls.operation import Operation, Quote
from og_mcp.consent import approve_command, refused_words
from og_mcp.errors import ApprovalRequiredError, coins
from og_mcp.settings import Settings
from og_mcp.types import CANCEL_PAYMENT, PUBLISHING_TOOLS, Account, Call, Check, ConsentRequest

ALWAYS_ASKED: Final = frozenset({"approve_opg", CANCEL_PAYMENT})
"""A person always has to agree to these: they change what others may take from the wallet."""

CONFIRM: Final = "OG_CONFIRM_ABOVE"

APPROVAL_MARGIN: Final = 2
"""A person is asked for twice the present fee: gas prices move until they answer."""


def needs_consent(
    settings: Settings, tool: str, *, max_opg: int = 0, can_ask: bool = False
) -> bool:
    """Tell whether a person has to agree to a call first (OG_CONFIRM_ABOVE, OG_PUBLISH).

    Args:
        settings: The operator's.
        tool: Where OG_CONFIRM_ABOVE is 0, a person is asked about every tool that signs.
        max_opg: The most OPG that it may cost, base units.
        can_ask: Whether a person is there. On a real network one always has to agree to a
            publication: what is published cannot be taken back.
    """
    if tool in PUBLISHING_TOOLS:
        if settings.publish == "allow":
            return False
        return can_ask or settings.publish == "ask" or not settings.local
    threshold = settings.confirm_above
    return tool in ALWAYS_ASKED or (tool != "" and (threshold == 0 or max_opg > threshold))


class Consent:
    """Asks for agreements to the calls of one session.

    Args:
        settings: When a person is asked.
        journal: Where approvals are.
    """

    def __init__(self, settings: Settings, journal: Journal) -> None:
        self._settings, self._journal = settings, journal

    def is_due(self, operation: Operation[Any]) -> bool:
        """Tell whether a person has to agree before a call begins."""
        return operation.consent_at == "start" and needs_consent(
            self._settings, operation.tool, can_ask=operation.can_ask
        )

    async def use(self, call: Call, quote: Quote) -> int:
        """Use up a person's approval of a call; without one, the call waits for it.

        Returns:
            The most that they agreed to, wei.

        Raises:
            ApprovalRequiredError: Nobody has agreed yet.
            ApprovalDeclinedError: A person said no to the same request a short while ago.
        """
        now = ConsentRequest(
            request_hash=call.request_hash,
            network=self._settings.network_name,
            payer=quote.payer,
            cap_wei=quote.max_wei,
            cap_opg=quote.max_opg,
            what=quote.effect,
        )
        if await self._journal.take_approval(call.id, now):
            return (await self._journal.approval(call.id)).cap_wei
        asked = replace(now, cap_wei=quote.max_wei * APPROVAL_MARGIN)
        command = approve_command(call.id, self._settings)
        error = ApprovalRequiredError(call.id, refused_words(call.tool, asked), command)
        await self._journal.request_approval(call.id, str(error), asked)
        raise error

    async def to_payment(self, call: Call, payer: Account, max_opg: int) -> None:
        """Make sure that a person agreed to a payment authorization, if one has to; as `use`."""
        if needs_consent(self._settings, call.tool, max_opg=max_opg):
            await self.use(call, Quote(payer=payer, max_opg=max_opg))

    def check(self, operation: Operation[Any], quote: Quote) -> Check:
        """Tell in a dry run whether a person would be asked."""
        if operation.consent_at == "never":
            why = "nobody is asked first: it lets nobody take anything"
            return Check(name="consent", result="ok", source="this process", detail=why)
        tool = operation.tool if quote.is_signed else ""
        threshold = f"{CONFIRM} is {coins(self._settings.confirm_above)} OPG"
        above = threshold if tool else "nothing is signed"
        if not needs_consent(self._settings, tool, max_opg=quote.max_opg):
            detail = f"nobody is asked first: {above}"
            return Check(name="consent", result="ok", source=CONFIRM, detail=detail)
        why = f"{tool} always asks" if tool in ALWAYS_ASKED else above
        asked = (
            "a person is asked first; a host that cannot ask is refused, with the command to agree"
        )
        return Check(name="consent", result="not_checked", source=CONFIRM, detail=f"{asked}: {why}")
