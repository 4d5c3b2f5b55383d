"""The documents agree with the code: citations, tables, links, the tree of errors."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from textwrap import indent
from typing import Any, Final

import click
import pytest

from og_mcp import errors, tools
from og_mcp.cli import COMMANDS
from og_mcp.client.receipts import fields
from og_mcp.errors import coins
from og_mcp.settings import VARIABLES, Settings
from og_mcp.settings._rules import OVERRIDES
from tests.localnet_client import LocalNetwork
from tests.server_process import over_http

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


@cache
def plain(path: Path) -> str:
    """Read a text as prose: marks of comments and ends of lines are blanks."""
    return re.sub(r"\s*\n[\s#*/]*", " ", path.read_text(encoding="utf-8"))


@cache
def sections(document: str) -> set[str]:
    """Find the numbers of a document's sections."""
    text = DOCUMENTS[document].read_text(encoding="utf-8")
    return set(re.findall(r"^#+ ([0-9]+(?:\.[0-9]+)*)\.? ", text, re.MULTILINE))


@cache
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


MADE_UP: Final = {"notes.md", "other.md", "m.md", "X.md"}
"""Files that tests make."""


@pytest.mark.parametrize(
    "room", ["og_mcp", "tests", "docs", *(path.name for path in ROOT.glob("*.md"))]
)
def test_every_document_that_is_named_exists(room: str) -> None:
    named = {
        name
        for path in TEXTS
        if path.is_relative_to(ROOT / room)
        for name in re.findall(r"(?<![*\w-])[\w-]+\.md\b", path.read_text(encoding="utf-8"))
    }

    assert named - MADE_UP <= DOCUMENTS.keys()


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


IN_WORDS: Final = {
    "OG_NETWORK": "opengradient with a key, else local",
    "OG_PUBLISH": "ask",
    "OG_DATA_DIR": "the user's data folder",
    "OG_JOURNAL_URL": "SQLite in OG_DATA_DIR",
    "OG_TEE_PCR": "any",
    "OG_TOOLSETS": "all",
    "OG_BASE_RPC_URLS": "the network's",
}
"""Defaults that are no value of a setting's own."""


@pytest.mark.parametrize("row", rows("interface.md", "2. Environment"), ids=lambda row: row[0])
def test_the_interface_tells_the_default_of_every_setting(row: list[str]) -> None:
    settings = Settings.from_env({"OG_NETWORK": "opengradient"})

    for name in code(row[0]):
        field = name.removeprefix("OG_").lower()
        told = IN_WORDS.get(name) or _default(settings, name, field)
        assert row[1].replace("`", "") == told


def _default(settings: Settings, name: str, field: str) -> str:
    if name in OVERRIDES:
        return "the network's"
    value = getattr(settings, field, None)
    if isinstance(value, bool):
        return "off"
    if isinstance(value, int | float) and value:
        return coins(int(value)) if value > 10**9 else f"{value:g}"
    return str(value or "none")


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


def test_the_readme_lists_exactly_the_commands_there_are() -> None:
    named = [code(row[0])[0].split()[1] for row in rows("README.md", "Commands")]

    assert named == list(COMMANDS)


def quoted(section: str) -> set[str]:
    """Return the names that one section of interface.md has in the objects that it shows."""
    text = DOCUMENTS["interface.md"].read_text(encoding="utf-8").split(f"\n## {section}")[1]
    shown = "".join(re.findall(r"`{2,3}?[^`]*`{2,3}|`[{][^`]*`", text.split("\n## ")[0]))
    return set(re.findall(r'"([a-z_]+)"', shown))


def test_the_interface_names_exactly_the_fields_of_a_ready_file(localnet: LocalNetwork) -> None:
    ready = localnet.ready
    inner = [*ready["accounts"], ready["hub_login"], *ready["sample_models"]]

    assert quoted("5. Local network") == {*ready, *(name for one in inner for name in one)}


def test_the_interface_names_every_part_of_a_receipt() -> None:
    every = {name for names in fields._BOTH.values() for name in names.split()}  # noqa: SLF001
    named = quoted("4. Receipt")

    assert set(fields._BOTH[""].split()) | {"claims"} <= named <= every | {"claims"}  # noqa: SLF001


