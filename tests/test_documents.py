"""The documents agree with the code: citations, tables, links, the tree of errors."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import pytest

from og_mcp import errors, tools
from og_mcp.cli import COMMANDS
from og_mcp.settings import VARIABLES

ROOT: Final = Path(__file__).parent.parent
DOCUMENTS: Final = {
    path.name: path for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
}
"""Name, as it is cited -> file."""

TEXTS: Final = [
    *(path for room in ("og_mcp", "tests") for path in sorted((ROOT / room).rglob("*.py"))),
    *sorted((ROOT / "og_mcp").rglob("*.sol")),
    *(ROOT / name for name in (".ci/run", "pyproject.toml", "server.json")),
    *DOCUMENTS.values(),
]
SCHEMAS: Final[dict[str, Any]] = {
    tool["name"]: tool
    for tool in json.loads((ROOT / "tests" / "tool_schemas.json").read_text(encoding="utf-8"))
}

SECTIONS: Final = re.compile(
    r"([a-z-]+\.md),? sections? ([0-9][0-9.]*[0-9]|[0-9])((?:,? (?:and|to) |, )[0-9][0-9.]*)*"
)
THREAT: Final = re.compile(r"\b(?:test_t(?=[0-9]{1,2}_)|T(?=[0-9]{1,2}\b))([0-9]{1,2})")
"""As `T9` in a text, or as `test_t9_...` in a name."""
NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]+)*")
LINK: Final = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


def plain(path: Path) -> str:
    """Read a text as prose: marks of comments and ends of lines are blanks."""
    return re.sub(r"\s*\n[\s#*/]*", " ", path.read_text(encoding="utf-8"))


def sections(document: str) -> set[str]:
    """Find the numbers of a document's sections."""
    text = DOCUMENTS[document].read_text(encoding="utf-8")
    return set(re.findall(r"^#+ ([0-9]+(?:\.[0-9]+)*)\.? ", text, re.MULTILINE))


def threats() -> set[str]:
    text = DOCUMENTS["threats.md"].read_text(encoding="utf-8")
    return set(re.findall(r"^- \*\*T([0-9]+)\*\*", text, re.MULTILINE))


def cited() -> Iterator[tuple[Path, str, str]]:
    """Find every section that is cited: where, of which document, its number."""
    for path in TEXTS:
        for found in SECTIONS.finditer(plain(path)):
            numbers = found.group(0).split(" section", 1)[1]
            for number in NUMBER.findall(numbers):
                yield path, found.group(1), number


def test_every_cited_section_exists() -> None:
    missing = [
        (path.name, document, number)
        for path, document, number in cited()
        if document not in DOCUMENTS or number not in sections(document)
    ]

    assert not missing
    assert len({(document, number) for _, document, number in cited()}) > 15


