"""Sign-in to the local hub: the two Firebase REST calls of protocol.md section 5.

Tokens are random, live in memory only and end with the process. Errors have Firebase's shape,
`{"error": {"code": 400, "message": "INVALID_LOGIN_CREDENTIALS", ...}}`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import from_json
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

TOKEN_LIFE_S: Final = 3600
"""Seconds an id token is good for."""


MAX_TRIES: Final = 10
"""Wrong passwords for one address, within `TRIES_S`, after which even the right one is refused."""

TRIES_S: Final = 60.0


class SignInError(Exception):
    """Sign-in refused; the text is Firebase's word for it."""


@dataclass
class Account:
    """One account of the hub."""

    email: str
    password: str
    username: str
    """The author name of this account's models."""

    disabled: bool = False


@dataclass(frozen=True)
class _Token:
    account: Account
    ends_at: float


@dataclass(frozen=True)
class Tokens:
    """What a sign-in or a refresh gives."""

    id_token: str
    refresh_token: str
    username: str


class Accounts:
    """Accounts that may sign in, and the tokens that they hold."""

    def __init__(
        self, firebase_api_key: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.firebase_api_key = firebase_api_key
        self._clock = clock
        self._by_email: dict[str, Account] = {}
        self._id_tokens: dict[str, _Token] = {}
        self._refresh_tokens: dict[str, Account] = {}
        self._wrong: dict[str, list[float]] = {}

    def add(self, account: Account) -> None:
        """Let an account sign in; one of the same e-mail address is replaced."""
        self._by_email[account.email] = account

    def sign_in(self, email: str, password: str) -> Tokens:
        """Exchange e-mail and password for tokens.

        Raises:
            SignInError: Unknown address, wrong password, too many of those, or a disabled account.
        """
        now = self._clock()
        wrong = [at for at in self._wrong.get(email, []) if at > now - TRIES_S]
        if len(wrong) >= MAX_TRIES:
            raise SignInError("TOO_MANY_ATTEMPTS_TRY_LATER")
        account = self._by_email.get(email)
        if account is None or not secrets.compare_digest(
            account.password.encode(), password.encode()
        ):
            self._wrong[email] = [*wrong, now]
            raise SignInError("INVALID_LOGIN_CREDENTIALS")
        self._wrong.pop(email, None)
        return self._issue(account)

    def refresh(self, refresh_token: str) -> Tokens:
        """Exchange a refresh token for new tokens; it stays good.

        Raises:
            SignInError: The token is not known, or its account is disabled.
        """
        account = self._refresh_tokens.get(refresh_token)
        if account is None:
            raise SignInError("INVALID_REFRESH_TOKEN")
        return self._issue(account, refresh_token)

    def author_of(self, id_token: str) -> str | None:
        """Return the username a token stands for, or None for a wrong or ended one."""
        token = self._id_tokens.get(id_token)
        if token is None or token.ends_at <= self._clock() or token.account.disabled:
            return None
        return token.account.username

    def expire_id_tokens(self) -> None:
        """End every id token; refresh tokens stay good."""
        self._id_tokens.clear()

    def _issue(self, account: Account, refresh_token: str = "") -> Tokens:
        if account.disabled:
            raise SignInError("USER_DISABLED")
        id_token = secrets.token_urlsafe(32)
        refresh_token = refresh_token or secrets.token_urlsafe(32)
        self._id_tokens[id_token] = _Token(account, self._clock() + TOKEN_LIFE_S)
        self._refresh_tokens[refresh_token] = account
        return Tokens(id_token, refresh_token, account.username)


def sign_in_routes(accounts: Accounts) -> list[Route]:
    """Build the two calls: `/v1/accounts:signInWithPassword` and `/v1/token`."""

    async def sign_in(request: Request) -> JSONResponse:
        _check_key(request, accounts)
        body = await _json(request)
        email = _text(body, "email", "MISSING_EMAIL")
        tokens = accounts.sign_in(email, _text(body, "password", "MISSING_PASSWORD"))
        return JSONResponse(
            {
                "kind": "identitytoolkit#VerifyPasswordResponse",
                "localId": tokens.username,
                "email": email,
                "displayName": tokens.username,
                "registered": True,
                "idToken": tokens.id_token,
                "refreshToken": tokens.refresh_token,
                "expiresIn": str(TOKEN_LIFE_S),
            }
        )

    async def refresh(request: Request) -> JSONResponse:
        _check_key(request, accounts)
        async with request.form() as form:
            if form.get("grant_type") != "refresh_token":
                raise SignInError("INVALID_GRANT_TYPE")
            tokens = accounts.refresh(_text(form, "refresh_token", "MISSING_REFRESH_TOKEN"))
        return JSONResponse(
            {
                "id_token": tokens.id_token,
                "access_token": tokens.id_token,
                "refresh_token": tokens.refresh_token,
                "expires_in": str(TOKEN_LIFE_S),
                "token_type": "Bearer",
                "user_id": tokens.username,
            }
        )

    return [
        Route("/v1/accounts:signInWithPassword", sign_in, methods=["POST"]),
        Route("/v1/token", refresh, methods=["POST"]),
    ]


def sign_in_app(accounts: Accounts) -> Starlette:
    """Build the sign-in service."""
    return Starlette(routes=sign_in_routes(accounts), exception_handlers={SignInError: _refused})


def _check_key(request: Request, accounts: Accounts) -> None:
    if request.query_params.get("key") != accounts.firebase_api_key:
        raise SignInError("API key not valid. Please pass a valid API key.")


async def _json(request: Request) -> Mapping[str, Any]:
    try:
        # Not json's reader: py-evm takes away what keeps it from nesting endlessly.
        body = from_json(await request.body())
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise SignInError("Invalid JSON payload received.")
    return body


def _text(body: Mapping[str, Any], field: str, missing: str) -> str:
    value = body.get(field)
    if not isinstance(value, str) or not value:
        raise SignInError(missing)
    return value


async def _refused(_request: Request, error: Exception) -> JSONResponse:
    message = str(error)
    reason = {"message": message, "domain": "global", "reason": "invalid"}
    return JSONResponse(
        {"error": {"code": 400, "message": message, "errors": [reason]}}, status_code=400
    )
