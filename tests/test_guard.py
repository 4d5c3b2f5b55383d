"""Who may talk to the HTTP application, asked in process: Host, Origin, token (threats.md T24)."""

from __future__ import annotations

from typing import Final

import httpx
import pytest

from og_mcp.client import Session
from og_mcp.server import http_app
from og_mcp.settings import Settings

TOKEN: Final = "made-up-token-of-a-test-0123456789"
RIGHT: Final = f"Bearer {TOKEN}"
ENDPOINTS: Final = [("POST", "/mcp"), ("GET", "/sse"), ("POST", "/messages/"), ("GET", "/nosuch")]


async def asked(method: str, path: str, **headers: str) -> httpx.Response:
    """Ask the application of a server on loopback that has a token."""
    environ = {"OG_NETWORK": "local", "OG_TRANSPORT": "http", "OG_HTTP_TOKEN": TOKEN}
    app = http_app(Session(Settings.from_env(environ)))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        sent = {name.encode(): value.encode() for name, value in headers.items()}
        return await client.request(method, path, headers=sent)


@pytest.mark.parametrize(
    "given",
    [
        *("", "Bearer", "Bearer ", "Bearer wrong", TOKEN, f"Basic {TOKEN}", "Bearer ü"),
        *(f"{RIGHT}x", f"x{RIGHT}", f"Bearer x{TOKEN}", RIGHT[:-1], f"Bearer {TOKEN[1:]}"),
        *(f"Bearer {TOKEN[0]}", f"Bearer {TOKEN.upper()}", f"{RIGHT} {TOKEN}"),
    ],
)
async def test_t24_a_token_is_compared_whole(given: str) -> None:
    for method, path in ENDPOINTS:
        answer = await asked(method, path, Authorization=given)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


async def test_t24_without_a_token_nothing_is_answered() -> None:
    assert (await asked("GET", "/nosuch")).status_code == 401


@pytest.mark.parametrize("given", [RIGHT, f"bearer {TOKEN}", f"Bearer  {TOKEN} "])
async def test_t24_the_token_lets_a_request_pass(given: str) -> None:
    assert (await asked("GET", "/nosuch", Authorization=given)).status_code == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", ""]
)
async def test_the_token_opens_no_door_to_another_host(host: str) -> None:
    for method, path in ENDPOINTS:
        assert (await asked(method, path, Authorization=RIGHT, Host=host)).status_code == 421


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1.evil.example"]
)
async def test_the_token_opens_no_door_to_a_foreign_page(origin: str) -> None:
    for method, path in ENDPOINTS:
        assert (await asked(method, path, Authorization=RIGHT, Origin=origin)).status_code == 403
