"""`og-mcp calls`: what was spent, and a person's approval (threats.md T22, T25)."""

from __future__ import annotations

import csv
import io
import json
import os
import sqlite3
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner, Result

from og_mcp.cli import _program
from og_mcp.cli._calls_shown import _inert, plain
from og_mcp.client import Session
from og_mcp.errors import ApprovalRequiredError, CallNotFoundError, OGError, coins
from og_mcp.types import LOCAL_PRINCIPAL
from tests.cli.program import inside
from tests.cli.terminal import Terminal
from tests.localnet_client import LocalNetwork
from tests.server_process import clean, command, run

Request = dict[str, Any]
Environ = dict[str, str]

needs_terminal = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind"
)

TELL_WHAT_IS_STARTED = """
import sys
def hear(event, arguments):
    if event in {"subprocess.Popen", "os.posix_spawn", "os.fork", "socket.connect"}:
        print("HEARD", event, file=sys.stderr)
sys.addaudithook(hear)
"""
"""A sitecustomize that tells when the process starts another one, or turns to the network."""


@pytest.fixture
def environ(localnet: LocalNetwork) -> Environ:
    return localnet.environ


@pytest.fixture
def without_network(environ: Environ, tmp_path: Path) -> Environ:
    """The same journal, in a shell that knows no running network."""
    (tmp_path / "sitecustomize.py").write_text(TELL_WHAT_IS_STARTED, encoding="utf-8")
    kept = {name: value for name, value in environ.items() if name != "OG_LOCALNET"}
    return {**kept, "PYTHONPATH": str(tmp_path)}


@pytest.fixture
def request_of_sample(localnet: LocalNetwork) -> Request:
    sample = localnet.ready["sample_models"][0]
    return {"model_cid": sample["cid"], "model_input": sample["model_input"]}


def made(
    environ: Environ,
    request: Request,
    principal: str = LOCAL_PRINCIPAL,
    idempotency_key: str = "",
) -> str:
    """Make a call; returns its id."""

    async def make() -> str:
        async with Session.from_env(environ) as og:
            key = idempotency_key
            return (await og.infer(**request, principal=principal, idempotency_key=key)).call_id

    return anyio.run(make)


def waiting(environ: Environ, request: Request) -> tuple[str, int]:
    """Make a call that waits for approval; returns its id and the most it may cost, wei."""

    async def make() -> tuple[str, int]:
        async with Session.from_env({**environ, "OG_CONFIRM_ABOVE": "0"}) as og:
            with pytest.raises(ApprovalRequiredError) as refused:
                await og.infer(**request)
            call_id = refused.value.approval_of
            return call_id, (await og.approval(call_id)).cap_wei

    return anyio.run(make)


def outcome(environ: Environ, request: Request) -> str:
    """Repeat a request; returns the id of the call that went through, or the refusal."""
    try:
        return made({**environ, "OG_CONFIRM_ABOVE": "0"}, request)
    except OGError as exc:
        return str(exc)


def calls(*arguments: str, environ: Environ) -> Result:
    """Run `og-mcp calls ...` in this process."""
    return CliRunner(env=environ).invoke(_program, ["calls", *arguments])


def listed(*arguments: str, environ: Environ) -> dict[str, Any]:
    done = calls("--json", *arguments, environ=environ)
    assert done.exit_code == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.mark.slow
def test_it_lists_what_was_spent_and_on_what_without_a_network(
    localnet: LocalNetwork,
    environ: Environ,
    without_network: Environ,
    request_of_sample: Request,
) -> None:
    first = made(environ, request_of_sample)
    second = made(environ, request_of_sample, principal="http")

    done = run("calls", environ=without_network)
    document = listed(environ=environ)

    assert done.returncode == 0
    assert "HEARD" not in done.stderr
    assert first in done.stdout
    assert localnet.ready["accounts"][0]["address"] in done.stdout
    assert [(c["call_id"], c["principal"]) for c in document["calls"]] == [
        (second, "http"),
        (first, "local"),
    ]
    (total,) = document["totals"]
    assert int(total["fees_wei"]) == sum(int(c["fee_wei"]) for c in document["calls"]) > 0
    assert coins(int(total["fees_wei"])) in done.stdout


