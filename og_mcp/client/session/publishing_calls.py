"""How a session publishes: file opened and checked, call journalled, person asked, carried out.

Publishing costs nothing and cannot be undone. A person is asked wherever the caller says that one
can be (`ask`), and on a real network also where OG_CONFIRM_ABOVE is 0.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio
from anyio import CancelScope, to_thread
from pydantic_core import from_json

from og_mcp.client.session.calling import Calling, Terms
from og_mcp.client.session.interrupted import end_publication
from og_mcp.client.session.parts import Parts, load
from og_mcp.client.session.publishing_parts import PublishingParts
from og_mcp.errors import ApprovalRequiredError, OGError, PublishingStoppedError, quote
from og_mcp.types import (
    Call,
    ConsentRequest,
    CreatedModel,
    CreatedVersion,
    Model,
    ModelFile,
    Progress,
    Shape,
    Stage,
    UploadResult,
)

if TYPE_CHECKING:
    from og_mcp.client.chain.ticket import Ticket
    from og_mcp.client.files.model_file import Publishable
    from og_mcp.client.hub.publishing import Publishing

R = TypeVar("R", bound=Shape)

HASHES_KEPT: Final = 64
"""Files whose SHA-256 is remembered, so that asking a person does not mean reading them twice."""

UPLOADS_SEARCHED: Final = 100
"""Earlier calls that are looked through for one that published the same file."""

CANCELLED: Final = "The call was cancelled; nothing was published."


@dataclass
class Untold:
    """Progress that nobody watches."""

    count: int = 0
    total: int | None = None


@dataclass
class _Steps:
    """What a publication has done so far, for whoever reads of its end."""

    done: str = ""
    """A sentence without its full stop; empty before anything was done."""

    def stopped(self, error: OGError) -> OGError:
        """Add what was done to an error of a later step."""
        return PublishingStoppedError(self.done, error) if self.done else error

    @property
    def cancelled(self) -> str:
        """Tell a cancellation."""
        if not self.done:
            return CANCELLED
        return (
            f"{self.done}; the call was cancelled then. The same call again continues from there."
        )


@dataclass(frozen=True)
class _Asked:
    """One publication as it was asked for."""

    request: dict[str, Any]
    what: str
    """What a person is asked to agree to."""

    terms: Terms
    ask: bool
    model: Publishable | None = None
    progress: Progress = field(default_factory=Untold)


class PublishingCalls:
    """The publications of one session.

    Args:
        parts: What they are carried out with.
        publishing: Its part that publishes.
    """

    def __init__(self, parts: Parts, publishing: PublishingParts) -> None:
        self._parts, self._publishing = parts, publishing
        self._hashes: OrderedDict[tuple[int, ...], str] = OrderedDict()

    async def create_model(  # noqa: PLR0913 - what a caller may say, by name
        self, name: str, description: str, path: str, terms: Terms, *, ask: bool, progress: Progress
    ) -> CreatedModel:
        """Create a repository with its first version, and upload a file where one is given."""
        model = await self._open(path, "create_model", ask=ask) if path else None
        what = f"publish the model repository {quote(name)}"
        if model is not None:
            what += f" with {_described(model)}"
        request = {"model_name": name, "model_desc": description, **_file_in(model)}
        asked = _Asked({"tool": "create_model", **request}, what, terms, ask, model, progress)

        async def work(ticket: Ticket, steps: _Steps) -> CreatedModel:
            return await self._create_model(asked, ticket, steps)

        call = await self._make(asked, work)
        return _result_of(call, CreatedModel, model_name=name)

    async def create_version(
        self, name: str, notes: str, terms: Terms, *, is_major: bool, ask: bool
    ) -> CreatedVersion:
        """Add a version to a repository."""
        kind = "major" if is_major else "minor"
        what = f"add a {kind} version to the published model {quote(name)}"
        request = {"model_name": name, "notes": notes, "is_major": is_major}
        asked = _Asked({"tool": "create_version", **request}, what, terms, ask)

        async def work(ticket: Ticket, _steps: _Steps) -> CreatedVersion:
            publishing = await self._publishing.publishing.get()
            with CancelScope(shield=True):
                version = await publishing.create_version(name, notes, is_major=is_major)
            return CreatedVersion(
                **self._head(ticket.call_id), status="done", model_name=name, version=version
            )

        return _result_of(await self._make(asked, work), CreatedVersion, model_name=name)

    async def upload(  # noqa: PLR0913 - what a caller may say, by name
        self, path: str, name: str, version: str, terms: Terms, *, ask: bool, progress: Progress
    ) -> UploadResult:
        """Upload a file to a version."""
        model = await self._open(path, "upload", ask=ask)
        what = f"publish {_described(model)} as version {quote(version)} of model {quote(name)}"
        request = {"model_name": name, "version": version, **_file_in(model)}
        asked = _Asked({"tool": "upload", **request}, what, terms, ask, model, progress)

        async def work(ticket: Ticket, _steps: _Steps) -> UploadResult:
            return await self._upload(asked, model, version, ticket)

        call = await self._make(asked, work)
        return _result_of(call, UploadResult, model_name=name, version=version)

    async def _open(self, path: str, tool: str, *, ask: bool) -> Publishable:
        """Open and check a file; whoever gets it closes it."""
        roots = await self._parts.files.get()
        kind = (await load("files.model_file")).Publishable
        model: Publishable = await to_thread.run_sync(kind.open, roots, path)
        try:
            await to_thread.run_sync(model.check_structure)
            if ask or self._must_ask(tool):
                # What a person agrees to is this content, not whatever the file holds later.
                await self._hash(model)
        except BaseException:
            await _close(model)
            raise
        return model

    async def _hash(self, model: Publishable) -> str:
        """Return a file's SHA-256, reading and checking all of it where that was not done."""
        model.sha256 = model.sha256 or self._hashes.get(model.stamp, "")
        if not model.sha256:
            await to_thread.run_sync(model.read_through)
        self._hashes[model.stamp] = model.sha256
        while len(self._hashes) > HASHES_KEPT:
            self._hashes.popitem(last=False)
        return model.sha256

    def _must_ask(self, tool: str) -> bool:
        return not self._parts.settings.local and self._parts.needs_consent(tool)

    async def _make(
        self, asked: _Asked, work: Callable[[Ticket, _Steps], Awaitable[Shape]]
    ) -> Call:
        """Journal a publication, and carry it out or join the one that it repeats."""
        taken = False

        async def run(ticket: Ticket) -> None:
            nonlocal taken
            taken = True
            try:
                await self._run(ticket, work)
            finally:
                await _close(asked.model)

        async def consent(call: Call) -> None:
            if asked.ask or self._must_ask(call.tool):
                await self._consented(call, asked.what)

        try:
            # Whoever cannot sign in learns it before anything is recorded or a person is asked.
            await (await self._parts.account.get()).id_token()
            calling = Calling(self._parts, self._end_interrupted)
            return await calling.make(asked.request, asked.terms, run, consent=consent)
        finally:
            if not taken:
                await _close(asked.model)

    async def _end_interrupted(self, call: Call) -> bool:
        return await end_publication(await self._parts.journal.get(), call)

    async def _run(
        self, ticket: Ticket, work: Callable[[Ticket, _Steps], Awaitable[Shape]]
    ) -> None:
        """Carry a publication out and record its end."""
        journal, steps = await self._parts.journal.get(), _Steps()
        try:
            result = await work(ticket, steps)
        except OGError as exc:
            raise steps.stopped(exc) from exc
        except anyio.get_cancelled_exc_class():
            with CancelScope(shield=True):
                await journal.fail(ticket.call_id, Stage.NOT_SENT, steps.cancelled)
            raise
        with CancelScope(shield=True):
            await journal.settle(ticket.call_id, Stage.CONFIRMED, 0, result.model_dump_json())

    async def _consented(self, call: Call, what: str) -> None:
        """Use up a person's approval.

        Raises:
            ApprovalRequiredError: Nobody has agreed; the call waits for it.
        """
        journal = await self._parts.journal.get()
        network = self._parts.settings.network_name
        consent = ConsentRequest(request_hash=call.request_hash, network=network, what=what)
        if await journal.take_approval(call.id, consent):
            return
        error = ApprovalRequiredError(call.id, what=what)
        await journal.request_approval(call.id, str(error), consent)
        raise error

    async def _create_model(self, asked: _Asked, ticket: Ticket, steps: _Steps) -> CreatedModel:
        publishing = await self._publishing.publishing.get()
        name, model = asked.request["model_name"], asked.model
        with CancelScope(shield=True):
            found = await publishing.create_model(name, asked.request["model_desc"])
            was = "was there already" if found else "was created"
            steps.done = f"Model {quote(name)} {was}"
            version = await _version_for(publishing, name, model, found)
        steps.done = f"{steps.done}, with version {version or 'of unknown name'}"
        uploaded = {}
        if model is not None and version:
            uploaded = (await self._upload(asked, model, version, ticket)).model_dump(mode="json")
        return CreatedModel(
            **self._head(ticket.call_id),
            status="done",
            model_name=name,
            version=version,
            url=found.url if found else publishing.page_of(name),
            already_there=found is not None,
            upload=uploaded,
        )

    async def _upload(
        self, asked: _Asked, model: Publishable, version: str, ticket: Ticket
    ) -> UploadResult:
        publishing, name = await self._publishing.publishing.get(), asked.request["model_name"]
        before = await publishing.files(name, version)
        cid = await self._recognised(model, before, asked.terms.principal)
        already_there = bool(cid)
        if not already_there:
            asked.progress.total = model.size
            cid = await publishing.send(
                model, name, version, ticket=ticket, progress=asked.progress, before=before
            )
        if model.graph is not None:
            await self._parts.known.keep(cid, model.graph)
        return UploadResult(
            **self._head(ticket.call_id),
            status="done",
            model_cid=cid,
            size=model.size,
            sha256=model.sha256,
            model_name=name,
            version=version,
            file_name=model.name,
            format=model.format,
            checked_by=model.checked_by,
            already_there=already_there,
            inputs=model.graph.inputs if model.graph else [],
            outputs=model.graph.outputs if model.graph else [],
        )

    async def _recognised(
        self, model: Publishable, listed: Iterable[ModelFile], principal: str
    ) -> str:
        """Return the content id of this very file where the version has it; hashed if it may."""
        alike = {f.model_cid for f in listed if (f.name, f.size) == (model.name, model.size)}
        if not alike:
            return ""
        sha256 = await self._hash(model)
        told = {cid async for cid in self._published(sha256, principal)} | {_cid_of(sha256)}
        return next(iter(alike & told), "")

    async def _published(self, sha256: str, principal: str) -> Any:  # noqa: ANN401 - a generator
        """Give the content ids under which earlier calls published a content."""
        journal = await self._parts.journal.get()
        for tool in ("upload", "create_model"):
            for call in await journal.list_calls(principal, UPLOADS_SEARCHED, "done", tool):
                result = from_json((await journal.get(call.id, principal)).result or "{}")
                kept = result.get("upload", result) if tool == "create_model" else result
                if kept.get("sha256") == sha256:
                    yield kept["model_cid"]

    def _head(self, call_id: str) -> dict[str, Any]:
        return {"call_id": call_id, "network": self._parts.settings.network_name}


