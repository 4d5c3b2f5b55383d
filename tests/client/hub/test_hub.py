"""Reads of the Model Hub: on the local hub, and on hubs that answer otherwise."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from uuid import uuid4

import anyio
import anyio.abc
import httpx
import pytest

from og_mcp.client.hub.hub import Hub
from og_mcp.client.hub.known import MAX_KNOWN, KnownGraphs
from og_mcp.client.hub.signin import SignIn, login_of
from og_mcp.client.wire.http import open_http
from og_mcp.errors import (
    AmbiguousModelError,
    InputError,
    ModelNotFoundError,
    ServiceRejectedError,
    ServiceReplyError,
    ServiceUnreachableError,
)
from og_mcp.networks import from_ready_file
from og_mcp.types import ModelFile, ModelGraph, ModelVersion, TensorSpec
from tests.localnet_client import LocalNetwork


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with open_http(local=True) as client:
        yield client


@pytest.fixture
def hub(http: httpx.AsyncClient, localnet: LocalNetwork) -> Hub:
    return Hub(http, from_ready_file(localnet.ready))


async def publish(
    http: httpx.AsyncClient, localnet: LocalNetwork, token: str, name: str, **files: bytes
) -> str:
    """Create a model with one version of these files; returns the version."""
    models = f"{localnet.ready['hub_url']}/api/v0/models/"
    headers = {"Authorization": f"Bearer {token}"}
    body: dict[str, object] = {"name": name, "description": f"About {name}."}
    (await http.post(models, json=body, headers=headers)).raise_for_status()
    answer = await http.post(f"{models}{name}/versions", json={"notes": "first"}, headers=headers)
    version: str = answer.raise_for_status().json()["versionString"]
    for file, content in files.items():
        await http.post(
            f"{models}{name}/versions/{version}/files",
            files={"file": (file.replace("_", "."), content)},
            headers=headers,
        )
    return version


async def sign_in(http: httpx.AsyncClient, localnet: LocalNetwork, username: str) -> str:
    """Add an author and sign in as such."""
    account = {"email": f"{username}@example.com", "password": "correct horse"}
    localnet.add_account(username, email=account["email"], password=account["password"])
    key = localnet.ready["hub_login"]["firebase_api_key"]
    answer = await http.post(localnet.ready["auth_url"], params={"key": key}, json=account)
    token: str = answer.raise_for_status().json()["idToken"]
    return token


async def test_the_sample_model_is_told_with_its_tensors_and_an_input_that_fits(
    hub: Hub, localnet: LocalNetwork
) -> None:
    sample = localnet.ready["sample_models"][0]

    model = await hub.get_model(sample["name"])

    (version,) = model.versions
    (file,) = version.files
    assert (model.network, model.name, version.version) == ("local", sample["name"], "0.01")
    assert file.model_cid == sample["cid"]
    assert {spec.name for spec in file.inputs} == sample["model_input"].keys()
    assert {spec.name for spec in file.outputs} == sample["model_output"].keys()
    assert model.example_input == sample["model_input"]
    assert model.author
    assert model.url == ""


async def test_the_files_of_a_version_are_listed_and_their_tensors_remembered(
    http: httpx.AsyncClient, localnet: LocalNetwork
) -> None:
    sample, known = localnet.ready["sample_models"][0], KnownGraphs()
    hub = Hub(http, from_ready_file(localnet.ready), known=known)
    before = known.get(sample["cid"])

    listed = await hub.list_files(sample["name"], f"v{sample['version']}")

    (file,) = listed.files
    assert (listed.network, listed.model_name) == ("local", sample["name"])
    assert listed.version == sample["version"]
    assert before is None
    assert known.get(file.model_cid) == ModelGraph(inputs=file.inputs, outputs=file.outputs)


async def test_a_version_without_files_is_an_empty_list(
    hub: Hub, http: httpx.AsyncClient, localnet: LocalNetwork
) -> None:
    name = f"empty-{uuid4().hex}"
    version = await publish(http, localnet, localnet.sign_in(), name)

    assert (await hub.list_files(name, version)).files == []


async def test_several_versions_are_kept_apart(
    hub: Hub, http: httpx.AsyncClient, localnet: LocalNetwork
) -> None:
    name, token = f"two-{uuid4().hex}", localnet.sign_in()
    first = await publish(http, localnet, token, name, a_onnx=b"one", b_txt=b"two")
    models = f"{localnet.ready['hub_url']}/api/v0/models/{name}"
    headers = {"Authorization": f"Bearer {token}"}
    await http.post(f"{models}/versions", json={"is_major": True}, headers=headers)

    model = await hub.get_model(name)

    assert [version.version for version in model.versions] == [first, "1.00"]
    assert [file.name for file in model.versions[0].files] == ["a.onnx", "b.txt"]
    assert [file.size for file in model.versions[0].files] == [3, 3]
    assert model.versions[0].notes == "first"
    assert model.description == f"About {name}."
    assert (await hub.list_files(name, "1.00")).files == []


async def test_what_is_not_there_is_told_by_name(hub: Hub, localnet: LocalNetwork) -> None:
    name = localnet.ready["sample_models"][0]["name"]

    with pytest.raises(ModelNotFoundError, match="no model 'no-such-model'"):
        await hub.get_model("no-such-model")
    with pytest.raises(ModelNotFoundError, match=f"version '9.99' of model '{name}'"):
        await hub.list_files(name, "9.99")
    with pytest.raises(ModelNotFoundError, match=f"no model 'nobody/{name}'"):
        await hub.get_model(name, "nobody")


async def test_a_name_of_several_authors_is_refused_with_their_names(
    hub: Hub, http: httpx.AsyncClient, localnet: LocalNetwork
) -> None:
    name = f"shared-{uuid4().hex}"
    authors = [f"author-{uuid4().hex[:8]}" for _ in range(2)]
    for author in authors:
        token = await sign_in(http, localnet, author)
        await publish(http, localnet, token, name, a_onnx=author.encode())

    with pytest.raises(AmbiguousModelError) as caught:
        await hub.get_model(name)
    with pytest.raises(AmbiguousModelError):
        await hub.list_files(name, "0.01")

    assert all(author in str(caught.value) for author in authors)
    assert (await hub.get_model(name, authors[1])).author == authors[1]
    assert (await hub.get_model(f"{authors[1]}/{name}")).author == authors[1]
    assert (await hub.list_files(f"{authors[0]}/{name}", "0.01")).files


@pytest.mark.parametrize("name", ["", ".", "..", "...", "a\ud800"])
async def test_a_name_that_urls_would_read_as_a_way_is_refused(name: str, hub: Hub) -> None:
    with pytest.raises(InputError, match="not a name"):
        await hub.get_model(name)
    with pytest.raises(InputError, match="not a name"):
        await hub.list_files(name, "0.01")


@pytest.mark.parametrize(
    "name",
    [
        *("../models", "a/b", "x?authorUsername=y", "x#y", "..%2f..", "%2e%2e", "a\\b", "a\nb"),
        *("é", " ", "x/files", "🙂"),
    ],
)
async def test_no_name_leaves_its_place_in_the_path(
    name: str, hub: Hub, localnet: LocalNetwork
) -> None:
    localnet.reset_counters("hub_read")

    with pytest.raises(ModelNotFoundError):
        await hub.get_model(name)

    # With an author before it, there is no need to search for one.
    assert localnet.counters("hub_read")["http_requests"] == (1 if "/" in name else 2)


async def test_a_hub_that_is_away_is_told(http: httpx.AsyncClient, localnet: LocalNetwork) -> None:
    hub = Hub(http, from_ready_file(localnet.ready))
    localnet.close_service("hub_read")

    with pytest.raises(ServiceUnreachableError, match="Model Hub"):
        await hub.get_model("anything")


async def test_with_an_account_files_are_read_where_the_account_is_known(
    http: httpx.AsyncClient, localnet: LocalNetwork
) -> None:
    name, token = f"mine-{uuid4().hex}", localnet.sign_in()
    version = await publish(http, localnet, token, name, a_onnx=b"one")

    network = from_ready_file(localnet.ready)
    hub = Hub(http, network, SignIn(http, network, login_of(localnet.ready["hub_login"])))
    localnet.reset_counters("hub_read")
    listed = await hub.list_files(name, version)

    assert [file.name for file in listed.files] == ["a.onnx"]
    assert localnet.counters("hub_read")["http_requests"] == 0
    with pytest.raises(ModelNotFoundError, match=r"version '7\.00'"):
        await hub.list_files(name, "7.00")


async def test_with_an_account_the_models_of_others_are_listed_where_everybody_may(
    http: httpx.AsyncClient, localnet: LocalNetwork
) -> None:
    name, author = f"theirs-{uuid4().hex}", f"author-{uuid4().hex[:8]}"
    token = await sign_in(http, localnet, author)
    version = await publish(http, localnet, token, name, a_onnx=b"one")

    network = from_ready_file(localnet.ready)
    hub = Hub(http, network, SignIn(http, network, login_of(localnet.ready["hub_login"])))
    localnet.fault("hub GET */files", "error", service="hub", status=404, message="not yours")
    listed = await hub.list_files(name, f"v{version}")

    assert [file.name for file in listed.files] == ["a.onnx"]
    assert listed.version == version


# Hubs of other releases: a server that answers fixed documents by path


class OtherHub:
    """Answers GET by path and query, 404 for others, and keeps what it was asked."""

    def __init__(self, documents: Mapping[str, object]) -> None:
        self._documents = documents
        self.asked: list[str] = []

    async def handle(self, stream: anyio.abc.SocketStream) -> None:
        async with stream:
            head = b""
            while b"\r\n\r\n" not in head:
                head += await stream.receive()
            target = head.split(b" ")[1].decode()
            self.asked.append(target)
            document = self._documents.get(target, 404)
            status = document if isinstance(document, int) else 200
            body = json.dumps({"detail": "no"} if isinstance(document, int) else document).encode()
            await stream.send(
                f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n"
                "Connection: close\r\n\r\n".encode()
                + body
            )


Other = Callable[..., tuple[Hub, OtherHub]]


@pytest.fixture
async def other(http: httpx.AsyncClient, localnet: LocalNetwork) -> AsyncIterator[Other]:
    """Make a `Hub` that asks another server."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - anyio's, not Django's
    async with listener, anyio.create_task_group() as tasks:

        def make(documents: Mapping[str, object], page: str = "") -> tuple[Hub, OtherHub]:
            server = OtherHub(documents)
            tasks.start_soon(listener.serve, server.handle)
            network = replace(
                from_ready_file(localnet.ready),
                hub_read_url=f"http://127.0.0.1:{port}",
                model_page_url=page,
            )
            return Hub(http, network), server

        yield make
        tasks.cancel_scope.cancel()