def test_payments_are_told_while_they_are_open_and_once_settled(
    localnet: LocalNetwork, environ: Environ
) -> None:
    async def chat(text: str) -> str:
        async with Session.from_env(environ) as og:
            question = [{"role": "user", "content": text}]
            return (await og.chat("openai/gpt-5.4-mini", question)).call_id

    async def look(call_id: str) -> None:
        async with Session.from_env(environ) as og:
            await og.get_call(call_id)

    call_id = anyio.run(chat, "Who are you?")
    open_, table = listed(environ=environ), calls(environ=environ).stdout
    shown_open = calls("show", call_id, environ=environ).stdout
    localnet.settle()
    anyio.run(look, call_id)
    settled, after = listed(environ=environ), calls(environ=environ).stdout
    shown = calls("show", call_id, environ=environ).stdout

    wallet = localnet.ready["accounts"][0]["address"]
    (payment,) = open_["open_payments"]
    assert (open_["spent_opg"], open_["open_opg"]) == ("0", "0.1")
    assert (payment["max_opg"], payment["amount_opg"], payment["address"]) == ("0.1", "", wallet)
    assert open_["calls"][0]["payment"]["cap_id"] == payment["cap_id"]
    assert "0 OPG settled, 0.1 OPG open" in table
    assert f"payment {payment['cap_id']}: at most 0.1 OPG from {wallet}" in table
    assert "open until" in shown_open
    taken = settled["calls"][0]["payment"]
    assert (settled["open_payments"], settled["open_opg"]) == ([], "0")
    assert settled["spent_opg"] == taken["amount_opg"] != "0"
    assert f"{taken['amount_opg']} OPG settled, 0 OPG open" in after
    assert f"{taken['amount_opg']} OPG taken" in shown
    assert taken["transaction_hash"] in shown


def test_options_choose_what_is_listed(environ: Environ, request_of_sample: Request) -> None:
    made(environ, request_of_sample)
    pending, _ = waiting(environ, request_of_sample)

    failed = listed("--status", "failed", environ=environ)
    one = listed("--limit", "1", environ=environ)
    chats = listed("--tool", "chat", environ=environ)
    table = calls(environ=environ)

    assert [call["call_id"] for call in failed["calls"]] == [pending]
    assert failed["calls"][0]["waiting_approval"] is True
    assert len(one["calls"]) == 1
    assert chats["calls"] == []
    assert "waits for approval" in table.stdout


def test_csv_pages_and_since(environ: Environ, request_of_sample: Request) -> None:
    made(environ, request_of_sample)
    newest = made(environ, request_of_sample, principal="http")

    printed = calls("--csv", "--limit", "1", environ=environ)
    (row,) = csv.DictReader(io.StringIO(printed.stdout))
    first = listed("--limit", "1", environ=environ)
    second = listed("--limit", "1", "--page", "1", environ=environ)
    future = calls("--since", "2999-01-01", environ=environ)
    both = calls("--csv", "--json", environ=environ)

    assert (row["call_id"], row["state"]) == (newest, "done, charged")
    assert row["model"] == request_of_sample["model_cid"]
    assert row["first_words"].startswith('{"')
    assert row["fee"].startswith("0.0000")
    assert (first["next_page"], second["next_page"]) == (1, 0)
    assert first["calls"][0]["first_words"] == row["first_words"]
    assert len(listed("--since", "1h", environ=environ)["calls"]) == 2
    assert future.exit_code == 1
    assert "since is '2999-01-01', which is in the future" in future.stderr
    assert both.exit_code == 2


def test_what_a_spreadsheet_would_run_is_kept_from_it() -> None:
    assert [_inert(cell) for cell in ("=1+1", "@a", "-1", "text", "")] == [
        "'=1+1",
        "'@a",
        "'-1",
        "text",
        "",
    ]


def test_the_first_characters_of_an_id_will_do(
    environ: Environ, request_of_sample: Request
) -> None:
    call_id = made(environ, request_of_sample)

    done = calls("show", call_id[:6], environ=environ)
    short = calls("show", call_id[:3], environ=environ)

    assert call_id in done.stdout
    assert (done.exit_code, short.exit_code) == (0, 1)


def test_t21_the_first_characters_find_nobody_else_s_call(
    environ: Environ, request_of_sample: Request
) -> None:
    call_id = made(environ, request_of_sample, principal="http")

    async def look() -> None:
        async with Session.from_env(environ) as og:
            with pytest.raises(CallNotFoundError):
                await og.get_call(call_id[:8], 0)
            assert (await og.get_call(call_id[:8], 0, principal="http")).call_id == call_id

    anyio.run(look)


@needs_terminal
def test_a_terminal_is_shown_the_beginnings_of_ids(
    environ: Environ, request_of_sample: Request
) -> None:
    call_id = made(environ, request_of_sample)

    with Terminal("calls", environ=environ) as terminal:
        code, screen = terminal.end()

    assert code == 0, screen
    assert call_id[:12] in screen
    assert call_id not in screen


