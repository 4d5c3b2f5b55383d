"""From the text of one environment variable to a checked value.

No message here repeats the text: a secret may be in the wrong variable.
"""

from __future__ import annotations

import codecs
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

from pydantic import SecretStr
from pydantic_core import from_json

T = TypeVar("T")
Parse = Callable[[str], T]

DECIMALS: Final = 18
"""Of OPG and of both chains' native coins."""

MAX_WHOLE_DIGITS: Final = 30
"""Of an amount; far above every supply, far below what a uint256 holds."""

MIN_TOKEN_LENGTH: Final = 16
MAX_KEY_FILE_BYTES: Final = 64 * 1024
KEYSTORE_VERSION: Final = 3
OTHERS_READ: Final = stat.S_IRGRP | stat.S_IROTH
OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
SECP256K1_ORDER: Final = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141

_AMOUNT: Final = re.compile(rf"([0-9]{{1,{MAX_WHOLE_DIGITS}}})(?:\.([0-9]{{1,{DECIMALS}}}))?")
_MODEL: Final = re.compile(r"[\w./:-]{1,200}", re.ASCII)
_TRUTH: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


class BadValueError(Exception):
    """A text is not a value of its variable; `str()` says why, without the text."""


def secret(text: str) -> SecretStr:
    """Take any text as a secret, which is never printed."""
    return SecretStr(text)


def plain(text: str) -> str:
    """Take any printable text."""
    if not text.isprintable():
        raise BadValueError("holds control characters")
    return text


def model(text: str) -> str:
    """Take the name of a language or image model; whether it exists is found when it is used."""
    if not _MODEL.fullmatch(text):
        raise BadValueError("must be a model's name, like openai/gpt-5.4-mini")
    return text


def boolean(text: str) -> bool:
    """Read 1/0, true/false or yes/no, in any case."""
    if text.lower() not in _TRUTH:
        raise BadValueError("must be 1 or 0 (also true, false, yes, no)")
    return _TRUTH[text.lower()]


def one_of(*choices: str) -> Parse[str]:
    """Take one of a few words, in any case; the value is the word as written in `choices`."""
    by_lower = {choice.lower(): choice for choice in choices}

    def parse(text: str) -> str:
        if text.lower() not in by_lower:
            raise BadValueError(f"must be one of {', '.join(choices)}")
        return by_lower[text.lower()]

    return parse


def many(parse: Parse[T]) -> Parse[tuple[T, ...]]:
    """Read a list that commas or white space separate; repeated values count once."""

    def parse_all(text: str) -> tuple[T, ...]:
        return tuple(dict.fromkeys(parse(part) for part in re.split(r"[,\s]+", text) if part))

    return parse_all


def integer(low: int, high: int) -> Parse[int]:
    """Read a whole number within bounds, both included."""

    def parse(text: str) -> int:
        # The length is bounded because Python refuses to read very long numbers.
        if not re.fullmatch(r"[0-9]{1,20}", text) or not low <= int(text) <= high:
            raise BadValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return parse


def seconds(text: str) -> float:
    """Read a time in seconds, up to a day."""
    if not re.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,6})?", text) or float(text) > 24 * 3600:
        raise BadValueError("must be a number of seconds from 0 to 86400, e.g. 45")
    return float(text)


def amount(text: str) -> int:
    """Read a decimal amount of whole coins as base units, exactly."""
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise BadValueError(
            f"must be an amount such as 0.5: digits, a point, at most {DECIMALS} decimals, no sign"
        )
    return int(match[1] + (match[2] or "").ljust(DECIMALS, "0"))


def url(text: str) -> str:
    """Check an http or https URL."""
    try:
        parts = urlsplit(text)
        usable = bool(parts.hostname) and parts.scheme in {"http", "https"} and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not re.fullmatch(r"[!-~]+", text) or "\\" in text:
        raise BadValueError("must be a URL that starts with https:// or http:// and names a host")
    return text


def base_url(text: str) -> str:
    """Check a URL that paths are appended to: no query, and no slash at its end."""
    if set("?#") & set(url(text)):
        raise BadValueError("must be a URL without '?' and '#'")
    return text.rstrip("/")


def journal_url(text: str) -> SecretStr:
    """Check the form of a database URL, which may hold a password."""
    if not re.match(r"(sqlite:///|postgresql://)\S", text) or not text.isprintable():
        raise BadValueError("must start with sqlite:/// or postgresql://")
    return SecretStr(text)


def address(text: str) -> str:
    """Check an EVM address and write it with its EIP-55 checksum."""
    if not re.fullmatch(r"0[xX][0-9a-fA-F]{40}", text):
        raise BadValueError("must be an address: 0x and 40 hexadecimal digits")
    # Imported here because it loads a hash library, and few set such a variable.
    from eth_utils.address import to_checksum_address  # noqa: PLC0415 - see the line above

    digits, checksummed = text[2:], to_checksum_address(text.lower())
    if digits not in {digits.lower(), digits.upper(), checksummed[2:]}:
        raise BadValueError("has a wrong checksum (EIP-55): one of its letters was changed")
    return checksummed


def measurement(text: str) -> str:
    """Check an enclave's code measurement: the registry's `pcrHash`, 32 bytes."""
    digits = text.lower().removeprefix("0x")
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise BadValueError("must hold pcr hashes of 64 hexadecimal digits each")
    return f"0x{digits}"


def private_key(text: str) -> SecretStr:
    """Check that a text can be a secp256k1 private key."""
    digits = text.lower().removeprefix("0x")
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise BadValueError("must be a private key: 64 hexadecimal digits, with or without 0x")
    if not 1 <= int(digits, 16) < SECP256K1_ORDER:
        raise BadValueError("is not a private key: it is outside the range of secp256k1")
    return SecretStr(f"0x{digits}")


