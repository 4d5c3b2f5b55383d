"""What a test may ask of the local network happens, and `reset` takes it back."""

from __future__ import annotations

from typing import get_args

import httpx
import pytest
from eth_account.signers.local import LocalAccount

from og_mcp.localnet import faults
from og_mcp.localnet.faults import Action, Spoil
from og_mcp.localnet.gateway import gateway_faults
from tests.localnet_client import LocalNetwork

SERVICES = ["rpc", "base_rpc", "node_api", "hub", "hub_read", "auth"]


def _admin(localnet: LocalNetwork, method: str, path: str, body: object = None) -> httpx.Response:
    return localnet.http.request(method, localnet.ready["admin_url"] + path, json=body)


def _transfer(localnet: LocalNetwork, wallet: LocalAccount, gas_price: int) -> str:
    """Send the first transaction of a wallet and return its hash."""
    signed = wallet.sign_transaction(
        {
            "to": b"\x22" * 20,
            "value": 1,
            "gas": 21_000,
            "gasPrice": gas_price,
            "nonce": 0,
            "chainId": localnet.ready["chain_id"],
        }
    )
    return str(localnet.rpc("eth_sendRawTransaction", signed.raw_transaction.to_0x_hex()))


def test_a_fault_shows_itself_once(localnet: LocalNetwork) -> None:
    localnet.fault("eth_chainId", "error", code=-32000, message="made up")

    assert len(localnet.pending_faults()) == 1
    with pytest.raises(AssertionError, match="made up"):
        localnet.rpc("eth_chainId")
    assert localnet.pending_faults() == []
    assert localnet.rpc("eth_chainId")


def test_faults_of_the_hub_are_named_by_service_method_and_path(localnet: LocalNetwork) -> None:
    localnet.fault("hub_read GET /api/*", "status", service="hub_read", status=503, body="later")
    url = localnet.ready["hub_read_url"] + "/api/v0/models/"

    assert localnet.http.get(url).status_code == 503
    assert localnet.http.get(url).status_code == 200


@pytest.mark.parametrize("service", SERVICES)
def test_a_closed_service_refuses_connections_until_it_is_opened(
    localnet: LocalNetwork, service: str
) -> None:
    url = localnet.ready[f"{service}_url"]
    localnet.close_service(service)
    with pytest.raises(httpx.ConnectError):
        localnet.http.get(url)
    localnet.open_service(service)

    assert localnet.http.get(url).status_code < 500


def test_requests_and_calls_are_counted(localnet: LocalNetwork) -> None:
    localnet.reset_counters()
    batch = [{"jsonrpc": "2.0", "id": i, "method": "eth_chainId", "params": []} for i in range(3)]
    localnet.http.post(localnet.ready["rpc_url"], json=batch)

    assert localnet.counters() == {"http_requests": 1, "calls": {"eth_chainId": 3}}


def test_held_transactions_wait_for_release(localnet: LocalNetwork) -> None:
    wallet = localnet.new_wallet()
    localnet.hold_blocks()
    localnet.fund(wallet.address, 5)
    held = int(localnet.rpc("eth_getBalance", wallet.address, "latest"), 16)
    localnet.release_blocks()
    released = int(localnet.rpc("eth_getBalance", wallet.address, "latest"), 16)

    assert (held, released) == (10**18, 10**18 + 5)


def test_blocks_are_mined_on_request(localnet: LocalNetwork) -> None:
    before = int(localnet.rpc("eth_blockNumber"), 16)

    assert localnet.mine(3) == before + 3
    assert int(localnet.rpc("eth_blockNumber"), 16) == before + 3


def test_a_price_below_the_least_stays_pending_until_it_falls(localnet: LocalNetwork) -> None:
    localnet.prices(gas_price=7 * 10**9)
    assert int(localnet.rpc("eth_gasPrice"), 16) == 7 * 10**9

    localnet.reset()
    wallet = localnet.new_wallet()
    localnet.prices(least_gas_price=10**12)
    sent = _transfer(localnet, wallet, 10**9)
    assert localnet.rpc("eth_getTransactionReceipt", sent) is None
    localnet.reset()

    assert localnet.rpc("eth_getTransactionReceipt", sent)["status"] == "0x1"


def test_a_new_wallet_is_funded_on_the_chain_asked_for(localnet: LocalNetwork) -> None:
    address = "0x" + "ab" * 20
    localnet.fund(address, 3, chain="base_rpc")

    base = localnet.rpc("eth_getBalance", address, "latest", url=localnet.ready["base_rpc_url"])
    assert int(base, 16) == 3
    assert int(localnet.rpc("eth_getBalance", address, "latest"), 16) == 0


def test_reset_takes_everything_back(localnet: LocalNetwork) -> None:
    localnet.fault("*", "drop")
    localnet.latency(30)
    localnet.prices(gas_price=1, least_gas_price=10**15)
    localnet.answers(contract_event="empty")
    localnet.hold_blocks()
    localnet.close_service("hub")
    localnet.reset()

    assert localnet.pending_faults() == []
    assert int(localnet.rpc("eth_gasPrice"), 16) > 1
    assert localnet.sign_in()
    assert localnet.http.get(localnet.ready["hub_url"]).status_code == 404
    sent = _transfer(localnet, localnet.new_wallet(), 10**9)
    assert localnet.rpc("eth_getTransactionReceipt", sent)["status"] == "0x1"


def test_reset_takes_back_what_payments_were_told(localnet: LocalNetwork) -> None:
    first = _admin(localnet, "GET", "/payments/terms").json()
    localnet.terms(amount="5", extra={"name": "Other"})
    changed = _admin(localnet, "GET", "/payments/terms").json()
    localnet.reset()

    assert _admin(localnet, "GET", "/payments/terms").json() == first
    assert (changed["amount"], changed["extra"]["name"]) == ("5", "Other")
    assert changed["extra"]["version"] == first["extra"]["version"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/services/rpc/faults", {"method": "x"}, 400),
        ("POST", "/services/rpc/faults", {"method": "x", "action": "explode"}, 400),
        ("POST", "/services/rpc/faults", [], 400),
        ("POST", "/services/none/faults", {"method": "x", "action": "drop"}, 404),
        ("PUT", "/services/rpc/latency", {"latency_s": -1}, 400),
        ("PUT", "/services/rpc/latency", {"latency_s": "1"}, 400),
        ("POST", "/chains/hub/hold", None, 404),
        ("POST", "/chains/rpc/mine", {"blocks": -1}, 400),
        ("PUT", "/chains/rpc/prices", {"price": 1}, 400),
        ("PUT", "/chains/rpc/answers", {"contract_event": "nowhere"}, 400),
        ("POST", "/chains/rpc/fund", {"address": "0x12", "wei": 1}, 400),
        ("POST", "/payments/fund", {"address": "0x12", "opg": 1}, 400),
        ("POST", "/payments/refuse", {"times": "twice"}, 400),
        ("POST", "/hub/accounts", {"email": "e"}, 400),
    ],
)
def test_a_mistake_is_told(
    localnet: LocalNetwork, method: str, path: str, body: object, status: int
) -> None:
    answer = _admin(localnet, method, path, body)

    assert answer.status_code == status
    assert isinstance(answer.json()["detail"], str)


def test_a_page_in_a_browser_may_not_ask(localnet: LocalNetwork) -> None:
    answer = localnet.http.post(
        localnet.ready["admin_url"] + "/reset",
        headers={"Origin": "http://localhost:3000"},
    )

    assert answer.status_code == 403


def test_no_service_ends_by_what_is_nested_too_deep(localnet: LocalNetwork) -> None:
    ready, endless = localnet.ready, b"[" * 100_000
    bearer = {"Authorization": f"Bearer {localnet.sign_in()}"}
    asked = [
        ("POST", ready["rpc_url"], {}),
        ("POST", ready["hub_url"] + "/api/v0/models/", bearer),
        ("POST", f"{ready['auth_url']}?key={ready['hub_login']['firebase_api_key']}", {}),
        ("PUT", ready["admin_url"] + "/payments/mode", {}),
    ]
    answers = [
        localnet.http.request(
            method, url, content=endless, headers={"Content-Type": "application/json", **headers}
        )
        for method, url, headers in asked
    ]

    assert [answer.status_code for answer in answers] == [200, 422, 400, 400]
    assert localnet.rpc("eth_chainId")


def test_every_way_to_go_wrong_is_told_where_it_is_made() -> None:
    told = str(gateway_faults.__doc__)

    assert [how for how in get_args(Spoil) if f"`{how}`" not in told] == []
    assert all(f"`{action}`" in str(faults.__doc__) for action in get_args(Action))
