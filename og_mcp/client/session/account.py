"""A session's Model Hub account, opened with the first call that needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from og_mcp.client.hub import signin
from og_mcp.errors import NoAccountError

if TYPE_CHECKING:
    from og_mcp.client.session.parts import Parts
    from og_mcp.settings import Settings


def has_account(settings: Settings) -> bool:
    """Whether an account of a real network is configured whole."""
    return not _missing(settings)


async def open_account(parts: Parts) -> signin.SignIn:
    """Make the sign-in: with the settings' account, or the local network's own.

    Raises:
        NoAccountError: A part of the account is missing.
    """
    network, http, settings = await parts.network.get(), await parts.http.get(), parts.settings
    if network.local:
        login = signin.login_of((await parts.ready_file.get()).get("hub_login"))
        return signin.SignIn(http, network, login)
    if settings.password is None or settings.firebase_api_key is None or not settings.email:
        raise NoAccountError("Publishing", settings.network_name, _missing(settings))
    login = signin.Login(
        email=settings.email,
        password=settings.password,
        firebase_api_key=settings.firebase_api_key,
    )
    return signin.SignIn(http, network, login)


def _missing(settings: Settings) -> list[str]:
    given = {
        "OG_EMAIL": settings.email,
        "OG_PASSWORD": settings.password,
        "FIREBASE_API_KEY": settings.firebase_api_key,
    }
    return [name for name, value in given.items() if not value]
