"""The precompile runs the uploaded graph, and says in a revert why it does not."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnxruntime
import pytest
from eth_abi.abi import decode
from eth_account.signers.local import LocalAccount
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from og_mcp.localnet.chain import Chain
from og_mcp.localnet.evm import Call
from og_mcp.localnet.genesis import INFERENCE_CONTRACT
from og_mcp.localnet.models import SESSIONS_KEPT
from og_mcp.localnet.node_errors import NodeError
from og_mcp.localnet.precompile import ADDRESS, Answers
from tests.localnet import graphs
from tests.localnet.calls import (
    CONTRACT,
    INFERENCE_RESULT,
    MODEL_INFERENCE_EVENT,
    MODEL_OUTPUT,
    REQUEST,
    Output,
    infer,
    numbers,
    raw_address,
    run_data,
    sign,
)
from tests.localnet.conftest import CHAIN_ID
from tests.localnet.graphs import Folder

DTYPES = [
    (TensorProto.FLOAT, np.float32, [0.1, -2.5, 1e-30]),
    (TensorProto.DOUBLE, np.float64, [0.1, 1 / 3, 1e-300]),
    (TensorProto.FLOAT16, np.float16, [0.1, -2.5, 6e-8]),
    (TensorProto.INT8, np.int8, [-128, 0, 127]),
    (TensorProto.INT16, np.int16, [-(2**15), 0, 1]),
    (TensorProto.INT32, np.int32, [-(2**31), 0, 1]),
    (TensorProto.INT64, np.int64, [-(2**63), 0, 2**63 - 1]),
    (TensorProto.UINT8, np.uint8, [0, 1, 255]),
    (TensorProto.UINT16, np.uint16, [0, 1, 2**16 - 1]),
    (TensorProto.UINT32, np.uint32, [0, 1, 2**32 - 1]),
    (TensorProto.UINT64, np.uint64, [0, 1, 2**64 - 1]),
    (TensorProto.BOOL, np.bool_, [True, False, True]),
]


@pytest.mark.parametrize(("kind", "dtype", "values"), DTYPES)
def test_numbers_of_every_dtype_come_through(
    chain: Chain,
    models: Folder,
    kind: int,
    dtype: Any,  # noqa: ANN401 - a numpy dtype
    values: list[Any],
) -> None:
    cid = models.add("identity", graphs.identity(kind, [3]))
    array = np.array(values, dtype)
    output = infer(chain, run_data(cid, [numbers("x", array)]))

    assert output.array("y", dtype).tolist() == array.tolist()
    assert output.is_simulation_result


def test_outputs_are_what_onnxruntime_gives_directly(chain: Chain, models: Folder) -> None:
    weights = np.random.default_rng(7).normal(size=(4, 5)).astype(np.float32)
    content = graphs.graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["h"]),
            helper.make_node("Softmax", ["h"], ["y"], axis=-1),
        ],
        [graphs.value("x", TensorProto.FLOAT, ["rows", 3, 4])],
        [graphs.value("y", TensorProto.FLOAT, ["rows", 3, 5])],
        [helper.make_tensor("w", TensorProto.FLOAT, [4, 5], weights.ravel())],
    )
    x = np.random.default_rng(8).normal(size=(2, 3, 4)).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(content).run(None, {"x": x})

    output = infer(chain, run_data(models.add("softmax", content), [numbers("x", x)]))

    assert output.numbers["y"][1] == (2, 3, 5)
    assert output.array("y", np.float32).tobytes() == expected.tobytes()


def test_a_scalar_has_an_empty_shape(chain: Chain, models: Folder) -> None:
    cid = models.add("scalar", graphs.identity(TensorProto.FLOAT, []))

    output = infer(chain, run_data(cid, [numbers("x", np.float32(2.5))]))

    assert output.numbers == {"y": (((25, 1),), ())}


@pytest.mark.parametrize("declared", [None, []])
@pytest.mark.parametrize("shape", [(), (1,), (2, 2)])
def test_any_shape_fits_where_the_graph_declares_none(
    chain: Chain, models: Folder, declared: list[int] | None, shape: tuple[int, ...]
) -> None:
    cid = models.add("free", graphs.identity(TensorProto.FLOAT, declared))

    output = infer(chain, run_data(cid, [numbers("x", np.ones(shape, np.float32))]))

    assert output.numbers["y"][1] == shape


def test_strings_stay_one_dimensional_where_the_graph_declares_no_shape(
    chain: Chain, models: Folder
) -> None:
    cid = models.add("free", graphs.identity(TensorProto.STRING, None))

    assert infer(chain, run_data(cid, strings=[("x", ["a", "b"])])).strings == {"y": ("a", "b")}


def test_an_empty_tensor_comes_through(chain: Chain, models: Folder) -> None:
    cid = models.add("open", graphs.identity(TensorProto.FLOAT, ["n", 2]))

    output = infer(chain, run_data(cid, [("x", [], [0, 2])]))

    assert output.numbers == {"y": ((), (0, 2))}


@pytest.mark.parametrize("shape", [[4], ["n"], [2, 2], ["n", 2], [2, 1, 2]])
def test_strings_take_the_shape_that_the_graph_declares(
    chain: Chain, models: Folder, shape: list[graphs.Size]
) -> None:
    cid = models.add("strings", graphs.identity(TensorProto.STRING, shape))
    words = ("", "ümlaut", "a" * 100, "0x")

    output = infer(chain, run_data(cid, strings=[("x", words)]))

    assert output.strings == {"y": words}


def test_numbers_and_strings_go_in_together(chain: Chain, models: Folder) -> None:
    content = graphs.graph(
        [helper.make_node("Identity", ["a"], ["c"]), helper.make_node("Identity", ["b"], ["d"])],
        [graphs.value("a", TensorProto.INT64, [2]), graphs.value("b", TensorProto.STRING, [1])],
        [graphs.value("c", TensorProto.INT64, [2]), graphs.value("d", TensorProto.STRING, [1])],
    )

    output = infer(
        chain, run_data(models.add("both", content), [numbers("a", [1, 2])], [("b", ["text"])])
    )

    assert (output.numbers, output.strings) == ({"c": (((1, 0), (2, 0)), (2,))}, {"d": ("text",)})


def test_maps_and_lists_come_as_json(chain: Chain, models: Folder) -> None:
    cid = models.add("classifier", graphs.classifier())

    output = infer(chain, run_data(cid, [numbers("x", np.array([[0.25, 0.75]], np.float32))]))

    assert json.loads(output.jsons["scores"]) == [{"no": 0.25, "yes": 0.75}]


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_every_mode_runs(chain: Chain, models: Folder, mode: int) -> None:
    cid = models.add("identity", graphs.identity(TensorProto.FLOAT, [1]))

    output = infer(chain, run_data(cid, [numbers("x", [np.float32(1)])], mode=mode))

    assert output.numbers["y"] == (((1, 0),), (1,))


REFUSALS: list[tuple[str, Callable[[], bytes], str]] = [
    (
        "unknown CID",
        lambda: run_data("Qm-nowhere", [numbers("x", [1.0, 2.0])]),
        'no model file has the CID "Qm-nowhere"',
    ),
    (
        "unknown name",
        lambda: run_data("pair", [numbers("X", [1.0, 2.0])]),
        'the model has no input "X"; its inputs are "x"',
    ),
    ("missing input", lambda: run_data("pair"), 'the input "x" is missing'),
    (
        "one name twice",
        lambda: run_data("pair", [numbers("x", [1.0, 2.0])] * 2),
        'the input "x" is given twice',
    ),
    (
        "wrong rank",
        lambda: run_data("pair", [numbers("x", [[1.0, 2.0]])]),
        'the input "x" has the shape [1, 2], the model takes [2]',
    ),
    (
        "wrong size",
        lambda: run_data("open", [numbers("x", [[1.0, 2.0, 3.0]])]),
        'the input "x" has the shape [1, 3], the model takes [any, 2]',
    ),
    (
        "shape and values at odds",
        lambda: run_data("pair", [("x", [(1, 0)], [2])]),
        'the input "x" has 1 values and the shape [2]',
    ),
    (
        "numbers for strings",
        lambda: run_data("strings", [numbers("x", [1.0, 2.0])]),
        'the input "x" is tensor(string), not numbers',
    ),
    (
        "strings for numbers",
        lambda: run_data("pair", strings=[("x", ["1", "2"])]),
        'the input "x" is tensor(float), not strings',
    ),
    (
        "too few strings",
        lambda: run_data("strings", strings=[("x", ["one"])]),
        'the input "x" has 1 strings, the model takes [2]',
    ),
    (
        "strings of unknown shape",
        lambda: run_data("open strings", strings=[("x", ["one"])]),
        (
            'the input "x" has more than one open dimension, [any, any], and strings travel '
            "without a shape"
        ),
    ),
    (
        "a fraction for an integer",
        lambda: run_data("whole", [numbers("x", [1.5])]),
        'the input "x" has the value 15/10^1, which is not of type int64',
    ),
    (
        "out of range",
        lambda: run_data("byte", [numbers("x", [300])]),
        'the input "x" has the value 300, which is not of type uint8',
    ),
    (
        "a shape beyond all memory",
        lambda: run_data("cube", [("x", [], [0, 2**32 - 1, 2**32 - 1, 2**32 - 1])]),
        (
            'the input "x" has a shape that no array can have: array is too big; '
            "`arr.size * arr.dtype.itemsize` is larger than the maximum possible size."
        ),
    ),
    (
        "a dtype that cannot travel",
        lambda: run_data("complex", [numbers("x", [1.0])]),
        'the input "x" is tensor(bfloat16), not numbers',
    ),
    (
        "an output without a fixed-point form",
        lambda: run_data("log", [numbers("x", [0.0])]),
        'the output "y" holds an infinity at [0], and only finite numbers go on chain',
    ),
    (
        "unknown mode",
        lambda: run_data("pair", [numbers("x", [1.0, 2.0])], mode=3),
        "the inference mode 3 is unknown",
    ),
    (
        "not ONNX",
        lambda: run_data("text", [numbers("x", [1.0])]),
        "the model file is not ONNX",
    ),
    (
        "weights in another file",
        lambda: run_data("external", [numbers("x", [1.0])]),
        "the model keeps weights in other files (external_data)",
    ),
    (
        "a constant in another file",
        lambda: run_data("hidden", [numbers("x", np.bool_(True))]),
        "the model keeps weights in other files (external_data)",
    ),
]


@pytest.fixture
def faulty(models: Folder) -> Folder:
    files = {
        "pair": graphs.identity(TensorProto.FLOAT, [2]),
        "open": graphs.identity(TensorProto.FLOAT, ["n", 2]),
        "strings": graphs.identity(TensorProto.STRING, [2]),
        "open strings": graphs.identity(TensorProto.STRING, ["n", "m"]),
        "whole": graphs.identity(TensorProto.INT64, [1]),
        "byte": graphs.identity(TensorProto.UINT8, [1]),
        "complex": graphs.identity(TensorProto.BFLOAT16, [1]),
        "log": graphs.logarithm(),
        "cube": graphs.identity(TensorProto.FLOAT, ["a", "b", "c", "d"]),
        "text": b"not a model, whatever the name says",
        "external": graphs.with_weights_elsewhere(),
        "hidden": graphs.with_a_constant_elsewhere(),
    }
    for cid, content in files.items():
        models.add(cid, content)
    return models


@pytest.fixture(scope="module")
def chain_with_identity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    models = Folder(tmp_path_factory.mktemp("models"))
    models.add("pair", graphs.identity(TensorProto.FLOAT, [2]))
    chain = Chain(chain_id=CHAIN_ID, accounts=["0x" + "11" * 20], models=models)
    yield chain
    chain.close()


@pytest.mark.parametrize(
    ("data", "reason"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS]
)
@pytest.mark.usefixtures("faulty")
def test_a_call_that_cannot_run_reverts_with_the_reason(
    chain: Chain, data: Callable[[], bytes], reason: str
) -> None:
    with pytest.raises(NodeError) as caught:
        infer(chain, data())

    assert caught.value.code == 3
    assert caught.value.message == f"execution reverted: {reason}"
    assert decode(["string"], bytes.fromhex(caught.value.data[10:])) == (reason,)


def test_a_graph_that_onnxruntime_refuses_reverts_with_its_words(
    chain: Chain, models: Folder
) -> None:
    unknown = helper.make_node("NoSuchOperator", ["x"], ["y"])
    value = graphs.value("x", TensorProto.FLOAT, [1])
    content = graphs.graph([unknown], [value], [graphs.value("y", TensorProto.FLOAT, [1])])

    with pytest.raises(NodeError, match=r"reverted: the model cannot be loaded: .*NoSuchOperator"):
        infer(chain, run_data(models.add("bad", content), [numbers("x", [1.0])]))


def test_a_graph_that_fails_while_it_runs_reverts_with_its_words(
    chain: Chain, models: Folder
) -> None:
    content = graphs.graph(
        [helper.make_node("Gather", ["w", "x"], ["y"])],
        [graphs.value("x", TensorProto.INT64, [1])],
        [graphs.value("y", TensorProto.FLOAT, [1])],
        [helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])],
    )

    with pytest.raises(NodeError, match=r"execution reverted: the model failed: .*Gather"):
        infer(chain, run_data(models.add("gather", content), [numbers("x", [5])]))


@pytest.mark.parametrize("cut", [3, 4, 40, 100, 200, 300, 400])
def test_call_data_that_ends_early_reverts(chain: Chain, models: Folder, cut: int) -> None:
    models.add("identity", graphs.identity(TensorProto.FLOAT, [1]))
    data = run_data("identity", [numbers("x", [1.0])])

    with pytest.raises(NodeError) as caught:
        infer(chain, data[:cut])

    assert caught.value.code == 3


def test_offsets_beyond_the_call_data_revert(chain: Chain, models: Folder) -> None:
    models.add("identity", graphs.identity(TensorProto.FLOAT, [1]))
    data = bytearray(run_data("identity", [numbers("x", [1.0])]))
    # The offset of the numbers inside the input, which stands behind 3 words and a string.
    at = data.index((64).to_bytes(32, "big"), 4 + 3 * 32)
    data[at : at + 32] = (2**255).to_bytes(32, "big")

    with pytest.raises(NodeError, match="the call data ends before its values do"):
        infer(chain, bytes(data))


@given(data=st.data())
def test_call_data_with_any_word_changed_is_answered_or_reverts(
    chain_with_identity: Chain, data: st.DataObject
) -> None:
    call = bytearray(run_data("pair", [numbers("x", [1.0, 2.0])], [("s", ["a"])]))
    at = 4 + 32 * data.draw(st.integers(0, (len(call) - 4) // 32 - 1))
    call[at : at + 32] = data.draw(
        st.integers(0, 2**256 - 1) | st.integers(0, 700) | st.integers(2**256 - 40, 2**256 - 1)
    ).to_bytes(32, "big")

    with contextlib.suppress(NodeError):
        infer(chain_with_identity, bytes(call))


def test_an_unknown_function_of_the_precompile_reverts(chain: Chain) -> None:
    call = Call(sender=CONTRACT, to=ADDRESS, gas=10**7, data=bytes.fromhex("01020304"))

    with pytest.raises(NodeError, match="the precompile has no function 0x01020304"):
        chain.call(call)


def _mined(chain: Chain, wallet: LocalAccount, data: bytes) -> dict[bytes, bytes]:
    """Send a call and return the data of its logs by topic."""
    nonce = chain.nonce(raw_address(wallet.address))
    fields = {"nonce": nonce, "to": INFERENCE_CONTRACT, "gas": 10**6, "data": data}
    chain.send_raw(sign(wallet, CHAIN_ID, **fields))
    record = chain.records.head.transactions[0]
    assert record.succeeded
    return {log.topics[0]: log.data for log in record.logs}


def test_both_events_hold_the_output_and_the_precompiles_the_request(
    chain: Chain, models: Folder, wallet: LocalAccount
) -> None:
    cid = models.add("identity", graphs.identity(TensorProto.FLOAT, [2]))
    given = numbers("x", np.array([0.5, 3], np.float32))

    logs = _mined(chain, wallet, run_data(cid, [given], mode=2))
    inference_id, request, response = decode(
        ["string", REQUEST, MODEL_OUTPUT], logs[MODEL_INFERENCE_EVENT]
    )

    assert Output.read(logs[INFERENCE_RESULT]).numbers == {"y": (((5, 1), (3, 0)), (2,))}
    assert inference_id.startswith("local/1/")
    assert request == (2, cid, ((("x", tuple(given[1]), (2,)),), ()))
    assert response == ((("y", ((5, 1), (3, 0)), (2,)),), (), (), True)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (Answers(contract_event="empty"), (0, 1)),
        (Answers(contract_event="empty", precompile_event="empty"), (0, 0)),
        (Answers(contract_event="missing"), (None, 1)),
        (Answers(precompile_event="missing"), (1, None)),
    ],
)
def test_switches_empty_an_event_or_leave_it_out(
    chain: Chain,
    models: Folder,
    wallet: LocalAccount,
    answers: Answers,
    expected: tuple[int | None, int | None],
) -> None:
    cid = models.add("identity", graphs.identity(TensorProto.FLOAT, [1]))
    chain.answers = answers

    logs = _mined(chain, wallet, run_data(cid, [numbers("x", [1.0])]))
    contract = logs.get(INFERENCE_RESULT)
    precompile = logs.get(MODEL_INFERENCE_EVENT)

    told = (
        None if contract is None else len(Output.read(contract).numbers),
        None
        if precompile is None
        else len(decode(["string", REQUEST, MODEL_OUTPUT], precompile)[2][0]),
    )
    assert told == expected


@pytest.mark.parametrize(
    "value", [[], {"other": "full"}, {"contract_event": "gone"}, {"node_api": "empty"}]
)
def test_switches_that_do_not_exist_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"answers are|cannot be"):
        Answers.from_json(value)


def test_switches_are_read_from_json() -> None:
    switches = Answers.from_json({"contract_event": "missing"})

    assert switches == Answers(contract_event="missing")
    assert Answers.from_json(switches.as_json()) == switches


def test_more_models_than_are_kept_open_all_run(chain: Chain, models: Folder) -> None:
    content = graphs.identity(TensorProto.FLOAT, [1])
    cids = [models.add(f"m{i}", content) for i in range(SESSIONS_KEPT + 2)]

    for cid in (*cids, cids[0]):
        assert infer(chain, run_data(cid, [numbers("x", [1.0])])).numbers
