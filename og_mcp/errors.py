"""Everything og_mcp raises on purpose.

* OGError
    * ConfigurationError
    * NoWalletError (also a RuntimeError)
    * NoAccountError (also a RuntimeError)
    * InputError
        * TensorError
        * FileRefusedError
        * UnfitFileError
        * IdempotencyKeyReusedError
        * NameTakenError
    * NotFoundError
        * ModelNotFoundError
        * AmbiguousModelError
        * CallNotFoundError
        * AmbiguousCallError
        * ImageNotFoundError
        * OutputNotFoundError
    * ChainError
        * WrongChainError
        * UnsafeEndpointError
        * InsufficientFundsError
        * FeeCapError
        * OPGCapError
        * BudgetExceededError
        * SimulationRevertedError
        * OutputUnreadableError
        * TransactionRefusedError
        * TransactionPendingError
        * SupersededError
        * NonceHeldError
        * TransactionRevertedError
        * TransactionCancelledError
        * ApprovalRequiredError
        * ApprovalDeclinedError
        * CallFailedError
            * AlreadySentError
        * OutputMissingError
    * AnswerNotKeptError
    * VerificationError
    * ServiceError
        * NoGatewayError
        * RegistryConflictError
        * RPCsDifferError
        * ServiceUnreachableError
            * UntrustedCertificateError
        * ServiceTimeoutError
        * ServiceRejectedError
            * RateLimitError
        * ServiceReplyError
            * GatewayClockError
        * SignInError
        * UploadFailedError
        * ShuttingDownError
        * JournalError
            * LaneLostError
            * CallStateError
            * SealBrokenError
    * PaymentError
        * PaymentRefusedError
        * OverchargedError
        * PaymentRejectedError
        * ClockError
        * AllowanceError
        * InsufficientOPGError
    * GatewayError
        * GatewayRejectedError
        * RepetitionError
        * AnswerLostError
        * ImageRefusedError
    * PublishingStoppedError
    * LocalnetError

A message is one sentence with the value that is wrong; `hint` is one sentence with what to do.
Text from outside is quoted by `quote`, never pasted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal
from typing import Any, Final, Literal

from og_mcp.types import Stage

COIN: Final = "ETH"
"""The native coin of every network that og-mcp knows, and of its payment chain."""

UNPAID: Final = "Nothing was sent or paid."
NOT_CHARGED: Final = "By the network's rules nothing is charged"
"""Said of an error that the gateway itself answered; what it takes is known once it settles."""

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


def in_coins(wei: int) -> str:
    """Write an amount of the native coin."""
    return f"{coins(wei)} coins ({wei} wei)"


def fee_text(wei: int) -> str:
    """Write a fee for people, in the native coin to three digits; empty for 0."""
    return f"{Context(prec=3).create_decimal(Decimal(wei).scaleb(-18)):f} {COIN}" if wei else ""


def in_opg(base_units: int) -> str:
    """Write an amount of OPG, which has 18 decimals too."""
    return f"{coins(base_units)} OPG"


VERSIONS_NAMED: Final = 8
"""Versions of a model that an error lists, the newest ones."""


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

    retryable: bool = False
    """Whether the very same call may succeed later, with nothing changed."""

    retries_are_free: bool = False
    """Whether repeating the call cannot pay twice, although something of it has left."""

    @property
    def may_retry(self) -> bool:
        """Whether the very same call, made again, may succeed, and cannot pay twice."""
        return self.retryable and (self.stage is Stage.NOT_SENT or self.retries_are_free)

    def __str__(self) -> str:
        """Join the message and the hint."""
        return f"{super().__str__()} {self.hint}".rstrip()


@dataclass(frozen=True)
class SettingProblem:
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

    problems: tuple[SettingProblem, ...]
    """Everything that is wrong, in the order of the variables."""

    def __init__(self, problems: Sequence[SettingProblem]) -> None:
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


class NoAccountError(OGError, RuntimeError):
    """The operation needs a Model Hub account and a part of it is not configured."""

    def __init__(self, operation: str, network: str, missing: Sequence[str]) -> None:
        names = " and ".join(missing)
        verb = "is" if len(missing) == 1 else "are"
        super().__init__(
            f"{operation} on network {network} needs a Model Hub account, and {names} {verb} not set."
        )
        self.missing = tuple(missing)
        self.hint = " ".join(_ACCOUNT_HINTS[name] for name in missing)


_ACCOUNT_HINTS: Final = {
    "OG_EMAIL": (
        "Set OG_EMAIL to the address of a Model Hub account; "
        "https://hub.opengradient.ai/signup makes one."
    ),
    "OG_PASSWORD": "Set OG_PASSWORD to that account's password.",
    "FIREBASE_API_KEY": (
        "Set FIREBASE_API_KEY to the web API key that the Model Hub's sign-in uses; the public SDK "
        "reads the same variable."
    ),
}


class InputError(OGError):
    """The caller's argument is wrong, beyond what the schema can say."""

    hint = "Nothing was sent; correct it and repeat the call."

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

    def __init__(self, path: str, reason: str, hint: str = "", tensor: str = "") -> None:
        what = f"Tensor {quote(tensor)}: the" if tensor else "The"
        super().__init__(f"{what} file {quote(path)} was not read: {reason}.", hint)
        self.path, self.reason = path, reason

    def for_tensor(self, tensor: str) -> FileRefusedError:
        """Return this refusal with the tensor that the file was for."""
        return FileRefusedError(self.path, self.reason, self.hint, tensor)


