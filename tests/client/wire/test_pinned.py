"""T20: one certificate is trusted, and nothing else, before a byte of HTTP is sent."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from og_mcp.client.wire.pinned import pinned_context
from tests.client.tls_server import Issued, Served, issue, serving

GATEWAY = issue("gateway", ca=True)
CHILD = issue("child", GATEWAY)
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@asynccontextmanager
async def asking(context: ssl.SSLContext) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(verify=context, trust_env=False) as http:
        yield http


async def get(served: Served, pinned: Issued) -> int:
    async with asking(pinned_context(pinned.der)) as http:
        return (await http.get(served.url, headers={"PAYMENT-SIGNATURE": "secret"})).status_code


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_pinned_certificate_is_trusted_by_whatever_name_it_has(
    version: ssl.TLSVersion,
) -> None:
    async with serving(GATEWAY.context(version=version)) as served:
        assert await get(served, GATEWAY) == 200


@pytest.mark.parametrize("version", VERSIONS)
async def test_t20_what_a_pinned_certificate_has_issued_is_not_trusted_and_is_sent_nothing(
    version: ssl.TLSVersion,
) -> None:
    async with serving(CHILD.context(GATEWAY, version=version)) as served:
        with pytest.raises(httpx.ConnectError, match="not the pinned one"):
            await get(served, GATEWAY)
        received = bytes(served.received)

    assert received == b""


async def test_a_context_that_only_trusts_the_issuer_would_let_its_child_pass() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=GATEWAY.der)

    async with serving(CHILD.context(GATEWAY)) as served, asking(context) as http:
        assert (await http.get(served.url)).status_code == 200


async def test_t20_another_certificate_is_refused_before_anything_is_sent() -> None:
    async with serving(issue("other").context()) as served:
        for pinned in (GATEWAY, CHILD):
            with pytest.raises(httpx.ConnectError):
                await get(served, pinned)
        received = bytes(served.received)

    assert received == b""


async def test_t20_a_certificate_of_the_same_name_with_another_key_is_refused() -> None:
    twin = issue("gateway", ca=True)

    async with serving(twin.context()) as served:
        with pytest.raises(httpx.ConnectError):
            await get(served, GATEWAY)


async def test_an_issued_certificate_can_be_pinned_without_its_issuer() -> None:
    async with serving(CHILD.context()) as served:
        assert await get(served, CHILD) == 200


@pytest.mark.parametrize("age", [dt.timedelta(days=1000), dt.timedelta(days=-1000)])
async def test_dates_do_not_decide_since_the_registry_does(age: dt.timedelta) -> None:
    aged = issue("aged", age=age)

    async with serving(aged.context()) as served:
        assert await get(served, aged) == 200


async def test_t20_older_tls_is_not_spoken() -> None:
    context = pinned_context(GATEWAY.der)

    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert [found["subject"] for found in context.get_ca_certs()] == [
        ((("commonName", "gateway"),),)
    ]


def test_a_socket_that_nothing_would_compare_for_is_refused() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(ssl.SSLError, match="not for sockets"):
        pinned_context(GATEWAY.der).wrap_socket(ours)


@pytest.mark.parametrize("certificate", [b"", b"\0", GATEWAY.der[:-1], GATEWAY.der + CHILD.der])
def test_what_is_no_certificate_cannot_be_pinned(certificate: bytes) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        pinned_context(certificate)
