"""Sign-in to the Model Hub: once, in time, and each refusal in its own sentence."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

import anyio
import httpx
import pytest
from pydantic import SecretStr

from og_mcp.client import Session
from og_mcp.client.hub.signin import MARGIN_S, REFUSAL_KEPT_S, Login, SignIn, login_of
from og_mcp.client.wire.http import open_http
from og_mcp.errors import (
    LocalnetError,
    NoAccountError,
    ServiceRejectedError,
    ServiceReplyError,
    ServiceUnreachableError,
    SignInError,
)
from og_mcp.networks import from_ready_file
from tests.localnet_client import LocalNetwork

SIGN_IN = "auth POST /v1/accounts:signInWithPassword"
RENEW = "auth POST /v1/token"
LIFE_S = 3600


class Clock:
    """Time that a test moves on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with open_http(local=True) as client:
        yield client


@pytest.fixture
def login(localnet: LocalNetwork) -> Login:
    return login_of(localnet.ready["hub_login"])


@pytest.fixture
def signin(http: httpx.AsyncClient, localnet: LocalNetwork, login: Login, clock: Clock) -> SignIn:
    localnet.reset_counters("auth")
    return SignIn(http, from_ready_file(localnet.ready), login, clock=clock)


def asked(localnet: LocalNetwork) -> dict[str, int]:
    calls: dict[str, int] = localnet.counters("auth")["calls"]
    return calls


def listing(localnet: LocalNetwork, token: str) -> int:
    """Ask the hub for something that takes an account; returns the status."""
    sample = localnet.ready["sample_models"][0]
    url = f"{localnet.ready['hub_url']}/api/v0/models/{sample['name']}/versions/0.01/files"
    return localnet.http.get(url, headers={"Authorization": f"Bearer {token}"}).status_code


async def test_a_token_is_kept_and_the_hub_takes_it(signin: SignIn, localnet: LocalNetwork) -> None:
    first, second = await signin.id_token(), await signin.id_token()

    assert first == second
    assert listing(localnet, first) == 200
    assert asked(localnet) == {SIGN_IN: 1}
    assert signin.author == localnet.ready["sample_models"][0]["author"]


async def test_calls_at_once_sign_in_once(signin: SignIn, localnet: LocalNetwork) -> None:
    tokens: list[str] = []

    async def one() -> None:
        tokens.append(await signin.id_token())

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(one)

    assert len(tokens) == 20
    assert len(set(tokens)) == 1
    assert asked(localnet) == {SIGN_IN: 1}


async def test_a_token_is_renewed_before_it_ends(
    signin: SignIn, localnet: LocalNetwork, clock: Clock
) -> None:
    first = await signin.id_token()
    clock.now += LIFE_S - MARGIN_S - 1
    still = await signin.id_token()
    clock.now += 1
    renewed = await signin.id_token()

    assert still == first
    assert renewed != first
    assert listing(localnet, renewed) == 200
    assert asked(localnet) == {SIGN_IN: 1, RENEW: 1}


async def test_calls_at_once_renew_once(
    signin: SignIn, localnet: LocalNetwork, clock: Clock
) -> None:
    first = await signin.id_token()
    clock.now += LIFE_S
    tokens: list[str] = []

    async def one(instead_of: str) -> None:
        tokens.append(await signin.id_token(instead_of=instead_of))

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(one, first if number % 2 else "")

    assert len(set(tokens)) == 1
    assert first not in tokens
    assert asked(localnet) == {SIGN_IN: 1, RENEW: 1}


async def test_a_sign_in_that_is_away_a_moment_costs_no_token_that_is_good(
    signin: SignIn, localnet: LocalNetwork, clock: Clock
) -> None:
    first = await signin.id_token()
    localnet.close_service("auth")
    clock.now += LIFE_S - 1
    still = await signin.id_token()
    with pytest.raises(ServiceUnreachableError):
        await signin.id_token(instead_of=first)
    clock.now += 1
    with pytest.raises(ServiceUnreachableError):
        await signin.id_token()
    localnet.open_service("auth")
    renewed = await signin.id_token()

    assert still == first != renewed


