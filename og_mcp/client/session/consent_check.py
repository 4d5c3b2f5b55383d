"""What a dry run tells of the person whose agreement a call may need."""

from __future__ import annotations

from typing import Final

from og_mcp.client.session.parts import ALWAYS_ASKED, Parts
from og_mcp.errors import coins
from og_mcp.types import Check

CONFIRM: Final = "OG_CONFIRM_ABOVE"
ASKED: Final = (
    "a person is asked first; a host that cannot ask is refused, with the command to agree"
)


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