class UnfitFileError(InputError):
    """A file may be read, but cannot be published."""

    def __init__(self, path: str, reason: str, hint: str = "") -> None:
        super().__init__(
            f"The file {quote(path)} is not published: {reason}.", hint or "Nothing was published."
        )


class IdempotencyKeyReusedError(InputError):
    """The idempotency key belongs to a call with another request."""

    hint = "Use a new idempotency_key for a new request; repeat the same request to get its call."

    def __init__(self, idempotency_key: str, call_id: str) -> None:
        super().__init__(
            f"The idempotency_key {quote(idempotency_key)} was used for another request, "
            f"call {call_id}."
        )
        self.idempotency_key, self.call_id = idempotency_key, call_id


class NameTakenError(InputError):
    """Another author has a repository of the name that was to be created."""

    def __init__(self, model_name: str, author: str) -> None:
        whose = quote(author) if author else "somebody else"
        super().__init__(f"The Model Hub has a model {quote(model_name)} already, of {whose}.")
        self.hint = (
            "Choose another name. Where that is this account's own, create_version and upload go "
            "on with it."
        )


class NotFoundError(OGError):
    """The network holds nothing under the given name."""


class ModelNotFoundError(NotFoundError):
    """The Model Hub has no such repository or version.

    Args:
        model_name: The repository.
        version: Its version, where that is what is missing.
        versions: The versions that it has, where they are known; the newest last.
    """

    def __init__(self, model_name: str, version: str = "", versions: Sequence[str] = ()) -> None:
        what = f"version {quote(version)} of model" if version else "model"
        there = f"; it has {', '.join(map(quote, versions[-VERSIONS_NAMED:]))}" if versions else ""
        super().__init__(f"The Model Hub has no {what} {quote(model_name)}{there}.")
        if versions:
            self.hint = "Use one of these, or add the next one with create_version."
        else:
            self.hint = "Check the spelling; search_models finds models by words of their names."


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


class AmbiguousCallError(NotFoundError):
    """Several calls have an id that begins with the characters given.

    Args:
        beginning: Those characters.
        candidates: Some of these calls, each in words.
        has_more: Whether there are others.
    """

    hint = "Give more characters of the id."

    def __init__(
        self, beginning: str, candidates: Sequence[str], *, has_more: bool = False
    ) -> None:
        told = ", ".join(candidates) + (" and others" if has_more else "")
        super().__init__(f"Several calls begin with {quote(beginning)}: {told}.")


class ImageNotFoundError(NotFoundError):
    """No image of that hash is kept for whoever asks (threats.md T21)."""

    hint = "The result of generate_image names the images it made; get_call tells it again."

    def __init__(self, sha256: str) -> None:
        super().__init__(f"There is no image {quote(sha256)}.")
        self.sha256 = sha256


class OutputNotFoundError(NotFoundError):
    """The data folder has no output of that hash for this principal."""

    hint = "The result of infer names the outputs that it kept; get_call tells it again."

    def __init__(self, sha256: str) -> None:
        super().__init__(f"There is no output {quote(sha256)}.")


class ChainError(OGError):
    """The chain, or a guard in front of it, refused."""


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
    """The balance does not cover the highest cost of the transaction."""

    def __init__(self, address: str, needed: int, available: int, faucet: str = "") -> None:
        super().__init__(
            f"Wallet {address} holds {coins(available)} coins ({available} wei) and the transaction "
            f"may cost {coins(needed)} ({needed} wei); nothing was sent."
        )
        self.needed, self.available = needed, available
        self.hint = f"Fund it at {faucet}." if faucet else "Fund the wallet."


class FeeCapError(ChainError):
    """The highest fee of the transaction is above a cap; checked where it is signed."""

    def __init__(self, variable: str, fee: int, cap: int) -> None:
        super().__init__(
            f"The fee could reach {coins(fee)} coins ({fee} wei), above the cap of {coins(cap)} "
            f"that {variable} sets; nothing was signed."
        )
        self.fee, self.cap = fee, cap
        self.hint = f"Only the operator can raise {variable}; a smaller input costs less."


