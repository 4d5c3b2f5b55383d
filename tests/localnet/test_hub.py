"""The local hub keeps the promises of protocol.md section 5."""

from __future__ import annotations

import hashlib
import secrets
import sys
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from og_mcp.localnet.samples import build
from tests.localnet_client import LocalNetwork, http_client

MODELS = "/api/v0/models/"


@pytest.fixture
def hub(localnet: LocalNetwork) -> Iterator[httpx.Client]:
    """The hub, signed in with the seeded account."""
    with http_client(localnet.ready["hub_url"], token=localnet.sign_in()) as client:
        yield client


@pytest.fixture
def public(localnet: LocalNetwork) -> Iterator[httpx.Client]:
    """The hub's side for everybody."""
    with http_client(localnet.ready["hub_read_url"]) as client:
        yield client


@pytest.fixture
def other_author(localnet: LocalNetwork) -> Iterator[httpx.Client]:
    """The hub, signed in with another account."""
    name = _new_name("author")
    localnet.add_account(name, email=f"{name}@example.org", password="a secret")
    with http_client(
        localnet.ready["hub_url"], token=_sign_in(localnet, f"{name}@example.org")
    ) as client:
        yield client


def _sign_in(localnet: LocalNetwork, email: str, password: str = "a secret") -> str:  # noqa: S107 - of this test
    answer = _ask_for_tokens(localnet, {"email": email, "password": password})
    return str(answer.raise_for_status().json()["idToken"])


def _ask_for_tokens(localnet: LocalNetwork, body: object, key: str | None = None) -> httpx.Response:
    if key is None:
        key = localnet.ready["hub_login"]["firebase_api_key"]
    return localnet.http.post(localnet.ready["auth_url"], params={"key": key}, json=body)


def _new_name(kind: str = "model") -> str:
    return f"{kind}-{secrets.token_hex(4)}"


def _new_version(hub: httpx.Client) -> str:
    """Create a model with one version and return the path of its files."""
    name = _new_name()
    hub.post(MODELS, json={"name": name, "description": ""}).raise_for_status()
    hub.post(f"{MODELS}{name}/versions", json={"notes": "", "is_major": False}).raise_for_status()
    return f"{MODELS}{name}/versions/0.01/files"


def _cid(content: bytes) -> str:
    return urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")


def test_an_uploaded_file_is_listed_under_the_hash_of_its_content(hub: httpx.Client) -> None:
    content = b"not a model" * 200_000
    files = _new_version(hub)

    answer = hub.post(files, files={"file": ("weights.bin", content)})

    assert answer.status_code == 201
    assert answer.json()["ipfsCid"] == _cid(content)
    assert answer.json()["size"] == len(content)
    assert hub.get(files).json() == [answer.json()]


def test_the_tensors_of_an_onnx_file_are_told_with_it(hub: httpx.Client) -> None:
    sample = next(sample for sample in build() if sample.name == "portfolio-value")
    files = _new_version(hub)

    record = hub.post(files, files={"file": ("m.onnx", sample.content)}).json()

    assert record["inputs"] == [
        {"name": "counts", "dtype": "int64", "shape": [-1, 3]},
        {"name": "prices", "dtype": "float", "shape": [3]},
    ]
    assert record["outputs"] == [
        {"name": "values", "dtype": "float", "shape": [-1, 3]},
        {"name": "totals", "dtype": "float", "shape": [-1]},
        {"name": "largest", "dtype": "int64", "shape": [-1, 1]},
    ]


def test_a_file_that_is_no_model_has_no_tensors(hub: httpx.Client) -> None:
    record = hub.post(_new_version(hub), files={"file": ("m.onnx", b"\xff\xff\xff")}).json()

    assert (record["inputs"], record["outputs"]) == ([], [])


def test_the_same_file_name_again_replaces_the_file(hub: httpx.Client) -> None:
    files = _new_version(hub)
    hub.post(files, files={"file": ("m.bin", b"one")})
    second = hub.post(files, files={"file": ("m.bin", b"two")}).json()

    assert hub.get(files).json() == [second]


def test_only_the_last_part_of_a_file_name_is_kept(hub: httpx.Client) -> None:
    record = hub.post(_new_version(hub), files={"file": ("../../etc/passwd", b"x")}).json()

    assert record["name"] == "passwd"


def test_versions_count_in_hundredths_and_whole_numbers(hub: httpx.Client) -> None:
    name = _new_name()
    hub.post(MODELS, json={"name": name, "description": "d"})

    versions = [
        hub.post(f"{MODELS}{name}/versions", json={"notes": "n", "is_major": is_major}).json()
        for is_major in (False, False, True, False, True)
    ]

    assert [version["versionString"] for version in versions] == [
        *("0.01", "0.02", "1.00", "1.01", "2.00")
    ]


