"""How a session infers: input checked, call journalled, consent made sure of, carried out, recorded."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from anyio import CancelScope, to_thread

from og_mcp.client._calling import Calling, Terms
from og_mcp.client._parts import Parts, load
from og_mcp.errors import (
    ApprovalRequiredError,
    InputError,
    OGError,
    coins,
    quote,
)
from og_mcp.types import (
    Call,
    Check,
    InferenceMode,
    InferenceResult,
    Stage,
    TensorSpec,
)

if TYPE_CHECKING:
    from og_mcp.client._tensors import Inputs
    from og_mcp.client.sender import Ticket

logger = logging.getLogger(__name__)

MAX_RETRIES: Final = 20
MODEL_CID: Final = re.compile(r"[!-~]{1,256}")
"""A content id is printable ASCII without spaces; what it names only the network knows."""

APPROVAL_MARGIN: Final = 2
"""What a person agrees to over what it would cost now: gas prices move until they have answered."""

CHECKED: Final = {
    "input": "every tensor can go on the wire, and into the model where its tensors are known",
    "simulation": "the contract and the model take the call",
    "balance": "the wallet holds the most that it may cost",
    "fee_cap": "the most that it may cost is within the cap",
}
"""What a dry run checks."""


@dataclass(frozen=True)
class Asked:
    """What an inference was asked for, checked."""

    model_cid: str
    inputs: Inputs
    mode: InferenceMode
    max_retries: int
    given: Mapping[str, Any]
    """The input as the caller gave it."""


class Inferring:
    """The inferences of one session.

    Args:
        parts: What they are carried out with.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def ask(
        self,
        model_cid: str,
        model_input: Mapping[str, Any],
        mode: InferenceMode | str,
        *,
        max_retries: int,
    ) -> Asked:
        """Check what is asked for; asks nobody but the file system.

        Raises:
            InputError: It cannot go on the wire, or not into this model.
        """
        if not MODEL_CID.fullmatch(model_cid):
            raise InputError(
                f"{quote(model_cid)} is no model CID.", "get_model and list_files show model CIDs."
            )
        if not 0 <= max_retries <= MAX_RETRIES:
            raise InputError(f"max_retries is {max_retries}.", f"Use 0 to {MAX_RETRIES}.")
        checked_mode = _mode(mode)
        parse = (await load("_tensors")).parse_inputs
        most = (await load("_tensor_files")).MAX_FILE_BYTES
        open_file = partial((await self._parts.files.get()).open, max_bytes=most)
        inputs = await to_thread.run_sync(partial(parse, model_input, open_file=open_file))
        specs = self._tensors_of(model_cid)[0]
        if specs:
            inputs = (await load("_specs")).check_against(inputs, specs)
        return Asked(model_cid, inputs, checked_mode, max_retries, model_input)

    async def price(self, asked: Asked) -> InferenceResult:
        """Check and price an inference against the chain; sends nothing.

        Raises:
            ChainError: It would be refused.
            ServiceError: The chain cannot be asked.
        """
        inference = await self._parts.inference.get()
        transaction = await inference.price(
            asked.model_cid, asked.inputs, asked.mode, max_retries=asked.max_retries
        )
        rpc = (await self._parts.chain.get()).rpc_shown
        sources = ("this process", rpc, rpc, "OG_MAX_FEE_PER_CALL")
        return InferenceResult(
            call_id="",
            network=self._parts.settings.network_name,
            status="dry_run",
            inference_mode=asked.mode.word,
            model_cid=asked.model_cid,
            fee_wei=transaction.max_fee,
            checks=[
                Check(name=name, result="ok", source=source, detail=detail)
                for (name, detail), source in zip(CHECKED.items(), sources, strict=True)
            ],
        )

    async def run(self, asked: Asked, terms: Terms) -> InferenceResult:
        """Journal the call, carry it out or join it, and return its end.

        Raises:
            ApprovalRequiredError: A person has to agree first.
            OGError: It failed.
        """
        receipts = await load("receipts")
        request = {
            "tool": "infer",
            "model_cid": asked.model_cid,
            "model_input": await to_thread.run_sync(
                receipts.canonical_input, asked.given, asked.inputs
            ),
            "inference_mode": asked.mode.name,
        }
        most_wei: int | None = None

        async def consent(call: Call) -> None:
            nonlocal most_wei
            if self._parts.needs_consent("infer"):
                most_wei = await self._consented(call, asked)

        async def work(ticket: Ticket) -> None:
            ticket.most_wei = most_wei
            await self._carry_out(ticket, asked, request)

        calling = Calling(self._parts)
        return _result_of(await calling.make(request, terms, work, consent=consent), asked)

    async def _carry_out(self, ticket: Ticket, asked: Asked, request: Mapping[str, Any]) -> None:
        """Carry an opened inference out and record its end."""
        await self._parts.reconciled.get()
        inference, history = await self._parts.inference.get(), await self._parts.history.get()
        try:
            inferred = await inference.run(
                ticket,
                asked.model_cid,
                asked.inputs,
                asked.mode,
                max_retries=asked.max_retries,
                outputs=self._tensors_of(asked.model_cid)[1],
            )
        except OGError as exc:
            if exc.stage is Stage.CHARGED:
                exc.receipt = await history.receipt_of_failure(ticket, request)
            raise
        with CancelScope(shield=True):
            await history.settle(ticket, request, inferred)
        sender = await self._parts.sender.get()
        if sender.left_open:
            sender.left_open = False
            try:
                await history.reconcile()
            except OGError as exc:
                # This call is settled; whether the others are is asked again.
                sender.left_open = True
                logger.info("interrupted calls were not looked up: %s", exc)

    async def _consented(self, call: Call, asked: Asked) -> int:
        """Use up a person's approval; returns the most that they agreed to, wei.

        Raises:
            ApprovalRequiredError: Nobody has agreed; the call waits for it.
        """
        journal = await self._parts.journal.get()
        try:
            fee = (await self.price(asked)).fee_wei
        except OGError as exc:
            await journal.fail(call.id, Stage.NOT_SENT, str(exc))
            raise
        if await journal.take_approval(call.id, call.request_hash, fee):
            return (await journal.approval(call.id)).cap_wei
        cap = fee * APPROVAL_MARGIN
        error = ApprovalRequiredError(call.id, f"up to {coins(cap)} coins ({cap} wei) in fees")
        await journal.request_approval(call.id, call.request_hash, str(error), cap_wei=cap)
        raise error

    def _tensors_of(self, model_cid: str) -> tuple[list[TensorSpec], list[TensorSpec]]:
        """Return the model's inputs and outputs where a listing has shown them; asks nobody."""
        hub = self._parts.hub.opened
        return (hub.tensors_of(model_cid) if hub is not None else None) or ([], [])


def _result_of(call: Call, asked: Asked) -> InferenceResult:
    """Read what the journal kept of a call, or tell that it runs."""
    if call.status == "done" and call.result:
        return InferenceResult.model_validate_json(call.result)
    return InferenceResult(
        call_id=call.id,
        network=call.network,
        status=call.status,
        transaction_hash=call.transaction_hashes[-1] if call.transaction_hashes else "",
        inference_mode=asked.mode.word,
        model_cid=asked.model_cid,
        fee_wei=call.fee_wei,
    )


def _mode(value: InferenceMode | str) -> InferenceMode:
    if isinstance(value, InferenceMode):
        return value
    try:
        return InferenceMode[value.upper()]
    except (KeyError, AttributeError) as exc:
        names = ", ".join(mode.name for mode in InferenceMode)
        raise InputError(f"There is no inference mode {quote(value)}.", f"Use {names}.") from exc