class OPGCapError(ChainError):
    """The maximum that a call's payments may take is above a cap; checked before one is signed."""

    def __init__(self, variable: str, asked: int, cap: int) -> None:
        super().__init__(
            f"The call's payments could reach {in_opg(asked)}, above the cap of {in_opg(cap)} that "
            f"{variable} sets; nothing was signed."
        )
        self.asked, self.cap = asked, cap
        self.hint = f"Only the operator can raise {variable}."


class BudgetExceededError(ChainError):
    """The call would pass what may be spent in 24 hours; amounts in wei or OPG base units."""

    def __init__(  # noqa: PLR0913 - the facts of the refusal
        self,
        variable: str,
        *,
        cap: int,
        spent: int,
        open_: int,
        asked: int,
        write: Callable[[int], str] = in_coins,
        alone_until: datetime | None = None,
    ) -> None:
        super().__init__(
            f"The call may cost {write(asked)}; {write(spent)} were spent in the last 24 hours and "
            f"{write(open_)} are signed and still open, so that the cap of {write(cap)} that "
            f"{variable} sets would be passed; nothing was signed."
            if alone_until is None
            else f"This data folder is new to the wallet: until {alone_until:%Y-%m-%d %H:%M} UTC one "
            f"payment may be open at a time, and {write(open_)} are; nothing was signed."
        )
        self.alone_until = alone_until
        self.variable, self.cap, self.spent, self.open, self.asked = (
            variable,
            cap,
            spent,
            open_,
            asked,
        )
        self.hint = f"Repeat the call later; only the operator can raise {variable}."

    @property
    def excess(self) -> int:
        """What has to free before the call may be signed for."""
        if self.alone_until is not None:
            return self.open
        return self.spent + self.open + self.asked - self.cap

    @property
    def is_open_alone(self) -> bool:
        """Whether nothing but what is open is in the way: it frees once that has settled."""
        return 0 < self.excess <= self.open

    def free_at(self, latest: datetime) -> None:
        """Tell when what is open frees at the latest."""
        self.hint = (
            "Open payments settle within minutes of their last use, and count until "
            f"{latest:%Y-%m-%d %H:%M} UTC at the latest: repeat the call then."
        )
        if self.alone_until is None:
            self.hint += f" Only the operator can raise {self.variable}."


class SimulationRevertedError(ChainError):
    """The contract refuses the call; learned from a simulation, so nothing was sent."""

    hint = (
        "Check the model and its input; get_model shows tensor names and shapes. Nothing was paid."
    )

    def __init__(self, revert_reason: str) -> None:
        super().__init__(f"The contract refuses this call: {quote(revert_reason)}.")
        self.revert_reason = revert_reason
        if re.search(r"\b(nan|[+-]?inf|infinity)\b", revert_reason, re.IGNORECASE):
            self.hint = (
                "NaN and infinities cannot go on chain: give another input, or let the model "
                "replace them (IsNaN or IsInf with Where) and publish it anew. Nothing was paid."
            )


class OutputUnreadableError(ChainError):
    """The simulation gives an output that could not be read from the chain either."""

    hint = (
        "Nothing was sent or paid: let the model give tensors of another form, or fewer values, "
        "and publish it anew."
    )

    def __init__(self, why: str) -> None:
        super().__init__(f"This call would give an output that cannot be read: {why}.")


class TransactionRefusedError(ChainError):
    """The node did not take a transaction that has left: it may be mined all the same."""

    stage = Stage.SENT_UNKNOWN

    def __init__(self, words: str, hint: str) -> None:
        super().__init__(f"The transaction was not taken ({words}).")
        self.hint = hint


class TransactionPendingError(ChainError):
    """Sent, or possibly sent, and not known to be mined: never signed under another nonce.

    Args:
        transaction_hash: The newest that was signed.
        waited_s: Seconds.
        why: What the node said, or what is in the way.
        call_id: The call.
        reserved: Wei that stay reserved for it; 0: not known here.
    """

    stage = Stage.SENT_UNKNOWN
    retryable = retries_are_free = True

    def __init__(
        self,
        transaction_hash: str,
        waited_s: float,
        why: str = "",
        *,
        call_id: str = "",
        reserved: int = 0,
    ) -> None:
        waited = f" after {waited_s:.3g} s" if waited_s else ""
        because = f" ({why})" if why else ""
        held = f", and up to {coins(reserved)} coins stay reserved for it" if reserved else ""
        super().__init__(
            f"Transaction {transaction_hash} is not known to be mined{waited}{because}; "
            f"it may still be{held}."
        )
        self.transaction_hash, self.waited_s, self.reserved = transaction_hash, waited_s, reserved
        self.call_id = call_id
        self.hint = (
            "The same request, repeated, does not pay twice: it sends the same transaction again "
            "where the chain does not have it, and waits for its end"
            + (f"; `og-mcp calls cancel {call_id}` cancels it." if call_id else ".")
        )


