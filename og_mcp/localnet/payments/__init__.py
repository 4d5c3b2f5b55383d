"""The payment side of the local gateway: an x402 server of version 2, scheme `upto`.

protocol.md section 4, "Payment" and "Sessions", says how it behaves on the wire.

* `paid` the middleware that asks, passes on and charges; `payment_endpoint` decides who has paid.
* `payment` reads what a client signed; `sessions` are the caps that are in use.
* `facilitator` verifies and settles on the payment chain; `signer` is its way to that chain.
* `verbs` what a test may ask of all this (`og_mcp.localnet.admin`).

The chain ends with the process, so sessions that are open then are not settled.
"""

from __future__ import annotations

from og_mcp.localnet.payments.paid import Paid
from og_mcp.localnet.payments.payment_endpoint import Payments

__all__ = ["Paid", "Payments"]
