"""Finding out what a model takes: from its file on the hub, and from what is kept."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import anyio
import anyio.abc
import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from og_mcp.client.hub.graph_fetch import fetch_onnx
from og_mcp.client.hub.graphs import UNSERVED, Graphs
from og_mcp.client.hub.known import KnownGraphs
from og_mcp.client.wire.http import open_http
from og_mcp.errors import ServiceError
from og_mcp.localnet.samples import build
from og_mcp.networks import Network, from_ready_file
from og_mcp.onnxfile import OnnxError
from og_mcp.types import ModelFile, ModelGraph, TensorSpec
from tests.localnet_client import LocalNetwork

SAMPLE = build()[0].content


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with open_http(local=True) as client:
        yield client


@pytest.fixture
def network(localnet: LocalNetwork) -> Network:
    return from_ready_file(localnet.ready)


def heavy(mib: int, *, external: bool = False) -> bytes:
    """Build `y = x + w` with weights of so many MiB, before its inputs as in every file."""
    weight = numpy_helper.from_array(np.zeros(mib << 18, np.float32), "w")
    if external:
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value="/etc/passwd")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1]) for name in "xy")
    node = helper.make_node("Add", ["x", "w"], ["y"])
    graph = helper.make_graph([node], str(uuid4()), [x], [y], [weight])
    return bytes(helper.make_model(graph, ir_version=8).SerializeToString())


def requests(localnet: LocalNetwork) -> int:
    count: int = localnet.counters("hub_read")["http_requests"]
    return count


async def test_a_file_is_read_once_and_known_from_then_on(
    http: httpx.AsyncClient, localnet: LocalNetwork, network: Network, tmp_path: Path
) -> None:
    cid = localnet.publish(f"m-{uuid4().hex}", heavy(0))
    folder = tmp_path / "known"
    graphs = Graphs(KnownGraphs(folder, "local"), network, http)
    before = requests(localnet)

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(graphs.find, cid)
    asked = requests(localnet) - before
    found = await graphs.find(cid)

    assert found == ModelGraph(
        inputs=[TensorSpec(name="x", dtype="float", shape=[-1, 1])],
        outputs=[TensorSpec(name="y", dtype="float", shape=[-1, 1])],
    )
    assert asked == 1
    assert requests(localnet) == before + 1
    assert KnownGraphs(folder, "local").load(cid) == found
    assert KnownGraphs(folder, "opengradient").load(cid) is None


async def test_weights_are_stepped_over_on_the_server(
    http: httpx.AsyncClient, localnet: LocalNetwork, network: Network
) -> None:
    cid = localnet.publish(f"m-{uuid4().hex}", heavy(16))
    before = requests(localnet)

    read = await fetch_onnx(http, network.hub_file_url.format(cid=cid), max_bytes=4 << 20)

    assert [spec.name for spec in read.graph.inputs] == ["x"]
    assert requests(localnet) == before + 2


async def test_t27_a_model_with_weights_elsewhere_is_not_described(
    http: httpx.AsyncClient, localnet: LocalNetwork, network: Network
) -> None:
    cid = localnet.publish(f"m-{uuid4().hex}", heavy(0, external=True))
    graphs = Graphs(KnownGraphs(), network, http)

    assert await graphs.find(cid) is None
    assert "external_data" in graphs.why_not(cid)


async def test_what_could_not_be_read_is_not_asked_for_at_every_call(
    http: httpx.AsyncClient, localnet: LocalNetwork, network: Network
) -> None:
    cid = localnet.publish(f"m-{uuid4().hex}", b"no model", "readme.onnx")
    graphs = Graphs(KnownGraphs(), network, http)
    before = requests(localnet)

    found = [await graphs.find(cid) for _ in range(3)]

    assert found == [None] * 3
    assert "not in the format of ONNX" in graphs.why_not(cid)
    assert requests(localnet) == before + 1


async def test_a_hub_that_is_gone_is_no_failure(
    http: httpx.AsyncClient, localnet: LocalNetwork, network: Network
) -> None:
    localnet.close_service("hub_read")
    graphs = Graphs(KnownGraphs(), network, http)

    assert await graphs.find("Qm1") is None
    assert "cannot be reached" in graphs.why_not("Qm1")


async def test_a_hub_that_serves_no_files_is_not_asked(
    http: httpx.AsyncClient, localnet: LocalNetwork, network: Network
) -> None:
    graphs = Graphs(KnownGraphs(), replace(network, hub_file_url=""), http)
    before = requests(localnet)

    assert await graphs.find("Qm1") is None
    assert graphs.why_not("Qm1") == UNSERVED
    assert requests(localnet) == before


async def test_files_that_come_without_tensors_are_filled_in(
    http: httpx.AsyncClient, localnet: LocalNetwork, network: Network
) -> None:
    cid = localnet.publish(f"m-{uuid4().hex}", heavy(0))
    files = [
        ModelFile(name="m.onnx", model_cid=cid, size=1),
        ModelFile(name="m.txt", model_cid=cid, size=1),
        ModelFile(name="gone.onnx", model_cid="Qm-gone", size=1),
    ]

    await Graphs(KnownGraphs(), network, http).describe(files)

    assert [[spec.name for spec in file.inputs] for file in files] == [["x"], [], []]


def test_what_is_kept_is_private_and_a_damaged_file_is_no_failure(tmp_path: Path) -> None:
    folder, graph = tmp_path / "known", ModelGraph(inputs=[], outputs=[])
    anyio.run(KnownGraphs(folder, "n").keep, "../../Qm1", graph)

    (file,) = folder.iterdir()

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert KnownGraphs(folder, "n").load("../../Qm1") == graph
    for content in (b"", b"{", b'{"inputs": 5}', b"x" * 10**6):
        file.write_bytes(content)
        assert KnownGraphs(folder, "n").load("../../Qm1") is None


Answer = Callable[[str], bytes]
"""From the head of a request to the whole answer."""

Serve = Callable[[Answer], str]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serve a file in one way; returns its URL."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - anyio's, not Django's
    async with listener, anyio.create_task_group() as tasks:

        def start(answer: Answer) -> str:
            async def handle(stream: anyio.abc.SocketStream) -> None:
                async with stream:
                    head = b""
                    while b"\r\n\r\n" not in head:
                        head += await stream.receive()
                    try:
                        await stream.send(answer(head.decode()))
                    except anyio.BrokenResourceError:
                        # The reader has gone, as it should.
                        return

            tasks.start_soon(listener.serve, handle)
            return f"http://127.0.0.1:{port}/file"

        yield start
        tasks.cancel_scope.cancel()


def reply(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def test_a_server_that_gives_no_parts_is_read_to_the_end(
    http: httpx.AsyncClient, serve: Serve
) -> None:
    url = serve(lambda _: reply(heavy(3)))

    assert [spec.name for spec in (await fetch_onnx(http, url)).graph.inputs] == ["x"]


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (reply(heavy(3)), ServiceError, "too long to be read"),
        (reply(SAMPLE, "200 OK", "Content-Encoding: gzip"), ServiceError, "compressed"),
        (
            reply(SAMPLE, "206 Partial Content", "Content-Range: bytes 5-9/10"),
            ServiceError,
            "another part",
        ),
        (reply(b"", "302 Found", "Location: http://169.254.169.254/"), ServiceError, "no file"),
        (reply(b"", "404 Not Found"), ServiceError, "404"),
        (
            reply(SAMPLE[:-9], "206 Partial Content", f"Content-Range: bytes 0-/{len(SAMPLE)}"),
            ServiceError,
            "shorter than it said",
        ),
        (reply(SAMPLE[:-9]), OnnxError, "ends too early"),
        (reply(b"<html>"), OnnxError, "not in the format"),
        (reply(SAMPLE).replace(b"Length: ", b"Length: 9"), ServiceError, "broke"),
    ],
    ids=["long", "gzip", "elsewhere", "redirect", "gone", "short", "cut", "html", "broken"],
)
async def test_an_answer_that_is_no_file_is_refused(
    http: httpx.AsyncClient, serve: Serve, answer: bytes, error: type[Exception], said: str
) -> None:
    url = serve(lambda _: answer)

    with pytest.raises(error, match=said):
        await fetch_onnx(http, url, max_bytes=1 << 20)


async def test_a_server_that_does_not_end_is_left(http: httpx.AsyncClient, serve: Serve) -> None:
    url = serve(lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    with pytest.raises(ServiceError):
        await fetch_onnx(http, url, limit_s=0.2)


def test_the_sample_that_these_tests_use_is_a_model() -> None:
    onnx.checker.check_model(onnx.load_model_from_string(SAMPLE))