RECORD = "/api/v0/models/m"
FILES = "/api/v0/models/m/files"
BY_A = "?authorUsername=a"
PAGE = "/api/v0/models/?page={}&limit=100"


async def test_files_that_the_record_does_not_hold_are_asked_for(other: Other) -> None:
    hub, server = other(
        {
            RECORD: {"name": "m", "authorUsername": "a", "versions": [{"versionString": "0.01"}]},
            FILES + BY_A: [
                {"filename": "x.onnx", "ipfsCid": "Qm1", "size": "7", "versionString": "0.02"},
                {"name": "y.onnx", "modelCid": "Qm2", "fileSize": 8, "version": "0.01"},
            ],
        },
        page="https://hub.example.com/models/{author}/{model}",
    )

    model = await hub.get_model("m")

    assert model.versions == [
        ModelVersion(version="0.01", files=[ModelFile(name="y.onnx", model_cid="Qm2", size=8)]),
        ModelVersion(version="0.02", files=[ModelFile(name="x.onnx", model_cid="Qm1", size=7)]),
    ]
    assert model.url == "https://hub.example.com/models/a/m"
    assert model.example_input == {}
    assert server.asked == [RECORD, FILES + BY_A]


async def test_files_without_a_version_belong_to_the_only_one(other: Other) -> None:
    file = {"name": "x.onnx", "ipfsCid": "Qm1", "size": 7}
    hub, _ = other(
        {
            RECORD: {"name": "m", "author": {"username": "a"}, "versions": [{"version": 1.5}]},
            FILES + BY_A: {"files": [file]},
        }
    )

    listed = await hub.list_files("m", "1.5")

    assert listed.files == [ModelFile(name="x.onnx", model_cid="Qm1", size=7)]


