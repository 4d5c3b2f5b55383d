"""A call's payment, as results and lists tell it, and what a gateway tells beside its answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from og_mcp.client.calls.states import counts_until
from og_mcp.errors import coins
from og_mcp.types import Cap, Citation, Cost, Payment

MAX_CITATIONS: Final = 50
MAX_ADDRESS: Final = 2048
MAX_TITLE: Final = 300
MAX_MODERATION: Final = 4000
"""Characters of its JSON."""

_UNITS: Final = re.compile(r"[0-9]{1,30}")
_DECIMAL: Final = re.compile(r"[0-9]{1,20}(\.[0-9]{1,30})?")
_ADDRESS: Final = re.compile(r"https?://[!-~]+")

_PRICE: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,18})?")


class OPGPrice:
    """What a gateway said last that one OPG is worth; estimates alone use it."""

    usd: Decimal | None = None

    def learn(self, answer: Mapping[str, Any]) -> None:
        """Keep what an answer says."""
        costs = answer.get("opengradient")
        told = costs.get("opg_price_usd") if isinstance(costs, Mapping) else None
        if isinstance(told, str) and _PRICE.fullmatch(told) and (price := Decimal(told)):
            self.usd = price


def cost_of(answer: Mapping[str, Any]) -> int | None:
    """Return what a gateway says that its answer cost, base units; `None` where it says nothing."""
    told = answer.get("opengradient")
    units = _text(told.get("cost_opg"), _UNITS) if isinstance(told, dict) else ""
    return int(units) if units else None


def usd_of(answer: Mapping[str, Any]) -> Decimal | None:
    """Return what a gateway says that its answer cost, US dollars; `None` where it says nothing."""
    told = answer.get("opengradient")
    text = _text(told.get("cost_usd"), _DECIMAL) if isinstance(told, dict) else ""
    return Decimal(text) if text else None


def payment_of(cap: Cap | None) -> Payment:
    """Tell what pays for a call, and what came of it so far."""
    if cap is None:
        return Payment()
    settled = cap.status != "open"
    return Payment(
        scheme="upto",
        network=f"eip155:{cap.account.chain_id}",
        asset=cap.asset,
        max_opg=coins(cap.max_opg),
        cap_id=cap.id,
        amount_opg=coins(cap.amount_opg) if settled else "",
        transaction_hash=cap.transaction_hash,
    )


def told_beside(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Read what a gateway tells beside an answer, as fields of a result; nothing vouches for it.

    Source: protocol.md section 4. What is not as it should be is left out.
    """
    moderation = answer.get("moderation")
    return {
        "cost": _cost(answer.get("opengradient")),
        "citations": _citations(answer.get("citations")),
        "moderation": moderation if _is_short(moderation) else {},
    }


def _cost(told: object) -> Cost:
    given = told if isinstance(told, dict) else {}
    units, usd = (_text(given.get(name), form) for name, form in _COSTS)
    return Cost(opg=coins(int(units)) if units else "", usd=usd, source="gateway" if units else "")


_COSTS: Final = (("cost_opg", _UNITS), ("cost_usd", _DECIMAL))


def _text(value: object, form: re.Pattern[str]) -> str:
    """Read a number that may come as text or as JSON's own; empty where it is none."""
    text = str(value) if isinstance(value, (str, int, float)) else ""
    return text if form.fullmatch(text) else ""


def _citations(told: object) -> list[Citation]:
    """Read citations, each an address or an object with one, e.g. with a title."""
    found = []
    for one in (told if isinstance(told, list) else [])[:MAX_CITATIONS]:
        given = one if isinstance(one, dict) else {"url": one}
        # OpenAI nests it.
        nested = given.get("url_citation")
        part = nested if isinstance(nested, dict) else given
        url, title = part.get("url"), part.get("title")
        if isinstance(url, str) and len(url) <= MAX_ADDRESS and _ADDRESS.fullmatch(url):
            found.append(
                Citation(url=url, title=title[:MAX_TITLE] if isinstance(title, str) else "")
            )
    return found


def _is_short(value: object) -> bool:
    return isinstance(value, dict) and len(json.dumps(value)) <= MAX_MODERATION


def settlement_note(cap: Cap | None) -> str:
    """Tell by when an open payment settles and for how much at most; empty where none is open."""
    if cap is None or cap.status != "open":
        return ""
    if cap.cancelled:
        return (
            f"Its owner cancels its payment authorization of at most {coins(cap.max_opg)} OPG: it "
            f"pays for no later call, and counts until {counts_until(cap.deadline):%H:%M} UTC; "
            "get_call tells what is taken of it all the same."
        )
    by = datetime.fromtimestamp(cap.deadline, UTC)
    return (
        f"Paid from an authorization of at most {coins(cap.max_opg)} OPG, which settles for what "
        f"this session's calls used by {by:%H:%M} UTC; get_call tells the amount then."
    )
