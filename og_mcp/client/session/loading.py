"""The one place where imports are put off: web3, numpy and their like load when they are needed."""

from __future__ import annotations

import gc
import importlib
import sys
import threading
from types import ModuleType
from typing import Any, Final

from anyio import to_thread

_LOADED: Final[dict[str, ModuleType]] = {}

_IMPORTING: Final = threading.Lock()
"""One import at a time: each restores the recursion limit that it found."""


async def load(module: str) -> Any:  # noqa: ANN401 - a module
    """Import a module of the client off the event loop: web3 and numpy take about a second.

    What was loaded is returned at once: every call asks for a dozen modules.
    """
    name = f"og_mcp.client.{module}"
    loaded = _LOADED.get(name)
    return await to_thread.run_sync(_import, name) if loaded is None else loaded


def _import(name: str) -> ModuleType:
    """Import, and take back what py_ecc, which web3 loads, does to the whole process.

    It raises the recursion limit to 100,000: nested JSON from outside would then end the
    interpreter where it should raise RecursionError.
    """
    with _IMPORTING:
        before = sys.getrecursionlimit()
        module = importlib.import_module(name)
        sys.setrecursionlimit(before)
    # Modules stay: a collection of garbage need not look at what they brought, web3's half a
    # million objects for instance, which holds every call up for tens of milliseconds.
    gc.freeze()
    # Only now: while it is being imported it is in sys.modules, and not whole.
    _LOADED[name] = module
    return module
