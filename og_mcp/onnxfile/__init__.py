"""What an ONNX file says about its inputs and outputs, read without its weights.

The reading is ours rather than the `onnx` package's: that one holds a whole file in memory and
cannot step over what is still on its way from a server, where a file may have gigabytes.
"""

from __future__ import annotations

from og_mcp.onnxfile._reader import OnnxError, OnnxFile, OnnxReader
from og_mcp.onnxfile._reasons import runtime_reason
from og_mcp.onnxfile._seekable import read_onnx

__all__ = ["OnnxError", "OnnxFile", "OnnxReader", "read_onnx", "runtime_reason"]
