"""What is known of models' tensors: in memory, and on disk from one process to the next.

A content id names content, so what was read of a file never becomes wrong.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Final

from anyio import to_thread
from pydantic import ValidationError

from og_mcp.types import ModelGraph

logger = logging.getLogger(__name__)

MAX_KNOWN: Final = 1024
"""Models that are remembered; the oldest are forgotten."""

MAX_BYTES: Final = 1 << 18
"""Bytes of one description on disk; a longer one stays in memory."""

MAX_FILES: Final = 4096
"""Descriptions on disk; above, the oldest go."""


class KnownGraphs:
    """Graphs by content id.

    Args:
        folder: Where those that were read from a file itself are kept, one small JSON file each;
            `None`: in memory alone.
        network: Whose content ids these are.
    """

    def __init__(self, folder: Path | None = None, network: str = "") -> None:
        self._folder, self._network = folder, network
        self._read: OrderedDict[str, ModelGraph] = OrderedDict()
        self._listed: OrderedDict[str, ModelGraph] = OrderedDict()

    def get(self, cid: str) -> ModelGraph | None:
        """Return what is in memory, read from a file or told by a listing."""
        return self._read.get(cid) or self._listed.get(cid)

    def add(self, cid: str, graph: ModelGraph) -> None:
        """Remember what a listing tells; the file itself counts for more."""
        _remember(self._listed, cid, graph)

    def load(self, cid: str) -> ModelGraph | None:
        """Return what was read from a file, from memory or disk; at most `MAX_BYTES` of it."""
        known = self._read.get(cid)
        if known is not None or self._folder is None:
            return known
        try:
            with self._path(self._folder, cid).open("rb") as file:
                graph = ModelGraph.model_validate_json(file.read(MAX_BYTES + 1))
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as exc:
            # It can be read from the model's file again.
            logger.info("the kept tensors of a model cannot be used: %s", type(exc).__name__)
            return None
        _remember(self._read, cid, graph)
        return graph

    async def find(self, cid: str, *, from_file: bool = False) -> ModelGraph | None:
        """Return what is in memory or on disk.

        Args:
            cid: Content id.
            from_file: Only what was read from the file, which alone tells names of fields.
        """
        known = self._read.get(cid) if from_file else self.get(cid)
        return known if known is not None else await to_thread.run_sync(self.load, cid)

    async def keep(self, cid: str, graph: ModelGraph) -> None:
        """Keep in memory and on disk what was read from a file of this content id.

        A disk error does not fail the call.
        """
        _remember(self._read, cid, graph)
        if self._folder is not None:
            await to_thread.run_sync(self._write, self._folder, cid, graph)

    def _write(self, folder: Path, cid: str, graph: ModelGraph) -> None:
        data = graph.model_dump_json().encode()
        if len(data) > MAX_BYTES:
            return
        path = self._path(folder, cid)
        draft = path.with_suffix(f".{token_hex(8)}")
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _drop_oldest(folder)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            draft.replace(path)
        except OSError as exc:
            logger.info("the tensors of a model were not kept: %s", exc.strerror)
            with suppress(OSError):
                draft.unlink(missing_ok=True)

    def _path(self, folder: Path, cid: str) -> Path:
        # Hashed, since a content id is text from outside; networks form them differently.
        return folder / f"{hashlib.sha256(f'{self._network} {cid}'.encode()).hexdigest()}.json"


def _remember(graphs: OrderedDict[str, ModelGraph], cid: str, graph: ModelGraph) -> None:
    graphs[cid] = graph
    graphs.move_to_end(cid)
    while len(graphs) > MAX_KNOWN:
        graphs.popitem(last=False)


def _drop_oldest(folder: Path) -> None:
    kept = list(folder.iterdir())
    if len(kept) < MAX_FILES:
        return
    kept.sort(key=lambda path: path.stat().st_mtime)
    for path in kept[: MAX_FILES // 8]:
        path.unlink(missing_ok=True)
