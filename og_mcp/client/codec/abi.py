"""Call data and event data of ONNX inference (protocol.md sections 3.1 to 3.3).

The few types that are needed are written and read here, the words of numbers by `fixed_point`:
a general ABI coder would make an object of each of a million numbers. What is read comes from a node
that may lie: every offset and length is checked, and no byte is counted twice, so that work and
memory stay in proportion to the data.

Source: Solidity contract ABI specification; the interfaces of inference contract and precompile
(protocol.md section 3), which the tests hold these encoders to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from og_mcp.client.codec.abi_words import WORD, Part, WordReader, array, string, tuple_, word
from og_mcp.client.codec.fixed_point import PAIR_BYTES, from_words, to_words
from og_mcp.client.codec.inputs import Inputs
from og_mcp.client.codec.malformed import malformed
from og_mcp.client.codec.outputs import MAX_OUTPUT_RANK, ModelOutput, read_json, shaped
from og_mcp.errors import InputError, ServiceReplyError, quote
from og_mcp.types import MODE_NAMES

RUN_SELECTOR: Final = bytes.fromhex("cbf09d80")
"""`run(string,uint8,ModelInput)`."""

UINT32_LIMIT: Final = 2**32


@dataclass(frozen=True)
class NumberWords:
    """A number tensor as it travels."""

    name: str
    words: Part
    """Of the numbers alone, `PAIR_BYTES` bytes each; row-major."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class Texts:
    """A string tensor as it travels: without a shape."""

    name: str
    values: tuple[str, ...]

    @property
    def words(self) -> bytes:
        """The ABI's words of the `string[]`."""
        return b"".join(array([string(text) for text in self.values]))


@dataclass(frozen=True)
class RunCall:
    """The arguments of `run(string,uint8,ModelInput)`."""

    model_cid: str
    mode: int
    numbers: tuple[NumberWords, ...]
    strings: tuple[Texts, ...]

    @property
    def tensors(self) -> tuple[NumberWords | Texts, ...]:
        """All tensors, those of numbers first."""
        return (*self.numbers, *self.strings)

    @property
    def mode_name(self) -> str:
        """The name of the mode; its number where it has none."""
        return MODE_NAMES[self.mode] if self.mode < len(MODE_NAMES) else str(self.mode)


def to_wire(inputs: Inputs) -> tuple[tuple[NumberWords, ...], tuple[Texts, ...]]:
    """Write tensors as they travel: those of numbers, those of strings."""
    numbers = (NumberWords(one.name, to_words(one.values), one.shape) for one in inputs.numbers)
    strings = (Texts(one.name, tuple(one.values)) for one in inputs.strings)
    return tuple(numbers), tuple(strings)


def encode_run(model_cid: str, mode: int, inputs: Inputs) -> bytes:
    """Write the call data of `run(string,uint8,ModelInput)`.

    Args:
        model_cid: Content id of the ONNX file.
        mode: The contract's `uint8 mode`, see InferenceMode.
        inputs: What `parse_inputs` or `check_against` gave.

    Raises:
        InputError: The CID is not Unicode.

    Source: protocol.md section 3.2.
    """
    try:
        return _write(RunCall(model_cid, mode, *to_wire(inputs)))
    except UnicodeEncodeError as exc:
        raise InputError(f"The model CID {quote(model_cid)} is not Unicode.") from exc


def decode_run(data: bytes) -> RunCall:
    """Read the call data of `run(string,uint8,ModelInput)`.

    Raises:
        ValueError: It is not exactly what `encode_run` writes for any arguments.
    """
    if data[: len(RUN_SELECTOR)] != RUN_SELECTOR:
        raise ValueError("it does not call run(string,uint8,ModelInput)")
    try:
        call = _read_run(_TensorReader(data[len(RUN_SELECTOR) :]))
    except ServiceReplyError as exc:
        raise ValueError("its arguments are malformed") from exc
    # Exactly one encoding: nothing may hide in gaps, behind the end, or in another spelling.
    if _write(call) != data:
        raise ValueError("its arguments are not in the ABI's standard encoding")
    return call


def decode_result(data: bytes) -> ModelOutput:
    """Read the data of `InferenceResult(ModelOutput)`; the return data of `run` is the same.

    Raises:
        ServiceReplyError: It is malformed.
    """
    reader = _TensorReader(data)
    return _read_output(reader, reader.offset(0, 0))


