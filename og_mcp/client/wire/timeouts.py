"""How long the client waits; defaults fit the public network."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """Seconds that are waited at most."""

    rpc_s: float = 30.0
    """For one answer of the chain's RPC."""

    look_up_s: float = 15.0
    """Until a transaction whose sending got no answer counts as unknown to the node."""

    receipt_s: float = 120.0
    """Until an accepted transaction is mined."""

    upload_s: float = 3600.0
    """For the upload of one file."""

    stuck_after_s: float = 20.0
    """Until an unmined transaction is replaced, if its gas price has become too low."""

    gateway_s: float = 300.0
    """For one answer of a gateway, or the next piece of it; what was sent is not sent again."""
