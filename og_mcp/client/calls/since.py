"""From when on calls are listed, as people say it: `24h`, `2026-11-22`, `2026-11-22 14:30`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from og_mcp.errors import InputError, quote

_AGO: Final = re.compile(r"(\d{1,6})\s?(m|h|d|w)", re.IGNORECASE)
_UNITS: Final = {
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
HOW: Final = (
    "Use how long ago (90m, 24h, 7d, 2w), a date (2026-11-22) or a time (2026-11-22T14:30, or "
    "14:30 for today); times are UTC unless they name their offset."
)


def since_of(text: str, now: datetime | None = None) -> datetime | None:
    """Read it; `None` where the text is empty.

    Args:
        text: What somebody wrote.
        now: The time of asking.

    Raises:
        InputError: It is not a time, or it lies in the future.
    """
    text = text.strip()
    if not text:
        return None
    now = now or datetime.now(UTC)
    if ago := _AGO.fullmatch(text):
        # A longer span than time itself means: everything.
        return max(now - int(ago[1]) * _UNITS[ago[2].lower()], datetime(1970, 1, 1, tzinfo=UTC))
    try:
        since = _moment(text, now)
    except (ValueError, OverflowError) as exc:
        raise InputError(f"since is {quote(text)}, which is not a time.", HOW) from exc
    if since > now:
        raise InputError(
            f"since is {quote(text)}, which is in the future: it is {now:%Y-%m-%d %H:%M} UTC.", HOW
        )
    return since


def _moment(text: str, now: datetime) -> datetime:
    if re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?", text):
        text = f"{now:%Y-%m-%d}T{text:0>5}"
    read = datetime.fromisoformat(text)
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