def decode_inference_event(data: bytes) -> tuple[str, ModelOutput]:
    """Read the data of the precompile's `ModelInferenceEvent`: the inference's id and its output.

    Raises:
        ServiceReplyError: It is malformed.
    """
    reader = _TensorReader(data)
    inference_id = reader.string(reader.offset(0, 0))
    return inference_id, _read_output(reader, reader.offset(0, 2))


def _write(call: RunCall) -> bytes:
    numbers = array([_number_tensor(tensor) for tensor in call.numbers])
    strings = array([_string_tensor(tensor) for tensor in call.strings])
    tensors = tuple_([numbers, strings])
    arguments = tuple_([string(call.model_cid), word(call.mode), tensors], static=(1,))
    return b"".join([RUN_SELECTOR, *arguments])


def _number_tensor(tensor: NumberWords) -> list[Part]:
    shape = [part for size in tensor.shape for part in word(size)]
    return tuple_(
        [
            string(tensor.name),
            [*word(len(tensor.words) // PAIR_BYTES), tensor.words],
            word(len(tensor.shape)) + shape,
        ]
    )


def _string_tensor(tensor: Texts) -> list[Part]:
    return tuple_([string(tensor.name), array([string(text) for text in tensor.values])])


class _TensorReader(WordReader):
    """Reads the arrays of tensors too."""

    def numbers(self, start: int) -> Any:  # noqa: ANN401 - an array, as numpy types it
        """Return the numbers of the array at `start`, one-dimensional."""
        count = self.length(start, PAIR_BYTES)
        try:
            return from_words(self._data, self.claim(start + WORD, count * PAIR_BYTES), count)
        except ValueError as exc:
            raise ServiceReplyError("node", f"in the model's output {exc}") from exc

    def words(self, start: int) -> bytes:
        """Return the words of the numbers of the array at `start`, unread."""
        return self.take(start + WORD, self.length(start, PAIR_BYTES) * PAIR_BYTES)

    def shape(self, start: int) -> list[int]:
        """Return the dimensions at `start`."""
        rank = self.length(start, WORD)
        if rank > MAX_OUTPUT_RANK:
            malformed(f"a tensor has {rank} dimensions")
        sizes = [self.word(start + WORD + WORD * axis) for axis in range(rank)]
        if any(size >= UINT32_LIMIT for size in sizes):
            malformed("a dimension is beyond uint32")
        return sizes


def decode_event_request(data: bytes) -> RunCall:
    """Read the request in the data of the precompile's `ModelInferenceEvent`.

    Raises:
        ServiceReplyError: It is malformed.
    """
    reader = _TensorReader(data)
    request = reader.offset(0, 1)
    return _read_call(reader, reader.offset(request, 1), request, reader.offset(request, 2))


def _read_run(reader: _TensorReader) -> RunCall:
    return _read_call(reader, reader.offset(0, 0), WORD, reader.offset(0, 2))


def _read_call(reader: _TensorReader, cid: int, mode_at: int, tensors: int) -> RunCall:
    model_cid, mode = reader.string(cid), reader.word(mode_at)
    numbers = tuple(
        NumberWords(
            reader.string(reader.offset(tensor, 0)),
            reader.words(reader.offset(tensor, 1)),
            tuple(reader.shape(reader.offset(tensor, 2))),
        )
        for tensor in reader.members(reader.offset(tensors, 0))
    )
    strings = tuple(
        Texts(
            reader.string(reader.offset(tensor, 0)),
            tuple(map(reader.string, reader.members(reader.offset(tensor, 1)))),
        )
        for tensor in reader.members(reader.offset(tensors, 1))
    )
    return RunCall(model_cid, mode, numbers, strings)


def _read_output(reader: _TensorReader, start: int) -> ModelOutput:
    is_simulation_result = reader.word(start + 3 * WORD)
    if is_simulation_result > 1:
        malformed("is_simulation_result is not a boolean")
    output = ModelOutput(is_simulation_result=bool(is_simulation_result))
    for tensor in reader.members(reader.offset(start, 0)):
        name = reader.string(reader.offset(tensor, 0))
        numbers = reader.numbers(reader.offset(tensor, 1))
        shape = reader.shape(reader.offset(tensor, 2))
        output.add("numbers", name, shaped(name, numbers, shape))
    for tensor in reader.members(reader.offset(start, 1)):
        name = reader.string(reader.offset(tensor, 0))
        texts = [reader.string(text) for text in reader.members(reader.offset(tensor, 1))]
        output.add("strings", name, texts)
    for tensor in reader.members(reader.offset(start, 2)):
        name = reader.string(reader.offset(tensor, 0))
        output.add("jsons", name, read_json(reader.string(reader.offset(tensor, 1))))
    return output
