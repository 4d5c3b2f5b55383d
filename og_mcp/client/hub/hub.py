"""Reads of the Model Hub (protocol.md section 5)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import httpx

from og_mcp.client.codec.specs import example_input
from og_mcp.client.hub import records as _records
from og_mcp.client.hub.addresses import (
    files_url,
    page_url,
    plain_version,
    public_model_url,
    public_models_url,
)
from og_mcp.client.hub.known import KnownGraphs
from og_mcp.client.hub.records import MODEL_HUB
from og_mcp.client.hub.signin import SignIn, bearer
from og_mcp.client.wire.http import fetch_json
from og_mcp.errors import (
    AmbiguousModelError,
    InputError,
    ModelNotFoundError,
    ServiceRejectedError,
    ServiceReplyError,
    quote,
)
from og_mcp.networks import Network
from og_mcp.types import FileList, Model, ModelFile, ModelGraph, ModelVersion

PAGE_SIZE: Final = 100
"""Number of models that the hub lists at once."""

NEEDS_CID: Final = "infer takes the CID of an ONNX file; get_model and list_files show CIDs."

MAX_PAGES: Final = 30
"""Pages of the list of all models that a search for a name reads."""

_NOT_THIS_WAY: Final = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.CONFLICT,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)
"""Statuses of the hub where a name alone is not enough to find the model."""


class Hub:
    """Reads models and files; without an account only the public side is asked.

    Args:
        http: The session's connection pool.
        network: Where the hub is.
        account: The account, where one is configured.
        known: Where the tensors that a listing tells are remembered.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        network: Network,
        account: SignIn | None = None,
        known: KnownGraphs | None = None,
    ) -> None:
        self._http, self._network, self._account = http, network, account
        self._known = known or KnownGraphs()

    async def list_files(self, model_name: str, version: str) -> FileList:
        """List the files of one version.

        Args:
            model_name: Name of the repository, or `author/name`.
            version: As the hub writes it, e.g. `0.01`; a `v` before it is not minded.

        Raises:
            ModelNotFoundError: There is no such model or version.
            AmbiguousModelError: Several authors have a model of that name.
            ServiceError: The hub cannot be used.
        """
        if self._account is not None and "/" not in model_name:
            try:
                files = await self.own_files(self._account, model_name, version)
            except ModelNotFoundError:
                # That side may know one's own models alone.
                files, version = await self._public_files(model_name, version)
        else:
            files, version = await self._public_files(model_name, version)
        self._remember(files)
        return FileList(
            network=self._network.name, model_name=model_name, version=version, files=files
        )

    async def _public_files(self, model_name: str, version: str) -> tuple[list[ModelFile], str]:
        """List a version's files by the public side, with the version as it writes it."""
        wanted = plain_version(version)
        versions = (await self._read(model_name, "")).versions
        for item in versions:
            if plain_version(item.version) == wanted:
                return item.files, item.version
        raise _records.without_version(model_name, version, versions)

    async def get_model(self, model_name: str, author: str = "") -> Model:
        """Return a repository with its versions and their files.

        Args:
            model_name: Name of the repository, or `author/name`.
            author: Whose; needed where several authors have one of that name.

        Raises:
            ModelNotFoundError: There is no such model.
            AmbiguousModelError: Several authors have one of that name and none was given.
            ServiceError: The hub cannot be used.
        """
        model = await self._read(model_name, author)
        for version in model.versions:
            self._remember(version.files)
        return model

    async def find_cid(self, model: str) -> tuple[str, str]:
        """Find the ONNX file that a model's name stands for: the one of its newest version.

        Args:
            model: Its name, or `author/name`.

        Returns:
            The content id, and a sentence that tells which version it is of.

        Raises:
            ModelNotFoundError: There is no such model.
            AmbiguousModelError: Several authors have one of that name.
            InputError: It has no ONNX file, or several in one version.
            ServiceError: The hub cannot be used.
        """
        try:
            found = await self.get_model(model)
        except AmbiguousModelError as exc:
            exc.hint = "Write it as author/name, or give the model's CID."
            raise
        version = _records.newest(version for version in found.versions if _onnx_of(version))
        if version is None:
            raise InputError(f"The model {quote(model)} has no ONNX file.", NEEDS_CID)
        file, *others = _onnx_of(version)
        if others:
            files = [file, *others[:4]]
            listed = ", ".join(f"{quote(each.name)}: {quote(each.model_cid)}" for each in files)
            reason = f"Version {quote(version.version)} of {quote(model)} has several ONNX files"
            raise InputError(f"{reason}: {listed}.", "Give the CID of one as model_cid.")
        whose = f" by {quote(found.author)}" if found.author else ""
        told = f"The CID is of model {quote(found.name)}{whose}, version {quote(version.version)}."
        return file.model_cid, told

    async def names(self) -> list[str]:
        """Return the names on the first page of the list of all models, each once.

        Raises:
            ServiceError: The hub cannot be used.
        """
        params = {"page": "0", "limit": str(PAGE_SIZE)}
        url = public_models_url(self._network)
        document = await fetch_json(self._http, MODEL_HUB, url, params=params)
        names = map(_records.name_of, _records.records(document, "models"))
        return [name for name in dict.fromkeys(names) if name]

    async def _read(self, model_name: str, author: str) -> Model:
        if not author and "/" in model_name:
            author, _, model_name = model_name.rpartition("/")
        found = await self._record(model_name, author)
        author = _records.author_of(found) or author
        versions = _records.versions_of(found)
        if not any(version.files for version in versions):
            versions = await self._with_files(model_name, author, versions)
        return Model(
            network=self._network.name,
            name=_records.name_of(found) or model_name,
            author=author,
            description=_records.description_of(found),
            url=self.page_of(author, model_name),
            versions=versions,
            example_input=self._example(versions),
        )

    async def _record(self, model_name: str, author: str) -> Mapping[str, Any]:
        """Fetch a model's record; where the name alone does not tell it, find the author first."""
        url = public_model_url(self._network, model_name)
        if author:
            return await self._record_of(url, model_name, author)
        try:
            return _records.record(await fetch_json(self._http, MODEL_HUB, url))
        except ServiceRejectedError as exc:
            if exc.status not in _NOT_THIS_WAY:
                raise
        authors = await self._authors(model_name)
        if not authors:
            raise ModelNotFoundError(model_name)
        if len(authors) > 1:
            raise AmbiguousModelError(model_name, authors)
        return await self._record_of(url, model_name, authors[0])

    async def _record_of(self, url: str, model_name: str, author: str) -> Mapping[str, Any]:
        try:
            params = {"authorUsername": author}
            found = _records.record(await fetch_json(self._http, MODEL_HUB, url, params=params))
        except ServiceRejectedError as exc:
            if exc.status != HTTPStatus.NOT_FOUND:
                raise
            raise ModelNotFoundError(f"{author}/{model_name}") from exc
        if (_records.author_of(found) or author).casefold() != author.casefold():
            # The hub did not mind the author and gave another one's model.
            raise ModelNotFoundError(f"{author}/{model_name}")
        return found

    async def _authors(self, model_name: str) -> list[str]:
        """Search the list of all models for the authors of exactly this name."""
        authors = {
            _records.author_of(item): None
            async for page in self.pages()
            for item in page
            if _records.name_of(item) == model_name
        }
        authors.pop("", None)
        return list(authors)

    async def pages(self) -> AsyncIterator[list[Mapping[str, Any]]]:
        """Read the list of all models, page by page, at most `MAX_PAGES` of them.

        Raises:
            ServiceError: The hub cannot be used.
        """
        url = public_models_url(self._network)
        for page in range(MAX_PAGES):
            params = {"page": str(page), "limit": str(PAGE_SIZE)}
            document = await fetch_json(self._http, MODEL_HUB, url, params=params)
            listed = _records.records(document, "models")
            yield listed
            if len(listed) < PAGE_SIZE:
                return

    def page_of(self, author: str, model_name: str) -> str:
        """Return the address of a model's page; empty where there are no pages."""
        return page_url(self._network, author, model_name)

    async def _with_files(
        self, model_name: str, author: str, versions: list[ModelVersion]
    ) -> list[ModelVersion]:
        """Fetch the files where the record does not hold them."""
        url = f"{public_model_url(self._network, model_name)}/files"
        params = {"authorUsername": author} if author else None
        try:
            document = await fetch_json(self._http, MODEL_HUB, url, params=params)
        except ServiceRejectedError as exc:
            if exc.status != HTTPStatus.NOT_FOUND:
                raise
            return versions
        groups = _records.by_version(_records.records(document, "files"))
        return _joined(versions, groups)

    async def own_files(self, account: SignIn, model_name: str, version: str) -> list[ModelFile]:
        """List a version's files by the side that takes an account, which knows one's own first.

        Raises:
            ModelNotFoundError: There is no such model or version.
            ServiceError: The hub or its sign-in cannot be used.
        """
        url = files_url(self._network, model_name, version)

        async def ask(token: str) -> Any:  # noqa: ANN401 - JSON
            return await fetch_json(self._http, MODEL_HUB, url, headers=bearer(token))

        try:
            document = await account.signed(ask)
        except ServiceRejectedError as exc:
            if exc.status != HTTPStatus.NOT_FOUND:
                raise
            raise ModelNotFoundError(model_name, version) from exc
        return _records.files_of(_records.records(document, "files"))

    def _remember(self, files: Iterable[ModelFile]) -> None:
        """Remember the tensors of files that tell them."""
        for file in files:
            if file.inputs:
                graph = ModelGraph(inputs=file.inputs, outputs=file.outputs)
                self._known.add(file.model_cid, graph)

    def _example(self, versions: Sequence[ModelVersion]) -> dict[str, Any]:
        """Return the input that the network names for one of these files, else one that fits."""
        files = [file for version in reversed(versions) for file in version.files]
        cids = {file.model_cid for file in files}
        for sample in self._network.sample_models:
            if sample.get("cid") in cids and isinstance(sample.get("model_input"), dict):
                return dict(sample["model_input"])
        return next((example_input(file.inputs) for file in files if file.inputs), {})


def _onnx_of(version: ModelVersion) -> list[ModelFile]:
    return [file for file in version.files if file.name.lower().endswith(".onnx")]


def _joined(
    versions: list[ModelVersion], groups: Mapping[str, list[ModelFile]]
) -> list[ModelVersion]:
    """Put files under their versions; versions that only files name are added."""
    if not groups:
        return versions
    told = dict.fromkeys([version.version for version in versions]) | dict.fromkeys(groups)
    told.pop("", None)
    unplaced = groups.get("", [])
    if unplaced and len(told) > 1:
        raise ServiceReplyError(MODEL_HUB, "it does not tell which files belong to which version")
    notes = {version.version: version.notes for version in versions}
    return [
        ModelVersion(
            version=name, notes=notes.get(name, ""), files=[*groups.get(name, []), *unplaced]
        )
        for name in told or {"": None}
    ]
