"""The model hub of the local network (protocol.md section 5).

Two services over one store. `hub_app` takes `Authorization: Bearer {idToken}`:

* `POST /api/v0/models/` `{name, description}`: 201 with the model's record; 409 where the author
  has one of that name.
* `POST /api/v0/models/{name}/versions` `{notes, is_major}`: 201 with `{versionString, notes,
  createdAt}`.
* `POST /api/v0/models/{name}/versions/{version}/files`, multipart field `file`: 201 with the
  file's record. A file of the same name in that version is replaced.
* `GET /api/v0/models/{name}/versions/{version}/files`: a list of file records. Another author's
  model may be read where the name is not ambiguous; only one's own may be written (403).

`hub_read_app` asks for no account:

* `GET /api/v0/models/?page=0&limit=20`: `{"models": [record, ...]}`, oldest first; limit <= 100.
* `GET /api/v0/models/{name}?authorUsername=...`: a record with `versions`, each with `files`.
* `GET /api/v0/models/{name}/files?extension=onnx&authorUsername=...`: the file records of all
  versions, each with `versionString`.
* `GET /api/v0/files/{cid}`: the file itself, or parts of it (`Range`); an extension of the local
  hub.

A model's record is `{name, authorUsername, description, createdAt}`. A file's record is
`{name, size, ipfsCid, createdAt, inputs, outputs}`; the tensors are an extension of the local
hub, `[{name, dtype, shape}]`, empty where the file is not an ONNX model; `shape` is null where the
graph leaves the number of dimensions open. Errors are `{"detail": text}`.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from pydantic_core import from_json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse
from starlette.routing import Route

from og_mcp.localnet import graph, upload
from og_mcp.localnet.signin import Accounts
from og_mcp.localnet.store import (
    FileRecord,
    Incoming,
    ModelRecord,
    Store,
    StoreError,
    VersionRecord,
    file_name,
)

MAX_PAGE: Final = 100
DEFAULT_PAGE: Final = 20
_MODELS: Final = "/api/v0/models/"
_FILES: Final = "/api/v0/models/{name}/versions/{version}/files"


def hub_app(store: Store, accounts: Accounts) -> Starlette:
    """Build the hub for signed-in authors."""
    hub = _Hub(store, accounts)
    return Starlette(
        routes=[
            Route(_MODELS, hub.create_model, methods=["POST"]),
            Route("/api/v0/models/{name}/versions", hub.create_version, methods=["POST"]),
            Route(_FILES, hub.upload, methods=["POST"]),
            Route(_FILES, hub.list_files, methods=["GET"]),
        ],
        exception_handlers=_REFUSALS,
    )


def hub_read_app(store: Store) -> Starlette:
    """Build the hub's public side."""
    hub = _PublicHub(store)
    return Starlette(
        routes=[
            Route(_MODELS, hub.list_models, methods=["GET"]),
            Route("/api/v0/models/{name}", hub.get_model, methods=["GET"]),
            Route("/api/v0/models/{name}/files", hub.list_files, methods=["GET"]),
            Route("/api/v0/files/{cid}", hub.download, methods=["GET"]),
        ],
        exception_handlers=_REFUSALS,
    )


async def keep_file(store: Store, version: VersionRecord, name: str, file: Incoming) -> FileRecord:
    """Move a written file to its place and list it with its tensors under a version."""
    cid = await asyncio.to_thread(file.keep)
    path = store.path(cid)
    if path is None:
        raise FileNotFoundError(cid)
    inputs, outputs = await asyncio.to_thread(graph.tensors, path)
    record = FileRecord(name, file.size, cid, inputs, outputs)
    store.add_file(version, record)
    return record