async def test_a_refresh_token_that_is_no_good_any_more_means_signing_in_anew(
    signin: SignIn, localnet: LocalNetwork, clock: Clock
) -> None:
    await signin.id_token()
    clock.now += LIFE_S
    body = json.dumps({"error": {"code": 400, "message": "TOKEN_EXPIRED"}})
    localnet.fault(RENEW, "status", service="auth", status=400, body=body)

    assert listing(localnet, await signin.id_token()) == 200
    assert asked(localnet) == {SIGN_IN: 2, RENEW: 1}


async def test_a_401_is_answered_with_a_new_token_once(
    signin: SignIn, localnet: LocalNetwork
) -> None:
    tokens: list[str] = []

    async def send(token: str) -> str:
        tokens.append(token)
        if len(tokens) == 1:
            raise ServiceRejectedError("Model Hub", 401)
        return "done"

    assert await signin.signed(send) == "done"
    assert len(set(tokens)) == 2
    assert asked(localnet) == {SIGN_IN: 1, RENEW: 1}


async def test_a_second_401_and_any_other_refusal_are_told(signin: SignIn) -> None:
    statuses: list[int] = []

    async def always_401(_token: str) -> None:
        statuses.append(401)
        raise ServiceRejectedError("Model Hub", 401)

    async def forbidden(_token: str) -> None:
        statuses.append(403)
        raise ServiceRejectedError("Model Hub", 403)

    with pytest.raises(ServiceRejectedError, match="401"):
        await signin.signed(always_401)
    with pytest.raises(ServiceRejectedError, match="403"):
        await signin.signed(forbidden)

    assert statuses == [401, 401, 403]


async def test_a_wrong_password_is_told_and_not_tried_again_at_once(
    http: httpx.AsyncClient, localnet: LocalNetwork, login: Login, clock: Clock
) -> None:
    wrong = replace(login, password=SecretStr("not the password"))
    signin = SignIn(http, from_ready_file(localnet.ready), wrong, clock=clock)
    localnet.reset_counters("auth")

    for _ in range(3):
        with pytest.raises(
            SignInError, match="does not know this e-mail address with this"
        ) as told:
            await signin.id_token()
    assert told.value.hint == "Check OG_EMAIL and OG_PASSWORD, and start og-mcp again."
    assert "not the password" not in str(told.value)
    assert asked(localnet) == {SIGN_IN: 1}

    clock.now += REFUSAL_KEPT_S
    with pytest.raises(SignInError):
        await signin.id_token()
    assert asked(localnet) == {SIGN_IN: 2}


async def test_a_disabled_account_is_told(
    http: httpx.AsyncClient, localnet: LocalNetwork, login: Login
) -> None:
    name = uuid4().hex
    email = f"{name}@example.com"
    localnet.add_account(name, email=email, password="correct horse", disabled=True)
    disabled = replace(login, email=email, password=SecretStr("correct horse"))

    with pytest.raises(SignInError, match="account is disabled"):
        await SignIn(http, from_ready_file(localnet.ready), disabled).id_token()


async def test_too_many_tries_are_told(
    http: httpx.AsyncClient, localnet: LocalNetwork, login: Login, clock: Clock
) -> None:
    nobody = replace(login, email=f"{uuid4().hex}@example.com")
    signin = SignIn(http, from_ready_file(localnet.ready), nobody, clock=clock)
    codes = []
    for _ in range(11):
        with pytest.raises(SignInError) as told:
            await signin.id_token()
        codes.append(told.value.code)
        clock.now += REFUSAL_KEPT_S

    assert codes[:10] == ["INVALID_LOGIN_CREDENTIALS"] * 10
    assert codes[10] == "TOO_MANY_ATTEMPTS_TRY_LATER"
    assert "too many tries" in str(told.value)
    assert told.value.hint.endswith("wait some minutes, then repeat the call.")


