"""Publications on the Model Hub: repositories, versions, files. Free, and they cannot be undone."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from anyio import CancelScope

from og_mcp.client.calls.context import CallContext
from og_mcp.client.calls.operation import Operation, Outcome, Quote
from og_mcp.client.files.model_file import Publishable
from og_mcp.client.files.publishable_files import PublishableFiles, close
from og_mcp.client.hub.known import KnownGraphs
from og_mcp.client.hub.publisher import HubPublisher
from og_mcp.client.hub.records import MODEL_HUB, newest, next_version
from og_mcp.client.hub.signin import SignIn
from og_mcp.client.wire.lazy import Lazy
from og_mcp.errors import InputError, OGError, PublishingStoppedError, ServiceReplyError, quote
from og_mcp.types import (
    CreatedModel,
    CreatedVersion,
    Model,
    Progress,
    Shape,
    Stage,
    UploadResult,
)

R = TypeVar("R", bound=Shape)

UNANSWERED: Final = (
    "The session ended after the file was sent and before the Model Hub answered. It may be "
    "published: list_files shows it, and the same call again does not send twice what is there."
)


@dataclass
class Uncounted:
    """Progress that is not shown."""

    count: int = 0
    total: int | None = None


@dataclass(frozen=True, kw_only=True)
class HubAccess:
    """What a publication needs to run."""

    network_name: str
    account: Lazy[SignIn]
    publisher: Lazy[HubPublisher]
    files: PublishableFiles
    known: KnownGraphs
    principal: str
    can_ask: bool
    """Whether a person is there to be asked."""

    progress: Progress
    """Counts the bytes of a file that were sent."""


class Publication(Operation[R]):
    """A call that publishes something.

    Args:
        hub: What it is carried out with.
        request: Its arguments.
        model: The file, open; closed with the call.
    """

    def __init__(
        self, hub: HubAccess, request: dict[str, Any], model: Publishable | None = None
    ) -> None:
        self._hub, self._model, self.can_ask = hub, model, hub.can_ask
        self.request = {"tool": self.tool, **request, **_described_file(model)}
        self._done = ""
        """What was done so far: a sentence without its full stop."""

    @property
    def fields(self) -> dict[str, Any]:
        """The repository, and the version where it is given."""
        return {
            name: self.request[name] for name in ("model_name", "version") if name in self.request
        }

    @abstractmethod
    async def effect(self) -> str:
        """Say what the call does, for the person who is asked to agree."""

    @abstractmethod
    async def publish(self, call: CallContext) -> R:
        """Publish; notes in `_done` what is done."""

    async def prepare(self) -> None:
        """Sign in first, so that a wrong login fails before anything is recorded or asked."""
        await (await self._hub.account.get()).id_token()

    async def quote(self) -> Quote:
        """Tell what cannot be undone."""
        return Quote(effect=await self.effect(), is_signed=False)

    async def execute(self, call: CallContext) -> Outcome[R]:
        """Publish.

        Raises:
            PublishingStoppedError: Some steps are done, and a later one failed.
            ServiceError: The hub refuses, or cannot be used.
        """
        try:
            return Outcome(result=await self.publish(call), stage=Stage.CONFIRMED)
        except OGError as exc:
            if self._done:
                raise PublishingStoppedError(self._done, exc) from exc
            raise

    def cancelled(self, call: CallContext) -> OGError | None:
        """Tell what was done of a call that was cancelled."""
        if call.committed:
            error = OGError(f"{self._done}. {UNANSWERED}" if self._done else UNANSWERED)
            error.stage = Stage.SENT_UNKNOWN
            return error
        if not self._done:
            return OGError("The call was cancelled; nothing was published.")
        return OGError(
            f"{self._done}; the call was cancelled then. The same call again continues from there."
        )

    async def close(self) -> None:
        """Close the file."""
        model, self._model = self._model, None
        await close(model)

    def head(self, call: CallContext) -> dict[str, Any]:
        """Fields that every result begins with."""
        return {
            "call_id": call.call_id,
            "network": self._hub.network_name,
            "status": "done",
            "model_name": self.request["model_name"],
        }

    async def upload(self, call: CallContext, model: Publishable, version: str) -> UploadResult:
        """Send the file, unless the version has it already."""
        hub, name = self._hub, self.request["model_name"]
        publisher = await hub.publisher.get()
        before = await publisher.files(name, version)
        cid = await hub.files.recognised(model, before, hub.principal)
        already_there = bool(cid)
        if not already_there:
            hub.progress.total = model.size
            cid = await publisher.send(
                model, name, version, call=call, progress=hub.progress, before=before
            )
        if model.graph is not None:
            await hub.known.keep(cid, model.graph)
        return UploadResult(
            **self.head(call),
            model_cid=cid,
            size=model.size,
            sha256=model.sha256,
            version=version,
            file_name=model.name,
            format=model.format,
            checked_by=model.checked_by,
            warnings=list(model.warnings),
            already_there=already_there,
            inputs=model.graph.inputs if model.graph else [],
            outputs=model.graph.outputs if model.graph else [],
        )


class CreateModel(Publication[CreatedModel]):
    """A repository with its first version, and a file in it where one is given."""

    tool = "create_model"
    result = CreatedModel

    async def effect(self) -> str:
        """Say whether it creates a repository, or adds to the account's own of that name."""
        name, model = self.request["model_name"], self._model
        found = await (await self._hub.publisher.get()).own(name)
        if found is None:
            what = f"publish the model repository {quote(name)}"
        elif filled := await self._version_to_fill(found):
            what = f"go on with version {filled} of your existing model {quote(name)}"
        else:
            last = newest(found.versions)
            after = next_version(last.version) if last else ""
            version = _version_words(after) if after else "a version"
            what = f"add {version} to your existing model {quote(name)}"
        if model is None:
            return what
        separator = " with" if found is None else ", with"
        return f"{what}{separator} {_shown_file(model)}"

    async def publish(self, call: CallContext) -> CreatedModel:
        """Create what is missing of repository, version and file."""
        publisher = await self._hub.publisher.get()
        name, description = self.request["model_name"], self.request["model_desc"]
        with CancelScope(shield=True):
            found = await publisher.create_model(name, description)
        self._done = f"Model {quote(name)} {'was there already' if found else 'was created'}"
        version = await self._version_to_fill(found)
        is_new = not version
        if is_new:
            with CancelScope(shield=True):
                version = await publisher.create_version(name, "", is_major=False)
        self._done = f"{self._done}, with {_version_words(version)}"
        uploaded, model = {}, self._model
        if model is not None:
            if not version:
                raise ServiceReplyError(MODEL_HUB, "it does not tell the version that it made")
            uploaded = (await self.upload(call, model, version)).shown()
        return CreatedModel(
            **self.head(call),
            version=version,
            url=found.url if found else publisher.page_of(name),
            already_there=found is not None,
            note=_note_of(found, version, description, is_new=is_new),
            warnings=list(model.warnings) if model else [],
            upload=uploaded,
        )

    async def _version_to_fill(self, found: Model | None) -> str:
        """Return the version that an earlier call of this kind left; empty where a new one is due.

        A version with other files is not touched: a file of the same name there would be
        replaced, and whoever runs it relies on it.
        """
        left = newest(found.versions) if found is not None else None
        if left is None:
            return ""
        hub, model = self._hub, self._model
        goes_on = (
            model is None
            or not left.files
            or await hub.files.recognised(model, left.files, hub.principal)
        )
        return left.version if goes_on else ""