class SupersededError(ChainError):
    """Another call's transaction took the nonce: this call ended without effect."""

    stage = Stage.SENT_UNKNOWN
    hint = "Repeat it with a new idempotency_key."

    def __init__(self, call_id: str, rival: str) -> None:
        super().__init__(
            "The node did not take this call's transaction, and another call's was mined under the "
            "same nonce: this one ended without effect."
        )
        self.call_id, self.rival = call_id, rival


class NonceHeldError(ChainError):
    """An earlier call of the wallet waits for the node to take its transaction."""

    hint = "Nothing was sent; repeat the call later."

    def __init__(self, words: str) -> None:
        super().__init__(
            f"The node does not take the transaction of an earlier call of this wallet ({words}), "
            "and this call has to come after it."
        )


class TransactionRevertedError(ChainError):
    """Mined, and the contract refused: gas is paid and there is no output."""

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
    """A person has to agree first, and could not be asked (threats.md T22).

    Args:
        call_id: The call that waits.
        does: What it would do or cost, a clause.
        command: What approves it at a terminal.
    """

    def __init__(self, call_id: str, does: str, command: str) -> None:
        super().__init__(
            f"Call {call_id} {does} and waits for a person's approval; nothing was sent."
        )
        self.approval_of = call_id
        self.hint = f"Run `{command}` in a terminal, then repeat the same request."


class ApprovalDeclinedError(ChainError):
    """A person said no; that holds for the same request until `again_at` (threats.md T48)."""

    def __init__(self, call_id: str, again_at: datetime) -> None:
        super().__init__(f"A person declined this request (call {call_id}). Nothing was paid.")
        self.call_id = call_id
        self.hint = (
            "Ask them what they want instead; the same request is refused until "
            f"{again_at:%H:%M:%S} UTC."
        )


class CallFailedError(ChainError):
    """The call that was joined has failed; the text is its own error."""

    def __init__(self, call_id: str, stage: Stage, error: str) -> None:
        super().__init__(error)
        self.call_id, self.stage = call_id, stage


class AlreadySentError(CallFailedError):
    """The same request was sent before, and its answer is lost; it was not asked again.

    Args:
        call_id: The call it was.
        sent_at: When that began.
        paid_opg: What its payment settled for, base units; `None`: not known yet.
        known_by: When it is known whether it was paid, at the latest; `None`: nobody can say.
    """

    hint = (
        "get_call tells what becomes of it; to ask, and pay, once more, give a new idempotency_key."
    )

    def __init__(
        self,
        call_id: str,
        sent_at: datetime,
        paid_opg: int | None = None,
        known_by: datetime | None = None,
    ) -> None:
        fate = (
            f"it may have been paid (stage {Stage.SENT_UNKNOWN})"
            if paid_opg is None
            else f"its payment, which may cover other calls too, settled for {in_opg(paid_opg)}"
            f" (stage {Stage.SENT_UNKNOWN})"
        )
        super().__init__(
            call_id,
            Stage.SENT_UNKNOWN,
            f"This request was sent at {sent_at:%Y-%m-%d %H:%M:%S} UTC as call {call_id}, and "
            f"its answer was not kept; {fate}, and nothing was signed again.",
        )
        if known_by is not None:
            self.hint = (
                f"Whether it was is known by {known_by:%Y-%m-%d %H:%M} UTC; if it was not, the same "
                f"request then asks again. {self.hint}"
            )


class AnswerNotKeptError(OGError):
    """The call is done, and its answer was handed over once and not kept (threats.md T29)."""

    hint = "To ask, and pay, once more, give a new idempotency_key."

    def __init__(self, call_id: str, stage: Stage) -> None:
        super().__init__(
            f"Call {call_id} is done, and its answer was handed over before: OG_RECEIPTS=hashes "
            "keeps only hashes of answers."
        )
        self.call_id, self.stage = call_id, stage


class OutputMissingError(ChainError):
    """Mined, and neither the events nor the node hold an output."""

    stage = Stage.CHARGED

    def __init__(self, transaction_hash: str, why: str, fee_wei: int) -> None:
        super().__init__(f"Transaction {transaction_hash} was mined without an output: {why}.")
        self.transaction_hash, self.fee_wei = transaction_hash, fee_wei
        self.hint = "Its gas is paid; repeating the call pays again."


