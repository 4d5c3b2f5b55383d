"""A worker's side: `python -m tests.benchmarks._loop MODULE SETUP`, requests on stdin.

One JSON object a line is the keyword arguments of a run, one JSON value a line its answer.
"""

from __future__ import annotations

import importlib
import json
import os
import sys


def main() -> None:
    """Answer until the input ends."""
    # What the measured code prints goes to stderr; the answers keep the real stdout.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    run = getattr(importlib.import_module(sys.argv[1]), sys.argv[2])()
    for line in sys.stdin:
        answers.write(json.dumps(run(**json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