def test_a_name_is_taken_once_for_each_author(
    hub: httpx.Client, other_author: httpx.Client
) -> None:
    name = _new_name()

    assert hub.post(MODELS, json={"name": name, "description": ""}).status_code == 201
    assert hub.post(MODELS, json={"name": name, "description": ""}).status_code == 409
    assert other_author.post(MODELS, json={"name": name, "description": ""}).status_code == 201


def test_only_the_owner_changes_a_model(hub: httpx.Client, other_author: httpx.Client) -> None:
    files = _new_version(hub)
    versions = files.removesuffix("/0.01/files")

    assert other_author.post(versions, json={"notes": "", "is_major": False}).status_code == 403
    assert other_author.post(files, files={"file": ("m.bin", b"x")}).status_code == 403
    assert other_author.get(files).json() == []


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "x"}])
def test_without_a_good_token_the_answer_is_401(
    localnet: LocalNetwork, header: dict[str, str]
) -> None:
    for method, path in (
        ("POST", MODELS),
        ("POST", f"{MODELS}candle-volatility/versions"),
        ("POST", f"{MODELS}candle-volatility/versions/0.01/files"),
        ("GET", f"{MODELS}candle-volatility/versions/0.01/files"),
    ):
        answer = localnet.http.request(method, localnet.ready["hub_url"] + path, headers=header)

        assert answer.status_code == 401
        assert isinstance(answer.json()["detail"], str)


@pytest.mark.parametrize(
    "path", ["no-such-model/versions/0.01/files", "candle-volatility/versions/9.99/files"]
)
def test_what_is_not_there_is_404(hub: httpx.Client, path: str) -> None:
    listed = hub.get(MODELS + path)
    sent = hub.post(MODELS + path, files={"file": ("m.bin", b"x")})

    assert [listed.status_code, sent.status_code] == [404, 404]


@pytest.mark.parametrize(
    "body",
    [
        {"description": "no name"},
        {"name": "", "description": ""},
        {"name": "../x", "description": ""},
        {"name": "a" * 101, "description": ""},
        {"name": 7, "description": ""},
        [],
    ],
)
def test_a_model_needs_a_name_that_fits_a_path(hub: httpx.Client, body: object) -> None:
    assert hub.post(MODELS, json=body).status_code == 422


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/octet-stream", b"abc"),
        ("multipart/form-data", b"abc"),
        ("multipart/form-data; boundary=b", b"abc"),
        ("multipart/form-data; boundary=b", b"--b--\r\n"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc',
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="other"; filename="a"\r\n\r\nabc\r\n--b--',
        ),
    ],
    ids=["no multipart", "no boundary", "garbage", "empty", "cut off", "other field"],
)
def test_a_broken_upload_leaves_nothing(hub: httpx.Client, content_type: str, body: bytes) -> None:
    files = _new_version(hub)

    answer = hub.post(files, content=body, headers={"Content-Type": content_type})

    assert answer.status_code == 400
    assert hub.get(files).json() == []


def test_the_public_list_has_pages(hub: httpx.Client, public: httpx.Client) -> None:
    _new_version(hub)
    first, second = (
        public.get(MODELS, params={"page": page, "limit": 2}).json()["models"] for page in (0, 1)
    )

    assert [model["name"] for model in first] == ["candle-volatility", "word-sentiment"]
    assert second[0]["name"] == "portfolio-value"
    assert second[0]["authorUsername"] == "local-samples"
    assert public.get(MODELS, params={"page": 10_000, "limit": 100}).json() == {"models": []}


@pytest.mark.parametrize("query", [{"limit": 101}, {"limit": 0}, {"page": -1}, {"page": "x"}])
def test_a_page_has_bounds(public: httpx.Client, query: dict[str, str]) -> None:
    assert public.get(MODELS, params=query).status_code == 422


def test_a_model_is_read_by_name_and_author(hub: httpx.Client, public: httpx.Client) -> None:
    files = _new_version(hub)
    name = files.split("/")[4]
    record = hub.post(files, files={"file": ("m.onnx", b"x")}).json()

    model = public.get(MODELS + name, params={"authorUsername": "local-samples"}).json()

    assert (model["name"], model["authorUsername"]) == (name, "local-samples")
    assert [version["versionString"] for version in model["versions"]] == ["0.01"]
    assert model["versions"][0]["files"] == [record]
    assert public.get(MODELS + name, params={"authorUsername": "nobody"}).status_code == 404


def test_files_are_listed_by_extension(hub: httpx.Client, public: httpx.Client) -> None:
    files = _new_version(hub)
    name = files.split("/")[4]
    record = hub.post(files, files={"file": ("m.onnx", b"x")}).json()
    hub.post(files, files={"file": ("notes.md", b"y")})

    found = public.get(f"{MODELS}{name}/files", params={"extension": "onnx"}).json()

    assert found == [{**record, "versionString": "0.01"}]