async def test_a_wrong_api_key_is_told_as_such(
    http: httpx.AsyncClient, localnet: LocalNetwork, login: Login
) -> None:
    wrong = replace(login, firebase_api_key=SecretStr("another-key"))

    with pytest.raises(SignInError, match="does not know this FIREBASE_API_KEY"):
        await SignIn(http, from_ready_file(localnet.ready), wrong).id_token()


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("EMAIL_NOT_FOUND", "no account of this e-mail address"),
        ("INVALID_PASSWORD", "refused the password"),
        ("TOO_MANY_ATTEMPTS_TRY_LATER : Access to this account is disabled", "too many tries"),
        ("SOMETHING_NEW", "was refused: 'SOMETHING_NEW'"),
    ],
)
async def test_firebases_words_become_sentences(
    signin: SignIn, localnet: LocalNetwork, message: str, told: str
) -> None:
    body = json.dumps({"error": {"code": 400, "message": message}})
    localnet.fault(SIGN_IN, "status", service="auth", status=400, body=body)

    with pytest.raises(SignInError, match=told):
        await signin.id_token()


@pytest.mark.parametrize("status", [400, 403, 500])
async def test_t29_a_sign_in_that_repeats_our_secrets_is_not_quoted(
    signin: SignIn, login: Login, localnet: LocalNetwork, status: int
) -> None:
    password, key = login.password.get_secret_value(), login.firebase_api_key.get_secret_value()
    body = json.dumps({"error": {"code": status, "message": f"BAD {password} under {key}"}})
    localnet.fault(SIGN_IN, "status", service="auth", status=status, body=body)

    with pytest.raises((SignInError, ServiceRejectedError)) as told:
        await signin.id_token()

    assert "BAD [secret] under [secret]" in str(told.value)
    assert not {password, key} & set(repr(told.value).split())


@pytest.mark.parametrize(
    "answer", [{}, [], {"idToken": ""}, {"idToken": "a", "refreshToken": "b", "expiresIn": "soon"}]
)
async def test_an_answer_without_tokens_cannot_be_used(
    signin: SignIn, localnet: LocalNetwork, answer: object
) -> None:
    localnet.fault(SIGN_IN, "result", service="auth", result=answer)
    with pytest.raises(ServiceReplyError, match="Model Hub sign-in"):
        await signin.id_token()


async def test_a_sign_in_that_cannot_be_reached_is_tried_again_by_the_next_call(
    signin: SignIn, localnet: LocalNetwork
) -> None:
    localnet.close_service("auth")
    with pytest.raises(ServiceUnreachableError, match="Model Hub sign-in"):
        await signin.id_token()
    localnet.open_service("auth")

    assert listing(localnet, await signin.id_token()) == 200


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, ("OG_EMAIL", "OG_PASSWORD", "FIREBASE_API_KEY")),
        ({"FIREBASE_API_KEY": "k"}, ("OG_EMAIL", "OG_PASSWORD")),
        ({"OG_EMAIL": "a@example.com", "OG_PASSWORD": "p"}, ("FIREBASE_API_KEY",)),
    ],
)
async def test_what_is_not_configured_is_named_with_what_to_do(
    given: dict[str, str], missing: tuple[str, ...]
) -> None:
    async with Session.from_env({"OG_NETWORK": "opengradient", **given}) as og:
        with pytest.raises(NoAccountError) as told:
            await og.create_model("a model", "")

    assert told.value.missing == missing
    for name in missing:
        assert f"Set {name} to" in told.value.hint


def test_a_ready_file_without_an_account_is_told() -> None:
    with pytest.raises(LocalnetError, match="names no Model Hub account"):
        login_of({"email": "a@example.com"})


async def test_secrets_are_not_shown(signin: SignIn, login: Login) -> None:
    token = await signin.id_token()

    shown = repr(vars(signin)) + repr(login)
    for secret in (token, login.email, login.password.get_secret_value()):
        assert secret not in shown
