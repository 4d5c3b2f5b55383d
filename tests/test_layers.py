"""Each layer imports only the layers below it."""

from __future__ import annotations

import ast
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

import og_mcp

ROOT = Path(og_mcp.__file__).parent

BELOW = {
    "errors": {"types"},
    "types": set(),
    "calls": {"types"},
    "catalogue": set(),
    "consent": {"errors", "settings", "types"},
    "imports": set(),
    "networks": {"types"},
    "onnxfile": {"types"},
    "redaction": {"types"},
    "settings": {"errors", "networks", "types"},
    "client": {
        *("calls", "catalogue", "consent", "errors", "imports", "networks", "onnxfile"),
        "redaction",
        *("journal", "settings", "types"),
    },
    "journal": {"calls", "errors", "settings", "types"},
    "localnet": {"catalogue", "networks", "onnxfile", "types"},
    "tools": {"calls", "client", "consent", "errors", "journal", "types"},
    "llm": {"catalogue", "client", "errors", "types"},
    "server": {
        *("calls", "client", "errors", "journal", "llm", "localnet", "settings", "tools", "types"),
    },
    "cli": {
        *("calls", "client", "consent", "errors", "imports", "journal", "localnet", "networks"),
        "redaction",
        *("server", "settings", "tools", "types"),
    },
}
"""Layer -> the layers that it may import, beside itself."""


Statement = ast.Import | ast.ImportFrom | ast.ClassDef


@cache
def statements(path: Path) -> list[Statement]:
    """Return the imports and the classes of a file; it is parsed once for all tests."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, Statement)]


def layers_imported_by(path: Path) -> set[str]:
    names: set[str] = set()
    for node in statements(path):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    layers = {name.split(".")[1] for name in names if name.startswith("og_mcp.")}
    return layers & BELOW.keys()


def files_of(layer: str) -> list[Path]:
    return [path for path in (ROOT / f"{layer}.py", *(ROOT / layer).rglob("*.py")) if path.exists()]


@pytest.mark.parametrize("layer", BELOW)
def test_no_layer_imports_a_layer_above_it(layer: str) -> None:
    for path in files_of(layer):
        assert layers_imported_by(path) <= BELOW[layer] | {layer}, path


def test_every_module_belongs_to_a_layer() -> None:
    modules = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or path.is_dir()}

    assert modules - {"__init__", "__main__", "__pycache__"} <= BELOW.keys()


def test_a_tool_knows_neither_settings_nor_the_chain_nor_http() -> None:
    for path in files_of("tools"):
        text = path.read_text(encoding="utf-8")

        assert not any(f"import {name}" in text for name in ("web3", "httpx", "eth_account")), path


ROOMS = (
    *("wire", "codec", "files", "calls", "chain", "tee", "payments", "llm", "images", "hub"),
    *("receipts", "recovery", "operations", "local_network", "resources", "budgets"),
    *("diagnostics", "presentation", "session"),
)
"""The client's rooms, and the modules above them; each imports only those before it."""

BELOW_ALL = "og_mcp.client.calls.context"
"""The state of one call, which every room may know."""


def imports_of(path: Path) -> set[str]:
    """Return the modules of the client that a file imports, for types alone or not."""
    names: set[str] = set()
    for node in statements(path):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name for name in names if name.startswith("og_mcp.client.")}


def files_of_room(room: str) -> list[Path]:
    client = ROOT / "client"
    return [
        path for path in (client / f"{room}.py", *(client / room).rglob("*.py")) if path.exists()
    ]


@pytest.mark.parametrize("room", ROOMS)
def test_no_room_of_the_client_imports_a_room_after_it(room: str) -> None:
    after = set(ROOMS[ROOMS.index(room) + 1 :])
    for path in files_of_room(room):
        imported = {name.split(".")[2] for name in imports_of(path)}
        if path.name == "context.py":
            # For types alone: it holds what was signed.
            imported -= {"chain", "payments"}

        assert not imported & after, path


def test_calls_know_neither_chain_nor_payments() -> None:
    for path in files_of_room("calls"):
        if path.name != "context.py":
            rooms = {name.split(".")[2] for name in imports_of(path)}

            assert rooms <= {"calls", "wire"}, path


def test_operations_know_neither_journal_nor_tasks_nor_each_other() -> None:
    shared = {"gateway", "models", "options", "transaction"}
    for path in files_of_room("operations"):
        text = path.read_text(encoding="utf-8")
        others = {name.split(".")[3] for name in imports_of(path) if ".operations." in name}

        assert not any(word in text for word in ("og_mcp.calls", "journal.", "TaskGroup")), path
        assert path.name == "__init__.py" or others <= shared, path


def test_what_is_behind_the_face_is_named_only_once_it_is_loaded() -> None:
    """`session` binds these names with its first await; before that they are not there."""
    late = {"diagnostics", "operations", "presentation", "resources"}
    loads = {"_resources", "_hub", "_own", "preload"}
    tree = ast.parse((ROOT / "client" / "session.py").read_text(encoding="utf-8"))
    (session,) = (one for one in tree.body if isinstance(one, ast.ClassDef))
    checked = 0
    for method in session.body:
        if not isinstance(method, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        body = [node for statement in method.body for node in ast.walk(statement)]
        types = [n.annotation for n in body if isinstance(n, ast.AnnAssign)]
        typed = {node for one in types for node in ast.walk(one)}
        named = [
            n.lineno for n in body if isinstance(n, ast.Name) and n.id in late and n not in typed
        ]
        loaded = [n.lineno for n in body if isinstance(n, ast.Attribute) and n.attr in loads]
        given = [one.arg for one in method.args.args if one.arg in {"opened", "hub"}]
        if named and not given:
            checked += 1

            assert loaded, method.name
            # On one line, the name would be looked up first.
            assert min(loaded) < min(named), method.name
    assert checked > 10


def test_resources_are_known_to_session_and_diagnostics_alone() -> None:
    client = ROOT / "client"
    found = {
        path.stem for path in client.rglob("*.py") if "og_mcp.client.resources" in imports_of(path)
    }

    assert found == {"session", "diagnostics", "budgets"}


def test_every_module_of_the_client_has_a_room() -> None:
    found = {path.stem for path in (ROOT / "client").iterdir()}

    assert found - {"__init__", "__pycache__"} == set(ROOMS)


def test_each_class_has_a_name_of_its_own_and_it_is_a_noun() -> None:
    """The local network is the other side of the wire: it may have words of its own."""
    files = [path for path in ROOT.rglob("*.py") if "localnet" not in path.parts]
    names = Counter(
        node.name for path in files for node in statements(path) if isinstance(node, ast.ClassDef)
    )

    assert not {name: count for name, count in names.items() if count > 1}
    assert not {name for name in names if name.endswith("ing")}
