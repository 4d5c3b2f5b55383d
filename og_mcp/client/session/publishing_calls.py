"""What a session publishes: repositories, versions, files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anyio import CancelScope

from og_mcp.client.hub.records import MODEL_HUB, newest, next_version
from og_mcp.client.session.calling import Terms
from og_mcp.client.session.parts import Parts
from og_mcp.client.session.publication import (
    Publication,
    Steps,
    check_text,
    described,
    file_in,
    result_of,
)
from og_mcp.client.session.publication_calls import PublicationCalls
from og_mcp.client.session.publishable_files import PublishableFiles, close
from og_mcp.client.session.publishing_parts import PublishingParts
from og_mcp.errors import ServiceReplyError, quote
from og_mcp.types import CreatedModel, CreatedVersion, Model, Progress, UploadResult

if TYPE_CHECKING:
    from og_mcp.client.chain.ticket import Ticket
    from og_mcp.client.files.model_file import Publishable


class PublishingCalls:
    """The publications of one session.

    Args:
        parts: What they are carried out with.
        publishing: Its part that publishes.
    """

    def __init__(self, parts: Parts, publishing: PublishingParts) -> None:
        self._parts, self._publishing = parts, publishing
        self._calls, self._files = PublicationCalls(parts), PublishableFiles(parts)

    async def create_model(  # noqa: PLR0913 - what a caller may say, by name
        self, name: str, description: str, path: str, terms: Terms, *, ask: bool, progress: Progress
    ) -> CreatedModel:
        """Create a repository with its first version, and upload a file where one is given."""
        check_text(model_name=name, model_desc=description)
        model = await self._open(path, ask=ask) if path else None
        what = f"publish the model repository {quote(name)}"
        if model is not None:
            what += f" with {described(model)}"
        if self._calls.asks(ask=ask):
            try:
                what = await self._what_of_existing(name, model, terms.principal) or what
            except BaseException:
                await close(model)
                raise
        request = {"model_name": name, "model_desc": description, **file_in(model)}
        asked = Publication({"tool": "create_model", **request}, what, terms, ask, model, progress)

        async def work(ticket: Ticket, steps: Steps) -> CreatedModel:
            return await self._create_model(asked, ticket, steps)

        call = await self._calls.make(asked, work)
        return result_of(call, CreatedModel, model_name=name)

    async def create_version(
        self, name: str, notes: str, terms: Terms, *, is_major: bool, ask: bool
    ) -> CreatedVersion:
        """Add a version to a repository."""
        check_text(model_name=name, notes=notes)
        kind = "major" if is_major else "minor"
        what = f"add a {kind} version to the published model {quote(name)}"
        request = {"model_name": name, "notes": notes, "is_major": is_major}
        asked = Publication({"tool": "create_version", **request}, what, terms, ask)

        async def work(ticket: Ticket, _steps: Steps) -> CreatedVersion:
            publishing = await self._publishing.publishing.get()
            with CancelScope(shield=True):
                version = await publishing.create_version(name, notes, is_major=is_major)
            # From here on its failure would not mean that there is no version.
            ticket.committed = True
            return CreatedVersion(
                **self._head(ticket.call_id), status="done", model_name=name, version=version
            )

        return result_of(await self._calls.make(asked, work), CreatedVersion, model_name=name)

    async def upload(  # noqa: PLR0913 - what a caller may say, by name
        self, path: str, name: str, version: str, terms: Terms, *, ask: bool, progress: Progress
    ) -> UploadResult:
        """Upload a file to a version."""
        check_text(model_name=name, version=version)
        model = await self._open(path, ask=ask)
        what = f"publish {described(model)} as version {quote(version)} of model {quote(name)}"
        request = {"model_name": name, "version": version, **file_in(model)}
        asked = Publication({"tool": "upload", **request}, what, terms, ask, model, progress)

        async def work(ticket: Ticket, _steps: Steps) -> UploadResult:
            return await self._upload(asked, model, version, ticket)

        call = await self._calls.make(asked, work)
        return result_of(call, UploadResult, model_name=name, version=version)

    async def _open(self, path: str, *, ask: bool) -> Publishable:
        return await self._files.open(path, hashed=self._calls.asks(ask=ask))

    async def _create_model(self, asked: Publication, ticket: Ticket, steps: Steps) -> CreatedModel:
        publishing = await self._publishing.publishing.get()
        name, model = asked.request["model_name"], asked.model
        with CancelScope(shield=True):
            found = await publishing.create_model(name, asked.request["model_desc"])
        steps.done = f"Model {quote(name)} {'was there already' if found else 'was created'}"
        version = await self._version_to_fill(found, model, asked.terms.principal)
        is_new = not version
        if is_new:
            with CancelScope(shield=True):
                version = await publishing.create_version(name, "", is_major=False)
        steps.done = f"{steps.done}, with {_named(version)}"
        uploaded = {}
        if model is not None:
            if not version:
                raise ServiceReplyError(MODEL_HUB, "it does not tell the version that it made")
            uploaded = (await self._upload(asked, model, version, ticket)).shown()
        return CreatedModel(
            **self._head(ticket.call_id),
            status="done",
            model_name=name,
            version=version,
            url=found.url if found else publishing.page_of(name),
            already_there=found is not None,
            note=_note_of(found, version, asked.request["model_desc"], is_new=is_new),
            warnings=list(model.warnings) if model else [],
            upload=uploaded,
        )

    async def _upload(
        self, asked: Publication, model: Publishable, version: str, ticket: Ticket
    ) -> UploadResult:
        publishing, name = await self._publishing.publishing.get(), asked.request["model_name"]
        before = await publishing.files(name, version)
        cid = await self._files.recognised(model, before, asked.terms.principal)
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
            warnings=list(model.warnings),
            already_there=already_there,
            inputs=model.graph.inputs if model.graph else [],
            outputs=model.graph.outputs if model.graph else [],
        )

    async def _what_of_existing(self, name: str, model: Publishable | None, principal: str) -> str:
        """Say what a new model does to the account's repository of its name; empty without one."""
        found = await (await self._publishing.publishing.get()).own(name)
        if found is None:
            return ""
        version, existing = newest(found.versions), f"your existing model {quote(name)}"
        if filled := await self._version_to_fill(found, model, principal):
            what = f"go on with version {filled} of {existing}"
        else:
            after = next_version(version.version) if version else ""
            what = f"add {_named(after) if after else 'a version'} to {existing}"
        return what if model is None else f"{what}, with {described(model)}"

    async def _version_to_fill(
        self, found: Model | None, model: Publishable | None, principal: str
    ) -> str:
        """Return the version that an earlier call of this kind left; empty where a new one is due.

        A version with other files in it is left alone: a file of the same name there would be
        replaced, and whoever runs it relies on it.
        """
        left = newest(found.versions) if found is not None else None
        if left is None:
            return ""
        goes_on = (
            model is None
            or not left.files
            or await self._files.recognised(model, left.files, principal)
        )
        return left.version if goes_on else ""

    def _head(self, call_id: str) -> dict[str, Any]:
        return {"call_id": call_id, "network": self._parts.settings.network_name}


def _note_of(found: Model | None, version: str, description: str, *, is_new: bool) -> str:
    """Tell what became of a repository that was there, and of its description."""
    if found is None:
        return ""
    done = f"{_named(version)} was {'added' if is_new else 'gone on with'}"
    told = f"You had a model {quote(found.name)} before: {done}."
    if not description or description == found.description:
        return told
    return (
        f"{told} Its description stays {quote(found.description)}; the new one was not taken over. "
        "Put what is new into the notes of create_version."
    )


def _named(version: str) -> str:
    return f"version {version}" if version else "a version whose name is not known"
