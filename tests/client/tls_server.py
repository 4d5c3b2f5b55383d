"""A small TLS server with certificates of one's own making, that tells what it was sent."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

YEAR = dt.timedelta(days=365)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a=b\r\n\r\nok"


@dataclass(frozen=True)
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        """As a registry holds it."""
        return self.certificate.public_bytes(Encoding.DER)

    def context(
        self, *issuers: Issued, version: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED
    ) -> ssl.SSLContext:
        """Make a server's context that shows it, and those that issued it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.maximum_version = version
        chain = b"".join(
            one.certificate.public_bytes(Encoding.PEM) for one in (self, *issuers)
        ) + self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with TemporaryDirectory() as folder:
            path = Path(folder, "chain.pem")
            path.write_bytes(chain)
            context.load_cert_chain(path)
        return context


def issue(
    name: str, issuer: Issued | None = None, *, ca: bool = False, age: dt.timedelta = dt.timedelta()
) -> Issued:
    """Issue a certificate of a year, `age` ago; signed by itself where nobody else does."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    from_day = dt.datetime.now(dt.UTC) - dt.timedelta(days=1) - age
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(from_day)
        .not_valid_after(from_day + YEAR)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .sign(issuer.key if issuer else key, hashes.SHA256())
    )
    return Issued(certificate, key)


@dataclass
class Served:
    """A running server."""

    url: str
    received: bytearray
    """What came within TLS."""

    connections: int = 0
    """Handshakes that were completed on the server's side."""

    closed: int = 0
    """Connections that have ended."""

    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def has_closed(self, connections: int) -> None:
        """Wait until so many connections have ended."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.closed >= connections)

    async def close(self) -> None:
        """Count a connection that ended."""
        async with self._changed:
            self.closed += 1
            self._changed.notify_all()


@asynccontextmanager
async def serving(context: ssl.SSLContext, answer: bytes = ANSWER) -> AsyncIterator[Served]:
    """Serve one answer to whatever is asked."""
    served = Served("", bytearray())

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.connections += 1
        try:
            while part := await reader.read(65536):
                served.received += part
                if b"\r\n\r\n" in part:
                    writer.write(answer)
                    await writer.drain()
        except (ConnectionError, ssl.SSLError, asyncio.CancelledError):
            # The client is gone, or the test is over.
            pass
        finally:
            writer.close()
            await served.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    served.url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield served