async def test_files_that_cannot_be_told_apart_are_not_guessed(other: Other) -> None:
    record = {"name": "m", "versions": [{"versionString": "0.01"}, {"versionString": "0.02"}]}
    hub, _ = other({RECORD: record, FILES: [{"name": "x", "ipfsCid": "Qm1"}]})

    with pytest.raises(ServiceReplyError, match="which files belong to which version"):
        await hub.list_files("m", "0.01")


async def test_a_model_without_files_anywhere_is_told_all_the_same(other: Other) -> None:
    hub, _ = other({RECORD: {"name": "m", "description": None, "versions": None}})

    model = await hub.get_model("m")

    assert (model.name, model.author, model.versions) == ("m", "", [])


async def test_the_author_is_looked_up_where_the_name_alone_tells_nothing(other: Other) -> None:
    others = [{"name": f"n{number}", "authorUsername": "b"} for number in range(100)]
    hub, server = other(
        {
            PAGE.format(0): {"models": others},
            PAGE.format(1): [{"name": "m", "authorUsername": "a"}, {"name": "M"}],
            RECORD + BY_A: {"name": "m", "authorUsername": "A", "versions": []},
            FILES + "?authorUsername=A": [],
        }
    )

    model = await hub.get_model("m")

    assert model.author == "A"
    assert server.asked == [
        RECORD,
        PAGE.format(0),
        PAGE.format(1),
        RECORD + BY_A,
        FILES + "?authorUsername=A",
    ]


