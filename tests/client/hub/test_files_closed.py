"""A file that is published is held open once, and let go of whatever becomes of its call."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import anyio
import pytest

from og_mcp.client import Session
from og_mcp.errors import ApprovalRequiredError, OGError, ServiceError, ShuttingDownError
from og_mcp.types import UploadResult
from tests.client.hub.publications import FILES, Tally, until
from tests.localnet_client import LocalNetwork

MAX_DESCRIPTORS: Final = 1024


def descriptors_of(path: str) -> int:
    """Count how often this process holds a file open."""
    found, file = 0, Path(path).stat()
    for number in range(MAX_DESCRIPTORS):
        try:
            found += os.path.samestat(os.fstat(number), file)
        except OSError:
            continue
    return found


Ending = Callable[[Session, LocalNetwork, str, str], Awaitable[object]]


async def done(og: Session, _: LocalNetwork, name: str, path: str) -> None:
    assert (await og.upload(path, name, "0.01")).status == "done"


async def published_before(og: Session, localnet: LocalNetwork, name: str, path: str) -> None:
    await done(og, localnet, name, path)
    assert (await og.upload(path, name, "0.01")).already_there


async def created_with_it(og: Session, _: LocalNetwork, name: str, path: str) -> None:
    assert (await og.create_model(name, "", path)).status == "done"


async def refused_by_the_hub(og: Session, localnet: LocalNetwork, name: str, path: str) -> None:
    localnet.fault(FILES, "error", service="hub", status=413, message="no room")
    with pytest.raises(ServiceError):
        await og.upload(path, name, "0.01")


async def waiting_for_a_person(og: Session, _: LocalNetwork, name: str, path: str) -> None:
    for publish in (
        og.upload(path, name, "0.01", ask=True),
        og.create_model(name, "", path, ask=True),
    ):
        with pytest.raises(ApprovalRequiredError):
            await publish


async def not_signed_in(og: Session, localnet: LocalNetwork, name: str, path: str) -> None:
    localnet.expire_tokens()
    for method in ("POST /v1/token", "POST /v1/accounts:signInWithPassword"):
        localnet.fault(f"auth {method}", "error", service="auth", status=503, times=9)
    async with Session(og.settings) as stranger:
        with pytest.raises(OGError):
            await stranger.upload(path, name, "0.01")


async def asked_for_twice(og: Session, localnet: LocalNetwork, name: str, path: str) -> None:
    localnet.fault(FILES, "delay", service="hub", when="after", delay_s=0.3)
    results: list[UploadResult] = []

    async def upload() -> None:
        results.append(await og.upload(path, name, "0.01"))

    async with anyio.create_task_group() as group:
        group.start_soon(upload)
        group.start_soon(upload)
    assert len({result.call_id for result in results}) == 1


async def given_up_midway(og: Session, localnet: LocalNetwork, name: str, path: str) -> None:
    localnet.fault(FILES, "delay", service="hub", when="midway", after_bytes=2**20, delay_s=0.2)
    tally = Tally()
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: og.upload(path, name, "0.01", progress=tally))
        await until(tally.counts)
        group.cancel_scope.cancel()


async def handed_back_running(og: Session, localnet: LocalNetwork, name: str, path: str) -> None:
    localnet.fault(FILES, "delay", service="hub", when="midway", after_bytes=2**20, delay_s=0.2)
    running = await og.upload(path, name, "0.01", wait_s=0)
    assert running.status == "running"
    assert (await og.get_call(running.call_id)).status == "done"


async def refused_while_shutting_down(og: Session, _: LocalNetwork, name: str, path: str) -> None:
    async with Session(og.settings) as ending:
        await ending.end_calls(0)
        for publish in (ending.upload(path, name, "0.01"), ending.create_model(name, "", path)):
            with pytest.raises(ShuttingDownError):
                await publish


@pytest.mark.parametrize(
    "end",
    [
        *(done, published_before, created_with_it, refused_by_the_hub, waiting_for_a_person),
        *(not_signed_in, asked_for_twice, given_up_midway, handed_back_running),
        refused_while_shutting_down,
    ],
)
async def test_a_file_is_let_go_of_however_its_call_ends(
    og: Session, localnet: LocalNetwork, name: str, weights: str, end: Ending
) -> None:
    if end is not created_with_it:
        await og.create_model(name, "")

    await end(og, localnet, name, weights)

    async def is_closed() -> bool:
        return descriptors_of(weights) == 0

    await until(is_closed)
