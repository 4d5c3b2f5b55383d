"""Tool list_calls."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from mcp import Client

from og_mcp.client import Session
from og_mcp.errors import fee_text
from og_mcp.server import build_server
from tests.localnet_client import LocalNetwork
from tests.tools.calls import answer, refusal


async def test_calls_are_listed_the_newest_first_with_what_they_cost(
    mcp: Client, request_of_sample: dict[str, Any]
) -> None:
    first = await answer(mcp, "infer", **request_of_sample)
    second = await answer(mcp, "infer", **request_of_sample)

    listed = await answer(mcp, "list_calls")

    calls = listed.pop("calls")
    assert listed.pop("fees") == fee_text(int(first["fee_wei"]) + int(second["fee_wei"]))
    assert [call["call_id"] for call in calls] == [second["call_id"], first["call_id"]]
    assert not any("result" in call for call in calls)
    assert listed == {
        "network": "local",
        "spent_opg": "0",
        "open_opg": "0",
        "fees_wei": str(int(first["fee_wei"]) + int(second["fee_wei"])),
        "open_wei": "0",
    }


async def test_a_call_is_told_with_its_time_its_model_and_its_first_words(
    mcp: Client, request_of_sample: dict[str, Any]
) -> None:
    question = f"Who\n are {'you ' * 40}?"
    await answer(mcp, "infer", **request_of_sample)
    await answer(
        mcp,
        "chat",
        model="openai/gpt-5.4-mini",
        messages=[
            {"role": "system", "content": "You are terse."},
            {"role": "user", "content": [{"type": "text", "text": question}]},
        ],
    )
    await answer(mcp, "create_model", model_name="named", model_desc="What it does.")

    listed = (await answer(mcp, "list_calls"))["calls"]

    published, chatted, inferred = listed
    assert (published["model"], published["first_words"]) == ("named", "What it does.")
    assert chatted["model"] == "openai/gpt-5.4-mini"
    assert chatted["first_words"] == f"Who are {'you ' * 40}"[:80]
    assert inferred["model"] == request_of_sample["model_cid"]
    assert inferred["first_words"].startswith('{"open_high_low_close":[[')
    assert len(inferred["first_words"]) == 80
    assert all(datetime.fromisoformat(one["created_at"]).tzinfo for one in listed)


async def test_with_hashes_alone_the_first_words_are_not_kept(
    localnet: LocalNetwork, request_of_sample: dict[str, Any]
) -> None:
    session = Session.from_env({**localnet.environ, "OG_RECEIPTS": "hashes"})
    async with Client(build_server(session)) as mcp:
        await answer(mcp, "infer", **request_of_sample)
        (listed,) = (await answer(mcp, "list_calls"))["calls"]

    assert listed["model"] == request_of_sample["model_cid"]
    assert "first_words" not in listed
    assert b"open_high_low_close" not in (localnet.data_dir / "journal.db").read_bytes()


async def test_pages_follow_each_other(mcp: Client, request_of_sample: dict[str, Any]) -> None:
    made = [(await answer(mcp, "infer", **request_of_sample))["call_id"] for _ in range(3)]

    first = await answer(mcp, "list_calls", limit=2)
    second = await answer(mcp, "list_calls", limit=2, page=first["next_page"])

    assert first["next_page"] == 1
    assert "next_page" not in second
    assert [call["call_id"] for call in first["calls"] + second["calls"]] == made[::-1]


async def test_since_chooses_and_what_is_no_time_of_the_past_is_refused(
    mcp: Client, request_of_sample: dict[str, Any]
) -> None:
    await answer(mcp, "infer", **request_of_sample)

    async def count(since: str) -> int:
        return len((await answer(mcp, "list_calls", since=since))["calls"])

    tomorrow = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%d}"
    future = await refusal(mcp, "list_calls", since=tomorrow)
    word = await refusal(mcp, "list_calls", since="yesterday")

    assert [await count(one) for one in ("1h", "2020-01-01", "0m")] == [1, 1, 0]
    assert f"since is '{tomorrow}', which is in the future" in future
    assert "since is 'yesterday', which is not a time. Use how long ago (90m, 24h" in word


async def test_an_id_is_found_by_its_first_characters(
    mcp: Client, localnet: LocalNetwork, request_of_sample: dict[str, Any]
) -> None:
    made = await answer(mcp, "infer", **request_of_sample)
    alike = made["call_id"][:8] + "0" * 24
    async with Client(build_server(Session.from_env(localnet.environ))) as other:
        found = await answer(other, "get_call", call_id=made["call_id"][:8])
        verified = await answer(other, "verify_receipt", call_id=made["call_id"][:8])
    database = sqlite3.connect(localnet.data_dir / "journal.db")
    with database:
        twin = "UPDATE calls SET id = ? WHERE id = ?"
        second = (await answer(mcp, "infer", **request_of_sample))["call_id"]
        assert database.execute(twin, [alike, second]).rowcount == 1
    database.close()

    ambiguous = await refusal(mcp, "get_call", call_id=made["call_id"][:8])
    unknown = await refusal(mcp, "get_call", call_id="abcd0000")

    assert found["call_id"] == made["call_id"]
    assert verified["valid"] is True
    assert f"Several calls begin with '{made['call_id'][:8]}': " in ambiguous
    assert made["call_id"] in ambiguous
    assert alike in ambiguous
    assert "There is no call 'abcd0000'" in unknown


async def test_status_tool_and_limit_choose(
    mcp: Client, localnet: LocalNetwork, request_of_sample: dict[str, Any]
) -> None:
    for _ in range(2):
        await answer(mcp, "infer", **request_of_sample)
    localnet.fault("eth_estimateGas", "error", code=3, message="execution reverted: no")
    await refusal(mcp, "infer", **request_of_sample, max_retries=0)

    async def count(**arguments: object) -> int:
        return len((await answer(mcp, "list_calls", **arguments))["calls"])

    assert await count() == 3
    assert await count(limit=1) == 1
    assert await count(status="done") == 2
    assert await count(status="failed") == 1
    assert await count(status="running") == 0
    assert await count(tool="infer") == 3
    assert await count(tool="chat") == 0


async def test_nothing_is_listed_before_the_first_call(mcp: Client) -> None:
    assert (await answer(mcp, "list_calls"))["calls"] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("limit", 0), ("limit", 101), ("limit", True), ("status", "open"), ("page", -1)],
)
async def test_what_the_schema_does_not_allow_is_refused(
    mcp: Client, name: str, value: object
) -> None:
    assert f"Argument {name} must be" in await refusal(mcp, "list_calls", **{name: value})