class VerificationError(OGError):
    """An answer of a TEE gateway is not what its signature covers; the content is withheld.

    Args:
        what: What does not match.
        tee_id: The TEE that was asked.
        stage: What the caller knows of the payment; an answer that came is charged.
        evidence: What was received, as the receipt's part `tee` keeps it.
    """

    stage = Stage.CHARGED
    hint = (
        "The content is withheld, and the receipt keeps it as evidence; "
        "repeating the call pays again."
    )

    def __init__(
        self,
        what: str,
        tee_id: str,
        *,
        stage: Stage = Stage.CHARGED,
        evidence: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"The answer of TEE {quote(tee_id)} cannot be verified: {what}.")
        self.what, self.tee_id, self.stage = what, tee_id, stage
        self.evidence = dict(evidence or {})


class ServiceError(OGError):
    """No answer from a service, or not one we understand."""

    retryable = True


class NoGatewayError(ServiceError):
    """No TEE gateway could be asked; nothing was sent.

    Args:
        why: What is in the way of each, or of all.
        tried: Ids of the TEEs that were asked in vain.
    """

    hint = "Nothing was paid; repeat the call later."

    def __init__(self, why: str, tried: Sequence[str] = ()) -> None:
        asked = f" after {', '.join(tried)}" if tried else ""
        super().__init__(f"There is no TEE gateway to ask{asked}: {why}.")
        self.tried = tuple(tried)


class RegistryConflictError(ServiceError):
    """RPCs that must agree on the TEE registry do not (threats.md T15).

    Args:
        odd: Origins of the RPCs that say something else than the others.
        agreed: Origins of the others.
    """

    retryable = False
    hint = "Nothing was sent; take an RPC that is wrong out of OG_RPC_URLS or OG_RPC_URL."

    def __init__(self, odd: Sequence[str], agreed: Sequence[str], block_number: int) -> None:
        super().__init__(
            f"At block {block_number}, {', '.join(odd)} tells another TEE registry than "
            f"{', '.join(agreed)}."
        )
        self.odd, self.agreed = tuple(odd), tuple(agreed)


class RPCsDifferError(ServiceError):
    """Two RPCs that must agree differ about a transaction (threats.md T35)."""

    hint = "It is asked again; take an RPC that is wrong out of OG_RPC_URLS or OG_RPC_URL."

    def __init__(self, transaction_hash: str, rpc: str, other: str, *, has_one: bool) -> None:
        has = "has another one" if has_one else "has none"
        super().__init__(
            f"RPC {rpc} has a receipt of transaction {transaction_hash}, and RPC {other} {has}."
        )


class ServiceUnreachableError(ServiceError):
    """No connection: nothing was sent."""

    def __init__(self, service: str, url: str) -> None:
        super().__init__(f"The {service} at {url} cannot be reached.")
        self.service = service
        self.hint = "Check the network connection and the configured URL, then repeat the call."


class UntrustedCertificateError(ServiceUnreachableError):
    """The server at that address cannot show that it is the service: nothing was sent."""

    retryable = False

    def __init__(self, service: str, url: str) -> None:
        super().__init__(service, url)
        self.args = (f"The {service} at {url} shows a certificate that is not trusted.",)
        self.hint = (
            "Check the configured URL; a gateway is trusted again once the registry names its "
            "new certificate."
        )


class ServiceTimeoutError(ServiceError):
    """Connected, and no answer in time."""

    def __init__(self, service: str, url: str, waited_s: float) -> None:
        super().__init__(f"The {service} at {url} did not answer within {waited_s:.0f} s.")
        self.service = service
        self.hint = "Repeat the call later."


class ServiceRejectedError(ServiceError):
    """The service answered with an HTTP or JSON-RPC error."""

    def __init__(self, service: str, status: int, detail: str = "") -> None:
        said = f": {quote(detail)}" if detail else ""
        super().__init__(f"The {service} answered {status}{said}.")
        self.status, self.detail = status, detail
        wants_another = status in _NOT_AS_ASKED
        self.retryable = not wants_another or status in _BUSY
        self.hint = (
            f"Repeating it unchanged gives the same; check what was asked of the {service}."
            if wants_another
            else f"Repeat the call later; if that does not help, check the URL of the {service}, which "
            "og-mcp doctor shows."
        )


class RateLimitError(ServiceRejectedError):
    """The service limits the rate of requests."""

    def __init__(self, service: str, status: int, detail: str = "") -> None:
        super().__init__(service, status, detail)
        said = f": {quote(detail)}" if detail else ""
        self.args = (f"The {service} limits how many requests it takes ({status}{said}).",)
        self.hint = (
            "Wait a minute and repeat the call; an RPC with a key of your own (OG_RPC_URL, or "
            "OG_BASE_RPC_URL for payments) takes more."
        )


_NOT_AS_ASKED: Final = range(400, 500)
"""Statuses by which a service says that the request is wrong."""

_BUSY: Final = (408, 429)
"""Those statuses that mean that it is busy."""


