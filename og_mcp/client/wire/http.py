"""HTTP: the connection pool, and the one place where httpx errors become ours.

Money depends on one distinction: `ServiceUnreachableError` means that nothing was sent, every other
`ServiceError` that the request may have arrived.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
import httpx
from pydantic_core import from_json

from og_mcp import __version__
from og_mcp.errors import (
    ServiceError,
    ServiceRejectedError,
    ServiceReplyError,
    ServiceTimeoutError,
    ServiceUnreachableError,
    UntrustedCertificateError,
)
from og_mcp.networks import is_loopback, is_loopback_host, shown
from og_mcp.redaction import Redaction, url_secrets

__all__ = [
    "NOTHING_SENT",
    "fetch_json",
    "is_loopback",
    "is_loopback_host",
    "keep_secrets_from_logs",
    "map_httpx_errors",
    "no_cookies",
    "nothing_sent",
    "open_http",
    "post_json",
    "read_body",
    "read_json",
    "shown",
]

TIMEOUT: Final = httpx.Timeout(30, connect=10)
"""Seconds; a caller that waits for slow work sets its own with the request."""

LIMITS: Final = httpx.Limits(max_connections=100, max_keepalive_connections=32, keepalive_expiry=30)

LOOPBACK_PATTERNS: Final = ("all://127.0.0.1", "all://localhost", "all://[::1]")
"""Hosts that are never asked through a proxy of the environment."""

MAX_JSON_BYTES: Final = 8 * 2**20
FETCH_LIMIT_S: Final = 60.0
BROKEN_OFF: Final = "the connection broke before it was complete"

HTTPCORE_LOGGERS: Final = tuple(
    f"httpcore.{name}" for name in ("connection", "http11", "http2", "proxy", "socks")
)

NOTHING_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    # httpcore 1.0 raises it while a tunnel is set up, before the request.
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
    # A header that HTTP does not allow: it is looked at before a byte is written.
    httpx.LocalProtocolError,
)
"""Errors of httpx after which the service cannot have seen the request."""


def open_http(*, local: bool = False) -> httpx.AsyncClient:
    """Open a connection pool; the caller closes it.

    Redirects are not followed: a signed transaction or a token must not travel on.

    Args:
        local: Only this machine is spoken to, so nothing is taken from the environment: neither
            proxies nor certificate settings, and no certificate is trusted. Otherwise loopback
            hosts alone go past the proxies.
    """
    keep_secrets_from_logs()
    return httpx.AsyncClient(
        # Reading the certificates that everybody trusts takes longer than a call on this machine.
        verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if local else True,
        timeout=TIMEOUT,
        limits=LIMITS,
        headers={"User-Agent": f"og-mcp/{__version__}"},
        cookies=no_cookies(),
        follow_redirects=False,
        trust_env=not local,
        mounts=dict.fromkeys(LOOPBACK_PATTERNS),
    )


def no_cookies() -> CookieJar:
    """Return a cookie jar that keeps nothing: a malformed cookie would break every later request."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=()))


def keep_secrets_from_logs() -> None:
    """Keep the DEBUG messages of the HTTP libraries out of every log."""
    # httpx logs each request's whole URL, and a path may hold the API key of an RPC.
    logging.getLogger("httpx").addFilter(_show_origins_only)
    # httpcore logs every header of an answer, and one is a payment session's id (threats.md T29).
    for name in HTTPCORE_LOGGERS:
        logging.getLogger(name).addFilter(_say_nothing)


def _say_nothing(_: logging.LogRecord) -> bool:
    return False


