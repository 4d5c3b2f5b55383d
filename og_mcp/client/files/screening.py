"""Secrets in what is about to be published, found while it is read (threats.md T26).

Secrets are text, and a model's weights are not: so a window is first searched for runs of text,
which numpy does without holding the interpreter, and only those are looked at closely. What is
compressed, encrypted or written in another way than plain text is not found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

CONTEXT: Final = 4096
"""Bytes on both sides of a place that decide whether it is a secret."""

MIN_RUN: Final = 23
"""Characters of plain text in a row from which a run is always found."""

LONG_RUN: Final = 47
"""Characters of plain text in a row that weights do not have by chance."""

_HIGH_BITS: Final = np.uint64(0x8080808080808080)
_ONES: Final = np.uint64(0x0101010101010101)
_WORD: Final = 8

_TEXT: Final = bytes({*range(7, 14), 27, *range(0x20, 0x100)})
"""Bytes that a text may hold."""

_HEAD: Final = 2**16
"""Bytes of a file that tell whether it is a text."""


MIN_OWN: Final = 8
"""Characters of a secret; a shorter one would be found everywhere."""

_HEX_KEY: Final = re.compile(rb"[0-9a-fA-F]{64}")


class SecretFoundError(Exception):
    """A window holds a secret; `str()` says what kind, never the secret itself."""


@dataclass(frozen=True)
class _Sign:
    """How one kind of secret is found."""

    what: str
    needles: tuple[bytes, ...]
    """Every secret of this kind contains one of them; searched first, since that is fast."""

    pattern: re.Pattern[bytes]

    def is_in(self, buffer: bytearray, start: int, end: int) -> bool:
        """Whether a part of a buffer holds one."""
        near = any(buffer.find(needle, start, end) >= 0 for needle in self.needles)
        return near and self.pattern.search(buffer, start, end) is not None


def _sign(what: str, *needles: bytes, pattern: bytes) -> _Sign:
    return _Sign(what, needles, re.compile(pattern))


_SIGNS: Final = (
    _sign(
        "a private key (PEM)",
        b"PRIVATE KEY",
        pattern=rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----",
    ),
    _sign("an OpenSSH private key", b"openssh-key-v1", pattern=b"openssh-key-v1"),
    _sign("a PuTTY private key", b"PuTTY-User-Key", pattern=rb"PuTTY-User-Key-File-\d"),
    _sign("an Ethereum keystore", b"kdfparams", pattern=rb'"kdfparams"\s*:'),
    _sign(
        "a cloud account's key",
        b"private_key_id",
        pattern=rb'"private_key_id"\s*:\s*"[0-9a-f]{16,}',
    ),
    _sign(
        "an AWS secret key",
        b"secret_access_key",
        b"SECRET_ACCESS_KEY",
        pattern=rb"(?i:aws_secret_access_key)\W{1,6}[A-Za-z0-9/+]{40}",
    ),
    _sign("an Azure storage key", b"AccountKey=", pattern=rb"AccountKey=[A-Za-z0-9/+]{64,}"),
    _sign("a GitHub token", b"github_pat_", pattern=rb"github_pat_[A-Za-z0-9_]{60,}"),
    _sign("a GitHub token", b"ghp_", pattern=rb"ghp_[A-Za-z0-9]{36}"),
    _sign("a GitLab token", b"glpat-", pattern=rb"glpat-[A-Za-z0-9_-]{20,}"),
    _sign("an API key", b"sk-ant-", pattern=rb"sk-ant-[A-Za-z0-9_-]{40,}"),
    _sign("an API key", b"sk-proj-", pattern=rb"sk-proj-[A-Za-z0-9_-]{40,}"),
    _sign("a Google API key", b"AIza", pattern=rb"AIza[0-9A-Za-z_-]{35}"),
    _sign("a Slack token", b"xox", pattern=rb"xox[abeprs]-[0-9A-Za-z-]{20,}"),
    _sign("a Hugging Face token", b"hf_", pattern=rb"hf_[A-Za-z0-9]{34}"),
)

_LONG_SIGNS: Final = (
    _sign(
        "a private key in hexadecimal digits",
        *(b"KEY", b"Key", b"key", b"SECRET", b"Secret", b"secret", b"SEED", b"Seed", b"seed"),
        pattern=rb"(?:[Kk][Ee][Yy]|[Ss][Ee][Cc][Rr][Ee][Tt]|[Ss][Ee][Ee][Dd])"
        rb"[\"']?\s{0,4}[:=]\s{0,4}[\"']?(?:0x)?[0-9a-fA-F]{64}(?![0-9a-zA-Z])",
    ),
    _sign(
        "a seed phrase",
        *(b"mnemonic", b"MNEMONIC", b"Mnemonic", b"phrase", b"PHRASE", b"Phrase"),
        pattern=rb"(?i:mnemonic|phrase)[\"']?\s{0,4}[:=]\s{0,4}[\"']?(?:[a-z]{3,8}[ ,]{1,3}){11}",
    ),
)
"""What is looked for where `LONG_RUN` characters of plain text stand in a row."""

_TEXT_SIGNS: Final = (
    _sign(
        "a password or token of an environment file",
        *(b"SECRET", b"TOKEN", b"PASSW", b"API", b"PRIVATE"),
        pattern=rb"(?:SECRET|TOKEN|PASSWORD|PASSWD|API_?KEY|PRIVATE_?KEY)[A-Z0-9_]{0,40}"
        rb"\s{0,4}=\s{0,4}[\"']?(?=[^\s\"']{0,200}[0-9])[A-Za-z0-9_/+.-]{16,}",
    ),
    _sign(
        "an AWS access key",
        *(b"AKIA", b"ASIA"),
        pattern=rb"(?<![A-Z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Z0-9])",
    ),
)
"""What is looked for in texts alone: models hold parts of programs, which assign such names."""

_BEGINNINGS: Final = (
    # A sequence whose first number is the version: PKCS #1, #8, #12 and SEC 1.
    (
        "a private key (DER)",
        re.compile(rb"(?s)\x30(?:[\x00-\x7f]|\x81.|\x82..|\x83...)\x02\x01[\x00\x01\x03]"),
    ),
    ("a Java keystore", re.compile(rb"\xfe\xed\xfe\xed|\xce\xce\xce\xce")),
    ("a password database", re.compile(rb"\x03\xd9\xa2\x9a")),
    ("a database of another program", re.compile(rb"SQLite format 3\x00")),
)
"""First bytes of binary key files; models do not begin with them."""

_WHOLE: Final = (
    ("a private key in hexadecimal digits", re.compile(rb"(?i)\s*(?:0x)?[0-9a-f]{64}\s*")),
    ("a seed phrase", re.compile(rb"\s*[a-z]{3,8}(?:\s+[a-z]{3,8}){11,23}\s*")),
)
"""Patterns that a small file must not match as a whole."""


class Screen:
    """Looks through one file, window by window.

    The file is given in windows that overlap by `CONTEXT` bytes; a byte is cleared once a window
    was looked through in which that many bytes, or the end of the file, come after it.

    Args:
        size: The file's, bytes.
        own: Secrets that are looked for by themselves, e.g. the wallet's key.
    """

    def __init__(self, size: int, own: Iterable[str] = ()) -> None:
        self._size = size
        self._own = tuple(_sign_of(secret) for secret in own if len(secret) >= MIN_OWN)
        self._is_text: bool | None = None
        self._scratch = np.empty(0, np.uint64)
        self._flags = np.empty(0, np.bool_)

    def look(self, buffer: bytearray, first: int, end: int) -> None:
        """Look through a window: the part of a buffer from `first` to `end`.

        Raises:
            SecretFoundError: It holds a secret.
        """
        if self._is_text is None:
            head = bytes(buffer[first : min(end, first + _HEAD)])
            self._is_text = is_text(head)
            _check_beginning(head)
            if end - first == self._size <= CONTEXT:
                _check_whole(head)
        if self._is_text:
            _check(buffer, (*_TEXT_SIGNS, *self._own), first, end)
        for start, stop, is_long in self._runs(buffer, first, end):
            _check(buffer, (*_SIGNS, *self._own), start, stop)
            if is_long:
                _check(buffer, _LONG_SIGNS, start, stop)

    def _runs(self, buffer: bytearray, first: int, end: int) -> Iterator[tuple[int, int, bool]]:
        """Find the parts of a window that hold plain text in a row, and what is around them.

        Tells of each whether there are `LONG_RUN` characters in a row.
        """
        words = np.frombuffer(buffer, np.uint64, (end - first) // _WORD, first)
        if len(words) < 2 * CONTEXT // _WORD:
            yield first, end, True
            return
        places = self._plain_words(words)
        if not len(places):
            return
        # Places closer to each other than what is looked at around them make one part.
        breaks = np.flatnonzero(np.diff(places) * _WORD > 2 * CONTEXT)
        bounds = [0, *(breaks + 1).tolist(), len(places)]
        for begin, stop in pairwise(bounds):
            part = places[begin:stop]
            yield (
                max(first, first + int(part[0]) * _WORD - CONTEXT),
                min(end, first + (int(part[-1]) + 2) * _WORD + CONTEXT),
                # Five words in a row are four places.
                bool((part[3:] - part[:-3] == 3).any()),  # noqa: PLR2004 - see above
            )

    def _plain_words(self, words: npt.NDArray[np.uint64]) -> npt.NDArray[np.intp]:
        """Find words that, with the next, are text: no highest bit is set, and no byte zero."""
        if len(self._scratch) < len(words):
            # Kept, since fresh memory of this size costs more than what is done with it.
            self._scratch, self._flags = np.empty_like(words), np.empty(len(words), np.bool_)
        bits, flags = self._scratch[: len(words)], self._flags[: len(words)]
        np.subtract(words, _ONES, out=bits)
        np.bitwise_or(bits, words, out=bits)
        np.bitwise_and(bits, _HIGH_BITS, out=bits)
        np.equal(bits, 0, out=flags)
        np.logical_and(flags[:-1], flags[1:], out=flags[:-1])
        return np.flatnonzero(flags[:-1])


def _sign_of(secret: str) -> _Sign:
    """Make the pattern of one secret; a hexadecimal key matches in upper and lower case."""
    text = secret.removeprefix("0x").encode()
    forms = {text, text.lower(), text.upper()} if _HEX_KEY.fullmatch(text) else {text}
    pattern = b"|".join(re.escape(form) for form in sorted(forms))
    return _sign("a secret of this og-mcp's own", *forms, pattern=pattern)


def _check(buffer: bytearray, signs: tuple[_Sign, ...], start: int, end: int) -> None:
    for sign in signs:
        if sign.is_in(buffer, start, end):
            raise SecretFoundError(sign.what)


def is_text(window: bytes | bytearray) -> bool:
    """Tell whether all bytes can be text; UTF-16 has zero bytes in between."""
    return not window.translate(None, _TEXT)


def _check_beginning(head: bytes) -> None:
    for what, pattern in _BEGINNINGS:
        if pattern.match(head):
            raise SecretFoundError(what)


def _check_whole(text: bytes) -> None:
    for what, pattern in _WHOLE:
        if pattern.fullmatch(text):
            raise SecretFoundError(what)
