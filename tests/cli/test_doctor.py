"""`og-mcp doctor` as a person runs it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from og_mcp.client import Session
from tests.books import Purse
from tests.cli.program import inside
from tests.localnet_client import LocalNetwork
from tests.server_process import run


def doctor(environ: dict[str, str], *options: str) -> tuple[int, str, str]:
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-P", "-m", "og_mcp", "doctor", *options],
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def findings(environ: dict[str, str]) -> tuple[int, dict[str, Any]]:
    code, out, _ = doctor(environ, "--json")
    return code, {finding["name"]: finding for finding in json.loads(out)}


def inside_findings(environ: Mapping[str, str]) -> dict[str, Any]:
    done = inside("doctor", "--json", environ=environ)
    found = {finding["name"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == (1 if ill(found) else 0)
    return found


def ill(found: Mapping[str, Any]) -> set[str]:
    return {name for name, finding in found.items() if not finding["held"]}


@pytest.mark.slow
async def test_a_working_network_is_well(localnet: LocalNetwork) -> None:
    sample = localnet.ready["sample_models"][0]
    async with Session.from_env(localnet.environ) as og:
        await og.infer(sample["cid"], sample["model_input"])

    code, found = findings(localnet.environ)

    assert code == 0
    assert all(finding["held"] and not finding["fix"] for finding in found.values())
    assert list(found) == [
        *("configuration", "chain", "wallet", "TEE registry", "gateway", "payment chain", "OPG"),
        *("allowance", "hub", "hub account", "journal", "fees", "payments"),
    ]
    assert localnet.ready["accounts"][0]["address"] in found["wallet"]["detail"]
    assert f"chain {localnet.ready['chain_id']}" in found["chain"]["detail"]
    assert f"chain {localnet.ready['base_chain_id']}" in found["payment chain"]["detail"]
    assert "registered certificate" in found["gateway"]["detail"]
    assert "0 interrupted" in found["journal"]["detail"]
    # Other tests have paid from this wallet, which the chain shows.
    left = r"none open; [0-9.]+ of 25 OPG left of this day's cap"
    assert re.fullmatch(left, found["payments"]["detail"])
    fees = r"([0-9.]+) of ([0-9]+) coins left of this day's cap"
    told = re.fullmatch(f"{fees}; on the payment chain {fees}", found["fees"]["detail"])
    assert told is not None
    assert float(told[1]) < float(told[2])


def test_t36_doctor_says_that_unsigned_answers_are_shown(localnet: LocalNetwork) -> None:
    detail = inside_findings({**localnet.environ, "OG_ALLOW_UNSIGNED": "1"})["gateway"]["detail"]

    assert "OG_ALLOW_UNSIGNED=1" in detail
    assert "OG_ALLOW_UNSIGNED" not in inside_findings(localnet.environ)["gateway"]["detail"]


def test_models_that_settings_name_are_looked_up(localnet: LocalNetwork) -> None:
    chosen = {"OG_CHAT_MODEL": "gpt-5.4-mini", "OG_IMAGE_MODEL": "zai/glm-image"}
    well = inside_findings({**localnet.environ, **chosen})["models"]
    ill = inside_findings({**localnet.environ, "OG_CHAT_MODEL": "grok-4"})["models"]

    assert (well["held"], well["detail"]) == (
        True,
        "chats ask openai/gpt-5.4-mini; zai/glm-image draws images",
    )
    assert not ill["held"]
    assert "x-ai/grok-4 is retired" in ill["detail"]
    assert "Use x-ai/grok-4.3" in ill["fix"]


def test_the_table_names_each_thing_and_its_mend(localnet: LocalNetwork, tmp_path: Path) -> None:
    well = inside("doctor", environ=localnet.environ)
    ill = inside("doctor", environ=Purse(localnet, tmp_path).environ)

    assert well.returncode == 0
    assert "gateway" in well.stdout
    assert "✗" not in well.stdout
    assert "fix" not in well.stdout
    assert ill.returncode == 1
    assert "✗" in ill.stdout
    assert "approve_opg" in ill.stdout


def test_a_wallet_that_gateways_cannot_be_paid_from_is_told_what_is_missing(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    purse = Purse(localnet, tmp_path)

    found = inside_findings(purse.environ)
    localnet.fund_opg(purse.address, 10**18)
    funded = inside_findings(purse.environ)

    assert ill(found) == {"OPG", "allowance"}
    assert ill(funded) == {"allowance"}
    assert "approve_opg" in funded["allowance"]["fix"]


def test_an_open_payment_is_told(localnet: LocalNetwork) -> None:
    async def chat() -> None:
        async with Session.from_env(localnet.environ) as og:
            await og.chat("openai/gpt-5.4-mini", [{"role": "user", "content": "Who are you?"}])

    anyio.run(chat)

    found = inside_findings(localnet.environ)

    assert found["payments"]["detail"].startswith("1 open, at most 0.1 OPG; ")


@pytest.mark.parametrize(("service", "lame"), [("gateway", "gateway"), ("hub_read", "hub")])
def test_what_does_not_answer_is_told_and_the_rest_looked_at_all_the_same(
    localnet: LocalNetwork, service: str, lame: str
) -> None:
    localnet.close_service(service)

    found = inside_findings(localnet.environ)

    assert ill(found) == {lame}
    assert "cannot be reached" in found[lame]["detail"]
    assert found[lame]["fix"]


def test_t20_a_gateway_with_another_certificate_is_told(localnet: LocalNetwork) -> None:
    localnet.rotate_certificate()

    found = inside_findings(localnet.environ)
    localnet.rotate_certificate(register=True)

    assert ill(found) == {"gateway"}
    assert "certificate" in found["gateway"]["detail"]


def test_a_hub_account_that_is_refused_is_told(localnet: LocalNetwork, tmp_path: Path) -> None:
    login = {**localnet.ready["hub_login"], "password": "wrong"}
    ready_file = tmp_path / "ready.json"
    ready_file.write_text(json.dumps({**localnet.ready, "hub_login": login}), encoding="utf-8")

    found = inside_findings({**localnet.environ, "OG_LOCALNET": str(ready_file)})

    assert ill(found) == {"hub account"}
    assert "wrong" not in json.dumps(found["hub account"])


def test_without_a_wallet_what_needs_none_is_looked_at(tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:9"
    found = inside_findings(
        {
            "OG_NETWORK": "opengradient",
            "OG_DATA_DIR": str(tmp_path),
            "OG_RPC_URL": nowhere,
            "OG_CHAIN_ID": "1",
            "OG_BASE_RPC_URL": nowhere,
            "OG_BASE_CHAIN_ID": "2",
            "OG_HUB_READ_URL": nowhere,
        }
    )

    assert "OG_PRIVATE_KEY" in found["wallet"]["fix"]
    assert "cannot be reached" in found["chain"]["detail"]
    assert found["journal"]["held"]
    assert found["hub account"]["held"]
    assert not {"OPG", "allowance", "payments"} & found.keys()


@pytest.mark.slow
def test_a_keystore_that_cannot_be_opened_is_one_row_with_its_fix(tmp_path: Path) -> None:
    path, data = tmp_path / "keystore.json", str(tmp_path / "data")
    made = {"OG_DATA_DIR": data, "OG_KEYSTORE_PASSWORD": "the right one"}
    assert inside("wallet", "new", "--file", str(path), environ=made).returncode == 0
    nowhere = "http://127.0.0.1:9"

    found = inside_findings(
        {
            "OG_NETWORK": "opengradient",
            "OG_DATA_DIR": data,
            "OG_KEYSTORE": str(path),
            "OG_KEYSTORE_PASSWORD": "a wrong one",
            "OG_RPC_URL": nowhere,
            "OG_CHAIN_ID": "1",
            "OG_BASE_RPC_URL": nowhere,
            "OG_BASE_CHAIN_ID": "2",
            "OG_HUB_READ_URL": nowhere,
        }
    )

    about = [name for name, finding in found.items() if "OG_KEYSTORE" in finding["detail"]]
    assert about == ["wallet"]
    assert found["wallet"]["fix"] == (
        "Correct OG_KEYSTORE or OG_KEYSTORE_PASSWORD, and start again."
    )
    assert "OG_KEYSTORE_PASSWORD is wrong" in found["wallet"]["detail"]
    assert "problem(s)" not in json.dumps(found)
    assert all(finding["fix"] for finding in found.values() if not finding["held"])


@pytest.mark.slow
def test_a_key_that_the_local_network_does_not_use_is_said_in_doctor_status_and_at_start(
    localnet: LocalNetwork,
) -> None:
    environ = {**localnet.environ, "OG_PRIVATE_KEY": "0x" + "5" * 64}

    found = inside_findings(environ)
    started = run("serve", environ=environ)

    assert ill(found) == set()
    assert "OG_PRIVATE_KEY: set and not used" in found["keys"]["detail"]
    assert "OG_PRIVATE_KEY: set and not used, since OG_NETWORK=local has wallets" in started.stderr
    assert not any("5" * 64 in text for text in (started.stderr, json.dumps(found)))


async def _infer(environ: Mapping[str, str], localnet: LocalNetwork) -> None:
    sample = localnet.ready["sample_models"][0]
    async with Session.from_env(environ) as og:
        await og.infer(sample["cid"], sample["model_input"])


def test_t44_a_journal_that_was_restored_from_an_older_copy_is_told_with_what_to_do(
    localnet: LocalNetwork,
) -> None:
    anyio.run(_infer, localnet.environ, localnet)
    journal = localnet.data_dir / "journal.db"
    copy = journal.read_bytes() if not journal.with_name("journal.db-wal").exists() else b""
    assert copy
    fresh = inside_findings(localnet.environ)["journal"]
    anyio.run(_infer, localnet.environ, localnet)
    journal.write_bytes(copy)

    found = inside_findings(localnet.environ)["journal"]

    assert not fresh["fix"]
    assert re.search(
        r"; the chain has (\d+) transactions of the wallet, and the journal ends at \d+$",
        found["detail"],
    )
    assert "repeat no earlier request before you have looked" in found["fix"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limits")
def test_t44_a_disk_that_takes_nothing_is_a_row_with_its_fix(localnet: LocalNetwork) -> None:
    import resource  # noqa: PLC0415 - not on Windows

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Files that this process writes end there, as on a disk that is full.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        full = inside_findings(localnet.environ)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    well = inside_findings(localnet.environ)

    assert not full["disk"]["held"]
    assert full["disk"]["detail"].startswith("Nothing can be written to the data folder ")
    assert "set OG_DATA_DIR" in full["disk"]["fix"]
    assert "disk" not in well


def test_a_local_network_that_cannot_be_used_is_told_alone(tmp_path: Path) -> None:
    ready_file = tmp_path / "ready.json"
    ready_file.write_text("{}", encoding="utf-8")

    found = inside_findings({"OG_LOCALNET": str(ready_file), "OG_DATA_DIR": str(tmp_path / "data")})

    assert list(found) == ["configuration", "network"]
    assert ill(found) == {"network"}
    assert found["network"]["fix"]


def test_t44_a_damaged_journal_is_told_with_what_to_do(localnet: LocalNetwork) -> None:
    anyio.run(_infer, localnet.environ, localnet)
    journal = localnet.data_dir / "journal.db"
    content = bytearray(journal.read_bytes())
    content[4096 : len(content) : 512] = b"\xff" * len(range(4096, len(content), 512))
    journal.write_bytes(content)
    torn = inside_findings(localnet.environ)["journal"]
    journal.write_bytes(b"This is not a database, and was one." * 400)
    other = inside_findings(localnet.environ)["journal"]

    for found in (torn, other):
        assert "journal.db' is damaged" in found["detail"]
        assert "-wal and -shm" in found["fix"]


def test_a_wrong_value_is_told_with_its_variable() -> None:
    wrong = inside("doctor", environ={"OG_MAX_FEE_PER_DAY": "much"})

    assert wrong.returncode == 1
    assert "OG_MAX_FEE_PER_DAY" in wrong.stdout
