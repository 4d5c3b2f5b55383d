"""Faults show themselves where and as often as they were asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, get_args

import anyio
import httpx
import pytest
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from og_mcp.localnet.chain import Chain
from og_mcp.localnet.faults import Action, Fault, FaultError, Faults, When
from og_mcp.localnet.rpc import rpc_app
from og_mcp.localnet.service import Service
from og_mcp.localnet.serving import ConnectionDroppedError, FaultGate
from tests.localnet.calls import sign
from tests.localnet.conftest import CHAIN_ID

CHAIN_ID_CALL = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"}


class Served:
    """The chain behind a real connection."""

    def __init__(self, service: Service, http: httpx.AsyncClient) -> None:
        self.faults, self.http = service.faults, http

    async def post(self, body: object) -> httpx.Response:
        return await self.http.post("/", json=body)

    async def ask(self, method: str, *params: object) -> Any:  # noqa: ANN401 - JSON
        answer = await self.post({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        told = answer.json()
        return told.get("result", told.get("error"))


async def _served(app: ASGIApp, faults: Faults) -> AsyncIterator[Served]:
    service = Service(app, faults)
    await service.open()
    async with httpx.AsyncClient(base_url=service.url, trust_env=False, timeout=20) as http:
        yield Served(service, http)
    await service.close()


@pytest.fixture
async def served(chain: Chain) -> AsyncIterator[Served]:
    faults = Faults()
    async for each in _served(rpc_app(chain, faults), faults):
        yield each


def _send(wallet: LocalAccount, call_id: int = 1) -> dict[str, Any]:
    raw = "0x" + sign(wallet, CHAIN_ID).hex()
    return {"jsonrpc": "2.0", "id": call_id, "method": "eth_sendRawTransaction", "params": [raw]}


async def test_an_error_is_given_in_place_of_the_answer(served: Served) -> None:
    served.faults.add(
        Fault(method="eth_chainId", action="error", code=-32005, message="slow down", data={"s": 1})
    )

    assert await served.ask("eth_chainId") == {
        "code": -32005,
        "message": "slow down",
        "data": {"s": 1},
    }
    assert await served.ask("eth_chainId") == hex(CHAIN_ID)


async def test_a_result_is_given_in_place_of_the_true_one(served: Served) -> None:
    served.faults.add(Fault(method="eth_chainId", action="result", result="0x1"))

    assert await served.ask("eth_chainId") == "0x1"


@pytest.mark.parametrize("when", get_args(When))
@pytest.mark.parametrize("action", ["error", "result", "status", "drop"])
async def test_a_fault_stands_before_or_after_the_call_is_carried_out(
    served: Served, chain: Chain, wallet: LocalAccount, when: When, action: Action
) -> None:
    served.faults.add(Fault(method="eth_sendRawTransaction", action=action, when=when))
    try:
        await served.post(_send(wallet))
    except httpx.RemoteProtocolError:
        assert action == "drop"

    assert chain.records.head.number == (1 if when == "after" else 0)


async def test_a_dropped_connection_gives_no_byte_of_an_answer(served: Served) -> None:
    served.faults.add(Fault(method="eth_chainId", action="drop"))

    with pytest.raises(httpx.RemoteProtocolError):
        await served.ask("eth_chainId")
    assert await served.ask("eth_chainId") == hex(CHAIN_ID)


async def test_a_status_takes_the_place_of_the_whole_answer(served: Served) -> None:
    served.faults.add(Fault(method="eth_chainId", action="status", status=502, body="bad gateway"))
    answer = await served.post([CHAIN_ID_CALL, CHAIN_ID_CALL])

    assert (answer.status_code, answer.text) == (502, "bad gateway")


async def test_a_fault_inside_a_batch_leaves_the_other_calls_alone(served: Served) -> None:
    served.faults.add(Fault(method="eth_gasPrice", action="error", message="no"))
    body = [CHAIN_ID_CALL, {**CHAIN_ID_CALL, "id": 2, "method": "eth_gasPrice"}, CHAIN_ID_CALL]
    first, second, third = (await served.post(body)).json()

    assert (first["result"], third["result"]) == (hex(CHAIN_ID), hex(CHAIN_ID))
    assert second["error"]["message"] == "no"


async def test_a_drop_inside_a_batch_keeps_what_was_carried_out_before_it(
    served: Served, chain: Chain, wallet: LocalAccount
) -> None:
    served.faults.add(Fault(method="eth_getTransactionReceipt", action="drop"))
    sent = _send(wallet)
    receipt = {
        **CHAIN_ID_CALL,
        "method": "eth_getTransactionReceipt",
        "params": ["0x" + keccak(hexstr=sent["params"][0]).hex()],
    }

    with pytest.raises(httpx.RemoteProtocolError):
        await served.post([sent, receipt, _send(wallet)])
    assert chain.records.head.number == 1
    assert served.faults.counters()["calls"] == {
        "eth_sendRawTransaction": 1,
        "eth_getTransactionReceipt": 1,
    }


async def test_a_hanging_request_ends_when_the_client_leaves(served: Served) -> None:
    served.faults.add(Fault(method="eth_chainId", action="hang"))

    with pytest.raises(httpx.ReadTimeout):
        await served.http.post("/", json=CHAIN_ID_CALL, timeout=0.2)
    assert await served.ask("eth_chainId") == hex(CHAIN_ID)


async def test_a_hanging_request_ends_when_faults_are_cleared(served: Served) -> None:
    served.faults.add(Fault(method="eth_chainId", action="hang"))
    failed = anyio.Event()

    async def ask() -> None:
        with pytest.raises(httpx.RemoteProtocolError):
            await served.ask("eth_chainId")
        failed.set()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await _until_no_fault_waits(served.faults)
            assert not failed.is_set()
            served.faults.clear()
            await failed.wait()


async def _until_no_fault_waits(faults: Faults) -> None:
    while faults.pending():  # noqa: ASYNC110 - the network has no event for it, as no tester has
        await anyio.sleep(0.01)


async def test_a_hanging_request_ends_after_its_limit(served: Served) -> None:
    served.faults.add(Fault(method="eth_chainId", action="hang", limit_s=0.05))

    with anyio.fail_after(10), pytest.raises(httpx.RemoteProtocolError):
        await served.ask("eth_chainId")


async def test_a_delayed_answer_is_the_true_one(served: Served) -> None:
    served.faults.add(Fault(method="eth_chainId", action="delay", delay_s=0.3))
    order: list[str] = []

    async def ask(method: str) -> None:
        order.append(await served.ask(method))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, "eth_chainId")
        await _until_no_fault_waits(served.faults)
        tasks.start_soon(ask, "eth_chainId")

    assert order == [hex(CHAIN_ID)] * 2


async def test_latency_is_added_to_each_request_not_to_each_call(chain: Chain) -> None:
    faults = Faults()
    faults.latency_s = 0.2
    transport = httpx.ASGITransport(app=rpc_app(chain, faults))
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(lambda: http.post("/", json=[CHAIN_ID_CALL] * 50))
        await anyio.wait_all_tasks_blocked()
        delayed = faults.counters()

    assert delayed == {"http_requests": 1, "calls": {}}
    assert faults.counters() == {"http_requests": 1, "calls": {"eth_chainId": 50}}


def test_a_fault_is_shown_so_often_after_so_many_matches() -> None:
    faults = Faults()
    faults.add(Fault(method="eth_*", action="error", times=2, skip=1))
    shown = [faults.take("eth_call", "before") is not None for _ in range(5)]

    assert shown == [False, True, True, False, False]


def test_faults_wait_for_their_name_and_moment() -> None:
    faults = Faults()
    number = faults.add(Fault(method="eth_call", action="error", when="after"))

    assert faults.take("eth_call", "before") is None
    assert faults.take("eth_calls", "after") is None
    assert [each["id"] for each in faults.pending()] == [number]
    assert faults.take("eth_call", "after") is not None


def test_counters_start_again() -> None:
    faults = Faults()
    faults.count_request()
    faults.count_call("eth_call")
    faults.reset_counters()

    assert faults.counters() == {"http_requests": 0, "calls": {}}


def test_a_fault_is_read_from_the_json_it_is_written_as() -> None:
    fault = Fault(method="eth_call", action="result", result=[1], code=-1, times=3, delay_s=0.5)

    assert Fault.from_json(fault.as_json()) == fault
    assert Fault.from_json({"method": "m", "action": "delay", "delay_s": 2}).delay_s == 2


@pytest.mark.parametrize(
    "value",
    [
        [],
        {"method": "m"},
        {"action": "error"},
        {"method": "m", "action": "explode"},
        {"method": "m", "action": "error", "often": 2},
        {"method": "m", "action": "error", "times": "2"},
        {"method": "m", "action": "error", "times": True},
        {"method": "m", "action": "error", "times": -1},
        {"method": "m", "action": "error", "delay_s": -1.0},
        {"method": 7, "action": "error"},
        {"method": "m", "action": "error", "when": "later"},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(value: object) -> None:
    with pytest.raises(FaultError):
        Fault.from_json(value)


# Services other than JSON-RPC


@pytest.fixture
async def shop() -> AsyncIterator[Served]:
    faults = Faults()

    async def sell(request: Request) -> Response:
        request.app.state.sold += 1
        return PlainTextResponse(f"number {request.app.state.sold}")

    app = Starlette(routes=[Route("/things/{name}", sell)])
    app.state.sold = 0
    async for each in _served(FaultGate(app, faults=faults, service="shop"), faults):
        yield each


async def test_requests_are_named_by_service_method_and_path(shop: Served) -> None:
    shop.faults.add(Fault(method="shop GET /things/*", action="error", status=503, message="no"))
    answer = await shop.http.get("/things/a%2Fb")

    assert (answer.status_code, answer.json()) == (503, {"detail": "no"})
    assert shop.faults.counters() == {"http_requests": 1, "calls": {"shop GET /things/a/b": 1}}
    assert (await shop.http.get("/things/a")).text == "number 1"


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (Fault(method="*", action="status", status=418, body="tea"), (418, "tea")),
        (Fault(method="*", action="result", result={"a": 1}), (200, '{"a":1}')),
        (Fault(method="*", action="delay", delay_s=0.01), (200, "number 1")),
    ],
)
async def test_faults_take_the_place_of_a_plain_answer(
    shop: Served, fault: Fault, seen: tuple[int, str]
) -> None:
    shop.faults.add(fault)
    answer = await shop.http.get("/things/a")

    assert (answer.status_code, answer.text) == seen


async def test_a_fault_after_the_request_hides_what_was_done(shop: Served) -> None:
    shop.faults.add(Fault(method="*", action="drop", when="after"))

    with pytest.raises(httpx.RemoteProtocolError):
        await shop.http.get("/things/a")
    assert (await shop.http.get("/things/a")).text == "number 2"


async def test_without_a_server_a_drop_is_an_exception(chain: Chain) -> None:
    faults = Faults()
    faults.add(Fault(method="eth_chainId", action="drop"))
    transport = httpx.ASGITransport(app=rpc_app(chain, faults))

    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        with pytest.raises(ConnectionDroppedError):
            await http.post("/", json=CHAIN_ID_CALL)
