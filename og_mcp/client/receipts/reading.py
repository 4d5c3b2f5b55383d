"""Reads the JSON of receipts, which may come from anyone: strictly, and in bounded time."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from itertools import chain, islice
from typing import Any, Final

from og_mcp.client.chain.chain import Log
from og_mcp.errors import quote

MAX_DEPTH: Final = 100
"""Levels of nesting in a receipt; its answer's own JSON may have 64."""

MAX_VALUES: Final = 4_000_000
"""Number of values in a receipt; the largest answer of an RPC has fewer."""

MAX_INTEGER_BITS: Final = 14_000
"""Digits of an integer; Python writes up to 4300."""

MAX_NAMED: Final = 8
"""Number of names from outside that one sentence lists."""

_KINDS: Final = frozenset({dict, list, str, int, float, bool, type(None)})


class MismatchError(Exception):
    """A check failed; the message says how."""


class NotKeptError(Exception):
    """The receipt leaves out what a check needs, or nothing can prove it."""


def readable(value: object) -> None:
    """Make sure that a value is JSON of a size that can be checked in bounded time.

    Raises:
        MismatchError: It is not.
    """
    level: list[Any] = [value]
    count = 1
    for _ in range(MAX_DEPTH):
        kinds = set(map(type, level))
        if not kinds <= _KINDS:
            raise MismatchError("it is not JSON")
        _check_leaves(level, kinds)
        level = [one for one in level if type(one) in {dict, list}]
        count += sum(map(len, level))
        if count > MAX_VALUES:
            raise MismatchError(f"it holds more than {MAX_VALUES:,} values")
        level = list(chain.from_iterable(map(_members, level)))
        if not level:
            return
    raise MismatchError(f"it is nested more than {MAX_DEPTH} deep")


def equal(ours: object, theirs: object, what: str) -> None:
    """Compare what a receipt says with what was found.

    Args:
        ours: What was found.
        theirs: What it says.
        what: Names it in words.

    Raises:
        MismatchError: It says something else.
    """
    if type(ours) is not type(theirs) or ours != theirs:
        # What is nested may be large.
        told = f"a {type(theirs).__name__}" if isinstance(theirs, (dict, list)) else quote(theirs)
        raise MismatchError(f"{what} is {quote(ours)}, and the receipt says {told}")


def named(names: Collection[object]) -> str:
    """List names from outside, quoted; the first few of many."""
    told = ", ".join(quote(name) for name in islice(names, MAX_NAMED))
    return f"{told} and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else told


def read_hex(value: Any) -> bytes:  # noqa: ANN401 - JSON
    """Read 0x-hex in its one form: small letters, two digits a byte.

    Raises:
        ValueError: It is not of that form.
    """
    if isinstance(value, str) and value.startswith("0x") and len(value) % 2 == 0:
        digits = value[2:]
        read = bytes.fromhex(digits)
        # `fromhex` takes spaces and capitals; looking at each of 100 MB of digits takes seconds.
        if read.hex() == digits:
            return read
    raise ValueError("it is not 0x and an even number of hexadecimal digits in small letters")


def read_logs(value: Any) -> tuple[Log, ...]:  # noqa: ANN401 - JSON
    """Read the events of a receipt.

    Raises:
        MismatchError: They are malformed.
    """
    try:
        return tuple(map(_read_log, value))
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise MismatchError("its events are malformed") from exc


def log_json(log: Log) -> dict[str, Any]:
    """Write an event as receipts hold it."""
    return {"address": log.address, "topics": list(log.topics), "data": "0x" + log.data.hex()}


def _read_log(value: Mapping[str, Any]) -> Log:
    topics = tuple("0x" + read_hex(topic).hex() for topic in value["topics"])
    return Log(value["address"].lower(), topics, read_hex(value["data"]))


def _check_leaves(level: list[Any], kinds: set[type]) -> None:
    if float in kinds and not all(math.isfinite(one) for one in level if type(one) is float):
        raise MismatchError("it holds NaN or an infinity, which JSON does not know")
    if int in kinds and any(
        one.bit_length() > MAX_INTEGER_BITS for one in level if type(one) is int
    ):
        raise MismatchError("it holds an integer of more than 4200 digits")


def _members(value: dict[str, Any] | list[Any]) -> list[Any]:
    if isinstance(value, list):
        return value
    if not all(type(key) is str for key in value):
        raise MismatchError("it is not JSON")
    return list(value.values())