async def test_another_authors_model_is_not_given_out_for_the_one_asked_for(other: Other) -> None:
    hub, _ = other({RECORD + BY_A: {"name": "m", "authorUsername": "b", "versions": []}})

    with pytest.raises(ModelNotFoundError, match="'a/m'"):
        await hub.get_model("m", "a")


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
async def test_other_refusals_of_the_hub_are_passed_on(status: int, other: Other) -> None:
    hub, server = other({RECORD: status})

    with pytest.raises(ServiceRejectedError) as caught:
        await hub.get_model("m")

    assert caught.value.status == status
    assert server.asked == [RECORD]


@pytest.mark.parametrize(
    "documents",
    [
        {RECORD: []},
        {RECORD: "m"},
        {RECORD: {"name": "m"}, FILES: {"detail": "?"}},
        {RECORD: {"name": "m"}, FILES: None},
        {PAGE.format(0): {"items": []}},
    ],
)
async def test_documents_of_another_kind_are_bad_replies(
    documents: Mapping[str, object], other: Other
) -> None:
    hub, _ = other(documents)

    with pytest.raises(ServiceReplyError):
        await hub.get_model("m")


async def test_parts_that_cannot_be_used_are_left_out(other: Other) -> None:
    files: list[object] = [
        None,
        7,
        {"name": "no cid"},
        {"ipfsCid": "no name"},
        {"name": True, "ipfsCid": ["Qm"]},
        {"name": "ok", "ipfsCid": "Qm1", "size": -1, "inputs": [{"name": "x"}], "outputs": 3},
        {"name": "n" * 1000, "ipfsCid": "Qm2", "size": "much", "inputs": "x"},
    ]
    versions: list[object] = [3, {"notes": "unnamed"}, {"versionString": "0.01", "files": files}]
    hub, _ = other({RECORD: {"name": "m", "description": 5, "versions": versions}})

    model = await hub.get_model("m")

    (version,) = model.versions
    assert [(file.name, file.size, file.inputs) for file in version.files] == [
        ("ok", 0, []),
        ("n" * 300, 0, []),
    ]
    assert model.description == "5"


async def test_dimensions_without_a_size_are_any_and_an_example_fits(other: Other) -> None:
    inputs = [
        {"name": "x", "dtype": "float", "shape": ["batch", 2, None, -7, True]},
        {"name": "n", "dtype": "int64", "shape": []},
        {"name": "s", "dtype": "string", "shape": [2]},
    ]
    file = {"name": "x.onnx", "ipfsCid": "Qm1", "size": 7, "inputs": inputs, "outputs": []}
    record = {"name": "m", "versions": [{"versionString": "0.01", "files": [file]}]}
    hub, _ = other({RECORD: record})

    model = await hub.get_model("m")

    assert model.versions[0].files[0].inputs == [
        TensorSpec(name="x", dtype="float", shape=[-1, 2, -1, -1, -1]),
        TensorSpec(name="n", dtype="int64", shape=[]),
        TensorSpec(name="s", dtype="string", shape=[2]),
    ]
    assert model.example_input == {"x": [[[[[0.0]]], [[[0.0]]]]], "n": 0, "s": ["text", "text"]}


@pytest.mark.parametrize("shape", [[65], [2**40, 2**40]])
async def test_a_long_example_is_a_file(shape: list[int], other: Other) -> None:
    inputs = [{"name": "x", "dtype": "float", "shape": shape}]
    file = {"name": "x.onnx", "ipfsCid": "Qm1", "inputs": inputs}
    hub, _ = other({RECORD: {"versions": [{"versionString": "0.01", "files": [file]}]}})

    assert (await hub.get_model("m")).example_input == {"x": {"file": "/path/to/x.npy"}}


def test_only_so_many_tensors_are_remembered() -> None:
    known, graph = KnownGraphs(), ModelGraph(inputs=[], outputs=[])

    for number in range(MAX_KNOWN + 1):
        known.add(f"Qm{number}", graph)

    assert known.get("Qm0") is None
    assert known.get("Qm1") is not None
    assert known.get(f"Qm{MAX_KNOWN}") is not None
