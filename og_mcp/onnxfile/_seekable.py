"""ONNX files on disk, whose weights are stepped over by seeking."""

from __future__ import annotations

from typing import BinaryIO, Final

from og_mcp.onnxfile._reader import OnnxFile, OnnxReader

CHUNK: Final = 1 << 18
"""Bytes that are read at once."""


def read_onnx(file: BinaryIO) -> OnnxFile:
    """Read a seekable file from its beginning; up to three seconds, so in a thread.

    Raises:
        OnnxError: It is not an ONNX model.
        OSError: It cannot be read.
    """
    reader = OnnxReader()
    size = file.seek(0, 2)
    at = file.seek(0)
    while at < size:
        data = file.read(CHUNK)
        if not data:
            break
        reader.feed(data)
        at += len(data)
        over = min(reader.idle, size - at)
        if over:
            reader.step_over(over)
            at = file.seek(over, 1)
    return reader.finish()