async def _version_for(
    publishing: Publishing, name: str, model: Publishable | None, found: Model | None
) -> str:
    """Return the version to publish in: one that an interrupted call left, or a new one."""
    versions = sorted(found.versions, key=lambda item: _number(item.version)) if found else []
    if versions:
        newest = versions[-1]
        same = {(file.name, file.size) for file in newest.files}
        if model is None or not same or (model.name, model.size) in same:
            return newest.version
    return await publishing.create_version(name, "", is_major=False)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


def _cid_of(sha256: str) -> str:
    """Return the content id that a hub which names files by their SHA-256 gives (the local one)."""
    return urlsafe_b64encode(bytes.fromhex(sha256)).rstrip(b"=").decode()


def _described(model: Publishable) -> str:
    hashed = f", SHA-256 {model.sha256}" if model.sha256 else ""
    return f"the file {quote(model.path)} ({model.size} bytes{hashed})"


def _file_in(model: Publishable | None) -> dict[str, Any]:
    """Write a file into a request; another content under the same name is another request."""
    if model is None:
        return {}
    stamp = hashlib.sha256(repr(model.stamp).encode()).hexdigest()
    told = {"path": model.path, "size": model.size, "stamp": stamp}
    return {"file": {**told, **({"sha256": model.sha256} if model.sha256 else {})}}


def _result_of(call: Call, shape: type[R], **known: str) -> R:
    """Read what the journal kept of a call, or tell that it runs."""
    if call.status == "done" and call.result:
        return shape.model_validate_json(call.result)
    told: Mapping[str, Any] = {"call_id": call.id, "network": call.network, "status": call.status}
    return shape.model_validate({**told, **known})


async def _close(model: Publishable | None) -> None:
    if model is not None:
        with CancelScope(shield=True):
            await to_thread.run_sync(model.close)
