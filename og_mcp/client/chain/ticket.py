"""A journalled call on its way, as whoever carries it out and whoever runs it see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from og_mcp.types import LOCAL_PRINCIPAL

if TYPE_CHECKING:
    from og_mcp.client.chain.wallet import Signed
    from og_mcp.types import Cap


@dataclass
class Ticket:
    """A journalled call that is being carried out."""

    call_id: str
    committed: bool = False
    """Whether its effect is made or about to be: from then on the work goes on, cancelled or not.

    For a transaction that is the signature, for a publication the end of the request."""

    signed: list[Signed] = field(default_factory=list)
    """What was signed for the call, replacements last; all under one nonce."""

    rivals: list[Signed] = field(default_factory=list)
    """What was signed for other calls under the same nonce: at most one of all is mined."""

    is_superseded: bool = False
    """Whether another call has taken the nonce over; nothing more is sent for this one then."""

    created_at: str = ""
    """When the call was opened, ISO 8601."""

    principal: str = LOCAL_PRINCIPAL
    """Whose call it is."""

    result: str = ""
    """Its good end, JSON, once the journal has it."""

    cap: Cap | None = None
    """What pays for it, once its answer is there."""

    most_wei: int | None = None
    """What a person agreed that it may cost; `None`: the operator's caps alone."""
