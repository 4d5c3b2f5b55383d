"""A program of its own: checks the ONNX file on its standard input with `onnx` and `onnxruntime`.

Both packages are native code, which a file made for that could crash or fill with memory; this runs
apart from whoever signs. Writes `{"sha256", "problem", "failure"}`: what the checker of `onnx` says
against the file, and what `onnxruntime` says when it loads it, each null where the package is not
installed and empty where it is content. Imports nothing of ours: it is run by its path.
"""

from __future__ import annotations

import hashlib
import json
import sys


def main() -> None:
    """Read, check, tell."""
    content = sys.stdin.buffer.read()
    told = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "problem": _check(content),
        "failure": _load(content),
    }
    json.dump(told, sys.stdout)


def _check(content: bytes) -> str | None:
    try:
        import onnx  # noqa: PLC0415 - it may not be there
    except ImportError:
        return None
    try:
        onnx.checker.check_model(content)
    except Exception as exc:  # noqa: BLE001 - native code raises many kinds; each means no
        return str(exc) or type(exc).__name__
    return ""


def _load(content: bytes) -> str | None:
    try:
        import onnxruntime  # noqa: PLC0415 - it may not be there
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as exc:  # noqa: BLE001 - as above
        return str(exc) or type(exc).__name__
    return ""


if __name__ == "__main__":
    main()