class ServiceReplyError(ServiceError):
    """The service answered something that its protocol does not allow."""

    def __init__(self, service: str, what: str) -> None:
        super().__init__(f"The {service} gave an answer that cannot be used: {what}.")
        self.service, self.what = service, what
        self.hint = (
            f"Repeat the call later; if that does not help, the URL of the {service}, which og-mcp "
            "doctor shows, may be another service's."
        )


class GatewayClockError(ServiceReplyError):
    """A gateway's clock is so far from this machine's that its answer would be withheld.

    Args:
        where: The gateway.
        ahead_s: Seconds that this machine's clock is ahead.
    """

    def __init__(self, where: str, ahead_s: float) -> None:
        side = "ahead of" if ahead_s > 0 else "behind"
        apart = f"this machine's clock is {abs(ahead_s):.0f} s {side} its Date header"
        super().__init__("gateway", apart)
        words = "so that its answer would be withheld; nothing was signed"
        self.args = (f"The gateway at {where} cannot be paid: {apart}, {words}.",)
        self.ahead_s = ahead_s
        self.hint = "Set the clock of this machine. Where it is right, repeat the call later."


class SignInError(ServiceError):
    """The Model Hub refused the sign-in.

    Args:
        code: Firebase's word for it, e.g. `INVALID_LOGIN_CREDENTIALS`.
    """

    retryable = False

    def __init__(self, code: str) -> None:
        self.code = code.partition(" : ")[0].strip()
        what, self.hint = _SIGN_IN.get(self.code, ("", _CHECK_LOGIN))
        if not what and self.code.startswith("API key not valid"):
            what, self.hint = _SIGN_IN["INVALID_API_KEY"]
        super().__init__(what or f"The Model Hub's sign-in was refused: {quote(code)}.")


_CHECK_LOGIN: Final = "Check OG_EMAIL, OG_PASSWORD and FIREBASE_API_KEY; og-mcp doctor tries them."
_WRONG_LOGIN: Final = (
    "The Model Hub does not know this e-mail address with this password.",
    "Check OG_EMAIL and OG_PASSWORD, and start og-mcp again.",
)
_SIGN_IN: Final = {
    "INVALID_LOGIN_CREDENTIALS": _WRONG_LOGIN,
    "INVALID_PASSWORD": (
        "The Model Hub refused the password of this account.",
        "Check OG_PASSWORD, and start og-mcp again.",
    ),
    "EMAIL_NOT_FOUND": (
        "The Model Hub has no account of this e-mail address.",
        "Check OG_EMAIL; https://hub.opengradient.ai/signup makes an account.",
    ),
    "INVALID_EMAIL": (
        "OG_EMAIL is not an e-mail address.",
        "Set it to the address of the Model Hub account, and start og-mcp again.",
    ),
    "USER_DISABLED": (
        "This Model Hub account is disabled.",
        "Ask the operator of the Model Hub, or set OG_EMAIL and OG_PASSWORD to another account.",
    ),
    "TOO_MANY_ATTEMPTS_TRY_LATER": (
        "The Model Hub takes no more sign-ins for this account for now: there were too many tries.",
        "Check OG_PASSWORD, wait some minutes, then repeat the call.",
    ),
    "INVALID_API_KEY": (
        "The Model Hub's sign-in does not know this FIREBASE_API_KEY.",
        "Set FIREBASE_API_KEY to the web API key that the Model Hub's sign-in uses.",
    ),
}


class UploadFailedError(ServiceError):
    """A file was not taken; `stage` says whether it may be published all the same."""

    def __init__(self, name: str, why: str, *, stage: Stage = Stage.NOT_SENT) -> None:
        super().__init__(f"The upload of {quote(name)} did not succeed: {why}.")
        self.stage = stage
        self.hint = (
            "The file is not published; the call can be repeated."
            if stage is Stage.NOT_SENT
            else "It may have been published all the same: list_files shows it, and repeating the "
            "upload does not send twice what is there."
        )


class PaymentError(OGError):
    """A gateway could not be paid."""


class PaymentRefusedError(PaymentError):
    """The gateway asks for a payment that must not be signed (threats.md T3, T5); nothing was."""

    hint = (
        "Nothing was paid. The network's record is what counts; a gateway that asks for something "
        "else may be broken or dishonest."
    )

    def __init__(self, gateway: str, what: str) -> None:
        super().__init__(f"The gateway {gateway} asks for a payment that is not signed: {what}.")
        self.what = what


class OverchargedError(PaymentError):
    """The recipient overcharged before (threats.md T46); nothing was signed."""

    def __init__(self, recipient: str, what: str) -> None:
        super().__init__(
            f"Nothing more is signed for the recipient {recipient}: {what}; nothing was paid."
        )
        self.recipient = recipient
        self.hint = f"To pay it all the same, its owner runs `og-mcp calls trust {recipient}` at a terminal."


