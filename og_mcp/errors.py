"""Everything og_mcp raises on purpose.

* OGError
    * ConfigurationError
    * NoWalletError (also a RuntimeError)
    * InputError
        * TensorError
        * FileRefusedError
        * IdempotencyKeyReusedError
    * NotFoundError
        * ModelNotFoundError
        * AmbiguousModelError
        * CallNotFoundError
    * ChainError
        * WrongChainError
        * UnsafeEndpointError
        * InsufficientFundsError
        * FeeCapError
        * BudgetExceededError
        * SimulationRevertedError
        * TransactionRefusedError
        * TransactionPendingError
        * TransactionRevertedError
        * TransactionCancelledError
        * OutputMissingError
        * ApprovalRequiredError
        * ApprovalDeclinedError
        * CallFailedError
    * ServiceError
        * ServiceUnreachableError
        * ServiceTimeoutError
        * ServiceRejectedError
        * ServiceReplyError
        * JournalError
            * LaneLostError
            * CallStateError
            * SealBrokenError
    * LocalnetError

A message is one sentence with the value that is wrong; `hint` is one sentence with what to do.
Text from outside is quoted by `quote`, never pasted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from og_mcp.types import Stage

QUOTE_LIMIT: Final = 200
"""Characters of text from outside that an error may repeat."""


def quote(text: object) -> str:
    """Quote text from outside: escaped, on one line, at most 200 characters of it."""
    plain = str(text)
    cut = plain if len(plain) <= QUOTE_LIMIT else plain[: QUOTE_LIMIT - 1] + "…"
    return repr(cut)


def coins(wei: int) -> str:
    """Write an amount of wei in whole coins, exactly and without an exponent."""
    text = f"{Decimal(wei).scaleb(-18):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


class OGError(Exception):
    """Base class. `str()` is the whole message the model reads."""

    hint: str = ""
    """What the caller can do next; one sentence, may name another tool."""

    stage: Stage = Stage.NOT_SENT
    """How far the call had come; `not_sent` means that no money can have moved."""

    call_id: str = ""
    """The journalled call that failed; empty where there is none."""

    receipt: str = ""
    """The receipt of a failure that was paid for, JSON."""

    def __str__(self) -> str:
        """Join the message and the hint."""
        return f"{super().__str__()} {self.hint}".rstrip()


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with the configuration."""

    variable: str
    """Environment variable to change, e.g. `OG_RPC_URL`."""

    what: str
    """What is wrong with it; never its value when that is a secret."""

    def __str__(self) -> str:
        """Name the variable first."""
        return f"{self.variable}: {self.what}"


class ConfigurationError(OGError):
    """The environment is not usable; all problems are told at once."""

    problems: tuple[Problem, ...]
    """Everything that is wrong, in the order of the variables."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        lines = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"The configuration has {len(problems)} problem(s):\n{lines}")
        self.problems = tuple(problems)


class NoWalletError(OGError, RuntimeError):
    """The operation signs a transaction and no key is configured."""

    hint = (
        "Set OG_PRIVATE_KEY, OG_PRIVATE_KEY_FILE or OG_KEYSTORE, or OG_NETWORK=local to try "
        "without a key."
    )

    def __init__(self, operation: str, network: str) -> None:
        super().__init__(f"{operation} on network {network} needs a wallet and none is configured.")


class InputError(OGError):
    """The caller's argument is wrong, beyond what the schema can say."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint or type(self).hint


class TensorError(InputError):
    """A tensor cannot go on the wire."""

    tensor: str
    """Name of the tensor, as the caller gave it."""

    def __init__(self, tensor: str, reason: str, hint: str = "") -> None:
        super().__init__(f"Tensor {quote(tensor)} {reason}.", hint)
        self.tensor = tensor


class FileRefusedError(InputError):
    """A file may not be read."""

    def __init__(self, path: str, reason: str, hint: str = "") -> None:
        super().__init__(f"The file {quote(path)} was not read: {reason}.", hint)


class IdempotencyKeyReusedError(InputError):
    """The idempotency key belongs to a call with another request."""

    hint = "Use a new idempotency_key for a new request; repeat the same request to get its call."

    def __init__(self, idempotency_key: str, call_id: str) -> None:
        super().__init__(
            f"The idempotency_key {quote(idempotency_key)} was used for another request, "
            f"call {call_id}."
        )
        self.idempotency_key, self.call_id = idempotency_key, call_id


class NotFoundError(OGError):
    """The network holds nothing under the given name."""


class ModelNotFoundError(NotFoundError):
    """The Model Hub has no such repository or version."""

    def __init__(self, model_name: str, version: str = "") -> None:
        what = f"version {quote(version)} of model" if version else "model"
        super().__init__(f"The Model Hub has no {what} {quote(model_name)}.")
        self.hint = "Check the spelling; get_model lists the versions of a model by its name."


class AmbiguousModelError(NotFoundError):
    """Several authors have a repository of that name."""

    def __init__(self, model_name: str, authors: Sequence[str]) -> None:
        names = ", ".join(quote(author) for author in authors[:10])
        super().__init__(f"{len(authors)} authors have a model {quote(model_name)}: {names}.")
        self.hint = "Call get_model with author set to one of them."


class CallNotFoundError(NotFoundError):
    """The journal has no such call, or it is another principal's (threats.md T21)."""

    hint = "list_calls shows the calls there are."

    def __init__(self, call_id: str) -> None:
        super().__init__(f"There is no call {quote(call_id)}.")
        self.call_id = call_id


class ChainError(OGError):
    """The chain, or a guard in front of it, answered no."""


class WrongChainError(ChainError):
    """The RPC serves another chain than the profile names (threats.md T4)."""

    hint = "Point OG_RPC_URL at the right chain, or set OG_CHAIN_ID if that chain is meant."

    def __init__(self, expected: int, actual: int, rpc: str) -> None:
        super().__init__(
            f"The RPC {rpc} serves chain {actual}, not {expected}; nothing was signed."
        )


class UnsafeEndpointError(ChainError):
    """A signature for this network must not go to this endpoint (threats.md T5, T30)."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class InsufficientFundsError(ChainError):
    """The balance does not cover the most that the transaction may cost."""

    def __init__(self, address: str, needed: int, available: int, faucet: str = "") -> None:
        super().__init__(
            f"Wallet {address} holds {coins(available)} coins ({available} wei) and the transaction "
            f"may cost {coins(needed)} ({needed} wei); nothing was sent."
        )
        self.needed, self.available = needed, available
        self.hint = f"Fund it at {faucet}." if faucet else "Fund the wallet."


class FeeCapError(ChainError):
    """The most that the transaction may cost is above a cap; checked where it is signed."""

    def __init__(self, variable: str, fee: int, cap: int) -> None:
        super().__init__(
            f"The fee could reach {coins(fee)} coins ({fee} wei), above the cap of {coins(cap)} "
            f"that {variable} sets; nothing was signed."
        )
        self.fee, self.cap = fee, cap
        self.hint = f"Only the operator can raise {variable}; a smaller input costs less."


class BudgetExceededError(ChainError):
    """The call would pass what may be spent in 24 hours; amounts in wei or OPG base units."""

    def __init__(self, variable: str, *, cap: int, spent: int, open_: int, asked: int) -> None:
        super().__init__(
            f"The call may cost {coins(asked)} coins ({asked} wei); {coins(spent)} ({spent} wei) "
            f"were spent in the last 24 hours and {coins(open_)} ({open_} wei) are signed and still "
            f"open, so that the cap of {coins(cap)} ({cap} wei) that {variable} sets would be "
            "passed; nothing was signed."
        )
        self.variable, self.cap, self.spent, self.open, self.asked = (
            variable,
            cap,
            spent,
            open_,
            asked,
        )
        self.hint = f"Repeat the call later; only the operator can raise {variable}."


class SimulationRevertedError(ChainError):
    """The contract refuses the call; learned from a simulation, so nothing was sent."""

    hint = "Check the model CID, tensor names and shapes; get_model shows them. Nothing was paid."

    def __init__(self, revert_reason: str) -> None:
        super().__init__(f"The contract refuses this call: {quote(revert_reason)}.")
        self.revert_reason = revert_reason


class TransactionRefusedError(ChainError):
    """The node did not take the transaction; nothing was paid."""

    def __init__(
        self, reason: str, hint: str = "Nothing was paid; the call can be repeated."
    ) -> None:
        super().__init__(f"The node refused the transaction: {quote(reason)}.")
        self.hint = hint


class TransactionPendingError(ChainError):
    """Sent, or possibly sent, and not known to be mined: never sent again under another nonce."""

    stage = Stage.SENT_UNKNOWN

    def __init__(self, transaction_hash: str, waited_s: float, why: str = "") -> None:
        because = f" ({why})" if why else ""
        super().__init__(
            f"Transaction {transaction_hash} is not known to be mined after {waited_s:.0f} s{because}; "
            "it may still be."
        )
        self.transaction_hash, self.waited_s = transaction_hash, waited_s
        self.hint = "Look it up by its hash before repeating the call: repeating pays again."


class TransactionRevertedError(ChainError):
    """Mined, and the contract refused: gas is paid, there is no output."""

    stage = Stage.CHARGED

    def __init__(self, transaction_hash: str, revert_reason: str, fee_wei: int) -> None:
        super().__init__(
            f"Transaction {transaction_hash} reverted: {quote(revert_reason)}; "
            f"its gas cost {coins(fee_wei)} coins ({fee_wei} wei)."
        )
        self.transaction_hash, self.revert_reason = transaction_hash, revert_reason
        self.fee_wei = fee_wei
        self.hint = "Repeating it unchanged would pay again."


class TransactionCancelledError(ChainError):
    """The nonce was used up on request, in place of the call."""

    stage = Stage.CHARGED

    def __init__(self, transaction_hash: str, fee_wei: int) -> None:
        super().__init__(
            f"The call was cancelled by transaction {transaction_hash}, "
            f"which cost {coins(fee_wei)} coins ({fee_wei} wei)."
        )
        self.transaction_hash, self.fee_wei = transaction_hash, fee_wei
        self.hint = "It can never be mined; repeating it makes a new call."


class ApprovalRequiredError(ChainError):
    """A person has to agree first, and none could be asked (threats.md T22)."""

    def __init__(self, call_id: str, cost: str) -> None:
        super().__init__(f"Call {call_id} may cost {cost} and waits for a person's approval.")
        self.approval_of = call_id
        self.hint = (
            f"Run `og-mcp calls approve {call_id}` in a terminal, then repeat the same request."
        )


class ApprovalDeclinedError(ChainError):
    """A person was asked, and did not agree."""

    hint = "Nothing was paid; ask them what they want before the request is repeated."

    def __init__(self, call_id: str) -> None:
        super().__init__(f"A person was asked about call {call_id} and did not agree to it.")
        self.call_id = call_id


class CallFailedError(ChainError):
    """The call that was joined has failed; its own words."""

    def __init__(self, call_id: str, stage: Stage, error: str) -> None:
        super().__init__(error)
        self.call_id, self.stage = call_id, stage


class OutputMissingError(ChainError):
    """Mined, and neither the events nor the node hold an output."""

    stage = Stage.CHARGED

    def __init__(self, transaction_hash: str, why: str, fee_wei: int) -> None:
        super().__init__(f"Transaction {transaction_hash} was mined without an output: {why}.")
        self.transaction_hash, self.fee_wei = transaction_hash, fee_wei
        self.hint = "Its gas is paid; repeating the call pays again."


class ServiceError(OGError):
    """No answer from a service, or not one we understand."""


class ServiceUnreachableError(ServiceError):
    """No connection: nothing was sent."""

    def __init__(self, service: str, url: str) -> None:
        super().__init__(f"The {service} at {url} cannot be reached.")
        self.hint = "Check the network connection and the configured URL, then repeat the call."


class ServiceTimeoutError(ServiceError):
    """Connected, and no answer in time."""

    def __init__(self, service: str, url: str, waited_s: float) -> None:
        super().__init__(f"The {service} at {url} did not answer within {waited_s:.0f} s.")
        self.hint = "Repeat the call later."


class ServiceRejectedError(ServiceError):
    """The service answered with an HTTP or JSON-RPC error."""

    def __init__(self, service: str, status: int, detail: str = "") -> None:
        said = f": {quote(detail)}" if detail else ""
        super().__init__(f"The {service} answered {status}{said}.")
        self.status, self.detail = status, detail


class ServiceReplyError(ServiceError):
    """The service answered something that its protocol does not allow."""

    def __init__(self, service: str, what: str) -> None:
        super().__init__(f"The {service} gave an answer that cannot be used: {what}.")


class JournalError(ServiceError):
    """The journal of calls cannot be used; without it nothing is sent."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class LaneLostError(JournalError):
    """Another process took the wallet's lane, since this one's lock was lost."""

    def __init__(self, account: str) -> None:
        super().__init__(
            f"The lock on the lane of {account} was lost; this signature was not recorded.",
            "Nothing was sent; repeat the call.",
        )


class CallStateError(JournalError):
    """A call is not in a state that allows the step; the step was not recorded."""

    def __init__(self, call_id: str, step: str, why: str) -> None:
        super().__init__(
            f"Call {call_id} cannot {step}: {why}.",
            "get_call shows how far it has come; look up its transactions before repeating it.",
        )
        self.call_id, self.step = call_id, step


class SealBrokenError(JournalError):
    """A sealed record was not written by this installation (threats.md T25)."""

    def __init__(self, purpose: str) -> None:
        super().__init__(
            f"The record of {purpose} in the journal does not carry this installation's seal.",
            "Check who can write to the journal's database, and that journal.key in OG_DATA_DIR "
            "is the one that sealed it.",
        )


class LocalnetError(OGError):
    """The local network could not be started or used."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint
