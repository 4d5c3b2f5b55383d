"""Certificates for services of this machine; random in every run, their keys kept in memory."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_VALID_FOR: Final = dt.timedelta(days=365)
_DRIFT: Final = dt.timedelta(days=1)
"""A clock that was set back must not make the certificate one of the future."""


class Certificate:
    """A key with a self-signed certificate for one IP address."""

    def __init__(self, address: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _self_signed(key, address)
        self.der = certificate.public_bytes(Encoding.DER)
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        """What a service presents to its clients."""

        self.server.minimum_version = ssl.TLSVersion.TLSv1_2
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _load(self.server, certificate.public_bytes(Encoding.PEM) + private)

    def client(self) -> ssl.SSLContext:
        """Make a context that trusts this certificate and nothing else."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.der)
        return context


def _self_signed(key: ec.EllipticCurvePrivateKey, address: str) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "og-mcp local network")])
    where = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DRIFT)
        .not_valid_after(now + _VALID_FOR)
        .add_extension(where, critical=False)
        # Whoever pins this certificate must not come to trust others by it (threats.md T20).
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )


def _load(context: ssl.SSLContext, pem: bytes) -> None:
    # OpenSSL reads keys from files only: this one is there for as long as it reads.
    with TemporaryDirectory(prefix="og-mcp-tls-") as folder:
        path = Path(folder, "tls.pem")
        path.touch(mode=0o600, exist_ok=False)
        path.write_bytes(pem)
        context.load_cert_chain(path)
