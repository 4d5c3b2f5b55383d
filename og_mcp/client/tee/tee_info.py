"""The struct `TEEInfo` of the registry, read from what an RPC says that may lie.

Every offset and length is checked, and no byte is counted twice: many entries cannot be made of
the same large one.

Source: protocol.md section 3.5.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from eth_utils.address import to_checksum_address

from og_mcp.client.codec.abi_words import WORD, WordReader

MAX_BYTES: Final = 4 * 2**20
"""Bytes of one answer; an entry takes about 3 KB."""

MAX_ENTRIES: Final = 256
ADDRESS_BYTES: Final = 20


class Info(NamedTuple):
    """The fields of an entry that a client uses; its heartbeat and others change all the time."""

    payment_address: str
    """Checksummed."""

    endpoint: str
    public_key: bytes
    tls_certificate: bytes
    pcr_hash: bytes


def read_infos(data: bytes) -> tuple[Info, ...]:
    """Read `TEEInfo[]`.

    Raises:
        ValueError: It is longer than any registry, or holds something that is not an address.
        ServiceReplyError: An offset or a length is wrong.
    """
    reader = _reader(data)
    entries: list[Info] = []
    for start in reader.members(reader.offset(0, 0)):
        if len(entries) == MAX_ENTRIES:
            raise ValueError(f"it lists more than {MAX_ENTRIES} TEEs")
        entries.append(_info(reader, start))
    return tuple(entries)


def read_info(data: bytes) -> Info:
    """Read one `TEEInfo`.

    Raises:
        As `read_infos`.
    """
    reader = _reader(data)
    return _info(reader, reader.offset(0, 0))


def _reader(data: bytes) -> WordReader:
    if len(data) > MAX_BYTES:
        raise ValueError(f"it is longer than {MAX_BYTES} bytes")
    return WordReader(data)


def _info(reader: WordReader, start: int) -> Info:
    # The members by their place in the struct; the owner stands before them.
    payment_address = reader.take(start + WORD, WORD)
    endpoint, public_key, certificate = (_bytes(reader, start, member) for member in (2, 3, 4))
    pcr_hash = reader.take(start + 5 * WORD, WORD)
    if any(payment_address[:-ADDRESS_BYTES]):
        raise ValueError("a payment address is none")
    return Info(
        str(to_checksum_address(payment_address[-ADDRESS_BYTES:])),
        # An endpoint that is not UTF-8 is shown and cannot be used as a URL.
        endpoint.decode(errors="backslashreplace"),
        public_key,
        certificate,
        pcr_hash,
    )


def _bytes(reader: WordReader, start: int, member: int) -> bytes:
    place = reader.offset(start, member)
    return reader.take(place + WORD, reader.length(place, 1))
