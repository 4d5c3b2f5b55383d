"""TLS that trusts one certificate: the one a TEE's registry entry names (threats.md T20).

The peer's certificate is compared, byte by byte, at the end of the handshake: before a byte of
HTTP is sent, and before the handshake's own last message leaves. So a pinned certificate that can
issue others lets none of them pass. Names are not compared: gateways are reached by IP address.
Nor are dates: the certificate is good for as long as the registry names it, which is read anew
every minute, and a wrong clock here must not decide.
"""

from __future__ import annotations

import ssl
from typing import Final

from cryptography.x509 import load_der_x509_certificate

NO_CHECK_TIME: Final = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME; Python's `ssl` has no name for it."""


class PinnedSSLObject(ssl.SSLObject):
    """A connection whose peer must show one certificate; subclasses name it."""

    certificate: bytes = b""
    """DER."""

    def do_handshake(self) -> None:
        """Shake hands, and compare what the peer showed.

        Raises:
            ssl.SSLCertVerificationError: It is another certificate.
        """
        super().do_handshake()
        if not self.certificate or self.getpeercert(binary_form=True) != self.certificate:
            raise ssl.SSLCertVerificationError("the peer's certificate is not the pinned one")


class PinnedSSLSocket(ssl.SSLSocket):
    """Refuses plain sockets: their certificate would not be compared."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: ARG002 - ssl's own signature
        """Refuse.

        Raises:
            ssl.SSLError: Always.
        """
        raise ssl.SSLError("this context is for memory buffers, not for sockets")


def pinned_context(certificate: bytes) -> ssl.SSLContext:
    """Make a client's TLS context that trusts one certificate alone.

    Args:
        certificate: DER, as the registry holds it.

    Raises:
        ValueError: It is not a certificate that TLS can use.
    """
    # A subclass of SSLContext would cost a worker thread for each connection (anyio 4).
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    # The certificate is its own trust anchor, whoever has issued it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VerifyFlags(NO_CHECK_TIME)
    try:
        # OpenSSL itself takes several, and what stands behind them.
        load_der_x509_certificate(certificate)
        context.load_verify_locations(cadata=certificate)
    except (ssl.SSLError, ValueError) as exc:
        raise ValueError("its TLS certificate cannot be read") from exc
    context.sslobject_class = type("Pinned", (PinnedSSLObject,), {"certificate": certificate})
    context.sslsocket_class = PinnedSSLSocket
    return context
