"""Writes to the Model Hub: repositories, versions and files (protocol.md section 5)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

import anyio
import httpx

from og_mcp.client.calls.context import CallContext
from og_mcp.client.files.model_file import Publishable
from og_mcp.client.hub import records as _records
from og_mcp.client.hub.addresses import files_url, new_model_url, versions_url
from og_mcp.client.hub.hub import Hub
from og_mcp.client.hub.records import MODEL_HUB
from og_mcp.client.hub.signin import SignIn, bearer
from og_mcp.client.hub.upload_body import UploadBody
from og_mcp.client.wire.http import map_httpx_errors, post_json, read_body, read_json
from og_mcp.errors import (
    AmbiguousModelError,
    ModelNotFoundError,
    NameTakenError,
    OGError,
    ServiceError,
    ServiceRejectedError,
    ServiceReplyError,
    ServiceTimeoutError,
    UploadFailedError,
    quote,
)
from og_mcp.networks import Network, shown
from og_mcp.types import Model, ModelFile, Progress, Stage

logger = logging.getLogger(__name__)

STALLED_S: Final = 120.0
"""Seconds without a byte taken after which a connection counts as broken."""

LOOK_FIRST: Final = (
    "It may have been carried out all the same: get_model shows it; look before it is repeated."
)

_MAY_BE_TAKEN: Final = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY}
)
"""Statuses of the hub if a name is taken; only 409 means nothing else."""


class HubPublisher:
    """Publishes with one account.

    Args:
        http: The session's connection pool.
        network: Where the hub is.
        account: Whose.
        hub: Reads what is there.
        upload_s: Seconds that one upload may take.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        network: Network,
        account: SignIn,
        hub: Hub,
        *,
        upload_s: float,
    ) -> None:
        self._http, self._network, self._account, self._hub = http, network, account, hub
        self._upload_s = upload_s

    async def create_model(self, name: str, description: str) -> Model | None:
        """Create a repository.

        A repository of the account with this name is used, also if the answer
        that it was created got lost.

        Returns:
            The one that was there already, or `None` where it was created.

        Raises:
            NameTakenError: Another author has it.
            ServiceError: The hub refuses, or cannot be used.
        """
        url = new_model_url(self._network)
        try:
            await self._post(url, {"name": name, "description": description})
        except ServiceError as exc:
            found = await self._there_already(name, exc)
            if found is None:
                raise
            return found
        return None

    async def _there_already(self, name: str, failure: ServiceError) -> Model | None:
        """Return the repository of a name whose creation failed, where it is the account's.

        Raises:
            NameTakenError: Another author has it.
        """
        status = failure.status if isinstance(failure, ServiceRejectedError) else 0
        if failure.stage is Stage.NOT_SENT and status not in _MAY_BE_TAKEN and status < 500:  # noqa: PLR2004 - a hub may fail over a name, too
            return None
        try:
            found = await self.own(name)
            other = await self._only(name) if not found and status in _MAY_BE_TAKEN else None
        except OGError as exc:
            logger.info("model %s was not looked up: %s", quote(name), exc)
            return None
        if found or other is None:
            return found
        if not self._account.author:
            # Whose the account is was not told; the hub tells with the next write.
            return other
        if status == HTTPStatus.CONFLICT:
            raise NameTakenError(name, other.author)
        return None

    async def create_version(self, model_name: str, notes: str, *, is_major: bool) -> str:
        """Add a version; returns its name, empty where the hub tells it nowhere.

        Raises:
            ModelNotFoundError: The account has no such repository.
            ServiceError: The hub refuses, or cannot be used.
        """
        url = versions_url(self._network, model_name)
        try:
            answer = await self._post(url, {"notes": notes, "is_major": is_major})
        except ServiceRejectedError as exc:
            if exc.status == HTTPStatus.NOT_FOUND:
                raise ModelNotFoundError(model_name) from exc
            raise
        if isinstance(answer, Mapping) and (version := _records.version_of(answer)):
            return version
        # Some releases answer with nothing that tells the version.
        model = await self.own(model_name) or await self._only(model_name)
        newest = _records.newest(model.versions) if model is not None else None
        return newest.version if newest is not None else ""

    async def own(self, name: str) -> Model | None:
        """Return the account's repository of a name, as far as the public side shows it.

        Raises:
            ServiceError: The hub or its sign-in cannot be used.
        """
        await self._account.id_token()
        author = self._account.author
        try:
            return await self._hub.get_model(name, author) if author else None
        except ModelNotFoundError:
            return None

    async def _only(self, name: str) -> Model | None:
        """Return the repository of a name that only one author has."""
        try:
            return await self._hub.get_model(name)
        except (ModelNotFoundError, AmbiguousModelError):
            return None

    async def files(self, model_name: str, version: str) -> list[ModelFile]:
        """List the files of a version.

        Raises:
            ModelNotFoundError: There is no such model or version.
            ServiceError: The hub cannot be used.
        """
        try:
            return await self._hub.own_files(self._account, model_name, version)
        except ModelNotFoundError as exc:
            raise await self._without_version(model_name, version) from exc

    async def _without_version(self, model_name: str, version: str) -> ModelNotFoundError:
        """Tell that there is no such version, and which ones there are where that can be known."""
        with suppress(OGError):
            if model := await self.own(model_name):
                return _records.without_version(model_name, version, model.versions)
        return ModelNotFoundError(model_name, version)

    def page_of(self, model_name: str) -> str:
        """Return the address of a repository's page; empty where it is not known."""
        return self._hub.page_of(self._account.author, model_name)

    async def send(  # noqa: PLR0913 - what is sent where, and who watches it
        self,
        model: Publishable,
        model_name: str,
        version: str,
        *,
        call: CallContext,
        progress: Progress,
        before: list[ModelFile],
    ) -> str:
        """Upload a file; returns its content id.

        Args:
            model: The file, open.
            model_name: The repository.
            version: Its version.
            call: The call; committed once the request is whole.
            progress: Counts what was sent.
            before: The version's files so far.

        Raises:
            UnfitFileError: It must not be published; the request was not completed.
            ModelNotFoundError: There is no such model or version.
            UploadFailedError: The hub refuses it, or it did not arrive, or that is not known;
                `stage` says which.
        """

        async def once(token: str) -> Any:  # noqa: ANN401 - JSON
            return await self._send_once(model, files_url(*place), bearer(token), call, progress)

        place = self._network, model_name, version
        try:
            answer = await self._account.signed(once)
        except ServiceError as exc:
            if not call.committed:
                if isinstance(exc, ServiceRejectedError) and exc.status == HTTPStatus.NOT_FOUND:
                    raise await self._without_version(model_name, version) from exc
                raise UploadFailedError(model.name, _why(exc)) from exc
            return await self._find(model, model_name, version, before, call, exc)
        if isinstance(answer, Mapping):
            told = _records.files_of([{"name": model.name, **answer}])
            if told and told[0].size in {0, model.size}:
                return told[0].model_cid
        return await self._find(model, model_name, version, before, call, None)

    async def _send_once(
        self,
        model: Publishable,
        url: str,
        headers: Mapping[str, str],
        call: CallContext,
        progress: Progress,
    ) -> Any:  # noqa: ANN401 - JSON, `None` where the answer is empty
        call.committed = False
        timeout = httpx.Timeout(self._upload_s, connect=10, write=STALLED_S)
        try:
            with map_httpx_errors(MODEL_HUB, url), anyio.fail_after(self._upload_s):
                async with (
                    UploadBody(model, call, progress) as upload,
                    self._http.stream(
                        "POST",
                        url,
                        content=upload.content(),
                        headers={**headers, **upload.headers},
                        timeout=timeout,
                    ) as response,
                ):
                    status, body = response.status_code, await read_body(response, MODEL_HUB)
                    if response.is_client_error:
                        # A hub that refuses has not stored the file, although it got all of it.
                        call.committed = False
        except TimeoutError as exc:
            raise ServiceTimeoutError(MODEL_HUB, shown(url), self._upload_s) from exc
        if not body and status < HTTPStatus.MULTIPLE_CHOICES:
            return None
        return read_json(status, body, MODEL_HUB, url)

    async def _find(  # noqa: PLR0913, PLR0917 - what was sent where, and what came of it
        self,
        model: Publishable,
        model_name: str,
        version: str,
        before: list[ModelFile],
        call: CallContext,
        failure: ServiceError | None,
    ) -> str:
        """Look in the version's list for a file whose upload was not confirmed.

        Raises:
            UploadFailedError: It is not there.
        """
        was_there = {(file.name, file.model_cid) for file in before}
        why = _why(failure) if failure else "the Model Hub names no content id"
        try:
            listed = await self.files(model_name, version)
        except OGError as exc:
            raise UploadFailedError(model.name, why, stage=Stage.SENT_UNKNOWN) from exc
        for file in listed:
            is_new = (file.name, file.model_cid) not in was_there
            if is_new and file.name == model.name and file.size in {0, model.size}:
                return file.model_cid
        # Once a hub has answered, it has stored the file or never will.
        call.committed = not (failure is None or isinstance(failure, ServiceRejectedError))
        stage = Stage.SENT_UNKNOWN if call.committed else Stage.NOT_SENT
        raise UploadFailedError(model.name, why, stage=stage) from failure

    async def _post(self, url: str, document: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
        async def once(token: str) -> Any:  # noqa: ANN401 - JSON
            headers = bearer(token)
            try:
                return await post_json(
                    self._http, MODEL_HUB, url, document=document, headers=headers
                )
            except (ServiceTimeoutError, ServiceReplyError) as exc:
                exc.stage, exc.hint = Stage.SENT_UNKNOWN, LOOK_FIRST
                raise

        return await self._account.signed(once)


def _why(error: ServiceError) -> str:
    """Turn an error's sentence into a part of another one."""
    text = str(error.args[0]).rstrip(".")
    return text[:1].lower() + text[1:]
