"""Whether a person agreed to a call, and what a dry run tells of it."""

from __future__ import annotations

from typing import Final

from og_mcp.client.session.parts import ALWAYS_ASKED, Parts
from og_mcp.consent import approve_command, refused_words
from og_mcp.errors import ApprovalRequiredError, coins
from og_mcp.types import Call, Check, ConsentRequest

CONFIRM: Final = "OG_CONFIRM_ABOVE"
ASKED: Final = (
    "a person is asked first; a host that cannot ask is refused, with the command to agree"
)
UNASKED: Final = Check(
    name="consent",
    result="ok",
    source="this process",
    detail="nobody is asked first: it lets nobody take anything",
)
"""Of what takes a right away that others had."""


def consent_check(parts: Parts, tool: str, *, max_opg: int = 0) -> Check:
    """Tell whether somebody has to agree before anything is signed; whether they will, nobody knows.

    Args:
        parts: Whose settings count.
        tool: What would be called; empty where nothing would be signed.
        max_opg: The most OPG that it may cost, base units.
    """
    above = (
        f"{CONFIRM} is {coins(parts.settings.confirm_above)} OPG" if tool else "nothing is signed"
    )
    if not parts.needs_consent(tool, max_opg=max_opg):
        return Check(
            name="consent", result="ok", source=CONFIRM, detail=f"nobody is asked first: {above}"
        )
    why = f"{tool} always asks" if tool in ALWAYS_ASKED else above
    return Check(name="consent", result="not_checked", source=CONFIRM, detail=f"{ASKED}: {why}")


async def use_approval(
    parts: Parts, call: Call, consent: ConsentRequest, asked: ConsentRequest | None = None
) -> None:
    """Use up a person's approval of a call; where there is none, the call waits for one.

    Args:
        parts: Whose journal holds it.
        call: The call; nothing of it was sent.
        consent: What it takes now.
        asked: What a person is asked to agree to, where that is more.

    Raises:
        ApprovalRequiredError: Nobody has agreed yet.
        ApprovalDeclinedError: A person said no to the same request a short while ago.
    """
    journal, asked = await parts.journal.get(), asked or consent
    if await journal.take_approval(call.id, consent):
        return
    command = approve_command(call.id, parts.settings)
    error = ApprovalRequiredError(call.id, refused_words(call.tool, asked), command)
    await journal.request_approval(call.id, str(error), asked)
    raise error
