"""The online check of a receipt's part `tee`: what the registry says about its TEE."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from og_mcp.client.chain.chain import Chain
from og_mcp.client.receipts.reading import MismatchError, NotKeptError
from og_mcp.client.tee.registry_entries import RegistryEntry, read_entry
from og_mcp.errors import ServiceRejectedError, quote
from og_mcp.types import Check, CheckResult

NAME: Final = "tee_registry"
_ID: Final = re.compile(r"0x[0-9a-f]{64}")


async def registry_check(part: object, chain: Chain, registry: str) -> Check:
    """Ask the registry for a receipt's TEE, as of the block that the receipt names.

    Args:
        part: The receipt's part `tee`, of any origin.
        chain: Of the network that is believed.
        registry: The contract's address; empty where the network has none.

    Raises:
        WrongChainError: The RPC serves another chain than its network's.
        ServiceError: The RPC cannot be used.
    """
    result: CheckResult
    try:
        detail, result = await _compared(part, chain, registry), "ok"
    except NotKeptError as exc:
        detail, result = str(exc), "not_checked"
    except MismatchError as exc:
        detail, result = str(exc), "failed"
    return Check(name=NAME, result=result, source=f"RPC {chain.rpc_shown}", detail=detail)


async def _compared(part: object, chain: Chain, registry: str) -> str:
    tee: Mapping[str, Any] = part if isinstance(part, Mapping) else {}
    named = tee.get("registry")
    voucher: Mapping[str, Any] = named if isinstance(named, Mapping) else {}
    number, tee_id = voucher.get("block_number"), tee.get("tee_id")
    if voucher.get("chain_id") != chain.chain_id:
        raise MismatchError(
            f"the receipt's registry is on chain {quote(voucher.get('chain_id'))}, and the network "
            f"that was asked is chain {chain.chain_id}: OG_NETWORK and OG_CHAIN_ID choose another"
        )
    if not registry:
        raise NotKeptError("the network has no TEE registry")
    if (
        type(number) is not int
        or number < 0
        or not isinstance(tee_id, str)
        or not _ID.fullmatch(tee_id)
    ):
        raise MismatchError("its TEE id or its registry's block is malformed")
    await chain.check()
    rpc = chain.rpc
    try:
        entry = await read_entry(rpc, registry, tee_id, number)
    except ServiceRejectedError as exc:
        newest = await read_entry(rpc, registry, tee_id)
        now = "does not match" if _differences(newest, tee) else "matches"
        raise NotKeptError(
            f"the node does not tell the registry as of block {number} ({exc.args[0]}); at block "
            f"{newest.block.number}, its entry {now}"
        ) from exc
    wrong = _differences(entry, tee)
    if entry.block.hash != str(voucher.get("block_hash")).lower():
        wrong.append(f"block {number} is {entry.block.hash}")
    if wrong:
        raise MismatchError("; ".join(wrong))
    return (
        f"at block {number}, {entry.block.hash}, the registry had the TEE as active, with this "
        "endpoint, measurement and public key"
    )


def _differences(entry: RegistryEntry, tee: Mapping[str, Any]) -> list[str]:
    """Return how a receipt's TEE differs from the registry's entry."""
    if entry.tee is None:
        return ["the registry does not have this TEE"]
    told = {
        "endpoint": entry.tee.endpoint,
        "pcr_hash": entry.tee.pcr_hash,
        "public_key": "0x" + entry.tee.public_key.hex(),
        "tee_id": entry.tee.tee_id,
    }
    wrong = [
        f"its {name} is {quote(value)}" for name, value in told.items() if tee.get(name) != value
    ]
    return wrong if entry.is_active else ["the TEE was not active", *wrong]
