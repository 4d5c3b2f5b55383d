"""The payment side of a gateway, through HTTP, with the x402 package's client.

The application behind it answers what a request tells it to, so that costs are known exactly.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
from eth_abi.abi import encode
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_keys.datatypes import PrivateKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from x402.http.utils import (
    decode_payment_required_header,
    decode_payment_response_header,
    encode_payment_signature_header,
)
from x402.schemas import PaymentRequired

from og_mcp.localnet import genesis
from og_mcp.localnet.chain import Chain
from og_mcp.localnet.faucet import Faucet
from og_mcp.localnet.faults import Faults
from og_mcp.localnet.genesis import OPG, OPG_TOKEN
from og_mcp.localnet.payments import Paid, Payments
from og_mcp.localnet.payments.verbs import PaymentVerbs
from og_mcp.localnet.service import Service
from og_mcp.localnet.wallet import Wallet
from tests.localnet.calls import sign
from tests.localnet.conftest import CHAIN_ID
from tests.localnet.graphs import Folder
from tests.localnet.payers import allowance_of, opg_of, sign_payment, signature_header

CHAT = "/v1/chat/completions"
COMPLETION = "/v1/completions"
CAP = OPG // 10
PAY_TO = "0x" + "99" * 20
ENDED = {"error": "Session expired or exhausted"}


async def _answer(request: Request) -> Response:
    told = await request.json()
    if "cost" in told:
        request.state.cost_opg = told["cost"]
    if told.get("cut"):
        return _Cut()
    if told.get("stream"):
        return StreamingResponse(_frames(), media_type="text/event-stream")
    return JSONResponse({"said": "hello"}, told.get("status", 200))


class _Cut(Response):
    """An answer whose last part never comes."""

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"some", "more_body": True})


async def _frames() -> AsyncIterator[bytes]:
    for number in range(3):
        yield f"data: {number}\n\n".encode()


def _application() -> Starlette:
    routes = [Route(path, _answer, methods=["POST"]) for path in (CHAT, COMPLETION)]
    return Starlette(routes=[*routes, Route("/health", _health)])


async def _health(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


class Shop:
    """A paid application on a port, with its admin verbs."""

    def __init__(
        self,
        chain: Chain,
        gateway: httpx.AsyncClient,
        admin: httpx.AsyncClient,
        payments: Payments,
    ) -> None:
        self.chain, self.gateway, self.admin = chain, gateway, admin
        self.payments = payments

    async def ask(self, path: str = CHAT, *, told: Any = None, **headers: str) -> httpx.Response:  # noqa: ANN401 - JSON
        """Ask; headers by their names with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named.setdefault("Authorization", "Bearer placeholder")
        return await self.gateway.post(path, json=told or {}, headers=named)

    async def signature(self, wallet: LocalAccount) -> str:
        """Fetch a challenge and sign for it."""
        challenge = await self.ask()
        assert challenge.status_code == 402
        return await signature_header(wallet, challenge.headers["PAYMENT-REQUIRED"])

    async def pay(self, wallet: LocalAccount, path: str = CHAT, **told: Any) -> httpx.Response:  # noqa: ANN401 - JSON
        """Fetch a challenge, sign for it and ask."""
        return await self.ask(path, told=told, payment_signature=await self.signature(wallet))

    async def verb(self, method: str, path: str, **body: Any) -> Any:  # noqa: ANN401 - JSON
        """Ask the admin service."""
        answer = await self.admin.request(method, f"/payments/{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def settled(self, count: int) -> list[dict[str, Any]]:
        """Wait until there are so many settlements, at most five seconds."""
        with anyio.fail_after(5):
            while len(found := await self.verb("GET", "settlements")) < count:  # noqa: ASYNC110 - what HTTP tells raises no event
                await anyio.sleep(0.01)
        assert isinstance(found, list)
        return found

    def taken(self) -> int:
        """Read what the gateway holds on the chain."""
        return opg_of(self.chain, PAY_TO)


@pytest.fixture
def poor() -> LocalAccount:
    """A known account that has approved nothing."""
    account: LocalAccount = Account.create()
    return account


@pytest.fixture
def keys() -> dict[str, PrivateKey]:
    return {name: PrivateKey(bytes(Account.create().key)) for name in ("bank", "facilitator")}


@pytest.fixture
def chain(
    wallet: LocalAccount, poor: LocalAccount, keys: dict[str, PrivateKey], models: Folder
) -> Iterator[Chain]:
    bank = keys["bank"].public_key.to_checksum_address()
    balances: dict[str, int] = {wallet.address: 2 * OPG, poor.address: OPG, bank: 1000 * OPG}
    contracts = (
        *genesis.payment(balances, {wallet.address: 2 * OPG}),
        *(Wallet.account(key) for key in keys.values()),
    )
    chain = Chain(chain_id=CHAIN_ID, accounts=[wallet.address], models=models, contracts=contracts)
    yield chain
    chain.close()


@pytest.fixture
async def shop(
    chain: Chain, wallet: LocalAccount, poor: LocalAccount, keys: dict[str, PrivateKey]
) -> AsyncIterator[Shop]:
    payments = Payments(
        chain,
        facilitator=keys["facilitator"],
        pay_to=PAY_TO,
        payers=[wallet.address, poor.address],
        session_cap=CAP,
        session_deadline_s=300,
        session_idle_s=60,
    )
    verbs = PaymentVerbs(payments, chain, Faucet(chain, keys["bank"]))
    admin = httpx.ASGITransport(Starlette(routes=verbs.routes()))
    async with (
        _served(Paid(_application(), payments)) as gateway,
        httpx.AsyncClient(transport=admin, base_url="http://localhost") as admin_client,
    ):
        yield Shop(chain, gateway, admin_client, payments)
    await payments.close()


@asynccontextmanager
async def _served(app: Paid) -> AsyncIterator[httpx.AsyncClient]:
    service = Service(app, Faults())
    await service.open()
    async with httpx.AsyncClient(base_url=service.url, trust_env=False, verify=False) as client:  # noqa: S501 - plain HTTP on loopback
        yield client
    await service.close()


# Asking


async def test_the_challenge_asks_for_what_the_public_gateway_asks_for(shop: Shop) -> None:
    challenge = await shop.ask()

    asked = decode_payment_required_header(challenge.headers["PAYMENT-REQUIRED"])
    assert isinstance(asked, PaymentRequired)
    (requirement,) = asked.accepts
    facilitator = requirement.extra.pop("facilitatorAddress")
    assert (challenge.status_code, len(facilitator)) == (402, 42)
    assert requirement.model_dump() == {
        "scheme": "upto",
        "network": f"eip155:{CHAIN_ID}",
        "asset": OPG_TOKEN,
        "amount": "100000000000000000",
        "payTo": PAY_TO,
        "maxTimeoutSeconds": 300,
        "extra": {"name": "OpenGradient", "version": "1", "assetTransferMethod": "permit2"},
    }
    assert asked.extensions is not None
    assert asked.extensions.keys() == {"erc20ApprovalGasSponsoring"}


async def test_requests_that_are_not_sold_pass(shop: Shop) -> None:
    assert (await shop.gateway.get("/health")).status_code == 200
    assert (await shop.gateway.get(CHAT)).status_code == 405
    without = await shop.gateway.post(CHAT, json={"cost": CAP})
    assert (without.status_code, without.headers.get("X-Upto-Session")) == (200, None)


# Sessions


async def test_a_session_pays_for_many_requests_and_settles_once(
    shop: Shop, wallet: LocalAccount
) -> None:
    before = opg_of(shop.chain, wallet.address)
    first = await shop.pay(wallet, cost=100)
    session = first.headers["X-Upto-Session"]
    for cost in (20, 3):
        later = await shop.ask(told={"cost": cost}, x_upto_session=session)
        assert (later.status_code, later.headers["X-Upto-Session"]) == (200, session)
    assert shop.taken() == 0

    (settlement,) = await shop.verb("POST", "settle")

    assert (settlement["amount"], settlement["status"]) == ("123", "settled")
    assert shop.taken() == 123
    assert opg_of(shop.chain, wallet.address) == before - 123
    assert allowance_of(shop.chain, wallet.address) == before - 123
    counters = await shop.verb("GET", "counters")
    assert (counters["sessions"], counters["verifications"], counters["settlements"]) == (1, 1, 1)


async def test_the_session_goes_before_a_payment_that_comes_with_it(
    shop: Shop, wallet: LocalAccount
) -> None:
    session = (await shop.pay(wallet, cost=1)).headers["X-Upto-Session"]
    signature = await shop.signature(wallet)

    both = await shop.ask(x_upto_session=session, payment_signature=signature)
    unknown = await shop.ask(x_upto_session="unknown", payment_signature=signature)

    assert both.headers["X-Upto-Session"] == session
    assert (unknown.status_code, unknown.json()) == (402, ENDED)
    assert len(await shop.verb("GET", "sessions")) == 1


async def test_a_session_of_another_path_does_not_count(shop: Shop, wallet: LocalAccount) -> None:
    session = (await shop.pay(wallet, cost=1)).headers["X-Upto-Session"]

    elsewhere = await shop.ask(COMPLETION, x_upto_session=session)

    assert (elsewhere.status_code, elsewhere.json()) == (402, ENDED)
    assert "PAYMENT-REQUIRED" not in elsewhere.headers


async def test_a_session_of_another_gateway_does_not_count(
    shop: Shop, wallet: LocalAccount
) -> None:
    session = (await shop.pay(wallet, cost=1)).headers["X-Upto-Session"]

    async with _served(Paid(_application(), shop.payments)) as another:
        headers = {"Authorization": "Bearer placeholder", "X-Upto-Session": session}
        elsewhere = await another.post(CHAT, json={}, headers=headers)

    assert (elsewhere.status_code, elsewhere.json()) == (402, ENDED)


async def test_the_same_signature_joins_its_session(shop: Shop, wallet: LocalAccount) -> None:
    signature = await shop.signature(wallet)
    answers: list[httpx.Response] = []

    async def ask() -> None:
        answers.append(await shop.ask(told={"cost": 7}, payment_signature=signature))

    async with anyio.create_task_group() as asking:
        for _ in range(5):
            asking.start_soon(ask)

    assert len({answer.headers["X-Upto-Session"] for answer in answers}) == 1
    (session,) = await shop.verb("GET", "sessions")
    assert (session["spent"], session["open"]) == ("35", True)


async def test_a_signature_joins_until_six_seconds_before_its_deadline(
    shop: Shop, wallet: LocalAccount
) -> None:
    await shop.verb("PUT", "terms", accepts={"maxTimeoutSeconds": 5})

    late = await shop.pay(wallet, cost=1)

    asked = decode_payment_required_header(late.headers["PAYMENT-REQUIRED"])
    assert (late.status_code, asked.error) == (402, "permit2_deadline_expired")


async def test_a_cap_that_is_reached_exactly_settles_at_once(
    shop: Shop, wallet: LocalAccount
) -> None:
    session = (await shop.pay(wallet, cost=CAP - 1)).headers["X-Upto-Session"]
    last = await shop.ask(told={"cost": 1}, x_upto_session=session)
    (settlement,) = await shop.settled(1)

    after = await shop.ask(x_upto_session=session)

    assert last.status_code == 200
    assert (settlement["amount"], shop.taken()) == (str(CAP), CAP)
    assert (after.status_code, after.json()) == (402, ENDED)
    assert "PAYMENT-REQUIRED" not in after.headers


async def test_an_answer_that_would_overshoot_goes_uncharged(
    shop: Shop, wallet: LocalAccount
) -> None:
    session = (await shop.pay(wallet, cost=CAP - 1)).headers["X-Upto-Session"]

    over = await shop.ask(told={"cost": 2}, x_upto_session=session)
    exact = await shop.ask(told={"cost": 1}, x_upto_session=session)

    assert (over.status_code, exact.status_code) == (200, 200)
    await shop.settled(1)
    assert shop.taken() == CAP
    counters = await shop.verb("GET", "counters")
    assert (counters["charged"], counters["uncharged"]) == (2, 1)


@pytest.mark.parametrize("told", [{"cost": 9, "status": 400}, {"cost": 9, "status": 503}, {}])
async def test_answers_without_success_or_usage_charge_nothing(
    shop: Shop, wallet: LocalAccount, told: dict[str, Any]
) -> None:
    answer = await shop.pay(wallet, **told)

    assert answer.headers["X-Upto-Session"]
    assert await shop.verb("POST", "settle") == []
    assert shop.taken() == 0


async def test_a_stream_is_charged_when_it_ends(shop: Shop, wallet: LocalAccount) -> None:
    answer = await shop.pay(wallet, cost=5, stream=True)

    assert answer.text == "data: 0\n\ndata: 1\n\ndata: 2\n\n"
    await shop.verb("POST", "settle")
    assert shop.taken() == 5


@pytest.mark.parametrize("sessions", [True, False])
async def test_an_answer_that_is_cut_charges_nothing(
    shop: Shop, wallet: LocalAccount, sessions: bool
) -> None:
    await shop.verb("PUT", "mode", sessions=sessions)

    with pytest.raises(httpx.RemoteProtocolError):
        await shop.pay(wallet, cost=5, cut=True)

    assert await shop.verb("POST", "settle") == []


async def test_an_idle_session_settles_and_ends(shop: Shop, wallet: LocalAccount) -> None:
    await shop.verb("PUT", "mode", session_idle_s=0.05)
    signature = await shop.signature(wallet)
    session = (await shop.ask(told={"cost": 11}, payment_signature=signature)).headers[
        "X-Upto-Session"
    ]

    (settlement,) = await shop.settled(1)

    assert (settlement["amount"], shop.taken()) == ("11", 11)
    assert (await shop.ask(x_upto_session=session)).json() == ENDED
    again = await shop.ask(payment_signature=signature)
    assert (again.status_code, "PAYMENT-REQUIRED" in again.headers) == (402, True)


async def test_a_busy_session_settles_by_force_two_minutes_before_its_deadline(
    shop: Shop, wallet: LocalAccount
) -> None:
    signature = await shop.signature(wallet)
    first = await shop.ask(told={"cost": 11}, payment_signature=signature)
    session = first.headers["X-Upto-Session"]
    # The deadline is 300 s away, and the idle time 60 s.
    for _ in range(3):
        await shop.verb("POST", "advance", seconds=55)
        assert (await shop.ask(told={"cost": 11}, x_upto_session=session)).status_code == 200
    assert shop.taken() == 0
    await shop.verb("POST", "advance", seconds=20)

    assert shop.taken() == 44
    assert (await shop.ask(x_upto_session=session)).json() == ENDED


async def test_an_idle_session_settles_when_time_is_moved(shop: Shop, wallet: LocalAccount) -> None:
    await shop.pay(wallet, cost=11)
    await shop.verb("POST", "advance", seconds=55)
    assert shop.taken() == 0
    await shop.verb("POST", "advance", seconds=10)

    assert shop.taken() == 11


async def test_sessions_that_were_ended_take_no_requests_and_still_settle(
    shop: Shop, wallet: LocalAccount
) -> None:
    signature = await shop.signature(wallet)
    session = (await shop.ask(told={"cost": 11}, payment_signature=signature)).headers[
        "X-Upto-Session"
    ]
    await shop.verb("POST", "end")

    assert (await shop.ask(x_upto_session=session)).json() == ENDED
    assert (await shop.ask(payment_signature=signature)).json() == ENDED
    assert shop.taken() == 0
    await shop.verb("POST", "settle")
    assert shop.taken() == 11


async def test_a_settlement_waits_where_blocks_are_held(shop: Shop, wallet: LocalAccount) -> None:
    await shop.pay(wallet, cost=11)
    await shop.chain.in_order(shop.chain.hold_blocks)
    (held,) = await shop.verb("POST", "settle")
    await shop.chain.in_order(shop.chain.release_blocks)
    (mined,) = await shop.verb("GET", "settlements")

    assert (held["status"], mined["status"]) == ("pending", "settled")
    assert held["transaction_hash"] == mined["transaction_hash"]
    assert shop.taken() == 11


async def test_a_settlement_fails_where_the_payer_has_spent_the_balance(
    shop: Shop, wallet: LocalAccount
) -> None:
    await shop.pay(wallet, cost=11)
    transfer = bytes.fromhex("a9059cbb") + encode(["address", "uint256"], [OPG_TOKEN, 2 * OPG])
    raw = sign(wallet, CHAIN_ID, to=OPG_TOKEN, data=transfer, gas=100_000)
    await shop.chain.in_order(shop.chain.send_raw, raw)

    (settlement,) = await shop.verb("POST", "settle")

    assert (settlement["status"], shop.taken()) == ("failed", 0)
    assert settlement["error"]


# One settlement a request


async def test_without_sessions_each_request_is_settled(shop: Shop, wallet: LocalAccount) -> None:
    await shop.verb("PUT", "mode", sessions=False)

    for cost in (100, 20):
        answer = await shop.pay(wallet, cost=cost)
        settled = decode_payment_response_header(answer.headers["PAYMENT-RESPONSE"])
        assert (answer.status_code, settled.success, settled.amount) == (200, True, str(cost))
        assert "X-Upto-Session" not in answer.headers

    assert shop.taken() == 120


async def test_without_sessions_a_signature_pays_once(shop: Shop, wallet: LocalAccount) -> None:
    await shop.verb("PUT", "mode", sessions=False)
    signature = await shop.signature(wallet)

    first = await shop.ask(told={"cost": 5}, payment_signature=signature)
    second = await shop.ask(told={"cost": 5}, payment_signature=signature)

    assert (first.status_code, second.status_code) == (200, 402)
    assert shop.taken() == 5


async def test_without_sessions_an_answer_whose_settlement_fails_is_kept_back(
    shop: Shop, wallet: LocalAccount
) -> None:
    await shop.verb("PUT", "mode", sessions=False)
    signature = await shop.signature(wallet)
    answers: list[httpx.Response] = []

    async def ask() -> None:
        answers.append(await shop.ask(told={"cost": 5}, payment_signature=signature))

    async with anyio.create_task_group() as asking:
        asking.start_soon(ask)
        asking.start_soon(ask)

    kept, given = sorted(answers, key=lambda answer: -answer.status_code)
    assert (given.status_code, kept.status_code) == (200, 402)
    assert "hello" not in kept.text
    assert shop.taken() == 5


@pytest.mark.parametrize("told", [{"cost": 9, "status": 503}, {"cost": CAP + 1}, {}])
async def test_without_sessions_failures_and_overshoot_go_uncharged(
    shop: Shop, wallet: LocalAccount, told: dict[str, Any]
) -> None:
    await shop.verb("PUT", "mode", sessions=False)

    answer = await shop.pay(wallet, **told)

    assert answer.status_code == told.get("status", 200)
    assert shop.taken() == 0


# Who may pay, and with what


async def test_t5_nobody_from_outside_pays(shop: Shop) -> None:
    stranger: LocalAccount = Account.create()

    refused = await shop.pay(stranger, cost=1)

    asked = decode_payment_required_header(refused.headers["PAYMENT-REQUIRED"])
    assert asked.error == "The payer is not an account of this local network"
    counters = await shop.verb("GET", "counters")
    assert "verifications" not in counters


async def test_an_address_that_was_given_opg_is_known(shop: Shop) -> None:
    newcomer: LocalAccount = Account.create()
    await shop.verb("POST", "fund", address=newcomer.address, opg=OPG)

    refused = await shop.pay(newcomer, cost=1)

    assert opg_of(shop.chain, newcomer.address) == OPG
    asked = decode_payment_required_header(refused.headers["PAYMENT-REQUIRED"])
    assert asked.error == "permit2_allowance_required"


async def test_a_payer_without_approval_is_refused(shop: Shop, poor: LocalAccount) -> None:
    refused = await shop.pay(poor, cost=1)

    asked = decode_payment_required_header(refused.headers["PAYMENT-REQUIRED"])
    assert (refused.status_code, asked.error) == (402, "permit2_allowance_required")


async def test_another_signer_than_the_payer_is_refused(
    shop: Shop, wallet: LocalAccount, poor: LocalAccount
) -> None:
    challenge = decode_payment_required_header((await shop.ask()).headers["PAYMENT-REQUIRED"])
    assert isinstance(challenge, PaymentRequired)
    payment = await sign_payment(poor, challenge)
    payment.payload["permit2Authorization"]["from"] = wallet.address

    refused = await shop.ask(payment_signature=encode_payment_signature_header(payment))

    asked = decode_payment_required_header(refused.headers["PAYMENT-REQUIRED"])
    assert (refused.status_code, asked.error) == (402, "invalid_permit2_signature")


@pytest.mark.parametrize("header", ["no base64!", "e30=", "W10="])
async def test_what_is_no_payment_is_answered_by_a_challenge(shop: Shop, header: str) -> None:
    refused = await shop.ask(payment_signature=header)

    asked = decode_payment_required_header(refused.headers["PAYMENT-REQUIRED"])
    assert (refused.status_code, asked.error) == (402, "invalid_payload")


# Faults


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": str(10 * OPG)},
        {"asset": "0x" + "44" * 20},
        {"payTo": "0x" + "33" * 20},
        {"network": "eip155:8453"},
        {"maxTimeoutSeconds": 86_400},
        {"scheme": "exact"},
    ],
    ids=lambda changes: next(iter(changes)),
)
async def test_challenges_ask_for_whatever_a_test_wants(
    shop: Shop, changes: dict[str, Any]
) -> None:
    await shop.verb("PUT", "terms", accepts=changes)

    asked = decode_payment_required_header((await shop.ask()).headers["PAYMENT-REQUIRED"])

    assert isinstance(asked, PaymentRequired)
    requirement = asked.accepts[0].model_dump()
    assert {name: requirement[name] for name in changes} == changes
    assert await shop.verb("GET", "terms") == requirement


