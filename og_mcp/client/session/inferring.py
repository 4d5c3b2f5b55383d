"""How a session infers: input checked, call journalled, consent made sure of, carried out, recorded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from anyio import create_task_group, to_thread

from og_mcp.client.session.calling import Terms
from og_mcp.client.session.loading import load
from og_mcp.client.session.onchain_calling import WITHIN_CAP, OnchainCalling, check_retries
from og_mcp.client.session.parts import Parts
from og_mcp.errors import FeeCapError, InputError, ModelNotFoundError, OGError, fee_text, quote
from og_mcp.types import Call, Check, InferenceMode, InferenceResult, ModelGraph

if TYPE_CHECKING:
    from og_mcp.client.chain.inference import Inferred
    from og_mcp.client.chain.ticket import Ticket
    from og_mcp.client.chain.wallet import Transaction
    from og_mcp.client.codec.tensors import Inputs

MODEL_CID: Final = re.compile(r"[!-~]{1,256}")
"""A content id is printable ASCII without spaces; what it names only the network knows."""

CID_LIKE: Final = re.compile(r"Qm[0-9A-Za-z_-]*|[0-9A-Za-z_-]{43,256}")
"""How hubs name files: by IPFS, by Walrus or by SHA-256; what looks otherwise is a model's name."""

MODEL_NAME: Final = re.compile(r"([^/]{1,200}/)?[^/]{1,200}")
FIND_CID: Final = "search_models finds models, and get_model shows their CIDs; nothing was sent."

CHECKED_INPUT: Final = "every tensor can go on the wire"
TENSORS_FIT: Final = "names, kinds and shapes are what the model's graph takes"