@needs_terminal
def test_t48_a_call_that_a_person_declined_is_not_approved_at_a_terminal(
    environ: Environ, request_of_sample: Request
) -> None:
    call_id, _ = waiting(environ, request_of_sample)

    async def decline() -> None:
        async with Session.from_env(environ) as og:
            await og.decline(call_id)

    anyio.run(decline)
    with Terminal("calls", "approve", call_id[:8], environ=environ) as terminal:
        code, screen = terminal.end()
    shown = calls(environ=environ).stdout

    assert code == 1
    assert "A person declined this request" in screen
    assert "Type the amount" not in screen
    assert "declined" in shown
    assert "A person declined this request" in outcome(environ, request_of_sample)


def test_a_receipt_is_written_for_its_owner_alone_and_verifies(
    environ: Environ, request_of_sample: Request, tmp_path: Path
) -> None:
    call_id = made(environ, request_of_sample, principal="http")
    path, link = tmp_path / "receipt.json", tmp_path / "link.json"
    link.symlink_to(tmp_path / "elsewhere.json")

    done = inside("receipt", call_id[:8], "-o", str(path), environ=environ)
    verified = inside("verify", str(path), environ={})
    again = inside("receipt", call_id, "-o", str(path), environ=environ)
    linked = inside("receipt", call_id, "-o", str(link), environ=environ)
    printed = inside("receipt", call_id, environ=environ)
    unknown = inside("receipt", "0" * 32, environ=environ)

    assert done.returncode == 0, done.stderr
    assert path.stat().st_mode & 0o777 == 0o600
    assert verified.returncode == 0
    assert "checks passed, 0 failed, 1 needs the local network" in " ".join(verified.stdout.split())
    assert "exists and was not changed" in again.stderr
    assert linked.returncode == 1
    assert not (tmp_path / "elsewhere.json").exists()
    assert json.loads(printed.stdout) == json.loads(path.read_text())
    assert "There is no call" in unknown.stderr


def test_an_empty_journal_is_told(environ: Environ) -> None:
    assert "There are no such calls." in calls(environ=environ).stdout


@pytest.mark.process
def test_show_tells_everything_about_one_call(
    environ: Environ, without_network: Environ, request_of_sample: Request
) -> None:
    call_id = made(environ, request_of_sample, principal="http", idempotency_key="order-7")

    text = calls("show", call_id, environ=environ).stdout
    done = run("calls", "show", call_id, "--json", environ=without_network)
    shown = json.loads(done.stdout)

    assert "HEARD" not in done.stderr
    assert all(w in text for w in (call_id, "order-7", "http", request_of_sample["model_cid"]))
    assert shown["request"]["model_input"] == request_of_sample["model_input"]
    assert shown["result"]["call_id"] == call_id
    assert [one["transaction_hash"] for one in shown["transactions"]] == [shown["transaction_hash"]]


@pytest.mark.parametrize("verb", ["show", "speed-up", "cancel"])
def test_an_unknown_call_is_told(environ: Environ, verb: str) -> None:
    done = calls(verb, "0" * 32, environ=environ)

    assert done.exit_code == 1
    assert "There is no call" in done.stderr
    # At a terminal there are no tools.
    assert "`og-mcp calls` shows the calls there are." in done.stderr


@needs_terminal
@pytest.mark.process
def test_t22_the_amount_typed_at_a_terminal_approves_one_try(
    localnet: LocalNetwork,
    environ: Environ,
    without_network: Environ,
    request_of_sample: Request,
) -> None:
    call_id, most = waiting(environ, request_of_sample)

    with Terminal("calls", "approve", call_id, environ=without_network) as terminal:
        terminal.read_until("to approve it")
        terminal.type(coins(most))
        code, screen = terminal.end()

    assert code == 0, screen
    assert "HEARD" not in screen
    assert f"at most {coins(most)} coins ({most} wei)" in screen
    wallet, model_cid = localnet.ready["accounts"][0]["address"], request_of_sample["model_cid"]
    assert all(word in screen for word in ("infer", "local", wallet, model_cid))
    assert "Approved for one try" in screen
    assert outcome(environ, request_of_sample) == call_id
    assert "og-mcp calls approve" in outcome(environ, request_of_sample)


