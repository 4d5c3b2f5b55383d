"""The registry names the gateways that run, and what a test changes there is what clients read."""

from __future__ import annotations

import base64
import json

import httpx
import pytest

from tests.localnet.gateway_client import (
    CHAT,
    active_tees,
    gateway_client,
    pinned,
    problems,
)
from tests.localnet_client import LocalNetwork

QUESTION = [{"role": "user", "content": "What is an option?"}]
COVERED = {"model": "gpt-5.4-mini", "messages": QUESTION, "temperature": 0.0}


def _health(endpoint: str, certificate: bytes) -> int:
    with httpx.Client(verify=pinned(certificate), trust_env=False) as http:
        return http.get(endpoint + "/health").status_code


def test_the_registry_names_the_endpoint_of_the_ready_file(localnet: LocalNetwork) -> None:
    (tee,) = active_tees(localnet)
    with gateway_client(localnet) as client:
        challenge = client.http.post(CHAT, json={}).headers["payment-required"]

    assert tee.endpoint == localnet.ready["gateway_url"]
    assert tee.endpoint.startswith("https://127.0.0.1:")
    assert _health(tee.endpoint, tee.certificate) == 200
    pay_to = json.loads(base64.b64decode(challenge))["accepts"][0]["payTo"]
    assert pay_to.lower() == tee.payment_address.lower()


def test_a_second_tee_has_keys_of_its_own_and_signs_with_them(localnet: LocalNetwork) -> None:
    added = localnet.add_tee()
    first, second = active_tees(localnet)
    with gateway_client(localnet, second) as client:
        answer = client.chat()

    assert (second.id, second.endpoint) == (added["tee_id"], added["url"])
    assert problems(second, answer, COVERED, answer["choices"][0]["message"]["content"]) == []
    assert not {first.id, first.endpoint, first.certificate} & {
        second.id,
        second.endpoint,
        second.certificate,
    }
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        _health(second.endpoint, first.certificate)


def test_a_second_tee_goes_wrong_and_down_by_itself(localnet: LocalNetwork) -> None:
    name = localnet.add_tee()["service"]
    first, second = active_tees(localnet)
    localnet.fault("* GET /health", "status", service=name, status=503)
    broken = _health(second.endpoint, second.certificate)
    localnet.close_service(name)

    assert broken == 503
    with pytest.raises(httpx.ConnectError):
        _health(second.endpoint, second.certificate)
    assert _health(first.endpoint, first.certificate) == 200


def test_what_is_disabled_or_stale_is_not_active(localnet: LocalNetwork) -> None:
    localnet.change_tee(enabled=False)
    disabled = active_tees(localnet)
    localnet.change_tee(enabled=True, heartbeat=1)
    stale = active_tees(localnet)
    localnet.reset()

    assert disabled == stale == []
    assert len(active_tees(localnet)) == 1


def test_a_rotated_certificate_is_not_the_registered_one_until_it_is_registered(
    localnet: LocalNetwork,
) -> None:
    (before,) = active_tees(localnet)
    localnet.rotate_certificate()
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        _health(before.endpoint, before.certificate)
    localnet.rotate_certificate(register=True)
    (after,) = active_tees(localnet)

    assert (after.id, after.endpoint) == (before.id, before.endpoint)
    assert _health(after.endpoint, after.certificate) == 200


def test_other_facts_of_an_entry_change_too(localnet: LocalNetwork) -> None:
    (before,) = active_tees(localnet)
    localnet.change_tee(
        payment_address="0x" + "ab" * 20, pcr_hash="0x" + "cd" * 32, endpoint="http://127.0.0.1:1"
    )
    (changed,) = active_tees(localnet)
    localnet.reset()

    assert changed.payment_address == "0x" + "ab" * 20
    assert changed.pcr_hash == b"\xcd" * 32
    assert changed.endpoint == "http://127.0.0.1:1"
    assert active_tees(localnet) == [before]


def test_reset_leaves_the_first_gateway_alone_and_right(localnet: LocalNetwork) -> None:
    localnet.add_tee()
    localnet.rotate_certificate()
    localnet.change_tee(enabled=False)
    localnet.reset()
    (tee,) = active_tees(localnet)

    assert [each["service"] for each in localnet.tees()] == ["gateway"]
    assert _health(tee.endpoint, tee.certificate) == 200


@pytest.mark.slow
def test_the_first_wallet_has_sent_nothing(fresh_localnet: LocalNetwork) -> None:
    first = fresh_localnet.ready["accounts"][0]["address"]

    assert int(fresh_localnet.rpc("eth_getTransactionCount", first, "latest"), 16) == 0


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/tees/gateway9", {}, 404),
        ("PUT", "/tees/gateway", {"enabled": "yes"}, 400),
        ("PUT", "/tees/gateway", {"pcr_hash": "0x12"}, 400),
        ("PUT", "/tees/gateway", {"public_key": "0x12"}, 400),
        ("POST", "/tees/gateway/rotate", {"register": 1}, 400),
        ("POST", "/services/gateway/faults", {"method": "*", "action": "spoil"}, 400),
        ("POST", "/services/gateway/faults", {"method": "*", "action": "drop", "how": "cut"}, 400),
    ],
)
def test_a_mistake_is_told(
    localnet: LocalNetwork, method: str, path: str, body: object, status: int
) -> None:
    answer = localnet.http.request(method, localnet.ready["admin_url"] + path, json=body)

    assert answer.status_code == status
    assert isinstance(answer.json()["detail"], str)