BLOCK: Final = re.compile(r"^```([a-z]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

SHOWN_ELSEWHERE: Final = {
    "python3 -m venv .venv && .venv/bin/pip install -q '.[local]' && .venv/bin/og-mcp try": (
        "tests/cli/test_try.py::test_every_step_holds_whatever_is_configured"
    ),
    "python3 -m venv .venv && .venv/bin/pip install -q -e '.[dev]' && .venv/bin/python -m pytest": (
        "tests/test_metadata.py::test_ci_runs_the_test_command_of_the_readme"
    ),
    "npx @modelcontextprotocol/inspector@2.12.0 --cli og-mcp --method tools/list": (
        "tests/test_inspector.py::test_it_finds_nothing_that_a_client_could_stumble_over"
    ),
    "og-mcp serve --transport http --port 8000": (
        "tests/test_http.py::test_a_model_runs_over_both_endpoints_of_one_server_in_both_eras"
    ),
    '{\n  "mcpServers": {': "tests/test_metadata.py::test_the_readmes_host_configurations_are_json",
    '{\n  "inputs": [': "tests/test_metadata.py::test_the_readmes_host_configurations_are_json",
    "og.Alpha(": (
        "tests/localnet/test_public_sdk.py::test_the_sdk_gets_what_onnxruntime_gives_in_every_mode"
    ),
    "og-mcp serve --transport http --openai --network local\ncurl": (
        "tests/test_documents.py::test_the_readmes_request_to_openais_api_is_answered"
    ),
    "from og_mcp.client import Session": (
        "tests/test_documents.py::test_the_readmes_library_example_runs"
    ),
    "[[models]]\n": "tests/test_documents.py::test_the_example_of_a_model_as_a_tool_is_read",
}
"""Beginning of an example -> the test that runs it, or what it says."""

NOT_RUN: Final = {
    "claude mcp add opengradient": "needs Claude Code, and changes its configuration",
    "npx @modelcontextprotocol/inspector@2.12.0 --web og-mcp": "opens a browser and runs on",
}
"""Beginning of an example that no test runs -> why."""


def examples() -> Iterator[tuple[str, str]]:
    """Find every example of every document: where, and its text; an npx line by itself."""
    for name, path in DOCUMENTS.items():
        for _, text in BLOCK.findall(path.read_text(encoding="utf-8")):
            yield from ((name, line) for line in (text.split("\n") if "npx" in text else [text]))


def example(beginning: str) -> str:
    """Return the one example that begins so."""
    (found,) = {text for _, text in examples() if text.startswith(beginning)}
    return found


def test_every_example_is_run_by_a_test_or_says_why_not() -> None:
    known = [*SHOWN_ELSEWHERE, *NOT_RUN]
    found = [(name, text) for name, text in examples() if text.strip()]

    unknown = [(name, text) for name, text in found if not text.startswith(tuple(known))]
    assert unknown == []
    assert [one for one in known if not any(text.startswith(one) for _, text in found)] == []
    for node in SHOWN_ELSEWHERE.values():
        path, name = node.split("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert name in set(_defined(tree.body)), node


async def test_the_readmes_library_example_runs(
    localnet: LocalNetwork, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in localnet.environ.items():
        monkeypatch.setenv(name, value)
    body = indent(example("from og_mcp.client import Session"), "    ")
    names: dict[str, Any] = {}
    exec(f"async def run():\n{body}", names)  # noqa: S102 - the README's own lines

    await names["run"]()

    assert re.match(r"0x[0-9a-f]{64} \{'sentiment': \[", capsys.readouterr().out)


def test_the_example_of_a_model_as_a_tool_is_read(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text(example("[[models]]"), encoding="utf-8")

    (model,) = Settings.from_env({"OG_NETWORK": "local", "OG_MODELS": str(file)}).models

    assert (model.name, len(model.inputs)) == ("volatility", 1)


@pytest.mark.process
def test_the_readmes_request_to_openais_api_is_answered(localnet: LocalNetwork) -> None:
    request = example("og-mcp serve --transport http --openai").split("\n", 1)[1]

    with over_http(localnet.environ, "http", "--openai") as address:
        words = shlex.split(request.replace("\\\n", " "))
        words = [word.replace("http://127.0.0.1:8000", address) for word in words]
        done = subprocess.run(  # noqa: S603 - the README's own line
            [*words, "--silent"], capture_output=True, timeout=60, check=True
        )

    (choice,) = json.loads(done.stdout)["choices"]
    assert "built-in responder" in choice["message"]["content"]


@pytest.mark.parametrize("room", ["cli", "llm", "server", "settings", "tools", "errors.py"])
def test_texts_say_is_not_a(room: str) -> None:
    """ "X is no Y" takes a second reading (CONTRIBUTING.md, Words)."""
    odd = re.compile(r"(?<!here )\b(?:is|are) no (?!longer\b|more\b)")
    found = [
        (path.name, match.group(0), path.read_text(encoding="utf-8")[match.start() :][:40])
        for path in TEXTS
        if path.is_relative_to(ROOT / "og_mcp" / room)
        for match in odd.finditer(path.read_text(encoding="utf-8"))
    ]

    assert found == []


def test_the_code_uses_the_words_of_the_glossary() -> None:
    glossary = DOCUMENTS["architecture.md"].read_text(encoding="utf-8").split("## Glossary")[1]
    words = [
        word.strip()
        for row in re.findall(r"^\| ([^|]+) \|", glossary, re.MULTILINE)[1:]
        for word in row.split(",")
    ]
    code = "\n".join(
        path.read_text(encoding="utf-8") for path in TEXTS if path.is_relative_to(ROOT / "og_mcp")
    ).lower()

    assert len(words) > 40
    assert [word for word in words if word.lower() not in code] == []
