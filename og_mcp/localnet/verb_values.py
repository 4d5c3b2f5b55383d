"""Reads the bodies of admin verbs; what is wrong is answered with 400."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json
from starlette.exceptions import HTTPException
from starlette.requests import Request


async def json_body(request: Request) -> dict[str, Any]:
    """Read a JSON object; an empty body is an empty one."""
    raw = await request.body()
    try:
        # Not json's reader: py-evm takes away what keeps it from nesting endlessly.
        body = from_json(raw) if raw else {}
    except ValueError as error:
        raise HTTPException(400, "The body is not JSON") from error
    if not isinstance(body, dict):
        raise HTTPException(400, "The body is not a JSON object")
    return body


def whole(value: object, name: str) -> int:
    """Read a whole number that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise HTTPException(400, f"{name} is a whole number")
    return value


def seconds(value: object, name: str) -> float:
    """Read a time that is not negative."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise HTTPException(400, f"{name} is a number of seconds")
    return float(value)


def truth(value: object, name: str) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise HTTPException(400, f"{name} is true or false")
    return value
