"""Writes a failure in OpenAI's form, so that no client pays twice by retrying (T13)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from starlette.responses import JSONResponse

from og_mcp.errors import (
    AnswerNotKeptError,
    ApprovalDeclinedError,
    ApprovalRequiredError,
    BudgetExceededError,
    CallFailedError,
    ChainError,
    ConfigurationError,
    FeeCapError,
    GatewayError,
    GatewayRejectedError,
    InputError,
    InsufficientFundsError,
    LocalnetError,
    NotFoundError,
    NoWalletError,
    OGError,
    OPGCapError,
    PaymentError,
    ServiceError,
    ServiceUnreachableError,
    ShuttingDownError,
    SimulationRevertedError,
    UnsafeEndpointError,
    VerificationError,
    WrongChainError,
)
from og_mcp.types import Stage


class TooLargeError(InputError):
    """The body is longer than the limit."""


class MediaTypeError(InputError):
    """The Content-Type is not JSON."""


_UNPAID: Final = (
    *(OPGCapError, FeeCapError, BudgetExceededError),
    *(PaymentError, InsufficientFundsError),
)
_UNSET: Final = (NoWalletError, ConfigurationError, WrongChainError, UnsafeEndpointError)

_RETRIABLE: Final = (ServiceUnreachableError, GatewayRejectedError, ShuttingDownError)
"""What a client may ask again by itself, where repeating it is free and may help."""

_STATUS: Final[tuple[tuple[tuple[type[OGError], ...], HTTPStatus, str], ...]] = (
    ((TooLargeError,), HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "invalid_request_error"),
    ((MediaTypeError,), HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "invalid_request_error"),
    ((InputError, SimulationRevertedError), HTTPStatus.BAD_REQUEST, "invalid_request_error"),
    ((NotFoundError,), HTTPStatus.NOT_FOUND, "invalid_request_error"),
    ((AnswerNotKeptError,), HTTPStatus.GONE, "invalid_request_error"),
    ((ApprovalRequiredError, ApprovalDeclinedError), HTTPStatus.FORBIDDEN, "approval_required"),
    (_UNPAID, HTTPStatus.PAYMENT_REQUIRED, "payment"),
    (_UNSET, HTTPStatus.SERVICE_UNAVAILABLE, "configuration"),
    ((VerificationError,), HTTPStatus.BAD_GATEWAY, "verification"),
    ((GatewayError, CallFailedError), HTTPStatus.BAD_GATEWAY, "gateway"),
    ((ChainError,), HTTPStatus.BAD_GATEWAY, "chain"),
    ((ServiceError, LocalnetError), HTTPStatus.SERVICE_UNAVAILABLE, "service"),
)
"""Kinds of errors with status and OpenAI's `type`; the first row that fits counts."""


def refusal(error: OGError) -> JSONResponse:
    """Answer with an error that says whether the client may send the request again by itself."""
    status, kind = _status_and_type(error)
    free = error.may_retry and isinstance(error, _RETRIABLE)
    headers = {"x-should-retry": "true" if free else "false"}
    if error.call_id:
        headers["x-og-call-id"] = error.call_id
    body = {
        "message": str(error),
        "type": kind,
        "param": None,
        "code": type(error).__name__,
        "stage": error.stage.value,
    }
    return JSONResponse({"error": body}, status, headers)


def failure() -> JSONResponse:
    """Answer for an error of ours: its text is for the log alone, and the call may have been paid."""
    body = {
        "message": "The server failed; its log tells why. list_calls shows what the call "
        "may have cost; repeating it may pay again.",
        "type": "server_error",
        "param": None,
        "code": "InternalError",
        "stage": Stage.SENT_UNKNOWN.value,
    }
    headers = {"x-should-retry": "false"}
    return JSONResponse({"error": body}, HTTPStatus.INTERNAL_SERVER_ERROR, headers)


def _status_and_type(error: OGError) -> tuple[HTTPStatus, str]:
    for kinds, status, kind in _STATUS:
        if isinstance(error, kinds):
            return status, kind
    return HTTPStatus.INTERNAL_SERVER_ERROR, "server_error"
