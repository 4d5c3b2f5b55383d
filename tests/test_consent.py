"""A person's agreement, asked through real MCP clients in both eras (threats.md T22, T23)."""

from __future__ import annotations

import shlex
import sqlite3
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
from inline_snapshot import snapshot
from mcp import Client, MCPError, StdioServerParameters
from mcp.client import ClientRequestContext
from mcp.server import MCPServer
from mcp.types import (
    CallToolResult,
    ElicitRequestParams,
    ElicitResult,
    ErrorData,
    InputRequiredResult,
    InputResponses,
)

from og_mcp.client import Session
from og_mcp.errors import ApprovalDeclinedError
from og_mcp.journal import open_journal
from og_mcp.server import build_server
from og_mcp.settings import Settings
from og_mcp.tools._consent import READING_S
from tests.http_client import WAYS, connected
from tests.localnet_client import LocalNetwork
from tests.server_process import over_http, over_stdio
from tests.tools.calls import answer, refusal, text_of

Action = Literal["accept", "decline", "cancel"]

both_eras = pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])


class Answering:
    """Who answers the questions: as fast as told, and always the same."""

    def __init__(
        self, action: Action = "accept", *, agree: bool = True, after_s: float = 1.25 * READING_S
    ) -> None:
        self.action, self.agree, self.after_s = action, agree, after_s
        self.heard: list[str] = []

    async def __call__(
        self, context: ClientRequestContext, params: ElicitRequestParams
    ) -> ElicitResult:
        assert context is not None
        self.heard.append(params.message)
        await anyio.sleep(self.after_s)
        content: dict[str, Any] | None = {"agree": self.agree} if self.action == "accept" else None
        return ElicitResult(action=self.action, content=content)


@pytest.fixture
def environ(localnet: LocalNetwork) -> dict[str, str]:
    """The owner wants to be asked before everything that signs."""
    return {**localnet.environ, "OG_CONFIRM_ABOVE": "0", "OG_LOG_LEVEL": "WARNING"}


@pytest.fixture
def arguments(localnet: LocalNetwork) -> dict[str, Any]:
    """A request that costs gas."""
    sample = localnet.ready["sample_models"][0]
    return {"model_cid": sample["cid"], "model_input": sample["model_input"]}


def server(environ: dict[str, str]) -> MCPServer[Session]:
    return build_server(Session.from_env(environ))


def sent(localnet: LocalNetwork) -> int:
    count: int = localnet.counters()["calls"].get("eth_sendRawTransaction", 0)
    return count


async def only_call(mcp: Client) -> dict[str, Any]:
    (call,) = (await answer(mcp, "list_calls"))["calls"]
    return dict(call)


@pytest.mark.slow
@both_eras
async def test_a_person_who_agrees_lets_one_call_through(
    localnet: LocalNetwork, environ: dict[str, str], arguments: dict[str, Any], mode: str
) -> None:
    before, person = sent(localnet), Answering()
    async with Client(server(environ), mode=mode, elicitation_callback=person) as mcp:
        result = await answer(mcp, "infer", **arguments)
        call = await only_call(mcp)

    assert result["status"] == "done"
    assert call["call_id"] == result["call_id"]
    assert len(person.heard) == 1
    assert sent(localnet) == before + 1


@both_eras
async def test_the_question_names_tool_model_network_wallet_and_the_most_it_may_cost(
    localnet: LocalNetwork, environ: dict[str, str], arguments: dict[str, Any], mode: str
) -> None:
    person = Answering("decline")
    async with Client(server(environ), mode=mode, elicitation_callback=person) as mcp:
        await refusal(mcp, "infer", **arguments)
        call = await only_call(mcp)
        async with open_journal(Settings.from_env(environ)) as journal:
            asked = await journal.approval(call["call_id"])

    (question,) = person.heard
    wallet, most = localnet.ready["accounts"][0]["address"], question.split()[9]
    assert question.startswith(
        f"Run infer for a network fee of at most {most} ETH from your wallet {wallet}? "
        "Network local. "
    )
    assert len(most.lstrip("0.")) <= 3
    assert asked.cap_wei / 10**18 <= float(most)
    assert f"Call {call['call_id']}: model_cid '{arguments['model_cid']}'" in question
    assert asked.cap_wei < 10**15


