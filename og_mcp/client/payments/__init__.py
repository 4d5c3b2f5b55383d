"""Payments in OPG: x402 at the gateways, caps, allowance and settlements."""
