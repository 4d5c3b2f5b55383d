"""The profiles, and what may be said and believed about their URLs."""

from __future__ import annotations

from typing import Any

import pytest

from og_mcp.networks import (
    ALPHA_2025,
    NAMES,
    OPENGRADIENT,
    from_ready_file,
    is_loopback,
    is_loopback_host,
    shown,
)

READY: dict[str, Any] = {
    "rpc_url": "http://127.0.0.1:1001",
    "node_api_url": "http://127.0.0.1:1002",
    "chain_id": 31337,
    "inference_contract": OPENGRADIENT.inference_contract,
    "tee_registry": OPENGRADIENT.tee_registry,
    "base_rpc_url": "http://127.0.0.1:1003",
    "base_chain_id": 31338,
    "opg_token": OPENGRADIENT.opg_token,
    "hub_url": "http://127.0.0.1:1004",
    "hub_read_url": "http://localhost:1005",
    "auth_url": "http://[::1]:1006/v1/accounts:signInWithPassword",
    "token_url": "http://127.0.0.1:1006/v1/token",
    "gateway_url": "https://127.0.0.1:1007",
    "admin_url": "http://127.0.0.1:1008",
    "sample_models": [{"cid": "abc"}],
}


def test_the_profiles_are_the_published_networks() -> None:
    assert NAMES == ("opengradient", "alpha-2025", "local")
    assert (OPENGRADIENT.chain_id, OPENGRADIENT.base_chain_id) == (10740, 8453)
    assert not OPENGRADIENT.local


def test_t30_the_first_generation_is_marked_as_unauthenticated() -> None:
    assert OPENGRADIENT.authenticated
    assert not ALPHA_2025.authenticated
    assert from_ready_file(READY).authenticated


def test_a_ready_file_becomes_the_local_network() -> None:
    network = from_ready_file(READY)

    assert network.local
    assert (network.chain_id, network.rpc_url) == (31337, "http://127.0.0.1:1001")
    assert network.sample_models == ({"cid": "abc"},)


@pytest.mark.parametrize("name", [name for name in READY if name.endswith("_url")])
@pytest.mark.parametrize(
    "url",
    [
        "http://192.168.1.2:8545",
        "https://rpc.example.com",
        "http://127.0.0.1.example.com",
        "http://127.0.0.1@example.com",
        "http://localhost.example.com",
        "http://[::ffff:10.0.0.1]:8545",
        "http://[",
    ],
)
def test_t5_a_ready_file_that_leads_to_another_machine_is_refused(name: str, url: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} of the ready file is not on this machine"):
        from_ready_file({**READY, name: url})


def test_a_ready_file_without_a_field_is_refused() -> None:
    with pytest.raises(KeyError, match="rpc_url"):
        from_ready_file({name: value for name, value in READY.items() if name != "rpc_url"})


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST.", "127.0.0.1", "127.1", "127.255.0.3", "0x7f000001"),
        *("2130706433", "::1", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1", "::ffff:7f00:1"),
    ],
)
def test_every_spelling_of_loopback_is_known(host: str) -> None:
    url = f"http://[{host}]:80/x" if ":" in host else f"http://{host}:80/x"

    assert is_loopback_host(host)
    assert is_loopback(url)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104 - nothing is bound
def test_a_connection_to_every_address_is_one_to_this_machine_and_a_server_there_is_not(
    host: str,
) -> None:
    assert is_loopback(f"http://[{host}]" if ":" in host else f"http://{host}")
    assert not is_loopback_host(host)


@pytest.mark.parametrize(
    "host", ["example.com", "10.0.0.1", "128.0.0.1", "127.example.com", "::2", "", "1270.0.0.1"]
)
def test_other_hosts_are_no_loopback(host: str) -> None:
    assert not is_loopback_host(host)
    assert not is_loopback(f"http://[{host}]" if ":" in host else f"http://{host}")


@pytest.mark.parametrize(
    ("url", "text"),
    [
        (
            "https://user:secret@rpc.example.com:8443/v1/secret?key=secret#s",
            "https://rpc.example.com:8443",
        ),
        ("http://[::1]:8545/secret", "http://[::1]:8545"),
        ("https://example.com", "https://example.com"),
        ("https://example.com:secret/", "(a URL that cannot be shown)"),
        ("https://[secret", "(a URL that cannot be shown)"),
        ("secret", "(a URL that cannot be shown)"),
        ("secret:secret", "(a URL that cannot be shown)"),
        ("wss://secret", "(a URL that cannot be shown)"),
    ],
)
def test_a_url_is_shown_as_its_origin(url: str, text: str) -> None:
    assert shown(url) == text