class CreateVersion(Publication[CreatedVersion]):
    """A further version of a repository."""

    tool = "create_version"
    result = CreatedVersion

    async def effect(self) -> str:
        """Say which repository gets a version."""
        kind = "major" if self.request["is_major"] else "minor"
        name = quote(self.request["model_name"])
        return f"add a {kind} version to the published model {name}"

    async def publish(self, call: CallContext) -> CreatedVersion:
        """Add the version."""
        name, notes = self.request["model_name"], self.request["notes"]
        publisher = await self._hub.publisher.get()
        with CancelScope(shield=True):
            version = await publisher.create_version(name, notes, is_major=self.request["is_major"])
        # From here on its failure would not mean that there is no version.
        call.committed = True
        return CreatedVersion(**self.head(call), version=version)


class Upload(Publication[UploadResult]):
    """A file in a version of a repository."""

    tool = "upload"
    result = UploadResult

    async def effect(self) -> str:
        """Say which file is published where."""
        assert self._model is not None  # noqa: S101 - an upload has a file
        name, version = (quote(self.request[name]) for name in ("model_name", "version"))
        return f"publish {_shown_file(self._model)} as version {version} of model {name}"

    async def publish(self, call: CallContext) -> UploadResult:
        """Send the file."""
        assert self._model is not None  # noqa: S101 - as above
        return await self.upload(call, self._model, self.request["version"])


def check_texts(**texts: str) -> None:
    """Check that texts can be written down and sent.

    Raises:
        InputError: One holds half a surrogate pair, which is not Unicode.
    """
    for name, text in texts.items():
        try:
            text.encode()
        except UnicodeEncodeError as exc:
            raise InputError(f"The {name} holds half a surrogate pair: {quote(text)}.") from exc


def _shown_file(model: Publishable) -> str:
    """Name a file as a person is asked about it."""
    hashed = f", SHA-256 {model.sha256}" if model.sha256 else ""
    return f"the file {quote(model.path)} ({model.size} bytes{hashed})"


def _described_file(model: Publishable | None) -> dict[str, Any]:
    """Write a file into a request; another content under the same name is another request."""
    if model is None:
        return {}
    stamp = hashlib.sha256(repr(model.stamp).encode()).hexdigest()
    told = {"path": model.path, "size": model.size, "stamp": stamp}
    return {"file": {**told, **({"sha256": model.sha256} if model.sha256 else {})}}


def _note_of(found: Model | None, version: str, description: str, *, is_new: bool) -> str:
    """Tell what became of a repository that was there, and of its description."""
    if found is None:
        return ""
    done = f"{_version_words(version)} was {'added' if is_new else 'gone on with'}"
    told = f"You had a model {quote(found.name)} before: {done}."
    if not description or description == found.description:
        return told
    return (
        f"{told} Its description stays {quote(found.description)}; the new one was not taken over. "
        "Put what is new into the notes of create_version."
    )


def _version_words(version: str) -> str:
    return f"version {version}" if version else "a version whose name is not known"
