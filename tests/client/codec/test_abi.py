"""Call data and event data, against eth_abi and a call that the public SDK made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from eth_abi import abi as eth_abi
from eth_utils.abi import abi_to_signature
from eth_utils.crypto import keccak
from hypothesis import example, given
from hypothesis import strategies as st

from og_mcp.client.codec.abi import (
    RUN_SELECTOR,
    decode_inference_event,
    decode_result,
    decode_run,
    encode_run,
)
from og_mcp.client.codec.inputs import parse_inputs
from og_mcp.client.codec.outputs import to_json
from og_mcp.errors import InputError, ServiceReplyError

NUMBERS = "(string,(int128,int128)[],uint32[])[]"
STRINGS = "(string,string[])[]"
INPUT = f"({NUMBERS},{STRINGS})"
OUTPUT = f"({NUMBERS},{STRINGS},(string,string)[],bool)"


Tensors = Sequence[tuple[object, ...]]


def encoded(
    numbers: Tensors = (), strings: Tensors = (), jsons: Tensors = (), *, simulated: bool = False
) -> bytes:
    return eth_abi.encode([OUTPUT], [(numbers, strings, jsons, simulated)])


def interface(name: str) -> list[dict[str, Any]]:
    file = Path(__file__).parent / "abi" / f"{name}.json"
    entries: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    return entries


@pytest.mark.parametrize(
    ("file", "hashes"),
    [
        (
            "inference",
            {
                "run": "cbf09d80",
                "runLLMChat": "e39aa7e7",
                "runLLMCompletion": "14800c61",
                "InferenceResult": "c1396ff68bc2d8630100df29ce5561fa99078c602e8676ab72a53e37095d7168",
                "LLMChatResult": "53fcd580be8545626a896d86eb76e16597d793de715dda5d21df71d303d1ff96",
                "LLMCompletionResult": "e522a1a92cb132ca102e36a004efceb8c83284b64164e0d128ddce12e86cab7b",
            },
        ),
        (
            "precompile",
            {
                "runModelInference": "7289e9c2",
                "runLLMChat": "e39aa7e7",
                "runLLMCompletion": "14800c61",
                "ModelInferenceEvent": "1b283af3452f3718585ce100f80d9aa81fc60924db4a582a36db6aae3b109d87",
                "LLMChat": "4c92d3df7819fcd1c9f9663332f0a599a65eefdad2eaf9193cffb9dbf1919c3b",
                "LLMCompletionEvent": "51fe69d513d73ecde3fa3bf17584f7d2acfd5f0b13d367e898d6e11e742127a3",
            },
        ),
    ],
)
def test_the_interfaces_hash_to_the_networks_selectors_and_topics(
    file: str, hashes: dict[str, str]
) -> None:
    found = {}
    for entry in interface(file):
        digest = keccak(text=abi_to_signature(entry)).hex()  # type: ignore[arg-type]  # checked by its hash
        found[entry["name"]] = digest if entry["type"] == "event" else digest[:8]

    assert found == hashes
    assert found.get("run", "cbf09d80") == RUN_SELECTOR.hex()


def test_call_data_is_what_the_public_sdk_sends() -> None:
    inputs = parse_inputs(
        {
            "x": np.array([[0.1, -2.5], [0, 1e-7]], np.float32),
            "n": [3, -7],
            "t": ["a", "é"],
            "s": 1.5,
        }
    )

    data = encode_run("QmVector", 1, inputs)

    # From opengradient 1.1.4 and web3 8.0.0, by ContractFunction._encode_transaction_data.
    assert len(data) == 2020
    assert (
        hashlib.sha256(data).hexdigest()
        == "15ea7c60d511c43960260306c9c586da7a18455b0975bfed70d1a2d915a781ec"
    )


def fixed_point(number: object) -> tuple[int, int]:
    sign, digits, exponent = Decimal(str(number)).as_tuple()
    assert isinstance(exponent, int)
    value = int("".join(map(str, digits)))
    while value and value % 10 == 0 and exponent < 0:
        value, exponent = value // 10, exponent + 1
    if not value:
        exponent = 0
    return (-value if sign else value) * 10 ** max(exponent, 0), max(-exponent, 0)


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(
    lambda name: bool(name.strip())
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=70)
INT128 = st.integers(-(2**127), 2**127 - 1)
FLOATS = st.floats(-1e38, 1e38)


def grids(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.tuples(st.integers(1, 3), st.integers(1, 4)).flatmap(
        lambda shape: st.lists(
            st.lists(values, min_size=shape[1], max_size=shape[1]),
            min_size=shape[0],
            max_size=shape[0],
        )
    )


@given(
    cid=TEXTS,
    mode=st.integers(0, 255),
    given_numbers=st.lists(st.one_of(grids(INT128), grids(FLOATS), grids(INT128 | FLOATS))),
    given_strings=st.lists(grids(TEXTS)),
)
def test_call_data_is_what_eth_abi_makes_of_the_decimals(
    cid: str, mode: int, given_numbers: list[Any], given_strings: list[Any]
) -> None:
    numbers = {f"n{index}": grid for index, grid in enumerate(given_numbers)}
    strings = {f"s{index}": grid for index, grid in enumerate(given_strings)}
    if not numbers and not strings:
        numbers = {"n": [[0]]}

    data = encode_run(cid, mode, parse_inputs({**strings, **numbers}))

    expected_numbers = [
        (name, [fixed_point(x) for row in grid for x in row], [len(grid), len(grid[0])])
        for name, grid in numbers.items()
    ]
    expected_strings = [(name, [x for row in grid for x in row]) for name, grid in strings.items()]
    arguments = eth_abi.encode(
        ["string", "uint8", INPUT], [cid, mode, (expected_numbers, expected_strings)]
    )
    assert data == RUN_SELECTOR + arguments


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_written_in_their_own_dtype(dtype: type[np.floating[Any]]) -> None:
    values = np.array([0.1, 1 / 3, -1e-4, 65504, 0.0], dtype)

    data = encode_run("Qm", 0, parse_inputs({"x": values.reshape(5, 1)}))

    decimals = [fixed_point(x) for x in values]
    arguments = eth_abi.encode(
        ["string", "uint8", INPUT], ["Qm", 0, ([("x", decimals, [5, 1])], [])]
    )
    assert data == RUN_SELECTOR + arguments


def test_a_cid_that_is_not_unicode_is_refused() -> None:
    with pytest.raises(InputError, match="not Unicode"):
        encode_run("Qm\ud800", 0, parse_inputs({"x": 1}))


@given(
    names=st.lists(NAMES, min_size=3, max_size=3, unique=True),
    integers=grids(INT128),
    texts=st.lists(TEXTS),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
        | TEXTS,
        lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
        max_leaves=5,
    ),
    simulated=st.booleans(),
)  # fmt: skip
def test_an_output_comes_back_as_it_was_encoded(
    names: list[str], integers: list[list[int]], texts: list[str], value: object, simulated: bool
) -> None:
    flat = [(x, 0) for row in integers for x in row]
    shape = [len(integers), len(integers[0])]
    data = encoded(
        [(names[0], flat, shape)],
        [(names[1], texts)],
        [(names[2], json.dumps(value))],
        simulated=simulated,
    )

    output = decode_result(data)

    assert output.is_simulation_result == simulated
    assert to_json(output) == {names[0]: integers, names[1]: texts, names[2]: value}


@given(grids(st.floats(width=32, min_value=-(2.0**126), max_value=2.0**126)))
def test_float32_outputs_come_back_with_their_shortest_text(grid: list[list[float]]) -> None:
    flat = [fixed_point(np.float32(x)) for row in grid for x in row] + [(5, 1)]
    data = encoded([("y", flat, [len(flat)])])

    values = to_json(decode_result(data))["y"]

    assert values == [float(str(np.float32(x))) for row in grid for x in row] + [0.5]


def test_an_output_without_tensors_is_empty() -> None:
    assert decode_result(encoded()).is_empty
    assert not decode_result(encoded(jsons=[("j", "0")])).is_empty


def test_the_precompiles_event_gives_id_and_output() -> None:
    request: tuple[object, ...] = (2, "Qm", ([("x", [(1, 1)], [1])], []))
    response: tuple[object, ...] = ([("y", [(25, 1)], [])], [], [], False)
    data = eth_abi.encode(
        ["string", f"(uint8,string,{INPUT})", OUTPUT], ["id/1", request, response]
    )

    inference_id, output = decode_inference_event(data)

    assert inference_id == "id/1"
    assert to_json(output) == {"y": 2.5}


FULL = encoded(
    [("a", [(1, 0), (2, 0)], [2, 1]), ("b", [(15, 1)], [])],
    [("s", ["x" * 40, "é"])],
    [("j", '{"k": [1, NaN]}')],
)


def survive(decode: Callable[[bytes], object], data: bytes) -> None:
    """Decode what a lying node sent: an output or the one error, nothing else."""
    with suppress(ServiceReplyError):
        decode(data)


@given(st.binary(max_size=700))
def test_random_bytes_give_an_output_or_the_one_error(data: bytes) -> None:
    survive(decode_result, data)
    survive(decode_inference_event, data)


@given(
    st.lists(
        st.tuples(
            st.integers(0, len(FULL) // 32 - 1),
            st.integers(0, 3) | st.integers(0, len(FULL)) | st.integers(0, 2**256 - 1),
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, len(FULL)),
)
@example(changes=[(0, 2**256 - 1)], cut=0)
def test_changed_words_and_cut_ends_give_an_output_or_the_one_error(
    changes: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(FULL)
    for word, value in changes:
        data[word * 32 : word * 32 + 32] = value.to_bytes(32, "big")

    survive(decode_result, bytes(data[: len(data) - cut]))
    survive(decode_inference_event, bytes(data))


def words(*values: int) -> bytes:
    return b"".join(value.to_bytes(32, "big") for value in values)


def test_many_tensors_on_one_large_array_are_refused_before_they_cost_memory() -> None:
    tensor = eth_abi.encode(
        ["string", "(int128,int128)[]", "uint32[]"], ["x", [(1, 0)] * 1_000, [1_000]]
    )
    tensors = words(1_000, *[32 * 1_000] * 1_000) + tensor
    data = words(32, 128, 128 + len(tensors), 128 + len(tensors), 0) + tensors + words(0)

    with pytest.raises(ServiceReplyError, match="left to read"):
        decode_result(data)


def test_many_texts_on_the_same_bytes_are_refused_before_they_cost_memory() -> None:
    text = words(10_000) + b"x" * 10_000
    members = words(500, *[32 * 500] * 500) + text
    tensors = words(1, 32) + words(64, 96, 0) + members
    data = words(32, 128, 160, 128, 0, 0) + tensors

    with pytest.raises(ServiceReplyError, match="left to read"):
        decode_result(data)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "0"),
        (words(2**255), "bytes"),
        (words(32, 128, 128, 128, 2, 0), "boolean"),
        (words(32, 128, 128, 128, 0, 2**200), "left to read"),
        (encoded([("x", [(1, -1)], [1])]), "decimals"),
        (encoded([("x", [(1, 2**100)], [1])]), "decimals"),
        (encoded([("x", [(1, 0)], [2])]), r"1 numbers for shape \[2\]"),
        (encoded([("x", [(1, 0)], [1] * 33)]), "33 dimensions"),
        (encoded([("x", [], [2**32 - 1, 0])]), "shape"),
        (encoded([("x", [], [])]), "shape"),
        (encoded([("x", [(1, 0)], [1]), ("x", [(2, 0)], [1])]), "two tensors"),
        (encoded([("x", [(1, 0)], [1])], [("x", [])]), "two tensors"),
        (encoded(jsons=[("j", "[1")]), "JSON"),
        (encoded(jsons=[("j", '"\\ud800"')]), "JSON"),
        (encoded(jsons=[("j", "[" * 65 + "]" * 65)]), "deep"),
        (encoded(jsons=[("j", "[" * 100_000)]), "JSON"),
        (encoded(jsons=[("j", "1" * 5_000)]), "JSON"),
        (FULL.replace("é".encode(), b"\xc3\x28"), "UTF-8"),
    ],
)
def test_a_malformed_output_is_refused_with_what_is_wrong(data: bytes, said: str) -> None:
    with pytest.raises(ServiceReplyError, match=said):
        decode_result(data)


def test_a_number_with_garbage_above_int128_is_refused() -> None:
    data = bytearray(encoded([("x", [(-1, 0)], [1])]))
    at = data.index(b"\xff" * 32)
    data[at] = 0

    with pytest.raises(ServiceReplyError, match="int128"):
        decode_result(bytes(data))


def test_a_shape_word_beyond_uint32_is_refused() -> None:
    data = encoded([("x", [(1, 0)], [1, 1])])

    with pytest.raises(ServiceReplyError, match="uint32"):
        decode_result(
            data[: data.rindex(words(1))] + words(2**32) + data[data.rindex(words(1)) + 32 :]
        )


def test_json_numbers_that_json_cannot_write_are_given_as_text() -> None:
    output = decode_result(encoded(jsons=[("j", "[NaN, -Infinity, 1e999, 1.5]")]))

    assert output.jsons == {"j": ["NaN", "-Infinity", "1e999", 1.5]}


def test_an_empty_tensor_keeps_its_shape() -> None:
    output = decode_result(encoded([("x", [], [2, 0, 3])]))

    assert output.numbers["x"].shape == (2, 0, 3)
    assert to_json(output) == {"x": [[], []]}


def test_call_data_is_read_back_as_eth_abi_wrote_it() -> None:
    numbers = [("n", [(12, 1), (-(2**127), 0)], [1, 2]), ("m", [(2**127 - 1, 0)], [1])]
    strings = [("t", ["", "é" * 40]), ("u", ["x"])]
    arguments = eth_abi.encode(["string", "uint8", INPUT], ["QmModel", 2, (numbers, strings)])

    call = decode_run(RUN_SELECTOR + arguments)

    assert (call.model_cid, call.mode, call.mode_name) == ("QmModel", 2, "TEE")
    assert [(one.name, one.shape) for one in call.numbers] == [("n", (1, 2)), ("m", (1,))]
    assert call.numbers[0].words == eth_abi.encode(["int128"] * 4, [12, 1, -(2**127), 0])
    assert [(one.name, list(one.values)) for one in call.strings] == strings


@given(st.binary(max_size=600))
def test_bytes_that_are_no_call_are_refused_with_a_value_error(data: bytes) -> None:
    for call_data in (data, RUN_SELECTOR + data):
        with pytest.raises(ValueError, match=r"arguments|does not call"):
            decode_run(call_data)


def test_a_call_in_another_spelling_than_the_standard_one_is_refused() -> None:
    inputs = parse_inputs({"x": [1, 2], "t": "text"})
    data = encode_run("QmModel", 0, inputs)
    gap = data[:4] + (int.from_bytes(data[4:36], "big") + 32).to_bytes(32, "big") + data[36:]
    padded = data.replace(b"text\0", b"text\1")

    for other in (data + bytes(32), data + b"\0", gap, padded):
        with pytest.raises(ValueError, match=r"standard encoding|malformed"):
            decode_run(other)
    assert decode_run(data).model_cid == "QmModel"
