"""Sign-in to the Model Hub: e-mail and password become tokens (protocol.md section 5).

Tokens live in memory only, are renewed before they expire, and are asked for once however many
calls need them at the same time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, TypeVar

import httpx
from anyio import Lock
from pydantic import SecretStr

from og_mcp.client.hub.records import MODEL_HUB
from og_mcp.client.wire.http import post_json
from og_mcp.errors import (
    LocalnetError,
    ServiceError,
    ServiceRejectedError,
    ServiceReplyError,
    SignInError,
)
from og_mcp.networks import Network
from og_mcp.redaction import Redaction, hide

logger = logging.getLogger(__name__)

T = TypeVar("T")

SIGN_IN: Final = "Model Hub sign-in"
"""The name of the service in errors."""

MARGIN_S: Final = 300.0
"""Seconds before a token's end at which it is renewed; a part of its life where that is short."""

REFUSAL_KEPT_S: Final = 30.0
"""Seconds for which a refused sign-in is not repeated: many tries lock the account."""

_SIGN_IN_ANEW: Final = frozenset(
    {"TOKEN_EXPIRED", "INVALID_REFRESH_TOKEN", "USER_NOT_FOUND", "MISSING_REFRESH_TOKEN"}
)
"""Errors of Firebase for a refresh token that is not valid any more."""


@dataclass(frozen=True, kw_only=True)
class Login:
    """A Model Hub account."""

    email: str = field(repr=False)
    password: SecretStr
    firebase_api_key: SecretStr


@dataclass(frozen=True)
class _Tokens:
    id_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    renew_at: float
    """By the sign-in's clock."""

    ends_at: float


def login_of(entry: object) -> Login:
    """Read the account that the local network's ready file names.

    Raises:
        LocalnetError: It names none.
    """
    names = ("email", "password", "firebase_api_key")
    if not isinstance(entry, Mapping) or not all(isinstance(entry.get(n), str) for n in names):
        raise LocalnetError(
            "The local network's ready file names no Model Hub account.",
            "Start `og-mcp localnet` of this version.",
        )
    return Login(
        email=entry["email"],
        password=SecretStr(entry["password"]),
        firebase_api_key=SecretStr(entry["firebase_api_key"]),
    )


class SignIn:
    """One account of the hub, signed in when that is first needed.

    Args:
        http: The session's connection pool.
        network: Where the sign-in is.
        login: Whose.
        clock: Seconds that only go forward.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        network: Network,
        login: Login,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http, self._network, self._login, self._clock = http, network, login, clock
        self._lock = Lock()
        self._tokens: _Tokens | None = None
        self._refused: tuple[float, str] = (0.0, "")
        self.author = ""
        """The account's name as the sign-in tells it; empty before that, or where it does not."""

    async def signed(self, send: Callable[[str], Awaitable[T]]) -> T:
        """Run a request with a token, and once more with a new one where the hub answers 401.

        Args:
            send: Sends the request with the token it is given. It has to be one that did nothing
                where it was answered 401.

        Raises:
            SignInError: The account is refused.
            ServiceError: The sign-in cannot be used, or what `send` raised.
        """
        token = await self.id_token()
        try:
            return await _sent(send, token)
        except ServiceRejectedError as exc:
            if exc.status != HTTPStatus.UNAUTHORIZED:
                raise
        return await _sent(send, await self.id_token(instead_of=token))

    async def id_token(self, *, instead_of: str = "") -> str:
        """Return a token that is good for some minutes.

        Args:
            instead_of: A token that the hub no longer takes.

        Raises:
            SignInError: The account is refused.
            ServiceError: The sign-in cannot be used.
        """
        async with self._lock:
            kept = self._tokens
            if kept is None:
                kept = await self._sign_in()
            elif self._clock() >= kept.renew_at or kept.id_token == instead_of:
                kept = await self._renewed(kept, instead_of)
            self._tokens = kept
            return kept.id_token

    async def _renewed(self, kept: _Tokens, refused: str) -> _Tokens:
        """Renew tokens in time; while they are valid, a sign-in that does not answer is not a failure."""
        try:
            return await self._renew(kept)
        except SignInError:
            raise
        except ServiceError as exc:
            if kept.id_token == refused or self._clock() >= kept.ends_at:
                raise
            logger.info("the Model Hub's token was not renewed: %s", exc)
            return kept

    async def _sign_in(self) -> _Tokens:
        until, code = self._refused
        if code and self._clock() < until:
            raise SignInError(code)
        login = self._login
        hide(login.password.get_secret_value(), login.firebase_api_key.get_secret_value())
        document = {
            "email": login.email,
            "password": login.password.get_secret_value(),
            "returnSecureToken": True,
        }
        try:
            answer = await self._ask(self._network.auth_url, document=document)
        except SignInError as exc:
            self._refused = self._clock() + REFUSAL_KEPT_S, exc.code
            raise
        self.author = str(answer.get("displayName") or "")
        return self._read(answer, "idToken", "refreshToken", "expiresIn")

    async def _renew(self, kept: _Tokens) -> _Tokens:
        form = {"grant_type": "refresh_token", "refresh_token": kept.refresh_token}
        try:
            answer = await self._ask(self._network.token_url, form=form)
        except SignInError as exc:
            if exc.code not in _SIGN_IN_ANEW:
                raise
            return await self._sign_in()
        return self._read(answer, "id_token", "refresh_token", "expires_in")

    async def _ask(self, url: str, **body: Any) -> Mapping[str, Any]:  # noqa: ANN401 - form or JSON
        params = {"key": self._login.firebase_api_key.get_secret_value()}
        try:
            answer = await post_json(self._http, SIGN_IN, url, params=params, **body)
        except ServiceRejectedError as exc:
            told = _masked(exc, SIGN_IN, self._login.password.get_secret_value(), *params.values())
            if exc.status == HTTPStatus.BAD_REQUEST and exc.detail:
                raise SignInError(told.detail) from exc
            raise told from exc.__cause__
        if not isinstance(answer, Mapping):
            raise ServiceReplyError(SIGN_IN, "it is not a JSON object")
        return answer

    def _read(self, answer: Mapping[str, Any], token: str, refresh: str, life: str) -> _Tokens:
        id_token, refresh_token = answer.get(token), answer.get(refresh)
        if not isinstance(id_token, str) or not id_token or not isinstance(refresh_token, str):
            raise ServiceReplyError(SIGN_IN, "it holds no tokens")
        hide(id_token, refresh_token)
        try:
            life_s = float(answer.get(life, 0))
        except (TypeError, ValueError) as exc:
            raise ServiceReplyError(SIGN_IN, "it does not tell how long its token is good") from exc
        ends_at = self._clock() + life_s
        return _Tokens(id_token, refresh_token, ends_at - min(MARGIN_S, life_s / 10), ends_at)


def bearer(token: str) -> dict[str, str]:
    """Return the header that shows a token."""
    return {"Authorization": f"Bearer {token}"}


async def _sent(send: Callable[[str], Awaitable[T]], token: str) -> T:
    try:
        return await send(token)
    except ServiceRejectedError as exc:
        raise _masked(exc, MODEL_HUB, token) from exc.__cause__


def _masked(error: ServiceRejectedError, service: str, *secrets: str) -> ServiceRejectedError:
    """Remove our secrets from an error that repeats them."""
    detail = Redaction(secrets).mask(error.detail)
    return error if detail == error.detail else ServiceRejectedError(service, error.status, detail)