@pytest.mark.parametrize("typed", ["yes\n", "0\n", ""], ids=["yes", "another amount", "nothing"])
def test_t22_anything_else_approves_nothing(
    environ: Environ, request_of_sample: Request, typed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_id, _ = waiting(environ, request_of_sample)
    # click's streams for tests say that nobody sits there.
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)

    done = CliRunner(env=environ).invoke(_program, ["calls", "approve", call_id], input=typed)

    assert done.exit_code == 1, done.output
    assert "to approve it" in done.output
    assert "Approved" not in done.output
    assert "og-mcp calls approve" in outcome(environ, request_of_sample)


@needs_terminal
@pytest.mark.process
def test_t22_without_a_terminal_on_both_ends_it_refuses(
    environ: Environ, request_of_sample: Request
) -> None:
    call_id, most = waiting(environ, request_of_sample)
    ours, theirs = os.openpty()
    approve = partial(
        subprocess.run,
        env=clean(environ),
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )

    program = command("calls", "approve", call_id)
    piped = approve(program, input=f"{coins(most)}\n", stdout=subprocess.PIPE)
    only_out = approve(program, input=f"{coins(most)}\n", stdout=theirs)
    only_in = approve(program, stdin=theirs, stdout=subprocess.PIPE)
    os.close(ours)
    os.close(theirs)

    assert [done.returncode for done in (piped, only_out, only_in)] == [1, 1, 1]
    assert all("needs a terminal" in done.stderr for done in (piped, only_out, only_in))
    assert "og-mcp calls approve" in outcome(environ, request_of_sample)


@needs_terminal
@pytest.mark.process
def test_what_needs_no_approval_is_not_approved(
    environ: Environ, request_of_sample: Request
) -> None:
    call_id = made(environ, request_of_sample)

    with Terminal("calls", "approve", call_id, environ=environ) as terminal:
        code, screen = terminal.end()

    assert code == 1
    assert "There is no call" in screen


@needs_terminal
@pytest.mark.process
def test_t25_a_request_that_was_changed_in_the_database_is_not_shown_for_approval(
    localnet: LocalNetwork, environ: Environ, request_of_sample: Request
) -> None:
    call_id, _ = waiting(environ, request_of_sample)
    change = "UPDATE calls SET request = replace(request, 'VANILLA', 'ZKML') WHERE id = ?"
    database = sqlite3.connect(localnet.data_dir / "journal.db")
    with database:
        assert database.execute(change, [call_id]).rowcount == 1
    database.close()

    with Terminal("calls", "approve", call_id, environ=environ) as terminal:
        code, screen = terminal.end()

    assert code == 1
    assert "seal" in screen
    assert "Type the amount" not in screen


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["speed-up", "cancel"])
async def test_a_stuck_transaction_is_replaced(
    localnet: LocalNetwork, environ: Environ, request_of_sample: Request, verb: str
) -> None:
    localnet.hold_blocks()
    async with Session.from_env(environ) as og:
        running = await og.infer(**request_of_sample, wait_s=1)
        stuck = await og.get_call(running.call_id, 0)
        replace = partial(calls, verb, running.call_id, environ=environ)
        done = await anyio.to_thread.run_sync(replace)
        localnet.release_blocks()
        ended = await og.get_call(running.call_id, 30)

    assert done.exit_code == 0, done.stderr
    assert stuck.transaction_hash not in done.stdout
    assert ended.transaction_hash in done.stdout
    assert ended.status == ("done" if verb == "speed-up" else "failed")


@pytest.mark.parametrize("verb", ["speed-up", "cancel"])
def test_what_is_mined_is_not_replaced(
    environ: Environ, request_of_sample: Request, verb: str
) -> None:
    done = calls(verb, made(environ, request_of_sample), environ=environ)

    assert done.exit_code == 1
    assert "Only a transaction that is signed and not mined can be" in done.stderr


@pytest.mark.slow
@needs_terminal
async def test_t22_where_a_person_is_asked_a_fee_is_raised_at_a_terminal_alone(
    localnet: LocalNetwork, environ: Environ, request_of_sample: Request
) -> None:
    localnet.hold_blocks()
    environ = {**environ, "OG_MAX_FEE_PER_CALL": "0.01"}
    asking = {**environ, "OG_CONFIRM_ABOVE": "0"}
    async with Session.from_env(environ) as og:
        running = await og.infer(**request_of_sample, wait_s=1)
        replace = partial(calls, "cancel", running.call_id, environ=asking)
        piped = await anyio.to_thread.run_sync(replace)
        first = (await og.get_call(running.call_id, 0)).transaction_hash
        code, screen = await anyio.to_thread.run_sync(_cancelled, running.call_id, asking)
        localnet.release_blocks()
        ended = await og.get_call(running.call_id, 30)

    assert piped.exit_code == 1
    assert "needs a terminal" in piped.stderr
    assert (code, ended.status) == (0, "failed"), screen
    assert first not in screen
    assert ended.transaction_hash in screen


