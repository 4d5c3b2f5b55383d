"""Fixtures that any test may ask for."""

from __future__ import annotations

import gc
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import hypothesis
import pytest
from jsonschema import Draft202012Validator

from tests.localnet_client import LocalNetwork, running

QUICK: Final = "not process and not slow"
OTHER_TIERS: Final = re.compile(r"^pytestmark = pytest\.mark\.(process|slow)$", re.MULTILINE)

# A loaded machine is slow, which says nothing about what is tested.
hypothesis.settings.register_profile(
    "og-mcp", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("og-mcp")

# What collecting makes stays to the end: walking through it again and again takes seconds.
gc.disable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave a few cases of each sweep in the quick tier, from all over it; the others are slow."""
    sweeps: defaultdict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker("sweep") and not item.get_closest_marker("slow"):
            sweeps[item.nodeid.partition("[")[0]].append(item)
    for cases in sweeps.values():
        (mark,) = cases[0].iter_markers("sweep")
        step = -(-len(cases) // mark.kwargs["quick"])
        for index, case in enumerate(cases):
            if index % step:
                case.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Spare the quick tier the imports of files of which it runs nothing."""
    asked_for = {Path(one.partition("::")[0]).resolve() for one in config.args}
    if (
        config.getoption("markexpr") != QUICK
        or collection_path.suffix != ".py"
        or collection_path in asked_for
    ):
        return None
    is_other = OTHER_TIERS.search(collection_path.read_text(encoding="utf-8"))
    return True if is_other else None


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def _own_data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's own data folder out of the tests, in programs that they start, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data-home")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _schemas_checked_once() -> Iterator[None]:
    """Check each distinct schema once: mcp's client does so anew for each connection, for 30 ms."""
    check, checked = Draft202012Validator.check_schema, set[str]()

    def check_new(schema: object, *args: object) -> None:
        text = json.dumps(schema, sort_keys=True)
        if args or text not in checked:
            check(schema, *args)
            checked.add(text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Draft202012Validator, "check_schema", check_new)
        yield


@pytest.fixture(scope="session")
def _one_localnet() -> Iterator[LocalNetwork]:
    # Less than the default, so that sums of many sessions fit a wallet of 100 OPG.
    with running("--session-opg", "0.1") as network:
        yield network


@pytest.fixture
def localnet(_one_localnet: LocalNetwork, tmp_path: Path) -> Iterator[LocalNetwork]:
    """One local network for the whole run; faults and journal of a test are gone after it."""
    # Named by the test's own folder: a test may look through that one.
    _one_localnet.data_dir = tmp_path.with_name(f"{tmp_path.name}-data")
    yield _one_localnet
    _one_localnet.reset()


@pytest.fixture
def fresh_localnet() -> Iterator[LocalNetwork]:
    """A local network of one's own, started for this test."""
    with running() as network:
        yield network
