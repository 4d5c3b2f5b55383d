"""Finds a text that a regular expression of a JSON schema (ECMA 262) matches.

Known: letters, classes, groups, alternatives (the first is taken), quantifiers, anchors, escapes.
What looks around or back is left out of the text, which may then not match: that is tried.
"""

from __future__ import annotations

import re
from typing import Final

_MAX_LENGTH: Final = 10_000
"""Letters of a text."""

_MAX_TRIED: Final = 12
"""Letters of a text of which it is tried whether it matches: with every further one, that can take
several times as long."""

_BOUNDS: Final = re.compile(r"\{(\d{1,5})(?:(,)(\d{0,5}))?\}")
_GROUP: Final = re.compile(r"\?(?::|P?<[A-Za-z_]\w*>|(?P<around>[=!]|<[=!]))")
_CODE: Final = re.compile(r"x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|u\{([0-9A-Fa-f]{1,6})\}")
_PROPERTY: Final = re.compile(r"[pP]\{[^}]*\}")
_SIGNS: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}
_CLASSES: Final = {"d": "0", "w": "a", "s": " ", "D": "a", "W": "-", "S": "a"}
_EMPTY: Final = frozenset("bB123456789")
_CANDIDATES: Final = "aA0 -_.,:;/@#!?\u00e9"
"""Where a class says what a letter may not be."""


class PatternError(ValueError):
    """No text was found."""


def matching(pattern: str, least: int = 0, most: int | None = None) -> str:
    """Return a text that a pattern matches, of a length between two bounds.

    Raises:
        PatternError: None was found.
    """
    for more in range(least + 1):
        sampler = _Sampler(pattern, more)
        text = sampler.text()
        if len(text) >= least:
            break
    if len(text) < least and not pattern.endswith("$"):
        # A pattern need not match to the end of a text.
        text += "." * (least - len(text))
    fits = least <= len(text) <= (_MAX_LENGTH if most is None else most)
    sure = sampler.sure or (len(text) <= _MAX_TRIED and _matches(pattern, text))
    if not fits or not sure:
        raise PatternError(f"no text was found for the pattern {pattern[:100]!r}")
    return text


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error:
        # ECMA's expressions know some escapes that Python's do not.
        return True


class _Sampler:
    """Reads a pattern once and writes what it matches, with `more` rounds where it is free."""

    def __init__(self, pattern: str, more: int) -> None:
        self._pattern, self._more = pattern, more
        self._at = 0
        self.sure = True
        """Whether the text matches by the way it was made."""

    def text(self) -> str:
        text = self._alternatives()
        if self._at < len(self._pattern):
            raise PatternError(f"the pattern {self._pattern[:100]!r} has a stray bracket")
        return text

    def _alternatives(self) -> str:
        first = self._sequence()
        while self._takes("|"):
            self._sequence()
        return first

    def _sequence(self) -> str:
        text = ""
        while self._here() not in {"", "|", ")"}:
            piece = self._atom()
            count = self._count()
            if len(text) + len(piece) * count > _MAX_LENGTH:
                raise PatternError(f"the pattern {self._pattern[:100]!r} asks for too long a text")
            text += piece * count
        return text

    def _count(self) -> int:
        least, most = 1, 1
        if bounds := _BOUNDS.match(self._pattern, self._at):
            self._at = bounds.end()
            least = most = int(bounds[1])
            if bounds[2]:
                most = int(bounds[3] or _MAX_LENGTH)
        elif (sign := self._here()) in {"*", "+", "?"}:
            self._at += 1
            least, most = int(sign == "+"), 1 if sign == "?" else _MAX_LENGTH
        else:
            return 1
        self._takes("?")
        return max(least, min(most, self._more))

    def _atom(self) -> str:
        letter = self._next()
        if letter == "(":
            return self._group()
        if letter == "[":
            return self._class()
        if letter == "\\":
            return self._escaped()
        if letter in {"^", "$"}:
            return ""
        return "a" if letter == "." else letter

    def _group(self) -> str:
        looks_around = False
        if start := _GROUP.match(self._pattern, self._at):
            self._at = start.end()
            looks_around = start["around"] is not None
            self.sure = self.sure and not looks_around
        text = self._alternatives()
        if not self._takes(")"):
            raise PatternError(f"the pattern {self._pattern[:100]!r} has a group without an end")
        return "" if looks_around else text

    def _escaped(self) -> str:
        if code := _CODE.match(self._pattern, self._at):
            self._at = code.end()
            return chr(int(code[1] or code[2] or code[3], 16))
        if known := _PROPERTY.match(self._pattern, self._at):
            self._at = known.end()
            return "a"
        letter = self._next()
        if letter in _EMPTY:
            self.sure = False
            return ""
        return _SIGNS.get(letter) or _CLASSES.get(letter) or letter

    def _class(self) -> str:
        """Read a class to its end; of the letters that it names, the first."""
        start = self._at - 1
        negated, first = self._takes("^"), ""
        while (letter := self._next()) != "]":
            member = self._escaped() if letter == "\\" else letter
            first = first or member
        if not negated:
            return first
        named = self._pattern[start : self._at]
        fits = (letter for letter in _CANDIDATES if _matches(named, letter))
        return next(fits, "a")

    def _here(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _next(self) -> str:
        letter = self._here()
        if not letter:
            raise PatternError(f"the pattern {self._pattern[:100]!r} breaks off")
        self._at += 1
        return letter

    def _takes(self, sign: str) -> bool:
        taken = self._here() == sign
        self._at += taken
        return taken
