"""What a session offers of repositories on the Model Hub: the public methods, in one place."""

from __future__ import annotations

from og_mcp.client.session.calling import Terms
from og_mcp.client.session.loading import load
from og_mcp.client.session.parts import Parts
from og_mcp.client.session.publication import Untold
from og_mcp.client.session.publishing_calls import PublishingCalls
from og_mcp.client.session.publishing_parts import PublishingParts
from og_mcp.types import (
    LOCAL_PRINCIPAL,
    CreatedModel,
    CreatedVersion,
    FoundModels,
    ModelKind,
    Progress,
    UploadResult,
)


class Repositories:
    """Publishing and search; `Session` is one.

    Args:
        parts: What a session consists of.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._publications = PublishingCalls(parts, PublishingParts(parts))

    async def create_model(  # noqa: PLR0913 - what a caller may say, by name
        self,
        model_name: str,
        model_desc: str,
        model_path: str = "",
        *,
        ask: bool = False,
        progress: Progress | None = None,
        principal: str = LOCAL_PRINCIPAL,
        wait_s: float | None = None,
    ) -> CreatedModel:
        """Create a public repository with its first version; with a file, upload that too.

        Cannot be undone. The file is checked before anything is created. Where the account has a
        repository of that name, the call continues with what is missing of it.

        Args:
            model_name: As it will be named on the hub.
            model_desc: What it says of itself, public.
            model_path: A model file below OG_UPLOAD_ROOTS.
            ask: A person can be asked, so one has to agree first.
            progress: Counts the bytes of the file that were sent.
            principal: Who asks; calls of others are neither joined nor seen.
            wait_s: Seconds after which a running call is handed back; `None`: wait for its end.

        Raises:
            NoAccountError: No hub account is configured; also a RuntimeError.
            SignInError: The account is refused.
            InputError: The file may not be read, or is none that is published.
            NameTakenError: Another author has the name.
            ApprovalRequiredError: A person has to agree first.
            PublishingStoppedError: Some steps are done, and a later one failed.
            ServiceError: The hub refuses, or cannot be used.

        Source: protocol.md section 5.
        """
        return await self._publications.create_model(
            model_name,
            model_desc,
            model_path,
            Terms(principal, wait_s=wait_s),
            ask=ask,
            progress=progress or Untold(),
        )

    async def create_version(  # noqa: PLR0913 - what a caller may say, by name
        self,
        model_name: str,
        notes: str = "",
        *,
        is_major: bool = False,
        ask: bool = False,
        principal: str = LOCAL_PRINCIPAL,
        wait_s: float | None = None,
    ) -> CreatedVersion:
        """Add a public version to one's own repository; cannot be undone.

        Args:
            model_name: The repository.
            notes: What is new in it, public.
            is_major: 0.02 is followed by 1.00 rather than by 0.03.
            ask: As for `create_model`.
            principal: As for `create_model`.
            wait_s: As for `create_model`.

        Raises:
            ModelNotFoundError: The account has no such repository.
            As `create_model`, but for the file.
        """
        terms = Terms(principal, wait_s=wait_s)
        return await self._publications.create_version(
            model_name, notes, terms, is_major=is_major, ask=ask
        )

    async def upload(  # noqa: PLR0913 - what a caller may say, by name
        self,
        model_path: str,
        model_name: str,
        version: str,
        *,
        ask: bool = False,
        progress: Progress | None = None,
        principal: str = LOCAL_PRINCIPAL,
        wait_s: float | None = None,
    ) -> UploadResult:
        """Publish a file under a version of one's own repository; cannot be undone.

        The file is streamed, whatever its size, and every byte is checked before it is sent: no
        keys or tokens, an ONNX file whole and with its weights inside. A file that the version has
        already is not sent again.

        Args:
            model_path: A model file below OG_UPLOAD_ROOTS.
            model_name: The repository.
            version: As create_version told it.
            ask: As for `create_model`.
            progress: As for `create_model`.
            principal: As for `create_model`.
            wait_s: As for `create_model`.

        Raises:
            ModelNotFoundError: There is no such model or version.
            UploadFailedError: It did not arrive; `stage` says whether it may be published.
            As `create_model`.
        """
        return await self._publications.upload(
            model_path,
            model_name,
            version,
            Terms(principal, wait_s=wait_s),
            ask=ask,
            progress=progress or Untold(),
        )

    async def search_models(
        self,
        query: str = "",
        kind: ModelKind | None = None,
        author: str = "",
        *,
        page: int = 0,
        limit: int = 20,
    ) -> FoundModels:
        """Find models by words of name, author and description.

        Args:
            query: Each of its words must occur; empty for every model.
            kind: `onnx` files of the hub, `llm` or `image` models of the network; `None`: all.
            author: Only that author's; for llm and image the provider.
            page: From 0.
            limit: Models of one page.

        Raises:
            ServiceError: The hub cannot be used.
        """
        search = (await load("hub.search")).search
        found: FoundModels = await search(
            await self._parts.hub.get(),
            await self._parts.network.get(),
            query=query,
            kind=kind,
            author=author,
            page=page,
            limit=limit,
            today=self._parts.today(),
        )
        return found
