"""What every error says: what is wrong, and what to do next."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, get_type_hints

import pytest

from og_mcp import errors
from og_mcp.errors import (
    CallFailedError,
    ChainError,
    ConfigurationError,
    GatewayError,
    GatewayRefusal,
    InputError,
    NotFoundError,
    OGError,
    PaymentError,
    ServiceError,
    ServiceRejectedError,
    SettingProblem,
    TransactionPendingError,
)
from og_mcp.types import Stage

FAMILIES: Final = (OGError, ChainError, GatewayError, NotFoundError, PaymentError, ServiceError)
"""What is caught, and never raised by itself."""

OWN_WORDS: Final = (CallFailedError, ConfigurationError)
"""What was recorded of an error, its next step included; a list of variables to correct."""

SAMPLES: Final[dict[str, Any]] = {
    "problems": [SettingProblem("OG_RPC_URL", "it is not a URL")],
    "missing": ["OG_EMAIL"],
    "cause": InputError("This is wrong."),
    "stage": Stage.NOT_SENT,
    "sent_at": datetime.now(UTC),
    "again_at": datetime.now(UTC),
    "write": str,
    "refusal": GatewayRefusal(status=503, detail="busy", source="provider", retryable=True),
}


def raised() -> Iterator[type[OGError]]:
    """Find every class that is raised."""
    for _, found in inspect.getmembers(errors, inspect.isclass):
        if issubclass(found, OGError) and found not in (*FAMILIES, *OWN_WORDS):
            yield found


def made(kind: type[OGError], **given: Any) -> OGError:  # noqa: ANN401 - whatever it takes
    """Make one with what it needs; nothing that it can do without."""
    types = get_type_hints(kind.__init__)
    arguments = given | {
        name: SAMPLES.get(name, ["a"] if "Sequence" in str(types[name]) else _of(types[name]))
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.default is inspect.Parameter.empty and name not in given
    }
    return kind(**arguments)


def _of(kind: object) -> object:
    return {int: 7, float: 1.5}.get(kind, "Some text.")  # type: ignore[call-overload]


@pytest.mark.parametrize("kind", list(raised()), ids=lambda kind: kind.__name__)
def test_every_error_says_what_to_do_next(kind: type[OGError]) -> None:
    error = made(kind)

    message, hint = str(error.args[0]), error.hint
    assert hint.endswith((".", ")"))
    assert str(error) == f"{message} {hint}"
    assert message.endswith(".")


@pytest.mark.parametrize(("status", "words"), [(422, "Repeating it unchanged"), (503, "later")])
def test_an_answer_of_a_service_says_whether_repeating_it_can_help(status: int, words: str) -> None:
    assert words in made(ServiceRejectedError, service="Model Hub", status=status).hint


def test_a_wait_is_told_as_long_as_it_was() -> None:
    told = [str(TransactionPendingError("0x01", waited)) for waited in (1.1, 120.0, 0.0)]

    assert "mined after 1.1 s;" in told[0]
    assert "mined after 120 s;" in told[1]
    assert "mined;" in told[2]


def test_all_problems_of_a_configuration_are_told_at_once() -> None:
    told = str(
        ConfigurationError([SettingProblem("A", "wrong"), SettingProblem("B", "wrong, too")])
    )

    assert "A: wrong\n" in told
    assert "B: wrong, too" in told
