"""Reads the TEE registry: what is asked, how it is decoded, and which RPC said so.

Source: protocol.md section 3.5; `TEEInfo` and `OhttpConfig` are the structs there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from og_mcp.client.chain.rpc import RPC, Call, Reply, RPCError
from og_mcp.client.tee.signature import read_key, tee_id_of
from og_mcp.client.tee.tee_info import Info, read_info, read_infos
from og_mcp.client.wire.pinned import pinned_context
from og_mcp.client.wire.quantities import WORD, quantity
from og_mcp.errors import ServiceReplyError, WrongChainError
from og_mcp.types import RegistrySource

T = TypeVar("T")

GET_ACTIVE_TEES: Final = "0x4b6014da"
GET_TEE: Final = "0x418b207d"
IS_TEE_ACTIVE: Final = "0xa3bf31f1"
LLM_PROXY: Final = 0
"""The `teeType` of gateways."""


@dataclass(frozen=True)
class TEE:
    """A gateway's enclave, as the registry has it."""

    tee_id: str
    """0x-hex, 32 bytes: the hash of `public_key`."""

    endpoint: str
    """Its https URL, without a slash at the end."""

    payment_address: str
    """Checksummed; the zero address where the registry names none."""

    public_key: bytes
    """DER (SubjectPublicKeyInfo) of the RSA key that signs its answers."""

    tls_certificate: bytes
    """DER; the only one that its endpoint may show."""

    pcr_hash: str
    """0x-hex, 32 bytes: the measurement of its code."""

    source: RegistrySource
    """Which RPC said so, at which block."""


@dataclass(frozen=True)
class RegistryBlock:
    """Number and hash of a block."""

    number: int
    hash: str

    @property
    def tag(self) -> str:
        """The number as JSON-RPC takes it."""
        return hex(self.number)


@dataclass(frozen=True)
class RegistryEntries:
    """What a registry said at one block."""

    block: RegistryBlock
    tees: tuple[Info, ...]


@dataclass(frozen=True)
class RegistryEntry:
    """What a registry said of one TEE at one block."""

    block: RegistryBlock
    is_active: bool
    tee: TEE | None
    """`None` if the registry does not know the id."""


async def read_entries(
    rpc: RPC, chain_id: int, registry: str, block: RegistryBlock | None = None
) -> RegistryEntries:
    """Ask one RPC for the active TEEs; one HTTP request, a second where a block came in between.

    Args:
        rpc: Whom to ask.
        chain_id: What it must serve (threats.md T4).
        registry: The contract's address.
        block: As of which; `None`: the newest.

    Raises:
        WrongChainError: It serves another chain.
        ServiceError: No usable answer.
    """
    tag = block.tag if block else "latest"
    chain, before, called, after = await rpc.ask(
        ("eth_chainId", []), _block(tag), _active(registry, tag), _block(tag)
    )
    actual = quantity(_value(rpc, chain), rpc.service, WORD)
    if actual != chain_id:
        raise WrongChainError(chain_id, actual, rpc.shown)
    newest = _read_block(rpc, after)
    if block is None and _read_block(rpc, before) != newest:
        # The call may have been answered on either of the two.
        return await read_entries(rpc, chain_id, registry, newest)
    return RegistryEntries(newest, _decode(rpc, _value(rpc, called), read_infos))


def same_entries(one: RegistryEntries, other: RegistryEntries) -> bool:
    """Tell whether two snapshots list the same TEEs; heartbeats do not count."""
    return set(one.tees) == set(other.tees)


def usable(
    entries: RegistryEntries, source: RegistrySource, measurements: Collection[str]
) -> tuple[tuple[TEE, ...], tuple[str, ...]]:
    """Sort out which entries can be used.

    Args:
        entries: What the registry said.
        source: By whom.
        measurements: Code measurements that are accepted (OG_TEE_PCR); all, where there are none.

    Returns:
        The TEEs, and for each other entry why it is left out.
    """
    found: dict[str, TEE] = {}
    why: list[str] = []
    for info in entries.tees:
        tee = _tee(info, source)
        reason = _unfit(tee, measurements)
        if reason:
            why.append(f"TEE {tee.tee_id}: {reason}")
        else:
            found[tee.tee_id] = tee
    return tuple(found.values()), tuple(why)


