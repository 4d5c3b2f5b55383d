"""What the project says of itself agrees with itself and with the code."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema

import og_mcp
from og_mcp import tools
from og_mcp.settings import VARIABLES

ROOT = Path(__file__).parent.parent
SCHEMA: dict[str, Any] = json.loads(
    (ROOT / "tests" / "server.schema.json").read_text(encoding="utf-8")
)
"""As the registry publishes it: static.modelcontextprotocol.io, 2025-12-11."""
README = (ROOT / "README.md").read_text(encoding="utf-8")
SERVER: dict[str, Any] = json.loads((ROOT / "server.json").read_text(encoding="utf-8"))
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_server_json_is_valid_for_the_registry() -> None:
    jsonschema.Draft7Validator(SCHEMA).validate(SERVER)


def test_the_registrys_schema_refuses_what_is_wrong() -> None:
    assert not jsonschema.Draft7Validator(SCHEMA).is_valid({**SERVER, "description": "x" * 101})


def test_one_version_everywhere() -> None:
    versions = {
        PROJECT["project"]["version"],
        SERVER["version"],
        *(package["version"] for package in SERVER["packages"]),
    }

    assert versions == {og_mcp.__version__}


def test_the_readme_proves_the_ownership_of_the_registry_name() -> None:
    assert f"<!-- mcp-name: {SERVER['name']} -->" in README


def test_server_json_names_variables_that_exist() -> None:
    named = {v["name"] for package in SERVER["packages"] for v in package["environmentVariables"]}

    assert named <= set(VARIABLES)


def test_ci_runs_the_test_command_of_the_readme() -> None:
    commands = re.findall(r"^python3 -m venv .+$", README, re.MULTILINE)
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()

    assert [command.split()[-1] for command in commands] == ["try", "pytest"]
    assert commands[1] in ci


def test_the_readme_lists_exactly_the_tools_there_are() -> None:
    section = README.split("\n## Tools\n")[1].split("\n##")[0]
    rows = set(re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE))

    assert rows == {tool.name for tool in tools.ALL}


def test_the_readme_names_variables_that_exist() -> None:
    named = set(re.findall(r"\bOG_[A-Z_]+[A-Z]\b", README))

    assert named <= set(VARIABLES)


def test_the_readmes_host_configurations_are_json() -> None:
    blocks = re.findall(r"```json\n(.+?)```", README, re.DOTALL)
    servers = [
        server
        for block in blocks
        for server in (
            json.loads(block).get("mcpServers") or json.loads(block).get("servers")
        ).values()
    ]

    assert len(servers) == 2
    assert all(server["command"] == "og-mcp" for server in servers)
    assert all(set(server["env"]) <= set(VARIABLES) for server in servers)
