"""A program of its own: checks the ONNX file on its standard input with the `onnx` package.

The package is native code, which a file made for that could crash or fill with memory; it runs
apart from whoever signs. Writes `{"sha256": ..., "problem": ...}`, or `{}` where the package is
not installed. Imports nothing of ours: it is run by its path.
"""

from __future__ import annotations

import hashlib
import json
import sys


def main() -> None:
    """Read, check, tell."""
    try:
        import onnx  # noqa: PLC0415 - it may not be there
    except ImportError:
        json.dump({}, sys.stdout)
        return
    content = sys.stdin.buffer.read()
    problem = ""
    try:
        onnx.checker.check_model(content)
    except Exception as exc:  # noqa: BLE001 - native code raises many kinds; each means no
        problem = str(exc)
    json.dump({"sha256": hashlib.sha256(content).hexdigest(), "problem": problem}, sys.stdout)


if __name__ == "__main__":
    main()
