"""What the inference precompile is called with and answers, as ABI bytes (protocol.md section 3).

Written apart from any client's encoder, so that neither hides the other's mistakes. Numbers stay
words here; `fixed_point` gives them a dtype.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

WORD: Final = 32
MAX_TENSORS: Final = 1024
"""Tensors of one call; an ABI array may name the same bytes any number of times."""


class CallRefusedError(Exception):
    """The precompile refuses a call; the text becomes the revert reason."""


@dataclass(frozen=True)
class NumberTensor:
    """Numbers with their shape."""

    name: str
    words: bytes = field(repr=False)
    """Two words for each number: value, decimals."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class StringTensor:
    """Strings; the wire carries no shape for them."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class JsonScalar:
    """Any value as JSON text."""

    name: str
    value: str


@dataclass(frozen=True, kw_only=True)
class InferenceRequest:
    """The one argument of `runModelInference`."""

    mode: int
    model_cid: str
    numbers: tuple[NumberTensor, ...]
    strings: tuple[StringTensor, ...]
    encoded: bytes = field(repr=False)
    """The argument as it came, for the event that repeats it."""


@dataclass(frozen=True, kw_only=True)
class ModelOutput:
    """What a model gave, as it goes on the wire."""

    numbers: tuple[NumberTensor, ...] = ()
    strings: tuple[StringTensor, ...] = ()
    jsons: tuple[JsonScalar, ...] = ()

    def encode(self) -> bytes:
        """Write the `ModelOutput` tuple; it says of itself that it is a simulation."""
        return pack(
            Tail(vector(_encode_numbers(tensor) for tensor in self.numbers)),
            Tail(vector(_encode_strings(tensor) for tensor in self.strings)),
            Tail(vector(pack(text(json.name), text(json.value)) for json in self.jsons)),
            uint(1),
        )


class Tail(bytes):
    """A value of dynamic size: the head holds its offset in its place."""

    __slots__ = ()


def uint(number: int) -> bytes:
    """Write one unsigned word."""
    return number.to_bytes(WORD, "big")


def text(value: str) -> Tail:
    """Write a string."""
    data = value.encode()
    return Tail(uint(len(data)) + data + bytes(-len(data) % WORD))


def pack(*parts: bytes) -> bytes:
    """Write a tuple: its static members and the offsets of the others, then the others."""
    offset = sum(WORD if isinstance(part, Tail) else len(part) for part in parts)
    head, tail = [], []
    for part in parts:
        if isinstance(part, Tail):
            head.append(uint(offset))
            tail.append(part)
            offset += len(part)
        else:
            head.append(part)
    return b"".join((*head, *tail))


def vector(items: Iterable[bytes]) -> bytes:
    """Write an array of values of dynamic size."""
    tails = [Tail(item) for item in items]
    return uint(len(tails)) + pack(*tails)


def _encode_numbers(tensor: NumberTensor) -> bytes:
    return pack(
        text(tensor.name),
        Tail(uint(len(tensor.words) // (2 * WORD)) + tensor.words),
        Tail(uint(len(tensor.shape)) + b"".join(map(uint, tensor.shape))),
    )


def _encode_strings(tensor: StringTensor) -> bytes:
    return pack(text(tensor.name), Tail(vector(text(value) for value in tensor.values)))


def read_request(arguments: bytes) -> InferenceRequest:
    """Read the arguments of `runModelInference`, i.e. call data behind the selector.

    Raises:
        CallRefusedError: They are not the ABI encoding of a request.
    """
    reader = Reader(arguments)
    request = reader.offset(0, 0)
    model_input = reader.offset(request, 2)
    return InferenceRequest(
        mode=reader.uint(request),
        model_cid=reader.text(reader.offset(request, 1)),
        numbers=tuple(map(reader.numbers, reader.items(reader.offset(model_input, 0)))),
        strings=tuple(map(reader.strings, reader.items(reader.offset(model_input, 1)))),
        encoded=arguments[request:],
    )


class Reader:
    """Reads ABI values at absolute positions; nothing outside the data is ever touched."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def take(self, at: int, size: int) -> bytes:
        """Return bytes."""
        if size < 0 or at + size > len(self._data):
            raise CallRefusedError("the call data ends before its values do")
        return self._data[at : at + size]

    def uint(self, at: int) -> int:
        """Read one unsigned word."""
        return int.from_bytes(self.take(at, WORD), "big")

    def offset(self, base: int, slot: int) -> int:
        """Return where a dynamic member of the tuple at `base` stands."""
        return base + self.uint(base + slot * WORD)

    def text(self, at: int) -> str:
        """Read a string."""
        try:
            return self.take(at + WORD, self.uint(at)).decode()
        except UnicodeDecodeError:
            raise CallRefusedError("a string of the call data is not UTF-8") from None

    def items(self, at: int, most: int = MAX_TENSORS) -> list[int]:
        """Positions of the members of an array of dynamic values."""
        count = self.uint(at)
        if count > most:
            raise CallRefusedError(f"an array has {count} members, more than {most}")
        self.take(at + WORD, count * WORD)
        return [self.offset(at + WORD, slot) for slot in range(count)]

    def numbers(self, at: int) -> NumberTensor:
        """Read a tensor of numbers."""
        values, shape = self.offset(at, 1), self.offset(at, 2)
        return NumberTensor(
            self.text(self.offset(at, 0)),
            self.take(values + WORD, self.uint(values) * 2 * WORD),
            self.shape(shape),
        )

    def shape(self, at: int) -> tuple[int, ...]:
        """Read the dimensions of a tensor."""
        sizes = self.take(at + WORD, self.uint(at) * WORD)
        return tuple(int.from_bytes(sizes[i : i + WORD], "big") for i in range(0, len(sizes), WORD))

    def strings(self, at: int) -> StringTensor:
        """Read a tensor of strings."""
        return StringTensor(self.text(self.offset(at, 0)), self.texts(self.offset(at, 1)))

    def texts(self, at: int) -> tuple[str, ...]:
        """Read an array of strings."""
        return tuple(map(self.text, self.items(at, most=len(self._data))))
