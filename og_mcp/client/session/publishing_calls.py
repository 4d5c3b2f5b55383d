"""What a session publishes: repositories, versions, files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anyio import CancelScope

from og_mcp.client.hub.records import MODEL_HUB, newest
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
from og_mcp.client.session.publishable_files import PublishableFiles
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
        model = await self._open(path, "create_model", ask=ask) if path else None
        what = f"publish the model repository {quote(name)}"
        if model is not None:
            what += f" with {described(model)}"
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
        model = await self._open(path, "upload", ask=ask)
        what = f"publish {described(model)} as version {quote(version)} of model {quote(name)}"
        request = {"model_name": name, "version": version, **file_in(model)}
        asked = Publication({"tool": "upload", **request}, what, terms, ask, model, progress)

        async def work(ticket: Ticket, _steps: Steps) -> UploadResult:
            return await self._upload(asked, model, version, ticket)

        call = await self._calls.make(asked, work)
        return result_of(call, UploadResult, model_name=name, version=version)

    async def _open(self, path: str, tool: str, *, ask: bool) -> Publishable:
        return await self._files.open(path, hashed=ask or self._calls.must_ask(tool))

    async def _create_model(self, asked: Publication, ticket: Ticket, steps: Steps) -> CreatedModel:
        publishing = await self._publishing.publishing.get()
        name, model = asked.request["model_name"], asked.model
        with CancelScope(shield=True):
            found = await publishing.create_model(name, asked.request["model_desc"])
        steps.done = f"Model {quote(name)} {'was there already' if found else 'was created'}"
        version = await self._version_to_fill(asked, found)
        if not version:
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

    async def _version_to_fill(self, asked: Publication, found: Model | None) -> str:
        """Return the version that an earlier call of this kind left; empty where a new one is due.

        A version with other files in it is left alone: a file of the same name there would be
        replaced, and whoever runs it relies on it.
        """
        left = newest(found.versions) if found is not None else None
        if left is None:
            return ""
        goes_on = (
            asked.model is None
            or not left.files
            or await self._files.recognised(asked.model, left.files, asked.terms.principal)
        )
        return left.version if goes_on else ""

    def _head(self, call_id: str) -> dict[str, Any]:
        return {"call_id": call_id, "network": self._parts.settings.network_name}


def _named(version: str) -> str:
    return f"version {version}" if version else "a version whose name is not known"
