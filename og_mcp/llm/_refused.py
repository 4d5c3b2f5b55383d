"""Writing a failure as OpenAI's API has it, so that no client pays for it by retrying (T13)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from starlette.responses import JSONResponse

from og_mcp.errors import (
    ApprovalDeclinedError,
    ApprovalRequiredError,
    BudgetExceededError,
    CallFailedError,
    ConfigurationError,
    GatewayError,
    InputError,
    NotFoundError,
    NoWalletError,
    OGError,
    OPGCapError,
    PaymentError,
    ServiceError,
    ServiceUnreachableError,
    VerificationError,
)
from og_mcp.types import Stage

_STATUS: Final[tuple[tuple[tuple[type[OGError], ...], HTTPStatus, str], ...]] = (
    ((InputError,), HTTPStatus.BAD_REQUEST, "invalid_request_error"),
    ((NotFoundError,), HTTPStatus.NOT_FOUND, "invalid_request_error"),
    ((ApprovalRequiredError, ApprovalDeclinedError), HTTPStatus.FORBIDDEN, "approval_required"),
    ((OPGCapError, BudgetExceededError, PaymentError), HTTPStatus.PAYMENT_REQUIRED, "payment"),
    ((NoWalletError, ConfigurationError), HTTPStatus.SERVICE_UNAVAILABLE, "configuration"),
    ((VerificationError,), HTTPStatus.BAD_GATEWAY, "verification"),
    ((GatewayError, CallFailedError), HTTPStatus.BAD_GATEWAY, "gateway"),
    ((ServiceError,), HTTPStatus.SERVICE_UNAVAILABLE, "service"),
)
"""Kinds of errors, their status and OpenAI's `type`; the first row that fits counts."""


def refusal(error: OGError) -> JSONResponse:
    """Answer with an error; says whether the client may send the request again by itself."""
    status, kind = _of(error)
    free = error.stage is Stage.NOT_SENT and isinstance(error, ServiceUnreachableError)
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


def _of(error: OGError) -> tuple[HTTPStatus, str]:
    for kinds, status, kind in _STATUS:
        if isinstance(error, kinds):
            return status, kind
    return HTTPStatus.INTERNAL_SERVER_ERROR, "server_error"