@dataclass(frozen=True)
class Asked:
    """What an inference was asked for, checked."""

    model_cid: str
    inputs: Inputs
    mode: InferenceMode
    max_retries: int
    given: Mapping[str, Any]
    """The input as the caller gave it."""

    graph: ModelGraph | None
    """What the model takes and gives, where it is known."""

    note: str
    """How the input was read, for the caller."""


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
        """Check what is asked for, against the model's tensors where they can be known.

        Raises:
            InputError: It cannot go on the wire, or not into this model.
            NotFoundError: What is no content id is no model's name either.
            OGError: The network in use cannot be opened.
        """
        check_retries(max_retries)
        checked_mode = _mode(mode)
        model_cid, note = await self._cid_of(model_cid.strip())
        parse = (await load("codec.tensors")).parse_inputs
        most = (await load("codec.tensor_files")).MAX_FILE_BYTES
        open_file = partial((await self._parts.files.get()).open, max_bytes=most)
        graph = await self._graph_of(model_cid)
        if graph is None and not model_input:
            raise InputError("The model input is empty.", "Give at least one tensor by its name.")
        specs = graph.inputs if graph is not None else ()
        inputs = await to_thread.run_sync(partial(parse, model_input, specs, open_file=open_file))
        if graph is not None:
            inputs = (await load("codec.specs")).check_against(inputs, graph.inputs)
        note = " ".join(filter(None, (note, *inputs.notes)))
        return Asked(model_cid, inputs, checked_mode, max_retries, model_input, graph, note)

    async def price(self, asked: Asked) -> InferenceResult:
        """Check and price an inference against the chain; sends nothing.

        Raises:
            ChainError: It would be refused.
            ServiceError: The chain cannot be asked.
        """
        transaction = await self._price(asked)
        return InferenceResult(
            call_id="",
            network=self._parts.settings.network_name,
            status="dry_run",
            inference_mode=asked.mode.word,
            model_cid=asked.model_cid,
            fee=fee_text(transaction.max_fee),
            fee_wei=transaction.max_fee,
            note=asked.note,
            checks=[
                await self._tensor_check(asked),
                *await OnchainCalling(self._parts).checks(
                    "infer",
                    transaction.max_fee,
                    CHECKED_INPUT,
                    of_cap=f"{WITHIN_CAP}; {self._fit(asked, transaction.max_fee)}",
                ),
            ],
        )

    async def run(self, asked: Asked, terms: Terms) -> InferenceResult:
        """Journal the call, carry it out or join it, and return its end.

        Raises:
            ApprovalRequiredError: A person has to agree first.
            OGError: It failed.
        """
        receipts = await load("receipts.receipts")
        request = {
            "tool": "infer",
            "model_cid": asked.model_cid,
            "model_input": await to_thread.run_sync(
                receipts.canonical_input, asked.given, asked.inputs
            ),
            "inference_mode": asked.mode.name,
        }

        async def price() -> Transaction:
            return await self._price(asked)

        async def ask(ticket: Ticket) -> Inferred:
            inference = await self._parts.inference.get()
            with self._sized(asked):
                return await inference.run(
                    ticket,
                    asked.model_cid,
                    asked.inputs,
                    asked.mode,
                    max_retries=asked.max_retries,
                    outputs=asked.graph.outputs if asked.graph is not None else (),
                )

        calling = OnchainCalling(self._parts)
        return _result_of(await calling.make(request, terms, price=price, ask=ask), asked)

    async def _cid_of(self, model: str) -> tuple[str, str]:
        """Return a content id as it is; for a model's name its file's id, and which one that is."""
        if CID_LIKE.fullmatch(model):
            return model, ""
        if not MODEL_NAME.fullmatch(model) or not model.isprintable():
            raise InputError(f"{quote(model)} is not a model CID.", FIND_CID)
        try:
            found: tuple[str, str] = await (await self._parts.hub.get()).find_cid(model)
        except ModelNotFoundError as exc:
            reason = (
                f"{quote(model)} is not a model CID, and the Model Hub has no model of that name."
            )
            raise InputError(reason, FIND_CID) from exc
        if not MODEL_CID.fullmatch(found[0]):
            raise InputError(f"The Model Hub gives {quote(found[0])} as a model CID.", FIND_CID)
        return found

    async def _price(self, asked: Asked) -> Transaction:
        inference = await self._parts.inference.get()
        with self._sized(asked):
            return await inference.price(
                asked.model_cid, asked.inputs, asked.mode, max_retries=asked.max_retries
            )

    @contextmanager
    def _sized(self, asked: Asked) -> Iterator[None]:
        """Say how large an input may be where its size is what costs too much."""
        try:
            yield
        except FeeCapError as exc:
            exc.hint = f"{self._fit(asked, exc.fee).capitalize()}. {exc.hint}"
            raise

    def _fit(self, asked: Asked, fee: int) -> str:
        """Tell how many values such a model may be given: gas grows with them, nearly evenly."""
        values = sum(len(tensor.values) for tensor in asked.inputs.tensors)
        fit = values * self._parts.settings.max_fee_per_call // max(fee, 1)
        # Two digits of it are as much as is known.
        step = 10 ** max(len(str(fit)) - 2, 0)
        return f"the input has {values:,} values, and the cap pays for about {fit // step * step:,}"

    async def _tensor_check(self, asked: Asked) -> Check:
        if asked.graph is not None:
            return Check(
                name="tensors", result="ok", source="the model's graph", detail=TENSORS_FIT
            )
        why = (await self._parts.graphs.get()).why_not(asked.model_cid)
        detail = f"what the model takes is not known: {why or 'it could not be looked up'}"
        return Check(name="tensors", result="not_checked", source="nobody", detail=detail)

    async def _graph_of(self, model_cid: str) -> ModelGraph | None:
        """Find what the model takes; where its file is read, what comes next opens meanwhile.

        Read before the call is recorded: the record holds the shapes that travel, and an input
        that does not fit makes no call. Once per model: it is kept.
        """
        known = self._parts.known
        if await known.find(model_cid) is None:
            graphs = await self._parts.graphs.get()
            if not graphs.why_not(model_cid):
                async with create_task_group() as group:
                    group.start_soon(self._open_the_next)
                    await graphs.find(model_cid)
        return known.get(model_cid)

    async def _open_the_next(self) -> None:
        """Open what the call needs after its check; what fails is told there."""
        with suppress(OGError):
            await self._parts.inference.get()
            await (await self._parts.chain.get()).check()


def _result_of(call: Call, asked: Asked) -> InferenceResult:
    """Read what the journal kept of a call, or tell that it runs."""
    if call.status == "done" and call.result:
        result = InferenceResult.model_validate_json(call.result)
        return result.model_copy(update={"note": f"{asked.note} {result.note}".strip()})
    return InferenceResult(
        call_id=call.id,
        network=call.network,
        status=call.status,
        transaction_hash=call.transaction_hashes[-1] if call.transaction_hashes else "",
        inference_mode=asked.mode.word,
        model_cid=asked.model_cid,
        fee=fee_text(call.fee_wei),
        fee_wei=call.fee_wei,
        note=asked.note,
    )


def _mode(value: InferenceMode | str) -> InferenceMode:
    if isinstance(value, InferenceMode):
        return value
    try:
        return InferenceMode[value.upper()]
    except (KeyError, AttributeError) as exc:
        names = ", ".join(mode.name for mode in InferenceMode)
        raise InputError(f"There is no inference mode {quote(value)}.", f"Use {names}.") from exc
