"""One publication: what was asked for, what was done of it, and how both are told."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from og_mcp.client.session.calling import Terms
from og_mcp.errors import InputError, OGError, PublishingStoppedError, quote
from og_mcp.types import Call, Progress, Shape

if TYPE_CHECKING:
    from og_mcp.client.files.model_file import Publishable

R = TypeVar("R", bound=Shape)

CANCELLED: Final = "The call was cancelled; nothing was published."
UNANSWERED: Final = (
    "The session ended after the file was sent and before the Model Hub answered. It may be "
    "published: list_files shows it, and the same call again does not send twice what is there."
)


@dataclass
class Untold:
    """Progress that nobody watches."""

    count: int = 0
    total: int | None = None


@dataclass
class Steps:
    """What a publication has done so far, for whoever reads of its end."""

    done: str = ""
    """A sentence without its full stop; empty before anything was done."""

    def stopped(self, error: OGError) -> OGError:
        """Add what was done to an error of a later step."""
        return PublishingStoppedError(self.done, error) if self.done else error

    def cancelled(self, *, committed: bool) -> str:
        """Tell a cancellation.

        Args:
            committed: Whether a file was sent whole and its answer is missing.
        """
        if committed:
            return f"{self.done}. {UNANSWERED}" if self.done else UNANSWERED
        if not self.done:
            return CANCELLED
        return (
            f"{self.done}; the call was cancelled then. The same call again continues from there."
        )


@dataclass(frozen=True)
class Publication:
    """One publication as it was asked for."""

    request: dict[str, Any]
    what: str
    """What a person is asked to agree to."""

    terms: Terms
    ask: bool
    model: Publishable | None = None
    progress: Progress = field(default_factory=Untold)


def check_text(**texts: str) -> None:
    """Check that texts can be written down and sent.

    Raises:
        InputError: One holds half a surrogate pair, which is no Unicode.
    """
    for name, text in texts.items():
        try:
            text.encode()
        except UnicodeEncodeError as exc:
            raise InputError(f"The {name} holds half a surrogate pair: {quote(text)}.") from exc


def described(model: Publishable) -> str:
    """Name a file as a person is asked about it."""
    hashed = f", SHA-256 {model.sha256}" if model.sha256 else ""
    return f"the file {quote(model.path)} ({model.size} bytes{hashed})"


def file_in(model: Publishable | None) -> dict[str, Any]:
    """Write a file into a request; another content under the same name is another request."""
    if model is None:
        return {}
    stamp = hashlib.sha256(repr(model.stamp).encode()).hexdigest()
    told = {"path": model.path, "size": model.size, "stamp": stamp}
    return {"file": {**told, **({"sha256": model.sha256} if model.sha256 else {})}}


def result_of(call: Call, shape: type[R], **known: str) -> R:
    """Read what the journal kept of a call, or tell that it runs."""
    if call.status == "done" and call.result:
        return shape.model_validate_json(call.result)
    told: Mapping[str, Any] = {"call_id": call.id, "network": call.network, "status": call.status}
    return shape.model_validate({**told, **known})
