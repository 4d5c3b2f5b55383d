"""Keeps secrets out of logs: a filter for every handler, and the masking that it is made of.

It is the second line. Errors and results are made without secrets in the first place; this one
catches what libraries write, and what nobody thought of.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import logging
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pydantic import SecretStr

MASK: Final = "[secret]"

WHOLE_WORD: Final = 8
"""Characters below which a secret is masked only where it stands as a word of its own."""

BRIEF: Final = 1024
"""Secrets of minutes that are kept, the newest."""

LONG_SEGMENT: Final = 12
"""Characters from which a part of a URL's path may be an API key."""

_KEY: Final = re.compile(r"(?:0[xX])?([0-9a-fA-F]{64})")
_NAMES: Final = (
    r"private[_ -]?key|secret[_ -]?key|api[_ -]?key|passw(?:or)?d|passphrase|mnemonic"
    r"|seed[_ -]?phrase|(?:access|refresh|id|bearer|auth)[_-]?token|client[_-]?secret"
)
_VALUE: Final = r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s,;&)}\]'"]+)"""
_TELLTALE: Final = re.compile(
    # name=value, in any notation; "name": value, as JSON and Python write it
    rf"""(?i:((?:{_NAMES})\w*["']?\s*=\s*|["']\w*(?:{_NAMES})\w*["']\s*:\s*)){_VALUE}"""
    # Authorization: Bearer value, as text and as a pair of bytes
    r"""|(?i:((?:authorization|x-payment|payment-signature)\b"""
    r"""(?:[\s:=,"']|b(?=["'])){1,9}(?:bearer\s|basic\s)?)([^\s"',)]{4,}))"""
    # scheme://user:password@host
    r"""|(?<=://)([^/\s@:"']+:[^/\s@"']+)(?=@)"""
)
"""What looks like a secret whoever's it is; a bare hash of 64 digits does not."""

_UNPRINTABLE: Final = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError)
"""What writing a log message may raise whose arguments do not fit it."""

_OWN: Final = frozenset(vars(logging.makeLogRecord({})))


class Redaction(logging.Filter):
    """A filter of log handlers that masks secrets; lets every record pass.

    Args:
        secrets: Texts that must not be shown.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._secrets: set[str] = set()
        self._known = re.compile("(?!)")
        self._brief: tuple[str, ...] = ()
        self.add(secrets)

    def __repr__(self) -> str:
        """Tell how many secrets there are, and none of them."""
        return f"<Redaction of {len(self._secrets)} secrets>"

    def add(self, secrets: Iterable[str]) -> None:
        """Mask these, too."""
        fresh = {secret for secret in secrets if secret.strip()} - self._secrets
        if fresh:
            self._secrets |= fresh
            forms = {form for secret in self._secrets for form in _forms(secret)}
            # The longest first: one secret may be a part of another.
            self._known = re.compile("|".join(map(_pattern, sorted(forms, key=len)[::-1])))

    def add_briefly(self, secrets: Iterable[str]) -> None:
        """Mask these, too, for as long as no more than `BRIEF` come after them."""
        # One compiled pattern of them all took seconds after fifty payments.
        fresh = [one for one in secrets if len(one) >= WHOLE_WORD and one not in self._brief]
        self._brief = (*self._brief, *fresh)[-BRIEF:]

    def mask(self, text: str) -> str:
        """Return a text without secrets."""
        for secret in self._brief:
            if secret in text:
                text = text.replace(secret, MASK)
        return _TELLTALE.sub(_mask_value, self._known.sub(MASK, text))

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask message, arguments, traceback, stack and extra fields of a record."""
        try:
            message = record.getMessage()
        except _UNPRINTABLE:
            # logging would write message and arguments to stderr by itself.
            message, record.args = f"{record.msg} with arguments that do not fit it", None
        masked = self.mask(message)
        if masked != message or record.args is None:
            record.msg, record.args = masked, None
        if record.exc_info:
            # Gone for good: another formatter would write it anew, with its variables perhaps.
            record.exc_text = record.exc_text or logging.Formatter().formatException(
                record.exc_info
            )
            record.exc_info = None
        self._mask_fields(record)
        return True

    def _mask_fields(self, record: logging.LogRecord) -> None:
        for name, value in list(vars(record).items()):
            if isinstance(value, str):
                setattr(record, name, self.mask(value))
            elif name not in _OWN:
                try:
                    text = str(value)
                except _UNPRINTABLE:
                    text = MASK
                if self.mask(text) != text:
                    setattr(record, name, self.mask(text))


