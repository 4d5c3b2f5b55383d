"""JSON documents with whatever value in every place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any, Final

VALUES: Final[Sequence[Any]] = (
    *(None, True, 0, -1, 2**1100, 1.5, float("nan"), "", "text", "user", "\ud800"),
    *([], {}, [[]], [None], ["x"], {"a": 1}, {"type": "text"}, {"type": []}, {"role": {}}),
)


def changed(document: Any, values: Sequence[Any] = VALUES) -> Iterator[Any]:  # noqa: ANN401 - JSON
    """Give a document with each of its values replaced by each of `values`."""
    for path in _places(document):
        for value in values:
            other = deepcopy(document)
            place: Any = other
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = deepcopy(value)
            yield other


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:  # noqa: ANN401 - JSON
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield (*path, key)
            yield from _places(value[key], (*path, key))
