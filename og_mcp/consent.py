"""What a person is told before they agree: the same words in an assistant and at a terminal."""

from __future__ import annotations

from og_mcp.errors import in_coins, in_opg
from og_mcp.types import ConsentRequest


def most_of(tool: str, asked: ConsentRequest) -> str:
    """Write the most that a call may cost, kinds of money that it cannot cost left out.

    Args:
        tool: An approval of OPG costs gas alone; `lets` tells what it gives away.
        asked: What is asked.
    """
    opg = 0 if tool == "approve_opg" else asked.cap_opg
    parts = [in_opg(opg)] if opg else []
    if asked.cap_wei or not parts:
        parts.append(f"{in_coins(asked.cap_wei)}{' in fees' if parts else ''}")
    return " and ".join(parts)


def lets(tool: str, asked: ConsentRequest) -> str:
    """Tell what a call lets others do with the wallet; empty where it lets nobody."""
    if tool != "approve_opg":
        return ""
    if not asked.cap_opg:
        return "the contract Permit2 take no more OPG from the wallet"
    return f"the contract Permit2 take up to {in_opg(asked.cap_opg)} from the wallet"