def install(secrets: Iterable[str]) -> Redaction:
    """Put a filter on every handler there is, and log what would end the program with a traceback.

    Call it once logging is configured; handlers that are made later need `addFilter`.

    Args:
        secrets: Texts that must not be shown; see `secrets_in`.
    """
    redaction = Redaction(secrets)
    for handler in _handlers():
        handler.addFilter(redaction)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread
    return redaction


def hide(*secrets: str) -> None:
    """Tell the installed filters of secrets that became known: a key that was opened, a token."""
    for handler in _handlers():
        for one in handler.filters:
            if isinstance(one, Redaction):
                one.add(secrets)


def hide_briefly(*secrets: str) -> None:
    """Tell the installed filters of long secrets that are worthless within minutes: payments."""
    for handler in _handlers():
        for one in handler.filters:
            if isinstance(one, Redaction):
                one.add_briefly(secrets)


def secrets_in(value: object) -> Iterator[str]:
    """Find the secrets of a configuration: every SecretStr, and what URLs may hide.

    Args:
        value: A dataclass, looked through with what it holds; a text, a SecretStr, or several.
    """
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
        yield from url_secrets(value.get_secret_value())
    elif isinstance(value, str):
        yield from url_secrets(value)
    elif isinstance(value, (tuple, list, set, frozenset)):
        for one in value:
            yield from secrets_in(one)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from secrets_in(getattr(value, field.name))


def url_secrets(url: str) -> Iterator[str]:
    """Name what may be secret in a URL: credentials, query values, long parts of the path.

    Args:
        url: Any text; what is not a URL has none.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return
    if "://" not in url or not host:
        return
    credentials, at, _ = parts.netloc.rpartition("@")
    if at:
        yield from (one for one in (credentials, parts.password or credentials) if one)
        yield base64.b64encode(unquote(credentials).encode()).decode()
    yield from (segment for segment in parts.path.split("/") if len(segment) >= LONG_SEGMENT)
    if len(parts.path) >= WHOLE_WORD:
        yield parts.path
    yield from (value for _, value in parse_qsl(parts.query) if len(value) > 1)
    if parts.path.strip("/") or parts.query:
        yield url.partition("://")[2]


def _handlers() -> Iterator[logging.Handler]:
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    for logger in loggers:
        if isinstance(logger, logging.Logger):
            yield from logger.handlers


def _forms(secret: str) -> Iterator[str]:
    """Write a secret in the ways that it may turn up in."""
    yield from (secret, unquote(secret), quote(secret, safe=""), quote(secret))
    yield from (repr(secret)[1:-1], json.dumps(secret)[1:-1])
    match = _KEY.fullmatch(secret.strip())
    if match:
        raw = bytes.fromhex(match[1])
        yield from (match[1], str(int(match[1], 16)), repr(raw)[2:-1])
        yield base64.b64encode(raw).decode()


def _pattern(form: str) -> str:
    pattern = re.escape(form)
    if _KEY.fullmatch(form):
        return f"(?:0[xX])?(?i:{pattern.removeprefix('0x')})"
    return pattern if len(form) >= WHOLE_WORD else rf"(?<!\w){pattern}(?!\w)"


def _mask_value(match: re.Match[str]) -> str:
    return f"{match[1] or match[3] or ''}{MASK}"


def _log_uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    logging.getLogger(__name__).critical("og-mcp ends", exc_info=(kind, error, traceback))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        _log_uncaught(args.exc_type, args.exc_value, args.exc_traceback)
