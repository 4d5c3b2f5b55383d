"""What tests that publish do and look at."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import anyio

from og_mcp.client import Session
from tests import server_process
from tests.localnet_client import LocalNetwork

FILES = "hub POST */files"
SIZE = 3 * 2**20 + 17


class Tally:
    """Progress that a test looks at."""

    def __init__(self) -> None:
        self.count = 0
        self.total: int | None = None

    async def counts(self) -> bool:
        """Whether anything was sent."""
        return self.count > 0


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Look again and again, at most half a minute."""
    with anyio.fail_after(30):
        while not await holds():  # noqa: ASYNC110 - the other process tells no event
            await anyio.sleep(0.01)


def journal_files(environ: dict[str, str]) -> list[Path]:
    """List what the journal has on disk."""
    return list(Path(environ["OG_DATA_DIR"]).rglob("*.db*"))


def rewrite(path: str) -> None:
    """Give a file another content of the same size."""
    Path(path).write_bytes(os.urandom(SIZE))


def uploads(localnet: LocalNetwork, name: str) -> int:
    """Count the uploads that reached the hub for a model."""
    calls = localnet.counters("hub")["calls"]
    return sum(
        n
        for call, n in calls.items()
        if call.startswith("hub POST") and "/files" in call and name in call
    )


async def files(og: Session, name: str, version: str = "0.01") -> dict[str, int]:
    """Names and sizes of what is published."""
    listed = await og.list_files(name, version)
    return {file.name: file.size for file in listed.files}


async def of_another_author(localnet: LocalNetwork, name: str) -> str:
    """Give another author a model with a version."""
    author = f"author-{uuid4().hex[:8]}"
    email = f"{author}@example.com"
    localnet.add_account(author, email=email, password="correct horse")
    key = localnet.ready["hub_login"]["firebase_api_key"]
    answer = localnet.http.post(
        localnet.ready["auth_url"],
        params={"key": key},
        json={"email": email, "password": "correct horse"},
    )
    models = f"{localnet.ready['hub_url']}/api/v0/models/"
    headers = {"Authorization": f"Bearer {answer.json()['idToken']}"}
    localnet.http.post(models, json={"name": name}, headers=headers).raise_for_status()
    localnet.http.post(f"{models}{name}/versions", json={}, headers=headers).raise_for_status()
    return author


PUBLISHING = """
import os, sys, anyio
from og_mcp.client import Session

async def main():
    async with Session.from_env(os.environ) as og:
        await getattr(og, sys.argv[1])(*sys.argv[2:])

anyio.run(main)
"""


async def killed_meanwhile(
    environ: dict[str, str], began: Callable[[], Awaitable[bool]], *arguments: str
) -> None:
    """Publish in a process of its own, and kill it once the hub is at it."""
    process = subprocess.Popen(  # noqa: ASYNC220, S603 - our own program
        [sys.executable, "-c", PUBLISHING, *arguments], env=server_process.clean(environ)
    )
    with process:
        await until(began)
        process.kill()