@pytest.mark.parametrize("room", ["og_mcp", "docs", "README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_every_document_that_is_named_exists(room: str) -> None:
    named = {
        name
        for path in TEXTS
        if path.is_relative_to(ROOT / room)
        for name in re.findall(r"[\w-]+\.md\b", path.read_text(encoding="utf-8"))
    }

    assert named <= DOCUMENTS.keys()


def test_every_threat_that_is_cited_exists() -> None:
    missing = {
        (path.name, threat)
        for path in TEXTS
        for threat in THREAT.findall(path.read_text(encoding="utf-8"))
        if threat not in threats() and path.name != "threats.md"
    }

    assert not missing


def test_every_threat_has_a_test_that_cites_it() -> None:
    shown = {
        threat
        for path in TEXTS
        if path.is_relative_to(ROOT / "tests") and path != Path(__file__)
        for threat in THREAT.findall(path.read_text(encoding="utf-8"))
    }

    assert threats() - shown == set()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_of_a_document_leads_somewhere(document: str) -> None:
    path = DOCUMENTS[document]
    links = LINK.findall(path.read_text(encoding="utf-8"))
    local = [link for link in links if not re.match(r"https?:", link)]

    assert [link for link in local if not (path.parent / link).exists()] == []


def test_the_places_of_signatures_are_where_the_architecture_says() -> None:
    text = DOCUMENTS["architecture.md"].read_text(encoding="utf-8")
    named = re.findall(r"`([\w.]+)` in \[[^\]]+\]\(([^)]+\.py)\)", text)

    assert len(named) >= 5
    for name, link in named:
        module = ast.parse((ROOT / "docs" / link).read_text(encoding="utf-8"))
        assert name in set(_defined(module.body)), link


def _defined(body: list[ast.stmt], outer: str = "") -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield f"{outer}{node.name}"
            yield from _defined(node.body, f"{outer}{node.name}.")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{outer}{node.name}"


def test_the_tree_of_errors_is_the_one_that_there_is() -> None:
    told: set[tuple[str, str]] = set()
    above: list[str] = []
    for blanks, name, also in re.findall(
        r"^( *)\* (\w+)(?: \(also a (\w+)\))?$", errors.__doc__ or "", re.MULTILINE
    ):
        above = [*above[: len(blanks) // 4], name]
        told.add((name, above[-2] if len(above) > 1 else "Exception"))
        if also:
            told.add((name, also))

    assert told == {
        (kind.__name__, base.__name__)
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.OGError)
        for base in kind.__bases__
    }


def rows(document: str, section: str) -> list[list[str]]:
    """Read the rows of the tables of one section, without their heads."""
    text = DOCUMENTS[document].read_text(encoding="utf-8")
    within = re.split(r"^## ", text, flags=re.MULTILINE)
    (found,) = [part for part in within if part.startswith(section)]
    lines = [line for line in found.splitlines() if line.startswith("| ") or "|---" in line]
    heads = {n for n, line in enumerate(lines[1:]) if "|---" in line}
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for n, line in enumerate(lines)
        if n not in heads and "|---" not in line
    ]


def code(cell: str) -> list[str]:
    """Return what a cell has between backticks."""
    return re.findall(r"`([^`]+)`", cell)


def test_the_interface_lists_exactly_the_settings_there_are() -> None:
    named = [name for row in rows("interface.md", "2. Environment") for name in code(row[0])]

    assert sorted(named) == sorted(VARIABLES)


def test_the_interface_lists_exactly_the_commands_there_are() -> None:
    named = {code(row[0])[0].split()[1]: row for row in rows("interface.md", "1. Commands")}

    assert named.keys() == COMMANDS.keys()
    for name, (_, does, *options) in named.items():
        command = _program(name)
        inner = command.commands if isinstance(command, click.Group) else {}
        every = [command, *inner.values()]
        real = {text for one in every for made in one.params if made.opts for text in _flags(made)}
        assert {text for cell in options for text in code(cell)} == real, name
        assert {text.split()[0] for text in code(does)} >= inner.keys(), name


def _program(name: str) -> click.Command:
    from og_mcp.cli import _program as program  # noqa: PLC0415 - its only use

    found = program.get_command(click.Context(program), name)
    assert found is not None
    return found


def _flags(parameter: click.Parameter) -> list[str]:
    return parameter.opts if isinstance(parameter, click.Option) else []


def test_the_interface_lists_every_argument_and_result_of_every_tool() -> None:
    named = {code(row[0])[0]: row for row in rows("interface.md", "3. Tools")}

    assert named.keys() == {tool.name for tool in tools.ALL}
    for tool in tools.ALL:
        head, arguments, result = named[tool.name]
        schema = SCHEMAS[tool.name]
        assert head == f"`{tool.name}` ({tool.toolset})"
        assert _arguments(arguments) == {
            name: made.get("default") for name, made in _properties(schema["inputSchema"]).items()
        }
        assert code(result) == list(_properties(schema["outputSchema"]))


def _properties(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = schema.get("properties", {})
    return found


def _arguments(cell: str) -> dict[str, object]:
    pairs = [text.partition("=") for text in code(cell)]
    return {name: json.loads(default) if default else None for name, _, default in pairs}
