"""The parts of a session that publish: opened with the first call that needs one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from og_mcp.client._parts import Part, Parts, load
from og_mcp.errors import NoAccountError

if TYPE_CHECKING:
    from og_mcp.client.publishing import Publishing
    from og_mcp.client.signin import Login, SignIn


class PublishingParts:
    """What signs in to the hub and writes to it.

    Args:
        parts: The rest of the session.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.account = Part(self._open_account)
        self.publishing = Part(self._open_publishing)

    async def _open_account(self) -> SignIn:
        network, http = await self._parts.network.get(), await self._parts.http.get()
        signin = await load("signin")
        if network.local:
            login = signin.login_of((await self._parts.ready_file.get()).get("hub_login"))
        else:
            login = await self._configured()
        account: SignIn = signin.SignIn(http, network, login)
        return account

    async def _configured(self) -> Login:
        """Read the account of the settings.

        Raises:
            NoAccountError: A part of it is missing.
        """
        settings, kind = self._parts.settings, (await load("signin")).Login
        given = {
            "OG_EMAIL": settings.email,
            "OG_PASSWORD": settings.password,
            "FIREBASE_API_KEY": settings.firebase_api_key,
        }
        missing = [name for name, value in given.items() if not value]
        if missing:
            raise NoAccountError("Publishing", settings.network_name, missing)
        login: Login = kind(
            email=settings.email,
            password=settings.password,
            firebase_api_key=settings.firebase_api_key,
        )
        return login

    async def _open_publishing(self) -> Publishing:
        publishing: Publishing = (await load("publishing")).Publishing(
            await self._parts.http.get(),
            await self._parts.network.get(),
            await self.account.get(),
            await self._parts.hub.get(),
            upload_s=self._parts.timeouts.upload_s,
        )
        return publishing