def _cancelled(call_id: str, environ: Environ) -> tuple[int, str]:
    """Cancel at a terminal; returns exit code and screen."""
    with Terminal("calls", "cancel", call_id, environ=environ) as terminal:
        terminal.read_until("Type the amount in coins to agree, 0.01")
        terminal.type("0.01")
        return terminal.end()


@pytest.mark.slow
@needs_terminal
async def test_t31_a_call_is_released_at_a_terminal_alone_and_stays_reserved_for_a_day(
    localnet: LocalNetwork, environ: Environ, request_of_sample: Request
) -> None:
    localnet.hold_blocks()
    async with Session.from_env(environ) as og:
        running = await og.infer(**request_of_sample, wait_s=1)
        most = (await og.status()).budget["open_fee_wei"]
        piped = await anyio.to_thread.run_sync(
            partial(calls, "release", running.call_id, environ=environ)
        )
        typed = coins(int(most))
        wrong = await anyio.to_thread.run_sync(_released, running.call_id, environ, typed, "yes")
        code, screen = await anyio.to_thread.run_sync(
            _released, running.call_id, environ, typed, typed
        )
        told = await og.get_call(running.call_id, 0)
        still = (await og.status()).budget["open_fee_wei"]
        localnet.release_blocks()
        ended = await og.get_call(running.call_id, 30)

    assert piped.exit_code == 1
    assert "needs a terminal" in piped.stderr
    assert wrong[0] == 1
    assert "nothing was changed" in wrong[1]
    assert code == 0, screen
    assert f"It may still be mined; {typed} coins stay reserved for 24 hours." in screen
    assert "may still be mined" in told.error
    assert still == most
    # Whatever was said of it: it is mined, and is told and charged so.
    assert (ended.status, ended.fee_wei > 0) == ("done", True)


def _released(call_id: str, environ: Environ, most: str, typed: str) -> tuple[int, str]:
    """Release at a terminal; returns exit code and screen."""
    with Terminal("calls", "release", call_id, environ=environ) as terminal:
        terminal.read_until(f"Type the amount in coins to release it, {most}")
        terminal.type(typed)
        return terminal.end()


def test_a_chat_tells_the_same_most_twice(environ: Environ) -> None:
    async def chat() -> None:
        async with Session.from_env(environ) as og:
            await og.chat("openai/gpt-5.4-mini", [{"role": "user", "content": "Hello"}])

    anyio.run(chat)
    (told,) = listed(environ=environ)["calls"]

    assert told["max_opg"] == told["payment"]["max_opg"] == "0.1"


@pytest.mark.parametrize("verb", ["speed-up", "cancel"])
def test_a_call_is_not_looked_for_where_it_cannot_be(
    environ: Environ, request_of_sample: Request, verb: str
) -> None:
    call_id = made(environ, request_of_sample)

    shell = {**environ, "OG_LOCALNET": ""}
    nowhere = calls(verb, call_id, environ=shell)
    elsewhere = calls(verb, call_id, environ={**shell, "OG_NETWORK": "opengradient"})

    assert (nowhere.exit_code, elsewhere.exit_code) == (1, 1)
    assert "set OG_LOCALNET" in nowhere.stderr
    assert "OG_NETWORK is opengradient" in elsewhere.stderr


def test_prune_removes_old_calls_and_leaves_young_ones(
    environ: Environ, request_of_sample: Request
) -> None:
    made(environ, request_of_sample)

    done = calls("prune", "--before", "2999-01-01", environ=environ)
    wrong = calls("prune", "--before", "yesterday", environ=environ)

    assert (done.exit_code, done.stdout) == (0, "Removed 0 calls and 0 files.\n")
    assert wrong.exit_code == 2
    assert len(listed(environ=environ)["calls"]) == 1


def test_what_a_terminal_would_act_on_is_escaped() -> None:
    assert plain("a\x1b[2Jb\x9b1mc\u202ed\n") == "a\\x1b[2Jb\\x9b1mc\\u202ed\\n"


@pytest.mark.process
def test_help_is_told_without_the_journal() -> None:
    done = run("calls", "--help", environ={"PYTHONPROFILEIMPORTTIME": "1"})

    assert all(
        verb in done.stdout
        for verb in ("show", "approve", "speed-up", "cancel", "release", "prune")
    )
    assert not {"sqlalchemy", "web3", "mcp", "rich"} & {
        line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()
    }