@pytest.mark.parametrize(
    ("changes", "taken"), [({"amount": str(CAP // 2)}, 5), ({"maxTimeoutSeconds": 86_400}, 5)]
)
async def test_a_client_that_agrees_to_other_terms_pays_by_them(
    shop: Shop, wallet: LocalAccount, changes: dict[str, Any], taken: int
) -> None:
    await shop.verb("PUT", "terms", accepts=changes)

    assert (await shop.pay(wallet, cost=5)).status_code == 200
    await shop.verb("POST", "settle")
    assert shop.taken() == taken


async def test_the_requirement_changes_between_challenge_and_payment(
    shop: Shop, wallet: LocalAccount
) -> None:
    await shop.verb("PUT", "terms", accepts={"amount": str(2 * CAP)}, after_challenges=1)

    refused = await shop.pay(wallet, cost=5)
    signature = await signature_header(wallet, refused.headers["PAYMENT-REQUIRED"])
    paid = await shop.ask(told={"cost": 5}, payment_signature=signature)

    asked = decode_payment_required_header(refused.headers["PAYMENT-REQUIRED"])
    assert (refused.status_code, asked.error) == (402, "No matching payment requirements")
    assert paid.status_code == 200
    (session,) = await shop.verb("GET", "sessions")
    assert session["cap"] == str(2 * CAP)


async def test_valid_payments_are_answered_by_402_as_often_as_asked_for(
    shop: Shop, wallet: LocalAccount
) -> None:
    await shop.verb("POST", "refuse", times=2)

    answers = [await shop.pay(wallet, cost=5) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [402, 402, 200]
    assert all("PAYMENT-REQUIRED" in answer.headers for answer in answers[:2])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("terms", {"accepts": {"price": "1"}}),
        ("terms", {"accepts": {"amount": 1}}),
        ("terms", {"after_challenges": 1}),
        ("mode", {"sessions": "no"}),
        ("mode", {"session_idle_s": -1}),
    ],
)
async def test_a_verb_that_cannot_be_carried_out_says_why(
    shop: Shop, path: str, body: dict[str, Any]
) -> None:
    answer = await shop.admin.put(f"/payments/{path}", json=body)

    assert answer.status_code == 400
