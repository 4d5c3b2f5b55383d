"""Call data and event data of ONNX inference (protocol.md sections 3.1 to 3.3).

The few types that are needed are written and read here, the words of numbers by `_fixed_point`:
a general ABI coder would make an object of each of a million numbers. What is read comes from a node
that may lie: every offset and length is checked, and no byte is counted twice, so that work and
memory stay in proportion to the data.

Source: Solidity contract ABI specification; `abi/inference.json`, `abi/precompile.json`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from og_mcp.client._fixed_point import PAIR_BYTES, from_words, to_words
from og_mcp.client._inputs import Inputs, NumberTensor, StringTensor
from og_mcp.client._outputs import MAX_OUTPUT_RANK, ModelOutput, malformed, read_json, shaped
from og_mcp.errors import InputError, ServiceReplyError, quote

RUN_SELECTOR: Final = bytes.fromhex("cbf09d80")
"""`run(string,uint8,ModelInput)`."""

WORD: Final = 32
UINT32_LIMIT: Final = 2**32

Part = bytes | memoryview


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
        cid = _string(model_cid)
    except UnicodeEncodeError as exc:
        raise InputError(f"The model CID {quote(model_cid)} is not Unicode.") from exc
    numbers = _array([_number_tensor(tensor) for tensor in inputs.numbers])
    strings = _array([_string_tensor(tensor) for tensor in inputs.strings])
    arguments = _tuple([cid, _word(mode), _tuple([numbers, strings])], static=(1,))
    return b"".join([RUN_SELECTOR, *arguments])


def decode_result(data: bytes) -> ModelOutput:
    """Read the data of `InferenceResult(ModelOutput)`; the return data of `run` is the same.

    Raises:
        ServiceReplyError: It is malformed.
    """
    reader = _Reader(data)
    return _read_output(reader, reader.offset(0, 0))


def decode_inference_event(data: bytes) -> tuple[str, ModelOutput]:
    """Read the data of the precompile's `ModelInferenceEvent`: the inference's id and its output.

    Raises:
        ServiceReplyError: It is malformed.
    """
    reader = _Reader(data)
    inference_id = reader.string(reader.offset(0, 0))
    return inference_id, _read_output(reader, reader.offset(0, 2))


def _word(value: int) -> list[Part]:
    return [value.to_bytes(WORD, "big")]


def _string(text: str) -> list[Part]:
    encoded = text.encode()
    return [len(encoded).to_bytes(WORD, "big") + encoded + bytes(-len(encoded) % WORD)]


def _tuple(members: Sequence[list[Part]], *, static: Sequence[int] = ()) -> list[Part]:
    """Put members behind their offsets; those at the indices `static` stand in the head itself."""
    head: list[Part] = []
    tail: list[Part] = []
    offset = WORD * len(members)
    for index, member in enumerate(members):
        if index in static:
            head += member
            continue
        head += _word(offset)
        tail += member
        offset += sum(map(len, member))
    return head + tail


def _array(members: Sequence[list[Part]]) -> list[Part]:
    """Write an array of members that need offsets."""
    return _word(len(members)) + _tuple(members)


def _number_tensor(tensor: NumberTensor) -> list[Part]:
    words = to_words(tensor.values)
    shape = [part for size in tensor.shape for part in _word(size)]
    return _tuple(
        [
            _string(tensor.name),
            [*_word(tensor.values.size), words],
            _word(len(tensor.shape)) + shape,
        ]
    )


def _string_tensor(tensor: StringTensor) -> list[Part]:
    return _tuple([_string(tensor.name), _array([_string(text) for text in tensor.values])])


class _Reader:
    """Reads words at offsets; each byte of the data pays for one byte that is read.

    Honest data has no overlaps, so it never runs out; a node that lets many offsets point at the
    same large array does.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._unread = len(data)

    def take(self, start: int, size: int) -> bytes:
        """Return bytes and count them as read."""
        self.claim(start, size)
        return self._data[start : start + size]

    def claim(self, start: int, size: int) -> int:
        """Count bytes as read and return where they start."""
        if start + size > len(self._data):
            malformed(f"{size} bytes are said to be at {start} of {len(self._data)}")
        self._unread -= size
        if self._unread < 0:
            malformed("more is to be read than there is")
        return start

    def word(self, start: int) -> int:
        """Return an unsigned word."""
        return int.from_bytes(self.take(start, WORD), "big")

    def offset(self, base: int, member: int) -> int:
        """Return where a member of the tuple at `base` starts."""
        return base + self.word(base + WORD * member)

    def length(self, start: int, item_bytes: int) -> int:
        """Return the length of the array at `start`, whose items take so many bytes at least."""
        length = self.word(start)
        if length * item_bytes > self._unread:
            malformed(f"an array of {quote(length)} items is more than is left to read")
        return length

    def members(self, start: int) -> Iterator[int]:
        """Yield where each member of an array starts, for members that have offsets."""
        length = self.length(start, WORD)
        for index in range(length):
            yield self.offset(start + WORD, index)

    def string(self, start: int) -> str:
        """Return the string at `start`."""
        encoded = self.take(start + WORD, self.length(start, 1))
        try:
            return encoded.decode()
        except UnicodeDecodeError as exc:
            raise ServiceReplyError("node", "a text in the model's output is not UTF-8") from exc

    def numbers(self, start: int) -> Any:  # noqa: ANN401 - an array, as numpy types it
        """Return the numbers of the array at `start`, one-dimensional."""
        count = self.length(start, PAIR_BYTES)
        try:
            return from_words(self._data, self.claim(start + WORD, count * PAIR_BYTES), count)
        except ValueError as exc:
            raise ServiceReplyError("node", f"in the model's output {exc}") from exc

    def shape(self, start: int) -> list[int]:
        """Return the dimensions at `start`."""
        rank = self.length(start, WORD)
        if rank > MAX_OUTPUT_RANK:
            malformed(f"a tensor has {rank} dimensions")
        sizes = [self.word(start + WORD + WORD * axis) for axis in range(rank)]
        if any(size >= UINT32_LIMIT for size in sizes):
            malformed("a dimension is beyond uint32")
        return sizes


def _read_output(reader: _Reader, start: int) -> ModelOutput:
    is_simulation_result = reader.word(start + 3 * WORD)
    if is_simulation_result > 1:
        malformed("is_simulation_result is no boolean")
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