async def read_entry(
    rpc: RPC, registry: str, tee_id: str, block_number: int | None = None
) -> RegistryEntry:
    """Ask for one TEE; one HTTP request.

    Args:
        rpc: Whom to ask.
        registry: The contract's address.
        tee_id: 0x-hex, 32 bytes.
        block_number: As of which block; `None`: the newest.

    Raises:
        ServiceRejectedError: The node does not have that block's state, or refuses.
        ServiceError: No usable answer.
    """
    word = tee_id.removeprefix("0x")
    tag = "latest" if block_number is None else hex(block_number)
    active, told, block = await rpc.ask(
        _eth_call(registry, IS_TEE_ACTIVE + word, tag),
        _eth_call(registry, GET_TEE + word, tag),
        _block(tag),
    )
    is_active = quantity(_value(rpc, active), rpc.service, maximum=1) == 1
    # The registry reverts for an id that it does not know.
    info = None if told.error is not None else _decode(rpc, told.value(), read_info)
    tee = None if info is None else _tee(info, RegistrySource(rpc=rpc.shown))
    return RegistryEntry(_read_block(rpc, block), is_active, tee)


def _tee(info: Info, source: RegistrySource) -> TEE:
    return TEE(
        tee_id=tee_id_of(info.public_key),
        endpoint=info.endpoint.rstrip("/"),
        payment_address=info.payment_address,
        public_key=info.public_key,
        tls_certificate=info.tls_certificate,
        pcr_hash="0x" + info.pcr_hash.hex(),
        source=source,
    )


def _unfit(tee: TEE, measurements: Collection[str]) -> str:
    """Tell why a TEE cannot be used; nothing where it can."""
    if not tee.endpoint or not tee.tls_certificate:
        return "it has no endpoint or no TLS certificate"
    if not _is_https(tee.endpoint):
        return "its endpoint is not a plain https URL"
    if measurements and tee.pcr_hash not in measurements:
        return f"its code measurement {tee.pcr_hash} is not in OG_TEE_PCR"
    try:
        read_key(tee.public_key)
        pinned_context(tee.tls_certificate)
    except ValueError as exc:
        return str(exc)
    return ""


def _is_https(endpoint: str) -> bool:
    """Whether an endpoint is https (threats.md T20), and nothing but scheme, host, port, path."""
    try:
        parts = urlsplit(endpoint)
        rest = parts.username or parts.password or parts.query or parts.fragment
        return (
            parts.scheme == "https"
            and bool(parts.hostname)
            and parts.port != 0
            and not rest
            and endpoint.isprintable()
            and not set(" ?#\\") & set(endpoint)
        )
    except ValueError:
        return False


def _active(registry: str, tag: str) -> Call:
    return _eth_call(registry, GET_ACTIVE_TEES + f"{LLM_PROXY:064x}", tag)


def _eth_call(to: str, data: str, tag: str) -> Call:
    return "eth_call", [{"to": to, "data": data}, tag]


def _block(tag: str) -> Call:
    return "eth_getBlockByNumber", [tag, False]


def _read_block(rpc: RPC, reply: Reply) -> RegistryBlock:
    block = _value(rpc, reply)
    number, block_hash = (
        (block.get("number"), block.get("hash"))
        if isinstance(block, dict)
        else (
            None,
            None,
        )
    )
    if not isinstance(block_hash, str):
        raise ServiceReplyError(rpc.service, "a block is missing or malformed")
    return RegistryBlock(quantity(number, rpc.service), block_hash.lower())


def _decode(rpc: RPC, result: object, read: Callable[[bytes], T]) -> T:
    if not isinstance(result, str):
        raise ServiceReplyError(rpc.service, "the TEE registry's answer is not a text")
    if result in {"0x", "0x0"}:
        raise ServiceReplyError(rpc.service, "there is no TEE registry at that address")
    try:
        return read(bytes.fromhex(result.removeprefix("0x")))
    except (ValueError, ServiceReplyError) as exc:
        raise ServiceReplyError(rpc.service, "the TEE registry's answer is malformed") from exc


def _value(rpc: RPC, reply: Reply) -> Any:  # noqa: ANN401 - JSON
    try:
        return reply.value()
    except RPCError as exc:
        raise rpc.rejected(exc) from exc