@both_eras
async def test_t22_an_answer_faster_than_a_person_reads_does_not_count(
    localnet: LocalNetwork, environ: dict[str, str], arguments: dict[str, Any], mode: str
) -> None:
    before, program = sent(localnet), Answering(after_s=0)
    async with Client(server(environ), mode=mode, elicitation_callback=program) as mcp:
        text = await refusal(mcp, "infer", **arguments)
        call = await only_call(mcp)

    assert f"og-mcp calls approve {call['call_id']}`" in text
    assert (call["status"], call["stage"]) == ("failed", "not_sent")
    assert len(program.heard) == 1
    assert sent(localnet) == before


@pytest.mark.slow
@both_eras
@pytest.mark.parametrize(
    "person",
    [
        pytest.param(Answering(agree=False), id="accepts with a no"),
        pytest.param(Answering("decline"), id="declines"),
    ],
)
async def test_a_person_who_does_not_agree_is_obeyed(
    localnet: LocalNetwork,
    environ: dict[str, str],
    arguments: dict[str, Any],
    mode: str,
    person: Answering,
) -> None:
    before = sent(localnet)
    async with Client(server(environ), mode=mode, elicitation_callback=person) as mcp:
        text = await refusal(mcp, "infer", **arguments)
        call = await only_call(mcp)

    assert text.startswith(
        f"A person declined this request (call {call['call_id']}). Nothing was paid. "
        "Ask them what they want instead; the same request is refused until "
    )
    assert "og-mcp calls approve" not in text
    assert (call["status"], call["stage"], call.get("transaction_hash", "")) == (
        "failed",
        "not_sent",
        "",
    )
    assert call["error"] in text
    assert sent(localnet) == before


class Unreadable:
    """A host that answers by itself, and with no answer to the question."""

    def __init__(self, answered: ElicitResult | ErrorData, after_s: float = 0) -> None:
        self.answered, self.after_s = answered, after_s

    async def __call__(
        self, context: ClientRequestContext, params: ElicitRequestParams
    ) -> ElicitResult | ErrorData:
        assert context is not None
        assert params.message
        await anyio.sleep(self.after_s)
        return self.answered


no_person = pytest.mark.parametrize(
    "client",
    [
        pytest.param(Answering("cancel"), id="a slow cancel"),
        pytest.param(Answering("cancel", after_s=0), id="a fast cancel"),
        pytest.param(Answering("decline", after_s=0), id="a fast decline"),
        pytest.param(Answering(after_s=0), id="a fast yes"),
        pytest.param(Unreadable(ElicitResult(action="accept")), id="a form without content"),
        pytest.param(
            Unreadable(ElicitResult(action="accept", content={}), 1.25 * READING_S),
            id="a slow empty form",
        ),
        pytest.param(
            Unreadable(ElicitResult(action="accept", content={"agree": "surely"})),
            id="a form of another shape",
        ),
    ],
)


@pytest.mark.slow
@both_eras
@no_person
@pytest.mark.parametrize("over", ["memory", "stdio"])
async def test_t41_what_no_person_answers_counts_as_nobody_to_ask(  # noqa: PLR0913, PLR0917 - fixtures
    localnet: LocalNetwork,
    environ: dict[str, str],
    arguments: dict[str, Any],
    mode: str,
    client: Answering | Unreadable,
    over: str,
) -> None:
    before = sent(localnet)
    way: Any = server(environ) if over == "memory" else over_stdio(environ)
    async with Client(way, mode=mode, elicitation_callback=client) as mcp:
        text = await refusal(mcp, "infer", **arguments)
        call = await only_call(mcp)

    assert f"Run `OG_DATA_DIR={localnet.data_dir} /" in text
    assert f"/og-mcp calls approve {call['call_id']}` in a terminal, then repeat" in text
    assert (call["status"], call["stage"]) == ("failed", "not_sent")
    assert sent(localnet) == before


@pytest.mark.parametrize("over", ["memory", pytest.param("stdio", marks=pytest.mark.slow)])
async def test_t41_an_error_in_place_of_an_answer_counts_as_nobody_to_ask(
    localnet: LocalNetwork, environ: dict[str, str], arguments: dict[str, Any], over: str
) -> None:
    before = sent(localnet)
    way: Any = server(environ) if over == "memory" else over_stdio(environ)
    client = Unreadable(ErrorData(code=-32603, message="There is no window"))
    # A client of 2026-07-28 has nothing to send an error back in.
    async with Client(way, mode="legacy", elicitation_callback=client) as mcp:
        text = await refusal(mcp, "infer", **arguments)
        call = await only_call(mcp)

    assert f"/og-mcp calls approve {call['call_id']}` in a terminal" in text
    assert sent(localnet) == before


async def test_t41_the_command_names_what_a_terminal_would_look_for_elsewhere(
    localnet: LocalNetwork, environ: dict[str, str], arguments: dict[str, Any]
) -> None:
    environ["OG_JOURNAL_URL"] = "sqlite:///my journal.db"
    async with Client(server(environ)) as mcp:
        text = await refusal(mcp, "infer", **arguments)
        call = await only_call(mcp)

    _, command, _ = text.split("`")
    *variables, program, _, verb, call_id = shlex.split(command)
    assert variables == [
        f"OG_DATA_DIR={localnet.data_dir}",
        "OG_JOURNAL_URL=sqlite:///my journal.db",
    ]
    assert Path(program).name == "og-mcp"
    assert Path(program).is_absolute()
    assert (verb, call_id) == ("approve", call["call_id"])


@both_eras
async def test_t48_a_no_holds_for_the_same_request_under_any_key(
    localnet: LocalNetwork, environ: dict[str, str], arguments: dict[str, Any], mode: str
) -> None:
    before, person = sent(localnet), Answering("decline")
    async with Client(server(environ), mode=mode, elicitation_callback=person) as mcp:
        first = await refusal(mcp, "infer", **arguments)
        declined = await only_call(mcp)
        person.action = "accept"
        again = await refusal(mcp, "infer", **arguments)
        keyed = await refusal(mcp, "infer", **arguments, idempotency_key="once-more")
        other = await answer(mcp, "infer", **arguments | {"inference_mode": "TEE"})
    async with open_journal(Settings.from_env(environ)) as journal:
        with pytest.raises(ApprovalDeclinedError):
            await journal.approve(declined["call_id"])

    assert all("A person declined this request" in text for text in (first, again, keyed))
    assert not any("calls approve" in text for text in (first, again, keyed, declined["error"]))
    # The first and the other request; the same one is not asked about again.
    assert len(person.heard) == 2
    assert other["status"] == "done"
    assert sent(localnet) == before + 1


@pytest.mark.slow
@both_eras
@pytest.mark.parametrize(
    "person",
    [
        pytest.param(Answering("decline"), id="declines"),
        pytest.param(Answering(agree=False), id="sends a no"),
    ],
)
async def test_t48_over_stdio_a_no_ends_the_call_and_names_no_command(
    localnet: LocalNetwork,
    environ: dict[str, str],
    arguments: dict[str, Any],
    mode: str,
    person: Answering,
) -> None:
    before, asked = sent(localnet), len(person.heard)
    process: StdioServerParameters = over_stdio(environ)
    async with Client(process, mode=mode, elicitation_callback=person) as mcp:
        text = await refusal(mcp, "infer", **arguments)
        again = await refusal(mcp, "infer", **arguments)
        newest, declined = (await answer(mcp, "list_calls"))["calls"]

    assert f"A person declined this request (call {declined['call_id']})" in text
    assert f"A person declined this request (call {newest['call_id']})" in again
    assert "og-mcp calls approve" not in text + again + declined["error"] + newest["error"]
    assert len(person.heard) == asked + 1
    assert sent(localnet) == before


async def test_t48_after_ten_minutes_the_same_request_is_asked_about_again(
    localnet: LocalNetwork, environ: dict[str, str], arguments: dict[str, Any]
) -> None:
    person = Answering("decline")
    async with Client(server(environ), elicitation_callback=person) as mcp:
        await refusal(mcp, "infer", **arguments, idempotency_key="one")
        database = sqlite3.connect(localnet.data_dir / "journal.db")
        with database:
            database.execute("UPDATE calls SET declined_at = declined_at - 600000000")
        database.close()
        person.action = "accept"
        result = await answer(mcp, "infer", **arguments, idempotency_key="one")

    assert result["status"] == "done"
    assert len(person.heard) == 2


