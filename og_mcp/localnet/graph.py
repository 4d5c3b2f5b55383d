"""Names, types and shapes of an ONNX file's inputs and outputs, as the hub lists them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from og_mcp.localnet.store import Tensor
from og_mcp.onnxfile import OnnxError, read_onnx
from og_mcp.types import TensorSpec


def tensors(path: Path) -> tuple[list[Tensor], list[Tensor]]:
    """Return inputs and outputs; both empty where the file is not an ONNX model."""
    try:
        with path.open("rb") as file:
            graph = read_onnx(file).graph
    except OnnxError:
        return [], []
    return _listed(graph.inputs), _listed(graph.outputs)


def _listed(specs: Iterable[TensorSpec]) -> list[Tensor]:
    return [
        Tensor(name=spec.name, dtype=spec.dtype, shape=None if spec.any_rank else spec.shape)
        for spec in specs
    ]
