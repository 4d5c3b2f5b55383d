"""The gateways of a local network: one from the start, more on request, each with its own keys.

What clients know of them is in the registry contract alone; every change here is a transaction
of the registry's owner.
"""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from dataclasses import dataclass, replace
from typing import Any, Final

from og_mcp.localnet.faults import Faults
from og_mcp.localnet.gateway.app import Bounded, Gateway
from og_mcp.localnet.gateway.registry import Registrar, RegistryEntry
from og_mcp.localnet.gateway.responder import Responder
from og_mcp.localnet.gateway.tee import SigningKey
from og_mcp.localnet.payments import Paid, Payments
from og_mcp.localnet.service import LOOPBACK, Service
from og_mcp.localnet.serving import FaultGate, LoopbackOnly
from og_mcp.localnet.tls import Certificate

FIRST: Final = "gateway"


@dataclass
class _Member:
    key: SigningKey
    service: Service
    certificate: Certificate
    entry: RegistryEntry | None = None
    """What the registry says; None before the port is known."""

    first: RegistryEntry | None = None
    """What it said at the start."""


class Fleet:
    """Gateways and their registry entries.

    Args:
        services: The network's services; gateways stand among them as `gateway`, `gateway2`, ...
        registrar: Writes to the registry.
        responder: Answers for all of them.
        payments: Where all of them are paid.
    """

    def __init__(
        self,
        services: MutableMapping[str, Service],
        registrar: Registrar,
        responder: Responder,
        payments: Payments,
    ) -> None:
        self._services, self._registrar = services, registrar
        self._responder, self._payments = responder, payments
        self._members: dict[str, _Member] = {}
        self._started = 1
        self._build(FIRST)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    async def register(self) -> None:
        """Write the entry of the first gateway, which is open by now."""
        await self._register(FIRST)

    async def add(self) -> str:
        """Start one more gateway and register it; returns its name."""
        self._started += 1
        name = f"{FIRST}{self._started}"
        self._build(name)
        await self._services[name].open()
        await self._services[name].probe()
        await self._register(name)
        return name

    async def change(self, name: str, **fields: Any) -> None:  # noqa: ANN401 - fields of RegistryEntry
        """Change fields of an entry in the registry; the gateway itself stays as it is."""
        member = self._members[name]
        if member.entry is not None and fields:
            await self._write(member, replace(member.entry, **fields))

    async def rotate(self, name: str, *, register: bool) -> None:
        """Serve with another certificate; its connections end and its faults are forgotten.

        Args:
            name: The gateway.
            register: Whether the registry learns of it.
        """
        member = self._members[name]
        await self._serve(member, Certificate(LOOPBACK))
        if register:
            await self.change(name, tls_certificate=member.certificate.der)

    async def reset(self) -> None:
        """Close the gateways that were added, and set the first one's entry right."""
        for name in [name for name in self._members if name != FIRST]:
            await self.change(name, enabled=False)
            await self._services.pop(name).close()
            del self._members[name]
        first = self._members[FIRST]
        if first.first is not None:
            right = replace(first.first, tls_certificate=first.certificate.der)
            if first.entry != right:
                await self._write(first, right)

    def describe(self, name: str) -> dict[str, Any]:
        """Tell what the registry says of a gateway, and under which service name it runs."""
        member = self._members[name]
        entry = member.entry
        return {
            "service": name,
            "tee_id": "0x" + member.key.id.hex(),
            "url": member.service.url,
            "endpoint": entry.endpoint if entry else "",
            "enabled": entry is not None and entry.enabled,
            "payment_address": entry.payment_address if entry else "",
            "pcr_hash": "0x" + (entry.pcr_hash.hex() if entry else ""),
            "heartbeat": entry.heartbeat if entry else 0,
            "certificate_matches": entry is not None
            and entry.tls_certificate == member.certificate.der,
        }

    def names(self) -> list[str]:
        """Name the gateways that run, the first one first."""
        return list(self._members)

    def _build(self, name: str) -> None:
        faults, key, certificate = Faults(), SigningKey(), Certificate(LOOPBACK)
        app = Gateway(key, faults, self._responder, name).app()
        paid = FaultGate(Bounded(Paid(app, self._payments)), faults=faults, service=name)
        service = Service(LoopbackOnly(paid), faults, certificate=certificate)
        self._services[name] = service
        self._members[name] = _Member(key, service, certificate)

    async def _register(self, name: str) -> None:
        member, now = self._members[name], int(time.time())
        member.first = RegistryEntry(
            endpoint=member.service.url,
            public_key=member.key.public_der,
            tls_certificate=member.certificate.der,
            payment_address=self._payments.pay_to,
            registered_at=now,
            heartbeat=now,
        )
        await self._write(member, member.first)

    async def _write(self, member: _Member, entry: RegistryEntry) -> None:
        await self._registrar.put(entry)
        member.entry = entry

    @staticmethod
    async def _serve(member: _Member, certificate: Certificate) -> None:
        await member.service.close()
        member.service.certificate = member.certificate = certificate
        await member.service.open()