def token(text: str) -> SecretStr:
    """Check a bearer token: long enough not to be guessed, and fit for an HTTP header."""
    if not re.fullmatch(r"[!-~]+", text):
        raise BadValueError("must be of visible ASCII characters without spaces")
    if len(text) < MIN_TOKEN_LENGTH:
        raise BadValueError(f"must have at least {MIN_TOKEN_LENGTH} characters")
    return SecretStr(text)


def host(text: str) -> str:
    """Check a host name or IP address to listen on."""
    if not re.fullmatch(r"[0-9A-Za-z._:%-]{1,253}", text):
        raise BadValueError("must be a host name or an IP address, e.g. 127.0.0.1")
    return text


def path(text: str) -> Path:
    """Read a path; `~` is the home folder."""
    if "\0" in text:
        raise BadValueError("cannot be a path")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise BadValueError("starts with ~, and that home folder does not exist") from None


def key_file(text: str) -> Path:
    """Check that a file holds a private key as hexadecimal text; its path is made absolute."""
    content = _content(path(text), is_secret=True)
    try:
        private_key(content.strip())
    except BadValueError as exc:
        reason = str(exc)
    else:
        return path(text).absolute()
    raise BadValueError(f"names a file whose content {reason}")


def keystore(text: str) -> Path:
    """Check that a file has the form of Web3 secret storage version 3; made absolute."""
    content = _content(path(text))
    try:
        # Bounds the nesting by itself: an import may have raised Python's own bound.
        stored = from_json(content)
    except ValueError:
        stored = None
    if not isinstance(stored, dict) or stored.get("version") != KEYSTORE_VERSION:
        raise BadValueError(
            "names a file that is not a keystore of version 3 (Web3 secret storage)"
        )
    return path(text).absolute()


def _content(found: Path, *, is_secret: bool = False) -> str:
    """Read a file that holds a key.

    It may be a link, as Kubernetes mounts secrets, or readable by everybody on a read-only mount, as
    Docker does; but nobody else may be able to write it, nor read it where it is our own and not
    encrypted (threats.md T44).
    """
    if not _probe(found, Path.is_file):
        raise BadValueError("names a file that does not exist")
    try:
        with found.open("rb") as file:
            if not _is_read_only(file.fileno()):
                _check_mode(os.fstat(file.fileno()), is_secret=is_secret)
            return decoded(file.read(MAX_KEY_FILE_BYTES))
    except OSError:
        raise BadValueError("names a file that cannot be read") from None


def _check_mode(status: os.stat_result, *, is_secret: bool) -> None:
    """Refuse a file that other users can write or read, where the system has file modes."""
    if os.name != "posix":
        return
    if status.st_mode & OTHERS_WRITE:
        raise BadValueError("names a file that others can write: chmod 600 takes that from them")
    # What root owns and nobody can write is a secret that was handed in, not a file of ours.
    is_handed_in = status.st_uid == 0 and not status.st_mode & stat.S_IWUSR
    is_own = status.st_uid == os.geteuid() and not is_handed_in
    if is_secret and is_own and status.st_mode & OTHERS_READ:
        raise BadValueError("names a file that others can read: chmod 600 takes that from them")


def _is_read_only(descriptor: int) -> bool:
    return hasattr(os, "fstatvfs") and bool(os.fstatvfs(descriptor).f_flag & os.ST_RDONLY)


def can_be_read_by_others(found: Path) -> bool:
    """Whether other users of the machine can read a file; false where that cannot be known."""
    try:
        return os.name == "posix" and bool(found.stat().st_mode & OTHERS_READ)
    except OSError:
        return False


def decoded(content: bytes) -> str:
    """Read text of a file that an editor may have begun with a byte order mark."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    return content.decode("utf-8-sig", errors="replace")


def future_file(text: str) -> Path:
    """Check a path to a file that may come later; made absolute."""
    found = path(text)
    if _probe(found, Path.is_dir):
        raise BadValueError("must name a file, not a folder")
    return found.absolute()


def data_folder(text: str) -> Path:
    """Check a folder that is made when first needed.

    Absolute, since with the working folder the journal, and so the day's caps, would move.
    """
    found = path(text)
    if not found.is_absolute():
        raise BadValueError("must be an absolute path")
    if _probe(found, Path.exists) and not _probe(found, Path.is_dir):
        raise BadValueError("must name a folder, not a file")
    return found


def folders(text: str) -> tuple[Path, ...]:
    """Read absolute paths of folders that are there, separated as in PATH.

    The home folder, where it is named, is what the operator wants; the root folder is an accident.
    """
    found = tuple(dict.fromkeys(path(part) for part in text.split(os.pathsep) if part.strip()))
    for number, folder in enumerate(found, 1):
        if not folder.is_absolute() or ".." in folder.parts:
            raise BadValueError(f"must hold absolute paths without '..' (see folder {number})")
        if not _probe(folder, Path.is_dir):
            raise BadValueError(f"must hold folders that exist (see folder {number})")
        if _probe(folder, lambda found: found.resolve().parent == found.resolve()):
            raise BadValueError(
                "must not hold the root folder: tools could read every file of the machine (see "
                f"folder {number})"
            )
    return found


def quoted_name(name: str) -> str:
    """Write an unknown variable's name so that it cannot break the line it stands in."""
    return name if re.fullmatch(r"[0-9A-Za-z_]{1,64}", name) else ascii(name[:64])


def _probe(found: Path, test: Callable[[Path], bool]) -> bool:
    """Ask the file system; a path that it cannot look up does not exist."""
    try:
        return test(found)
    except (OSError, ValueError):
        return False