def test_a_name_of_two_authors_asks_for_the_author(
    hub: httpx.Client, other_author: httpx.Client, public: httpx.Client
) -> None:
    name = _new_name()
    for author in (hub, other_author):
        author.post(MODELS, json={"name": name, "description": ""})

    assert public.get(MODELS + name).status_code == 400
    assert public.get(MODELS + name, params={"authorUsername": "local-samples"}).is_success


def test_signing_in_gives_tokens_in_firebase_shape(localnet: LocalNetwork) -> None:
    login = localnet.ready["hub_login"]
    answer = _ask_for_tokens(
        localnet,
        {"email": login["email"], "password": login["password"], "returnSecureToken": True},
    ).json()

    assert answer["expiresIn"] == "3600"
    assert {"idToken", "refreshToken", "localId", "email"} <= answer.keys()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"email": "local-samples@localhost.invalid", "password": "no"},
            "INVALID_LOGIN_CREDENTIALS",
        ),
        ({"email": "nobody@example.org", "password": "no"}, "INVALID_LOGIN_CREDENTIALS"),
        ({"password": "no"}, "MISSING_EMAIL"),
        ({"email": "nobody@example.org"}, "MISSING_PASSWORD"),
    ],
)
def test_a_refused_sign_in_has_firebase_words(
    localnet: LocalNetwork, body: object, message: str
) -> None:
    answer = _ask_for_tokens(localnet, body)

    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == message


def test_a_disabled_account_cannot_sign_in(localnet: LocalNetwork) -> None:
    localnet.add_account("gone", email="gone@example.org", password="a secret", disabled=True)

    answer = _ask_for_tokens(localnet, {"email": "gone@example.org", "password": "a secret"})

    assert answer.json()["error"]["message"] == "USER_DISABLED"


def test_a_wrong_api_key_is_refused(localnet: LocalNetwork) -> None:
    login = localnet.ready["hub_login"]
    body = {"email": login["email"], "password": login["password"]}

    answer = _ask_for_tokens(localnet, body, key="wrong")

    assert answer.status_code == 400
    assert "API key not valid" in answer.json()["error"]["message"]


def test_a_refresh_token_outlives_the_id_token(localnet: LocalNetwork) -> None:
    login = localnet.ready["hub_login"]
    first = _ask_for_tokens(
        localnet, {"email": login["email"], "password": login["password"]}
    ).json()
    localnet.expire_tokens()
    second = _refresh(localnet, first["refreshToken"]).json()

    assert _listing(localnet, first["idToken"]).status_code == 401
    assert _listing(localnet, second["id_token"]).status_code == 200
    assert second["expires_in"] == "3600"


def test_an_unknown_refresh_token_is_refused(localnet: LocalNetwork) -> None:
    answer = _refresh(localnet, "wrong")

    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "INVALID_REFRESH_TOKEN"


def _refresh(localnet: LocalNetwork, token: str) -> httpx.Response:
    return localnet.http.post(
        localnet.ready["token_url"],
        params={"key": localnet.ready["hub_login"]["firebase_api_key"]},
        data={"grant_type": "refresh_token", "refresh_token": token},
    )


def _listing(localnet: LocalNetwork, token: str) -> httpx.Response:
    with http_client(localnet.ready["hub_url"], token=token) as client:
        return client.get(f"{MODELS}candle-volatility/versions/0.01/files")


def _peak_memory(network: LocalNetwork) -> int:
    """Return the most memory that the process ever held, in bytes."""
    status = Path(f"/proc/{network.process.pid}/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_upload_is_written_to_disk_as_it_comes(
    localnet: LocalNetwork, hub: httpx.Client, tmp_path: Path
) -> None:
    before = _peak_memory(localnet)
    big = tmp_path / "big.bin"
    with big.open("wb") as file:
        file.truncate(200 * 2**20)
    with big.open("rb") as file:
        answer = hub.post(_new_version(hub), files={"file": ("big.bin", file)}, timeout=60)

    assert answer.json()["size"] == 200 * 2**20
    assert _peak_memory(localnet) - before < 32 * 2**20


def test_a_file_is_served_by_its_content_id_whole_and_in_parts(
    localnet: LocalNetwork, public: httpx.Client
) -> None:
    content = secrets.token_bytes(1000)
    cid = localnet.publish(_new_name(), content, "data.bin")

    whole = public.get(f"/api/v0/files/{cid}")
    part = public.get(f"/api/v0/files/{cid}", headers={"Range": "bytes=900-"})

    assert (whole.status_code, whole.content) == (200, content)
    assert (part.status_code, part.content) == (206, content[900:])
    assert part.headers["Content-Range"] == "bytes 900-999/1000"


@pytest.mark.parametrize("cid", ["A" * 43, "short", "..%2Findex.json", "%2Fetc%2Fpasswd"])
def test_what_is_no_content_id_is_not_served(public: httpx.Client, cid: str) -> None:
    assert public.get(f"/api/v0/files/{cid}").status_code == 404
