"""A person's agreement to a call that can cost something, or publishes, asked through the client.

A call that needs an agreement is recorded, nothing of it is sent, and ApprovalRequiredError names it.
Where a person can be asked, the call is then run again with a question about its id. A yes is recorded
as `og-mcp calls approve` records it: for this request, up to this amount, for one try. No argument of a
tool has a part in this.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from typing import Annotated, Any, Final

from mcp.server.mcpserver import (
    AcceptedElicitation,
    CancelledElicitation,
    Elicit,
    ElicitationResult,
    Resolve,
)
from pydantic import BaseModel, Field

from og_mcp.client import Session
from og_mcp.consent import question
from og_mcp.errors import ApprovalDeclinedError, quote
from og_mcp.tools._injected import OG, Call, principal_of
from og_mcp.tools._pause import Pause, pause_of
from og_mcp.tools._tool_errors import as_tool_error
from og_mcp.types import LOCAL_PRINCIPAL, Approval

logger = logging.getLogger(__name__)

READING_S: Final = 1.0
"""An answer that comes sooner, in seconds, was given by a program (threats.md T41)."""

VALUE_LIMIT: Final = 60
"""Characters of one argument that the question shows."""


class Agreement(BaseModel):
    """The form that a person fills in."""

    agree: bool = Field(title="Agree", description="Yes: carry this call out.")


_NOT_ASKED: Final = Agreement(agree=False)


def begin_asking(call: Call, call_id: str) -> bool:
    """Begin to ask the person in front of the client about a call; false where that is not possible.

    A client over HTTP may answer for itself (threats.md T23), so it is not asked. A person is asked
    once for a call.
    """
    pause = pause_of(call.request_context)
    if pause is None or pause.call_id:
        return False
    if not _person_there(call):
        return False
    pause.call_id = call_id
    return True


def give_up_asking(call: Call) -> bool:
    """Stop asking where the client's answer cannot be read; false where no answer was awaited.

    An error, an empty form and a form of another shape are not a person's answer (threats.md T41):
    the call is then run as if nobody could be asked.
    """
    pause = pause_of(call.request_context)
    if pause is None or not pause.is_asking:
        return False
    logger.warning("call %s: the client's answer to the question cannot be read", pause.call_id)
    pause.is_asking, pause.is_given_up = False, True
    return True


def _person_there(call: Call) -> bool:
    """Return whether the owner can be asked through this client."""
    if pause_of(call.request_context) is None:
        return False
    return principal_of(call.request_context) == LOCAL_PRINCIPAL and _can_ask(call)


PersonThere = Annotated[bool, Resolve(_person_there)]
"""Parameter type: whether a person can be asked. For tools whose effect cannot be undone."""


def _can_ask(call: Call) -> bool:
    capabilities = call.client_capabilities
    elicitation = capabilities.elicitation if capabilities is not None else None
    # An empty capability comes from older clients and means forms.
    return elicitation is not None and (elicitation.form is not None or elicitation.url is None)


async def _ask(call: Call, og: OG) -> Agreement | Elicit[Agreement]:
    pause = pause_of(call.request_context)
    if pause is None or not pause.call_id or pause.is_given_up:
        return _NOT_ASKED
    with as_tool_error():
        approval = await og.approval(pause.call_id)
    params = call.request_context.params or {}
    # From the journal's record, so that question and answer mean the same in both rounds.
    words = _question(params, approval)
    pause.asked_at, pause.shown = pause.asked_at or time.time(), approval
    pause.is_asking = True
    return Elicit(words, Agreement)


def _question(params: Mapping[str, Any], approval: Approval) -> str:
    tool = str(params["name"])
    as_tool_error = (
        f"{question(tool, approval)} Network {approval.network}. Call {approval.call_id}"
    )
    if approval.what:
        return f"{as_tool_error}."
    arguments: Mapping[str, Any] = params.get("arguments") or {}
    return f"{as_tool_error}: {', '.join(f'{name} {_shown_value(value)}' for name, value in arguments.items())}."


def _shown_value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return quote(text if len(text) <= VALUE_LIMIT else f"{text[: VALUE_LIMIT - 1]}…")


async def _session_with_consent(
    call: Call, og: OG, answer: Annotated[ElicitationResult[Agreement], Resolve(_ask)]
) -> Session:
    pause = pause_of(call.request_context)
    if pause is None or not pause.is_asking:
        return og
    pause.is_asking = False
    if isinstance(answer, CancelledElicitation) or not _is_from_a_person(pause):
        # No person has answered: the tool refuses and tells the command for the terminal.
        return og
    with as_tool_error():
        if isinstance(answer, AcceptedElicitation) and answer.data.agree:
            await og.approve(pause.call_id, pause.shown)
        else:
            raise ApprovalDeclinedError(pause.call_id, await og.decline(pause.call_id))
    return og


def _is_from_a_person(pause: Pause) -> bool:
    took_s = time.time() - pause.asked_at
    if took_s < READING_S:
        logger.warning("call %s: answered within %.3f s, by no person", pause.call_id, took_s)
    return took_s >= READING_S


PayingOG = Annotated[Session, Resolve(_session_with_consent)]
"""Parameter type of a tool that can cost something: the session, once a question is answered."""