class _Hub:
    def __init__(self, store: Store, accounts: Accounts) -> None:
        self._store = store
        self._accounts = accounts

    async def create_model(self, request: Request) -> JSONResponse:
        author = self._author(request)
        body = await _json_object(request)
        name, description = _text(body, "name"), _text(body, "description", default="")
        model = self._store.create_model(name, author, description)
        return JSONResponse(_model_json(model), status_code=201)

    async def create_version(self, request: Request) -> JSONResponse:
        author = self._author(request)
        body = await _json_object(request)
        is_major = body.get("is_major", False)
        if not isinstance(is_major, bool):
            raise HTTPException(422, "is_major is true or false")
        model = self._store.owned(request.path_params["name"], author)
        notes = _text(body, "notes", default="")
        version = self._store.create_version(model, notes, is_major=is_major)
        return JSONResponse(_version_json(version), status_code=201)

    async def upload(self, request: Request) -> JSONResponse:
        author = self._author(request)
        model = self._store.owned(request.path_params["name"], author)
        version = model.version(request.path_params["version"])
        content_type = request.headers.get("content-type", "")
        with self._store.incoming() as file:
            name = file_name(await upload.receive(request.stream(), content_type, file))
            record = await keep_file(self._store, version, name, file)
        return JSONResponse(_file_json(record), status_code=201)

    async def list_files(self, request: Request) -> JSONResponse:
        author = self._author(request)
        model = self._store.readable(request.path_params["name"], author)
        version = model.version(request.path_params["version"])
        return JSONResponse([_file_json(file) for file in version.files])

    def _author(self, request: Request) -> str:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        author = self._accounts.author_of(token) if scheme.lower() == "bearer" else None
        if author is None:
            raise HTTPException(401, "Invalid or expired token", {"WWW-Authenticate": "Bearer"})
        return author


class _PublicHub:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def list_models(self, request: Request) -> JSONResponse:
        page = _whole_number(request, "page", 0)
        limit = _whole_number(request, "limit", DEFAULT_PAGE)
        if not 1 <= limit <= MAX_PAGE:
            raise HTTPException(422, f"limit is from 1 to {MAX_PAGE}")
        chosen = self._store.models[page * limit : (page + 1) * limit]
        return JSONResponse({"models": [_model_json(model) for model in chosen]})

    async def get_model(self, request: Request) -> JSONResponse:
        model = self._model(request)
        versions = [
            {**_version_json(version), "files": [_file_json(file) for file in version.files]}
            for version in model.versions
        ]
        return JSONResponse({**_model_json(model), "versions": versions})

    async def list_files(self, request: Request) -> JSONResponse:
        extension = request.query_params.get("extension", "")
        files = [
            {**_file_json(file), "versionString": version.text}
            for version in self._model(request).versions
            for file in version.files
            if not extension or file.name.lower().endswith(f".{extension.lower()}")
        ]
        return JSONResponse(files)

    async def download(self, request: Request) -> FileResponse:
        path = self._store.path(request.path_params["cid"])
        if path is None:
            raise HTTPException(404, "File not found")
        return FileResponse(path, media_type="application/octet-stream")

    def _model(self, request: Request) -> ModelRecord:
        name, author = request.path_params["name"], request.query_params.get("authorUsername", "")
        found = self._store.find(name, author)
        if not found:
            raise HTTPException(404, f"Model {name!r} not found")
        if len(found) > 1:
            raise HTTPException(400, f"Several authors have a model {name!r}: add authorUsername")
        return found[0]


def _model_json(model: ModelRecord) -> dict[str, Any]:
    return {
        "name": model.name,
        "authorUsername": model.author,
        "description": model.description,
        "createdAt": model.created_at,
    }


def _version_json(version: VersionRecord) -> dict[str, Any]:
    return {
        "versionString": version.text,
        "notes": version.notes,
        "createdAt": version.created_at,
    }


def _file_json(file: FileRecord) -> dict[str, Any]:
    return {
        "name": file.name,
        "size": file.size,
        "ipfsCid": file.cid,
        "createdAt": file.created_at,
        "inputs": file.inputs,
        "outputs": file.outputs,
    }


async def _json_object(request: Request) -> dict[str, Any]:
    try:
        # Not json's reader: py-evm takes away what keeps it from nesting endlessly.
        body = from_json(await request.body())
    except ValueError as error:
        raise HTTPException(422, "The body is not JSON") from error
    if not isinstance(body, dict):
        raise HTTPException(422, "The body is not a JSON object")
    return body


def _text(body: dict[str, Any], field: str, default: str | None = None) -> str:
    value = body.get(field)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise HTTPException(422, f"{field} is a text")
    return value


def _whole_number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit()):
        raise HTTPException(422, f"{name} is a whole number")
    return int(text)


async def _refused_by_http(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)


async def _refused_by_store(_request: Request, error: Exception) -> JSONResponse:
    status = error.status if isinstance(error, StoreError) else 400
    return JSONResponse({"detail": str(error)}, status)


_REFUSALS: Final[dict[Any, Any]] = {
    HTTPException: _refused_by_http,
    StoreError: _refused_by_store,
    upload.UploadError: _refused_by_store,
}
