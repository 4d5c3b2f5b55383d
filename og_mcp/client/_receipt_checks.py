"""What is checked in a receipt, part by part; each check asks nobody and reads JSON of any origin.

A check returns what it has shown, in words. It raises `MismatchError` where something does not fit,
and `NotKeptError` where the receipt lacks what it needs. The tables of checks stand at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

from og_mcp.client._abi import decode_inference_event, decode_result, decode_run
from og_mcp.client._canonical import canonical, digest, is_same
from og_mcp.client._outputs import ModelOutput, to_json
from og_mcp.client._receipt_json import MismatchError, NotKeptError, read_hex, read_logs
from og_mcp.client._signature import SignedCall, read_signed
from og_mcp.client.inference import PRECOMPILE_TOPIC, RESULT_TOPIC, find_log
from og_mcp.errors import OGError, quote
from og_mcp.networks import INFERENCE_PRECOMPILE, NETWORKS
from og_mcp.types import Check, CheckResult

SCHEMA: Final = "og-mcp/receipt/1"
REQUIRED: Final = ("call_id", "network", "tool", "created_at", "request_hash")
KNOWN: Final = frozenset(
    {"schema", *REQUIRED, "request", "response", "response_hash", "chain"},
)
EVIDENCE: Final = ("chain", "tee")
"""Parts that prove something; a receipt has one of them at least."""

FILE: Final = "this file alone"
MAKER: Final = "nobody but whoever made the file"


@dataclass(frozen=True)
class Evidence:
    """One receipt, and what its parts say."""

    receipt: Mapping[str, Any]

    def part(self, *path: str) -> Any:  # noqa: ANN401 - JSON
        """Return the value at a path of keys.

        Raises:
            NotKeptError: There is none.
        """
        value: Any = self.receipt
        for key in path:
            if not isinstance(value, Mapping) or key not in value:
                raise NotKeptError(f"the receipt does not keep {'.'.join(path)}")
            value = value[key]
        return value

    @cached_property
    def signed(self) -> SignedCall:
        """The signed transaction."""
        raw = self.part("chain", "raw_transaction")
        try:
            return read_signed(read_hex(raw))
        except ValueError as exc:
            raise MismatchError(f"raw_transaction cannot be read: {exc}") from exc

    @cached_property
    def output(self) -> ModelOutput:
        """The output in the events: the contract's, else the precompile's."""
        logs = read_logs(self.part("chain", "logs"))
        log = find_log(logs, str(self.part("chain", "contract")), RESULT_TOPIC)
        output = decode_result(log.data) if log else ModelOutput()
        if output.is_empty:
            log = find_log(logs, INFERENCE_PRECOMPILE, PRECOMPILE_TOPIC)
            output = decode_inference_event(log.data)[1] if log else ModelOutput()
        if output.is_empty:
            raise NotKeptError("the events hold no output: the node told it, and nobody signs that")
        return output


def run(evidence: Evidence, name: str, test: Test, source: str) -> Check:
    """Carry one check out; whatever the receipt holds, it ends in a result.

    Args:
        evidence: The receipt.
        name: Of the check.
        test: What is done.
        source: What an outcome rests on.
    """
    result: CheckResult
    try:
        detail, result = test(evidence), "ok"
    except NotKeptError as exc:
        detail, result = str(exc), "not_checked"
    except MismatchError as exc:
        detail, result = str(exc), "failed"
    except (OGError, ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as exc:
        detail, result = f"it cannot be read: {quote(exc)}", "failed"
    source = MAKER if result == "not_checked" else SOURCES.get(name, source)
    return Check(name=name, result=result, source=source, detail=detail)


def _schema(evidence: Evidence) -> str:
    if evidence.receipt.get("schema") != SCHEMA:
        raise MismatchError(f"it is {quote(evidence.receipt.get('schema'))}, not {SCHEMA}")
    missing = [name for name in REQUIRED if not isinstance(evidence.receipt.get(name), str)]
    if missing:
        raise MismatchError(f"it lacks {', '.join(missing)}")
    if not any(isinstance(evidence.receipt.get(part), Mapping) for part in EVIDENCE):
        raise MismatchError(f"it has no evidence: none of the parts {', '.join(EVIDENCE)}")
    return f"a receipt of schema {SCHEMA}"


def _labels(evidence: Evidence) -> str:
    tool, created_at = evidence.part("tool"), evidence.part("created_at")
    rest = ", ".join(quote(name) for name in evidence.receipt if name not in KNOWN)
    parts = f"; nor was anything looked at in {rest}" if rest else ""
    raise NotKeptError(f"that it was a call of {quote(tool)}, made at {quote(created_at)}{parts}")


def _request_hash(evidence: Evidence) -> str:
    _equal(digest(evidence.part("request")), evidence.part("request_hash"), "the request's SHA-256")
    return "SHA-256 of the request's canonical JSON"


def _response_hash(evidence: Evidence) -> str:
    told = evidence.part("response_hash")
    _equal(digest(evidence.part("response")), told, "the answer's SHA-256")
    return "SHA-256 of the answer's canonical JSON"


def _transaction_hash(evidence: Evidence) -> str:
    told = evidence.part("chain", "transaction_hash")
    _equal(evidence.signed.transaction_hash, told, "the Keccak-256 of the signed transaction")
    return "Keccak-256 of the signed transaction"


def _signature(evidence: Evidence) -> str:
    signed = evidence.signed
    _equal(signed.chain_id, evidence.part("chain", "chain_id"), "the chain that was signed for")
    return f"signed by {signed.sender} for chain {signed.chain_id}"


def _contract(evidence: Evidence) -> str:
    told = str(evidence.part("chain", "contract"))
    _equal(evidence.signed.to, told.lower(), "the contract that is called")
    return f"the signed transaction calls {told}"


def _call_data(evidence: Evidence) -> str:
    """Compare the request with the signed call data, tensor by tensor."""
    request = evidence.part("request")
    try:
        call = decode_run(evidence.signed.data)
    except ValueError as exc:
        raise MismatchError(f"the call data cannot be read: {exc}") from exc
    _equal(call.model_cid, request["model_cid"], "the model that was signed for")
    _equal(call.mode_name, request["inference_mode"], "the mode that was signed for")
    kept = request["model_input"]
    names = [tensor.name for tensor in call.tensors]
    _equal(sorted(names), sorted(kept), "the list of tensors that were signed for")
    for tensor in call.tensors:
        if not is_same(kept[tensor.name], tensor):
            raise MismatchError(f"tensor {quote(tensor.name)} is not the one that was signed for")
    return "model, mode and tensors of the request are those of the signed call data"


def _output(evidence: Evidence) -> str:
    """Compare the answer with the events."""
    response = evidence.part("response")
    output = evidence.output
    if not isinstance(response, Mapping):
        raise MismatchError("the answer is no object")
    ours = to_json(output)
    # The wire has no shape for texts; the answer may have been given the model's.
    flat = {name: _flat(response.get(name)) for name in output.strings}
    if canonical(ours) != canonical({**response, **flat}):
        raise MismatchError("the answer is not the output in the events")
    return "the events decode to the answer; offline, nobody vouches for the events"


def _network(evidence: Evidence) -> str:
    name, chain_id = evidence.part("network"), evidence.part("chain", "chain_id")
    contract = str(evidence.part("chain", "contract"))
    profile = NETWORKS.get(name) if isinstance(name, str) else None
    if profile is None:
        raise NotKeptError(f"{quote(name)} is no public network: it moves no real money")
    known = (profile.chain_id, profile.inference_contract.lower())
    if (chain_id, contract.lower()) != known:
        raise NotKeptError(
            f"network {name} has chain {known[0]} and contract {profile.inference_contract}, and the "
            f"receipt says chain {quote(chain_id)} and contract {quote(contract)}"
        )
    return f"chain and contract are those of network {name}"


def _flat(value: object) -> list[Any]:
    if not isinstance(value, list):
        return [value]
    return [one for member in value for one in _flat(member)]


def _equal(ours: object, theirs: object, what: str) -> None:
    if type(ours) is not type(theirs) or ours != theirs:
        # What is nested may be large.
        told = f"a {type(theirs).__name__}" if isinstance(theirs, (dict, list)) else quote(theirs)
        raise MismatchError(f"{what} is {quote(ours)}, and the receipt says {told}")


Test = Callable[[Evidence], str]

EVERY: Final[Mapping[str, Test]] = MappingProxyType(
    {
        "schema": _schema,
        "request_hash": _request_hash,
        "response_hash": _response_hash,
        "labels": _labels,
    }
)
"""Checks of every receipt."""

OF_PART: Final[Mapping[str, Mapping[str, Test]]] = MappingProxyType(
    {
        "chain": MappingProxyType(
            {
                "transaction_hash": _transaction_hash,
                "signature": _signature,
                "contract": _contract,
                "call_data": _call_data,
                "output": _output,
                "network": _network,
            }
        )
    }
)
"""Checks of the parts that a receipt may have."""

SOURCES: Final[Mapping[str, str]] = MappingProxyType({"network": "og-mcp's own table of networks"})
"""Checks that rest on something else than the receipt."""

BINDING: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "chain": frozenset(
            {
                *("schema", "request_hash", "response_hash", "transaction_hash"),
                *("signature", "contract", "call_data", "output"),
            }
        )
    }
)
"""Checks of a part that together bind request, evidence and answer."""

OF_ANSWER: Final = frozenset({"response_hash", "output"})
"""Checks that a receipt without an answer does without: of a call that reverted."""