def _show_origins_only(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(
            shown(str(value)) if isinstance(value, httpx.URL) else value for value in record.args
        )
    return True


@contextmanager
def map_httpx_errors(service: str, url: str) -> Iterator[None]:
    """Turn what httpx raises inside into our errors.

    Args:
        service: What errors call the other side, e.g. `Model Hub`.
        url: The address in use; only its origin is shown.

    Raises:
        ServiceUnreachableError: Nothing was sent.
        ServiceError: The request may have arrived.
    """
    started = time.monotonic()
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise _error(exc, service, url, time.monotonic() - started) from exc


def nothing_sent(exc: BaseException) -> bool:
    """Tell by an error, ours or httpx's, whether the service cannot have seen the request."""
    return isinstance(exc, (ServiceUnreachableError, *NOTHING_SENT))


async def fetch_json(
    http: httpx.AsyncClient,
    service: str,
    url: str,
    *,
    params: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Any:  # noqa: ANN401 - JSON has no narrower type
    """Get a JSON document of at most 8 MiB, within a minute.

    Raises:
        ServiceUnreachableError: No connection.
        ServiceTimeoutError: No whole answer in time.
        ServiceRejectedError: An HTTP status of 400 or above; `status` tells which.
        ServiceReplyError: A redirect, too long, or no JSON.
    """
    status, body = await _ask(http, service, "GET", url, params=params, headers=headers)
    return read_json(status, body, service, url)


async def post_json(  # noqa: PLR0913 - the parts of a request, by name
    http: httpx.AsyncClient,
    service: str,
    url: str,
    *,
    document: object = None,
    form: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Any:  # noqa: ANN401 - JSON has no narrower type
    """Post a JSON document or a form, and return the JSON answer; `None` where it is empty.

    Raises:
        As `fetch_json`; after all but ServiceUnreachableError the request may have been carried out.
    """
    status, body = await _ask(
        http, service, "POST", url, json=document, data=form, params=params, headers=headers
    )
    if not body and status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    return read_json(status, body, service, url)


async def _ask(
    http: httpx.AsyncClient,
    service: str,
    method: str,
    url: str,
    **parts: Any,  # noqa: ANN401 - as httpx takes them
) -> tuple[int, bytes]:
    """Send a request and read status and body: at most 8 MiB, within a minute."""
    try:
        with map_httpx_errors(service, url), anyio.fail_after(FETCH_LIMIT_S):
            async with http.stream(method, url, **parts) as response:
                return response.status_code, await read_body(response, service)
    except TimeoutError as exc:
        raise ServiceTimeoutError(service, shown(url), FETCH_LIMIT_S) from exc


async def read_body(response: httpx.Response, service: str) -> bytes:
    """Read a streamed answer of at most 8 MiB."""
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) > MAX_JSON_BYTES:
            raise ServiceReplyError(service, f"it is longer than {MAX_JSON_BYTES} bytes")
    return bytes(body)


def read_json(status: int, body: bytes, service: str, url: str) -> Any:  # noqa: ANN401 - JSON
    """Read the JSON of an answer.

    Raises:
        ServiceRejectedError: An HTTP status of 400 or above, with what the service says of it.
        ServiceReplyError: A redirect, or no JSON.
    """
    try:
        # Bounds the nesting by itself: web3's imports raise Python's bound so far that a deep
        # document would crash the interpreter (py_ecc sets it to 100,000).
        content = from_json(body)
    except ValueError:
        content = _UNREADABLE
    if status >= HTTPStatus.BAD_REQUEST:
        raise ServiceRejectedError(service, status, _without_credentials(_detail(content), url))
    if status >= HTTPStatus.MULTIPLE_CHOICES:
        raise ServiceReplyError(service, f"it redirects (status {status}), which is not followed")
    if content is _UNREADABLE:
        raise ServiceReplyError(service, "it is not JSON")
    return content


def _detail(content: object) -> str:
    """Find the reason that a service gives: `detail`, or `error.message` from Firebase."""
    if not isinstance(content, dict):
        return ""
    error = content.get("error")
    detail = content.get("detail") or (error.get("message") if isinstance(error, dict) else "")
    return detail if isinstance(detail, str) else ""


def _without_credentials(text: str, url: str) -> str:
    """Mask user name and password in the URL of a service."""
    origin = urlsplit(url)._replace(path="", query="", fragment="").geturl()
    return Redaction(url_secrets(origin)).mask(text)


_UNREADABLE: Final = object()

_Build = Callable[[Any, str, str, float], ServiceError]


def _unreachable(exc: Exception, service: str, url: str, _: float) -> ServiceError:
    untrusted = _is_of_certificate(exc)
    return (UntrustedCertificateError if untrusted else ServiceUnreachableError)(service, url)


def _is_of_certificate(exc: BaseException | None) -> bool:
    # httpx and httpcore each wrap what ssl raised.
    while exc is not None and not isinstance(exc, ssl.SSLCertVerificationError):
        exc = exc.__cause__ or exc.__context__
    return exc is not None


def _timeout(_: Exception, service: str, url: str, waited_s: float) -> ServiceError:
    return ServiceTimeoutError(service, url, waited_s)


def _rejected(exc: httpx.HTTPStatusError, service: str, _: str, __: float) -> ServiceError:
    return ServiceRejectedError(service, exc.response.status_code)


def _unusable(what: str) -> _Build:
    return lambda _, service, *__: ServiceReplyError(service, what)


_TABLE: Final[tuple[tuple[tuple[type[Exception], ...], _Build], ...]] = (
    (NOTHING_SENT, _unreachable),
    ((httpx.TimeoutException,), _timeout),
    ((httpx.HTTPStatusError,), _rejected),
    ((httpx.DecodingError,), _unusable("its content encoding is broken")),
    ((httpx.TooManyRedirects,), _unusable("it redirects without end")),
    ((httpx.TransportError,), _unusable(BROKEN_OFF)),
)
"""Errors of httpx -> ours; the first row that fits counts."""


def _error(
    exc: httpx.HTTPError | httpx.InvalidURL, service: str, url: str, waited_s: float
) -> ServiceError:
    build = next(build for kinds, build in _TABLE if isinstance(exc, kinds))
    return build(exc, service, shown(url), waited_s)
