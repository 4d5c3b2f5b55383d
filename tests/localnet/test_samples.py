"""The sample models are real, the same in every run, and run as they say."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import pytest

from og_mcp.localnet.samples import Sample, build
from tests.localnet_client import LocalNetwork

SAMPLES = {sample.name: sample for sample in build()}


def _volatility(model_input: Mapping[str, Any]) -> dict[str, Any]:
    candles = np.array(model_input["open_high_low_close"])[0]
    returns = np.diff(np.log(candles[:, 3]))
    ranges = np.log(candles[:, 1] / candles[:, 2])
    return {
        "close_volatility": [returns.std(ddof=1)],
        "range_volatility": [np.sqrt((ranges**2).mean() / (4 * np.log(2)))],
    }


def _sentiment(model_input: Mapping[str, Any]) -> dict[str, Any]:
    lexicon = {"good": 1, "great": 2, "love": 1.5, "bad": -1, "awful": -2, "hate": -1.5}
    weights = [lexicon.get(word, 0) for word in model_input["words"]]
    signs = {1.0: "+", 0.0: "", -1.0: "-"}
    return {
        "tags": [signs[float(np.sign(weight))] for weight in weights],
        "sentiment": [sum(weights) / len(weights)],
    }


def _portfolio(model_input: Mapping[str, Any]) -> dict[str, Any]:
    values = np.array(model_input["counts"]) * np.array(model_input["prices"])
    return {
        "values": values,
        "totals": values.sum(axis=1),
        "largest": values.argmax(axis=1, keepdims=True),
    }


@pytest.mark.parametrize(
    ("sample", "by_hand"),
    [
        (SAMPLES["candle-volatility"], _volatility),
        (SAMPLES["word-sentiment"], _sentiment),
        (SAMPLES["portfolio-value"], _portfolio),
    ],
    ids=list(SAMPLES),
)
def test_a_sample_computes_what_its_description_says(
    sample: Sample, by_hand: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> None:
    given, expected = sample.run(), by_hand(sample.model_input)

    assert given.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, list) and isinstance(value[0], str):
            assert given[name] == value
        else:
            np.testing.assert_allclose(given[name], value, rtol=1e-5)


def test_samples_are_the_same_in_every_run() -> None:
    assert [sample.content for sample in build()] == [sample.content for sample in build()]


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=list(SAMPLES))
def test_samples_are_valid_onnx(sample: Sample) -> None:
    onnx.checker.check_model(onnx.load_from_string(sample.content), full_check=True)


def test_the_ready_file_names_each_sample_with_one_call(localnet: LocalNetwork) -> None:
    told = {model["name"]: model for model in localnet.ready["sample_models"]}

    assert told.keys() == SAMPLES.keys()
    for name, sample in SAMPLES.items():
        digest = hashlib.sha256(sample.content).digest()
        assert told[name]["cid"] == urlsafe_b64encode(digest).decode().rstrip("=")
        assert told[name]["version"] == "0.01"
        assert told[name]["model_input"] == sample.model_input
        assert told[name]["model_output"] == sample.run()


def test_the_seeded_account_can_list_the_samples(localnet: LocalNetwork) -> None:
    model = localnet.ready["sample_models"][0]
    headers = {"Authorization": f"Bearer {localnet.sign_in()}"}
    path = f"/api/v0/models/{model['name']}/versions/{model['version']}/files"
    files = localnet.http.get(localnet.ready["hub_url"] + path, headers=headers).json()

    assert [file["ipfsCid"] for file in files] == [model["cid"]]
    assert files[0]["inputs"] == [
        {"name": "open_high_low_close", "dtype": "float", "shape": [1, 10, 4]}
    ]
