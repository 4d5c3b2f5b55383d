"""Uploads to the local hub go wrong as a test asks, in their middle or in their answer."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import httpx
import pytest

from tests.localnet_client import LocalNetwork, http_client

MODELS = "/api/v0/models/"
UPLOAD = "hub POST */files"
CONTENT = secrets.token_bytes(2**21)


@pytest.fixture
def hub(localnet: LocalNetwork) -> Iterator[httpx.Client]:
    with http_client(localnet.ready["hub_url"], token=localnet.sign_in()) as client:
        yield client


@pytest.fixture
def files(hub: httpx.Client) -> str:
    """The path of an empty version's files."""
    name = f"model-{secrets.token_hex(4)}"
    hub.post(MODELS, json={"name": name, "description": ""}).raise_for_status()
    hub.post(f"{MODELS}{name}/versions", json={}).raise_for_status()
    return f"{MODELS}{name}/versions/0.01/files"


def upload(hub: httpx.Client, files: str) -> httpx.Response:
    return hub.post(files, files={"file": ("m.pt", CONTENT)})


@pytest.mark.parametrize("status", [401, 413, 500])
def test_an_upload_is_refused_in_its_middle_and_nothing_is_stored(
    hub: httpx.Client, localnet: LocalNetwork, files: str, status: int
) -> None:
    fault = {"when": "midway", "after_bytes": 2**20, "status": status, "message": "no"}
    localnet.fault(UPLOAD, "error", service="hub", **fault)

    refused = upload(hub, files)

    assert (refused.status_code, refused.json()) == (status, {"detail": "no"})
    assert hub.get(files).json() == []
    assert upload(hub, files).status_code == 201


def test_an_upload_is_cut_in_its_middle_and_nothing_is_stored(
    hub: httpx.Client, localnet: LocalNetwork, files: str
) -> None:
    localnet.fault(UPLOAD, "drop", service="hub", when="midway", after_bytes=2**20)

    with pytest.raises(httpx.TransportError):
        upload(hub, files)
    assert hub.get(files).json() == []


def test_an_upload_is_slow_and_arrives(
    hub: httpx.Client, localnet: LocalNetwork, files: str
) -> None:
    localnet.fault(UPLOAD, "delay", service="hub", when="midway", delay_s=0.01)

    assert upload(hub, files).json()["size"] == len(CONTENT)
    assert localnet.pending_faults("hub") == []


@pytest.mark.parametrize("body", ["", "null"])
def test_an_upload_is_answered_with_nothing_and_is_stored(
    hub: httpx.Client, localnet: LocalNetwork, files: str, body: str
) -> None:
    localnet.fault(UPLOAD, "status", service="hub", when="after", status=201, body=body)

    answer = upload(hub, files)

    assert (answer.status_code, answer.text) == (201, body)
    assert [file["name"] for file in hub.get(files).json()] == ["m.pt"]


def test_a_version_is_made_and_not_told(
    hub: httpx.Client, localnet: LocalNetwork, files: str
) -> None:
    localnet.fault("hub POST */versions", "result", service="hub", when="after", result=[])
    versions = files.removesuffix("/0.01/files")

    assert hub.post(versions, json={}).json() == []
    assert hub.get(files.replace("0.01", "0.02")).status_code == 200


def test_too_many_wrong_passwords_lock_an_account_out_for_a_while(localnet: LocalNetwork) -> None:
    email = f"{secrets.token_hex(4)}@example.com"
    localnet.add_account(secrets.token_hex(4), email=email, password="a secret")
    url, key = localnet.ready["auth_url"], localnet.ready["hub_login"]["firebase_api_key"]

    def sign_in(password: str) -> str:
        body = {"email": email, "password": password}
        answer = localnet.http.post(url, params={"key": key}, json=body).json()
        return str(answer.get("error", {}).get("message", "signed in"))

    said = [sign_in("wrong") for _ in range(10)]

    assert set(said) == {"INVALID_LOGIN_CREDENTIALS"}
    assert sign_in("a secret") == "TOO_MANY_ATTEMPTS_TRY_LATER"
