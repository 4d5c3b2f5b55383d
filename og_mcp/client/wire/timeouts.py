"""How long the client waits; defaults fit the public network."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """Highest wait in seconds."""

    rpc_s: float = 30.0
    """Seconds for one answer of the chain's RPC."""

    look_up_s: float = 15.0
    """Seconds until a transaction is given up because another one used its nonce."""

    receipt_s: float = 120.0
    """Seconds until a transaction is mined; if the node refuses it, it is sent again meanwhile."""

    upload_s: float = 3600.0
    """Seconds for the upload of one file."""

    stuck_after_s: float = 20.0
    """Seconds until an unmined transaction is replaced, if its gas price has become too low."""

    gateway_s: float = 300.0
    """Seconds for one answer of a gateway, or its next piece; the request is not sent again."""

    recheck_s: float = 60.0
    """Seconds between the two checks that end a call whose nonce another transaction used for good."""

    steady_s: float = 600.0
    """Seconds after which an unchanged transaction count is safe, on a chain without that tag."""