@both_eras
async def test_t22_a_client_that_cannot_ask_is_refused_with_the_command(
    localnet: LocalNetwork, environ: dict[str, str], arguments: dict[str, Any], mode: str
) -> None:
    before = sent(localnet)
    async with Client(server(environ), mode=mode) as mcp:
        text = await refusal(mcp, "infer", **arguments)
        call = await only_call(mcp)

    assert f"Call {call['call_id']} may cost up to 0.000" in text
    folder = localnet.data_dir
    assert f"Run `OG_DATA_DIR={folder} " in text
    assert f"og-mcp calls approve {call['call_id']}` in a terminal" in text
    assert sent(localnet) == before


async def test_t22_what_was_approved_goes_through_once_and_unasked(
    localnet: LocalNetwork, environ: dict[str, str], arguments: dict[str, Any]
) -> None:
    before, program = sent(localnet), Answering(after_s=0)
    async with Client(server(environ), elicitation_callback=program) as mcp:
        await refusal(mcp, "infer", **arguments)
        pending = await only_call(mcp)
        async with open_journal(Settings.from_env(environ)) as journal:
            await journal.approve(pending["call_id"])
        result = await answer(mcp, "infer", **arguments)
        await refusal(mcp, "infer", **arguments)

    assert result["call_id"] == pending["call_id"]
    assert len(program.heard) == 2
    assert sent(localnet) == before + 1


@pytest.mark.parametrize("name", ["approved", "approved_wei", "consent", "principal", "og"])
async def test_no_argument_grants_consent(
    environ: dict[str, str], arguments: dict[str, Any], name: str
) -> None:
    async with Client(server(environ)) as mcp:
        text = await refusal(mcp, "infer", **arguments, **{name: True})

    assert f"Unknown argument '{name}'" in text


async def test_nobody_is_asked_below_the_threshold_or_for_a_dry_run(
    localnet: LocalNetwork, environ: dict[str, str], arguments: dict[str, Any]
) -> None:
    nobody = Answering()
    async with Client(server(localnet.environ), elicitation_callback=nobody) as mcp:
        await answer(mcp, "infer", **arguments)
    async with Client(server(environ), elicitation_callback=nobody) as mcp:
        await answer(mcp, "infer", **arguments, dry_run=True)

    assert nobody.heard == []


async def first_round(mcp: Client, arguments: dict[str, Any]) -> tuple[str, str]:
    """Call, and return the key of the question and the sealed state."""
    asked = await mcp.session.call_tool("infer", arguments, allow_input_required=True)
    assert isinstance(asked, InputRequiredResult)
    assert asked.input_requests is not None
    assert asked.request_state is not None
    ((key, _),) = asked.input_requests.items()
    return key, asked.request_state


async def second_round(
    mcp: Client, arguments: dict[str, Any], key: str, state: str
) -> CallToolResult:
    """Call again with a yes."""
    responses: InputResponses = {key: ElicitResult(action="accept", content={"agree": True})}
    result = await mcp.session.call_tool(
        "infer",
        arguments,
        input_responses=responses,
        request_state=state,
        allow_input_required=True,
    )
    assert isinstance(result, CallToolResult)
    return result


def modern(environ: dict[str, str]) -> Client:
    return Client(server(environ), mode="2026-07-28", elicitation_callback=Answering())


async def test_an_answer_that_is_sent_twice_pays_once(
    localnet: LocalNetwork, environ: dict[str, str], arguments: dict[str, Any]
) -> None:
    before = sent(localnet)
    async with modern(environ) as mcp:
        key, state = await first_round(mcp, arguments)
        await anyio.sleep(READING_S)
        first = await second_round(mcp, arguments, key, state)
        second = await second_round(mcp, arguments, key, state)

    assert not first.is_error, text_of(first)
    assert second.is_error
    assert "og-mcp calls approve" in text_of(second)
    assert sent(localnet) == before + 1


async def test_an_answer_belongs_to_the_request_that_was_asked_about(
    localnet: LocalNetwork, environ: dict[str, str], arguments: dict[str, Any]
) -> None:
    before = sent(localnet)
    async with modern(environ) as mcp:
        key, state = await first_round(mcp, arguments)
        await anyio.sleep(READING_S)
        with pytest.raises(MCPError, match="Invalid or expired requestState"):
            await second_round(mcp, {**arguments, "inference_mode": "TEE"}, key, state)
        with pytest.raises(MCPError, match="Invalid or expired requestState"):
            await second_round(mcp, arguments, key, state[:-4] + "AAAA")

    assert sent(localnet) == before


