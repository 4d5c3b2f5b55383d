"""Finding out what a model takes: from what is known, else from its file on the hub.

Only where the network's profile says that its hub serves files by content id; a URL that a
listing names is not followed, since whoever writes the listing would choose where it leads.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote as percent_encode

import anyio
import httpx

from og_mcp.client.codec.specs import example_input
from og_mcp.client.hub.graph_fetch import fetch_onnx
from og_mcp.client.hub.known import KnownGraphs
from og_mcp.errors import ServiceError
from og_mcp.networks import Network
from og_mcp.onnxfile import OnnxError
from og_mcp.types import Model, ModelFile, ModelGraph

FAILED_FOR_S: Final = 60.0
"""Seconds for which a file that could not be read is not asked for again."""

DESCRIBED_AT_ONCE: Final = 3
"""Files of one listing that are read on the hub, where their tensors are not known."""

DESCRIBING_S: Final = 10.0
"""Seconds that a listing waits for that."""

UNSERVED: Final = "the Model Hub of this network serves no files by content id"


class Graphs:
    """The tensors of models by content id.

    Args:
        known: What was learned before.
        network: Its hub is asked.
        http: The session's connection pool.
    """

    def __init__(self, known: KnownGraphs, network: Network, http: httpx.AsyncClient) -> None:
        self._known, self._network, self._http = known, network, http
        self._reading: dict[str, anyio.Lock] = {}
        self._failed: dict[str, tuple[float, str]] = {}

    async def find(self, cid: str, *, from_file: bool = False) -> ModelGraph | None:
        """Return a model's tensors, read from its file where that is needed and possible.

        Never raises for what cannot be read; `why_not` then says why. Callers at once share one
        reading. A file that was read is kept and not asked for again.

        Args:
            cid: Content id.
            from_file: What a listing told is not enough: it names no fields.
        """
        lock = self._reading.setdefault(cid, anyio.Lock())
        try:
            async with lock:
                graph = await self._known.find(cid, from_file=from_file)
                if graph is None and not self.why_not(cid):
                    graph = await self._read(cid)
        finally:
            if not lock.statistics().tasks_waiting and not lock.locked():
                self._reading.pop(cid, None)
        return graph

    def why_not(self, cid: str) -> str:
        """Say why a model's tensors cannot be read now; empty if they may be."""
        if not self._network.hub_file_url:
            return UNSERVED
        when, why = self._failed.get(cid, (0.0, ""))
        return why if time.monotonic() - when < FAILED_FOR_S else ""

    async def describe(self, files: Sequence[ModelFile]) -> None:
        """Fill in the tensors of ONNX files that came without; a few of them, and not for long."""
        bare = [file for file in files if _is_onnx(file) and not file.inputs]
        with anyio.move_on_after(DESCRIBING_S):
            async with anyio.create_task_group() as group:
                for place, file in enumerate(bare):
                    group.start_soon(self._fill, file, place < DESCRIBED_AT_ONCE)

    async def describe_model(self, model: Model) -> None:
        """As `describe`, the newest version first; gives an example where there was none."""
        files = [file for version in reversed(model.versions) for file in version.files]
        await self.describe(files)
        if not model.example_input:
            described = (file.inputs for file in files if file.inputs)
            model.example_input = example_input(next(described, []))

    async def _fill(self, file: ModelFile, may_read: bool) -> None:
        find = self.find if may_read else self._known.find
        graph = await find(file.model_cid)
        if graph is not None:
            file.inputs, file.outputs = graph.inputs, graph.outputs

    async def _read(self, cid: str) -> ModelGraph | None:
        url = self._network.hub_file_url.format(cid=percent_encode(cid, safe=""))
        try:
            read = await fetch_onnx(self._http, url)
        except (ServiceError, OnnxError) as exc:
            self._fail(cid, str(exc).rstrip("."))
            return None
        if read.external:
            self._fail(cid, "the file keeps weights in other files (external_data)")
            return None
        await self._known.keep(cid, read.graph)
        return read.graph

    def _fail(self, cid: str, why: str) -> None:
        now = time.monotonic()
        recent = {c: f for c, f in self._failed.items() if now - f[0] < FAILED_FOR_S}
        self._failed = {**recent, cid: (now, why)}


def _is_onnx(file: ModelFile) -> bool:
    return file.name.lower().endswith(".onnx")
