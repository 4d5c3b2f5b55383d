"""Fixtures of the tests that publish: a session, a fresh name, and files."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from og_mcp.client import Session
from tests import onnx_files
from tests.client.hub.publications import SIZE
from tests.localnet_client import LocalNetwork


@pytest.fixture
def environ(localnet: LocalNetwork, tmp_path: Path) -> dict[str, str]:
    localnet.reset_counters("hub")
    localnet.reset_counters("auth")
    return {**localnet.environ, "OG_UPLOAD_ROOTS": str(tmp_path)}


@pytest.fixture
async def og(environ: dict[str, str]) -> AsyncIterator[Session]:
    async with Session.from_env(environ) as session:
        yield session


@pytest.fixture
def name() -> str:
    return f"model-{uuid4().hex}"


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "doubling.onnx"
    path.write_bytes(onnx_files.small())
    return str(path)


@pytest.fixture
def weights(tmp_path: Path) -> str:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(os.urandom(SIZE))
    return str(path)


@pytest.fixture
def large(tmp_path: Path) -> str:
    """More than what the connection's buffers take, so that the middle of it is the middle."""
    path = tmp_path / "large.safetensors"
    path.write_bytes(os.urandom(24 * 2**20))
    return str(path)