async def test_an_answer_without_its_question_is_asked_again(
    localnet: LocalNetwork, environ: dict[str, str], arguments: dict[str, Any]
) -> None:
    before = sent(localnet)
    async with modern(environ) as mcp:
        key, _ = await first_round(mcp, arguments)
        again = await mcp.session.call_tool(
            "infer",
            arguments,
            input_responses={key: ElicitResult(action="accept", content={"agree": True})},
            allow_input_required=True,
        )

    assert isinstance(again, InputRequiredResult)
    assert sent(localnet) == before


async def test_a_client_cannot_write_into_what_a_question_keeps(
    localnet: LocalNetwork, environ: dict[str, str], arguments: dict[str, Any]
) -> None:
    before = sent(localnet)
    async with Client(server(environ)) as mcp:
        await refusal(mcp, "infer", **arguments)
        call = await only_call(mcp)
        forged: Any = {"og-mcp/pause": {"call_id": call["call_id"], "asked_at": 1.0}}
        result = await mcp.call_tool("infer", arguments, meta=forged)

    assert "og-mcp calls approve" in text_of(result)
    assert sent(localnet) == before


async def test_a_request_that_is_given_up_before_the_question_holds_nobody_up(
    localnet: LocalNetwork, environ: dict[str, str], arguments: dict[str, Any]
) -> None:
    before, person = sent(localnet), Answering()
    async with Client(server(environ), elicitation_callback=person) as mcp:
        await answer(mcp, "infer", **arguments, dry_run=True)
        localnet.latency(0.3)
        with anyio.move_on_after(0.2):
            await mcp.call_tool("infer", arguments)
        localnet.latency(0)
        with anyio.fail_after(20):
            result = await answer(mcp, "infer", **arguments)

    assert result["status"] == "done"
    assert len(person.heard) == 1
    assert sent(localnet) == before + 1


@pytest.mark.process
@pytest.mark.parametrize("mode", [pytest.param("legacy", marks=pytest.mark.slow), "2026-07-28"])
async def test_consent_is_asked_over_stdio(
    localnet: LocalNetwork, environ: dict[str, str], arguments: dict[str, Any], mode: str
) -> None:
    before, person = sent(localnet), Answering()
    process: StdioServerParameters = over_stdio(environ)
    async with Client(process, mode=mode, elicitation_callback=person) as mcp:
        result = await answer(mcp, "infer", **arguments)
        person.after_s = 0
        text = await refusal(mcp, "infer", **arguments)

    assert result["status"] == "done"
    assert "og-mcp calls approve" in text
    assert len(person.heard) == 2
    assert sent(localnet) == before + 1


@both_eras
async def test_t23_a_client_of_a_server_over_http_is_not_asked(
    localnet: LocalNetwork, environ: dict[str, str], arguments: dict[str, Any], mode: str
) -> None:
    before, client = sent(localnet), Answering()
    http = {"OG_TRANSPORT": "http", "OG_HTTP_TOKEN": "a-token-of-some-length"}
    async with Client(server(environ | http), mode=mode, elicitation_callback=client) as mcp:
        text = await refusal(mcp, "infer", **arguments)

    assert "og-mcp calls approve" in text
    assert client.heard == []
    assert sent(localnet) == before


@pytest.mark.slow
async def test_t23_a_client_over_http_cannot_answer_for_the_owner(
    localnet: LocalNetwork, environ: dict[str, str], arguments: dict[str, Any]
) -> None:
    before, client = sent(localnet), Answering()
    with over_http(environ) as address:
        for path, mode in WAYS:
            async with connected(address, path, mode, client) as mcp:
                text = await refusal(mcp, "infer", **arguments)

            assert "og-mcp calls approve" in text

    assert client.heard == []
    assert sent(localnet) == before


async def test_the_form_is_one_yes_or_no(
    environ: dict[str, str], arguments: dict[str, Any]
) -> None:
    async with modern(environ) as mcp:
        asked = await mcp.session.call_tool("infer", arguments, allow_input_required=True)

    assert isinstance(asked, InputRequiredResult)
    assert asked.input_requests is not None
    ((_, request),) = asked.input_requests.items()
    assert request.model_dump(by_alias=True)["params"]["requestedSchema"] == snapshot(
        {
            "properties": {
                "agree": {
                    "description": "Yes: carry this call out.",
                    "title": "Agree",
                    "type": "boolean",
                }
            },
            "required": ["agree"],
            "type": "object",
        }
    )