class PaymentRejectedError(PaymentError):
    """The gateway did not take the payment that it had asked for; its signature stays open."""

    stage = Stage.SENT_UNKNOWN

    def __init__(self, gateway: str, cap_id: str, amount: int, why: str) -> None:
        said = f": {quote(why)}" if why else ""
        super().__init__(f"The gateway {gateway} did not take payment {cap_id}{said}.")
        self.cap_id, self.amount = cap_id, amount
        self.hint = (
            f"Up to {coins(amount)} OPG stay set aside until the chain shows that it can no longer "
            "be taken; status shows the allowance and the balance."
        )


class ClockError(PaymentError):
    """The payment chain's time differs from this machine's; nothing was signed."""

    def __init__(self, ahead_s: int) -> None:
        side = "ahead of" if ahead_s > 0 else "behind"
        super().__init__(
            f"This machine's clock is {abs(ahead_s)} s {side} the payment chain's newest block, so "
            "that the deadline of a payment would be wrong; nothing was signed."
        )
        self.ahead_s = ahead_s
        self.hint = (
            "Set the clock. Where it is right, the payment chain's RPC is wrong or lags: set "
            "OG_BASE_RPC_URL to another."
        )


class AllowanceError(PaymentError):
    """Permit2 may not take what the payment could cost; nothing was signed."""

    def __init__(self, address: str, needed: int, allowance: int) -> None:
        super().__init__(
            f"Permit2 may take {coins(allowance)} OPG from wallet {address}, and the payment may "
            f"take {coins(needed)}; nothing was signed."
        )
        self.needed, self.allowance = needed, allowance
        self.hint = "Call approve_opg with amount_opg set to what may be spent from now on."


class InsufficientOPGError(PaymentError):
    """The wallet holds less OPG than the payment could cost; nothing was signed."""

    def __init__(self, address: str, needed: int, balance: int) -> None:
        super().__init__(
            f"Wallet {address} holds {coins(balance)} OPG and the payment may take "
            f"{coins(needed)}; nothing was signed."
        )
        self.needed, self.balance = needed, balance
        self.hint = "Send it OPG on the payment chain; status shows the address and the chain."


class GatewayError(OGError):
    """A TEE gateway gave no answer that can be used."""


@dataclass(frozen=True, kw_only=True)
class GatewayRefusal:
    """What a gateway says of an error; only its word vouches for it."""

    status: int
    """Of the HTTP answer; 200 where the answer had begun."""

    detail: str = ""
    source: Literal["", "gateway", "provider"] = ""
    """Who failed; empty where an older gateway does not say."""

    provider_status: int = 0
    """What the provider answered; 0 where it is not told."""

    retryable: bool = False
    """Whether the same request may succeed later."""

    is_own: bool = False
    """Whether it is the gateway's whole answer, in the shape that newer ones have, and holds
    nothing of an answer that is charged (money.md section 5)."""


class GatewayRejectedError(GatewayError):
    """The gateway answered with an error, in place of an answer or in the middle of one."""

    def __init__(self, gateway: str, refusal: GatewayRefusal, *, stage: Stage) -> None:
        said = f": {quote(refusal.detail)}" if refusal.detail else ""
        super().__init__(f"{_refusal_words(gateway, refusal)}{said}.")
        self.refusal, self.status, self.stage = refusal, refusal.status, stage
        self.retryable, self.retries_are_free = refusal.retryable, refusal.is_own
        self._hint_with(_NOTHING_PAID if stage is Stage.NOT_SENT else _WHAT_WAS_CHARGED)

    def counted(self, attempts: int, maximum: int) -> None:
        """Say how often the call was sent of how often it may be; for an error of its own."""
        left = maximum - attempts
        self.retryable = self.retryable and left > 0
        again = (
            f"the same call may be repeated, up to {left} more times: it goes under the same payment,"
            " and signs nothing new."
            if left > 0
            else f"it was sent {attempts} times and is not sent again."
        )
        self._hint_with(f"{NOT_CHARGED} for that; {again}")

    def _hint_with(self, cost: str) -> None:
        self.hint = " ".join(filter(None, (_next_step(self.refusal), cost)))


_BEGUN: Final = range(200, 300)
"""Statuses of an answer; its error came behind them."""

_PASSED_ON: Final = range(400, 500)
"""Statuses by which a provider says that the request is wrong; the gateway passes them on."""

