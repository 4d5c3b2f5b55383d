"""Large outputs: results show a summary, files named by SHA-256 hold the whole."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from anyio import to_thread

from og_mcp.client.codec.fixed_point import Numbers, shortest_float64
from og_mcp.client.codec.outputs import ModelOutput
from og_mcp.client.files.kept import KeptFiles
from og_mcp.errors import OutputNotFoundError

logger = logging.getLogger(__name__)

MAX_VALUES: Final = 2_000
"""Number of values of a tensor in a result; a larger tensor is kept in a file."""

MAX_CHARACTERS: Final = 40_000
"""Number of characters of a text tensor or JSON in a result."""

FIRST_VALUES: Final = 8
FIRST_CHARACTERS: Final = 80

MAX_TEXT_ARRAY: Final = 2**26
"""Bytes of an array of texts (each takes the space of the longest); larger ones are kept as JSON."""

EXACT: Final = 2**53
"""Integers beyond it are written as decimal text: JavaScript and many JSON readers round them."""


class OutputFiles:
    """The large outputs of one data folder.

    Args:
        folder: Where they are kept; made when the first one is.
    """

    def __init__(self, folder: Path) -> None:
        self._files = KeptFiles(folder, (".npy", ".json"))

    def present(
        self, output: ModelOutput, values: Mapping[str, Any], principal: str
    ) -> dict[str, Any]:
        """Write an output as results show it; blocks.

        Args:
            output: It.
            values: The same as JSON values, as `to_json` gives them.
            principal: Whose it is.

        Returns:
            Tensor name -> its value. A large one is told by `shape`, `dtype`, `range` and `first`
            values, with `uri`, `path` and `size` of the file that holds all. Integers beyond 2**53
            are decimal text, with all others of their tensor. What cannot be written is given whole:
            it is paid for.
        """
        shown: dict[str, Any] = {}
        for name, value in values.items():
            try:
                shown[name] = self._present(output, name, value, principal)
            except OSError as exc:
                logger.warning("an output was not kept: %s", exc.strerror)
                shown[name] = _exact(value)
        return shown

    async def read(self, sha256: str, principal: str) -> bytes:
        """Return an output's file, whole.

        Raises:
            OutputNotFoundError: The principal has none of that hash, or its file was changed.
        """
        try:
            return await to_thread.run_sync(self._files.read, sha256, principal)
        except OSError as exc:
            raise OutputNotFoundError(sha256) from exc

    async def prune(self, named: Collection[str], before: datetime) -> int:
        """Remove files that no call names any more; as `KeptFiles.prune`."""
        return await to_thread.run_sync(self._files.prune, named, before)

    def _present(self, output: ModelOutput, name: str, value: Any, principal: str) -> Any:  # noqa: ANN401 - JSON
        numbers = output.numbers.get(name)
        if numbers is not None:
            if _weight(numbers.shape) <= MAX_VALUES:
                return _number_values(numbers) if numbers.dtype.kind != "f" else value
            return self._array(numbers, principal)
        if name in output.strings:
            texts = _flat(value)
            size = sum(map(len, texts))
            if len(texts) <= MAX_VALUES and size <= MAX_CHARACTERS:
                return value
            if max(map(len, texts)) * len(texts) * 4 <= MAX_TEXT_ARRAY:
                array = np.array(value)
                # An array of texts drops what ends in NUL.
                if array.tolist() == value:
                    return self._array(array, principal)
        value = _exact(value)
        text = json.dumps(value, ensure_ascii=False)
        if len(text) <= MAX_CHARACTERS:
            return value
        return {
            "dtype": "json",
            "begins": text[:FIRST_CHARACTERS],
            **self._kept(text.encode(), ".json", principal),
        }

    def _array(self, array: npt.NDArray[Any], principal: str) -> dict[str, Any]:
        stored = _storable(array)
        file = BytesIO()
        np.save(file, stored, allow_pickle=False)
        told: dict[str, Any] = {"shape": list(array.shape), "dtype": _dtype(stored)}
        if array.size:
            first = array.reshape(-1)[:FIRST_VALUES]
            if array.dtype.kind == "U":
                told["first"] = [text[:FIRST_CHARACTERS] for text in first.tolist()]
            else:
                told["range"] = _number_values(np.array([array.min(), array.max()], array.dtype))
                told["first"] = _number_values(first)
        return told | self._kept(file.getvalue(), ".npy", principal)

    def _kept(self, content: bytes, suffix: str, principal: str) -> dict[str, Any]:
        path = self._files.keep(content, suffix, principal)
        return {"uri": f"og://outputs/{path.stem}", "path": str(path), "size": len(content)}


def _weight(shape: Sequence[int]) -> int:
    """Count the values of a shape; without values, the empty lists that JSON needs for it."""
    return math.prod(shape[: shape.index(0)] if 0 in shape else shape)


def _storable(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an array that a file without Python objects holds exactly."""
    if array.dtype.kind != "O":
        return array
    is_unsigned = array.min() >= 0 and array.max() < 2**64
    return array.astype(np.uint64 if is_unsigned else np.str_)


def _dtype(array: npt.NDArray[Any]) -> str:
    return "string" if array.dtype.kind == "U" else array.dtype.name


def _number_values(numbers: Numbers) -> Any:  # noqa: ANN401 - nested to any depth
    if numbers.dtype.kind == "f":
        return shortest_float64(numbers).tolist()
    is_exact = numbers.size == 0 or (numbers.min() >= -EXACT and numbers.max() <= EXACT)
    return (numbers if is_exact else numbers.astype(np.str_)).tolist()


def _exact(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Write integers beyond 2**53 as decimal text."""
    if isinstance(value, list):
        return [_exact(member) for member in value]
    if isinstance(value, dict):
        return {key: _exact(member) for key, member in value.items()}
    return str(value) if isinstance(value, int) and abs(value) > EXACT else value


def _flat(value: Any) -> list[str]:  # noqa: ANN401 - nested texts
    return (
        [text for member in value for text in _flat(member)] if isinstance(value, list) else [value]
    )