_REFUSALS: Final[Mapping[int, tuple[str, str]]] = {
    404: (
        "The gateway {gateway}, or its provider, does not have what was asked for (404)",
        "Check the model; search_models lists them.",
    ),
    413: (
        "The request is larger than the gateway {gateway} takes (413)",
        "Send fewer or smaller attachments, at most 20 MiB in all.",
    ),
    451: (
        "The moderation of the gateway {gateway} refused the prompt (451)",
        "Change the prompt.",
    ),
    500: ("The gateway {gateway} itself failed (500)", ""),
    502: ("The model's provider failed behind the gateway {gateway} (502)", ""),
    503: (
        "The gateway {gateway} cannot answer just now, or its provider limits requests (503)",
        "Wait a little, or use another model.",
    ),
    504: (
        "The model's provider did not answer the gateway {gateway} in time (504)",
        "Ask for a shorter answer, or use another model.",
    ),
}
"""Status -> what it means, and the next step where there is one beside repeating the call."""


def _refusal_words(gateway: str, refusal: GatewayRefusal) -> str:
    status = refusal.status
    if status in _BEGUN:
        code = f" (status {refusal.provider_status})" if refusal.provider_status else ""
        whose = f" of the model's provider{code}" if refusal.source == "provider" else ""
        return f"The gateway {gateway} ended its answer with an error{whose}"
    if refusal.source and status in _REFUSALS:
        return _REFUSALS[status][0].format(gateway=gateway)
    if refusal.source == "provider" and status in _PASSED_ON:
        return f"The model's provider refused the request to the gateway {gateway} ({status})"
    return f"The gateway {gateway} answered {status}"


def _next_step(refusal: GatewayRefusal) -> str:
    if refusal.source and refusal.status in _REFUSALS:
        return _REFUSALS[refusal.status][1]
    is_wrong = refusal.source and refusal.status in _PASSED_ON
    return "Change the request as it says." if is_wrong else ""


_NOTHING_PAID: Final = "Nothing was paid; the call can be repeated."
_WHAT_WAS_CHARGED: Final = (
    "By the network's rules it charges nothing for that; the signed cap shows what it did charge "
    "once it settles."
)


class RepetitionError(GatewayError):
    """A call that may be repeated was not: not under the payment that was signed for it."""

    stage = Stage.SENT_UNKNOWN

    def __init__(self, gateway: str, cap_id: str, why: str) -> None:
        super().__init__(f"The call was not repeated at the gateway {gateway}: {why}.")
        self.cap_id = cap_id
        self.hint = (
            f"Payment {cap_id}, which was signed for it, stays set aside until the chain tells its "
            "end; to ask, and pay, once more, give a new idempotency_key."
        )


class AnswerLostError(GatewayError):
    """The request was sent and its answer did not come, or not whole; it is not sent again."""

    stage = Stage.SENT_UNKNOWN
    hint = (
        "It may have been charged, at most up to the signed cap; get_call shows what the cap "
        "settled for. Until it has, the same request is not asked again; to ask, and pay, once more, "
        "give a new idempotency_key."
    )

    def __init__(self, gateway: str, why: str, cap_id: str = "") -> None:
        paid = f" It was sent under payment {cap_id}." if cap_id else ""
        super().__init__(f"The answer of the gateway {gateway} was lost: {why.rstrip('.')}.{paid}")
        self.cap_id = cap_id


class ImageRefusedError(GatewayError):
    """The gateway answered, and an image of its answer cannot be used."""

    stage = Stage.CHARGED
    hint = "The answer was charged for; repeating the call pays again."

    def __init__(self, what: str) -> None:
        super().__init__(f"The image that the gateway sent cannot be used: {what}.")
        self.what = what


class ShuttingDownError(ServiceError):
    """og-mcp ends: it takes no new calls, and those that have signed nothing end unsent."""

    hint = "Repeat it, with the same idempotency_key if it had one, once og-mcp runs again."

    def __init__(self, call_id: str = "") -> None:
        super().__init__("og-mcp is shutting down: this call was not sent, and nothing was paid.")
        self.call_id = call_id


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

    retryable = False

    def __init__(
        self, call_id: str, step: str, why: str, hint: str = "get_call shows how far it has come."
    ) -> None:
        super().__init__(f"Call {call_id} cannot {step}: {why}.", hint)
        self.call_id, self.step = call_id, step


class SealBrokenError(JournalError):
    """A sealed record was not written by this installation (threats.md T25)."""

    retryable = False

    def __init__(self, purpose: str) -> None:
        super().__init__(
            f"The record of {purpose} in the journal does not carry this installation's seal.",
            "Check who can write to the journal's database, and that journal.key in OG_DATA_DIR "
            "is the one that sealed it.",
        )


class PublishingStoppedError(OGError):
    """Some steps of a publication are done, and a later one failed."""

    def __init__(self, done: str, cause: OGError) -> None:
        super().__init__(f"{done}; the next step failed: {cause.args[0]}")
        self.cause, self.stage = cause, cause.stage
        self.hint = f"{cause.hint} The same call again continues from there.".lstrip()


class LocalnetError(OGError):
    """The local network could not be started or used."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint
