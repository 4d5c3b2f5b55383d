"""An inference: an ONNX model run in one transaction."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from anyio import create_task_group, to_thread

from og_mcp.client.calls.context import CallContext
from og_mcp.client.chain.chain import Chain, Receipt
from og_mcp.client.chain.inference import Inference, InferenceOutput, check_readable
from og_mcp.client.codec.abi import encode_run
from og_mcp.client.codec.canonical import canonical_input
from og_mcp.client.codec.specs import check_against
from og_mcp.client.codec.tensor_files import MAX_FILE_BYTES
from og_mcp.client.codec.tensors import Inputs, parse_inputs
from og_mcp.client.files.roots import FileRoots
from og_mcp.client.hub.graphs import Graphs
from og_mcp.client.hub.hub import Hub
from og_mcp.client.hub.known import KnownGraphs
from og_mcp.client.operations.transaction import (
    WITHIN_CAP,
    ChainAccess,
    TransactionOperation,
    check_retries,
)
from og_mcp.client.wire.lazy import Lazy
from og_mcp.errors import FeeCapError, InputError, ModelNotFoundError, OGError, quote
from og_mcp.types import Call, Check, InferenceMode, InferenceResult, ModelGraph

MODEL_CID: Final = re.compile(r"[!-~]{1,256}")
"""A content id is printable ASCII without spaces; what it names only the network knows."""

CID_LIKE: Final = re.compile(r"Qm[0-9A-Za-z_-]*|[0-9A-Za-z_-]{43,256}")
"""How hubs name files: by IPFS, by Walrus or by SHA-256; what looks otherwise is a model's name."""

MODEL_NAME: Final = re.compile(r"([^/]{1,200}/)?[^/]{1,200}")
FIND_CID: Final = "search_models finds models, and get_model shows their CIDs; nothing was sent."
TENSORS_FIT: Final = "names, kinds and shapes are what the model's graph takes"


@dataclass(frozen=True)
class InferenceRequest:
    """An inference as it was asked for, checked against the model where that is known."""

    model_cid: str
    inputs: Inputs
    mode: InferenceMode
    given: Mapping[str, Any]
    """The input as the caller gave it."""

    graph: ModelGraph | None
    """What the model takes and gives, where it is known."""

    why_unknown: str
    note: str
    """How the input was read, for the caller."""


class Infer(TransactionOperation[InferenceResult]):
    """An inference."""

    tool = "infer"
    result = InferenceResult
    checked_input = "every tensor can go on the wire"

    def __init__(
        self,
        chain: ChainAccess,
        asked: InferenceRequest,
        inference: Lazy[Inference],
        *,
        max_fee_per_call: int,
        max_retries: int,
    ) -> None:
        super().__init__(chain, max_retries=max_retries)
        self._asked, self._inference = asked, inference
        self._max_fee_per_call = max_fee_per_call
        self._data: bytes | None = None
        self.read = check_readable

    @property
    def fields(self) -> dict[str, Any]:
        """Which model, in which mode, and how its input was read."""
        asked = self._asked
        return {
            "inference_mode": asked.mode.word,
            "model_cid": asked.model_cid,
            "note": asked.note,
        }

    def present(self, result: InferenceResult, call: Call) -> InferenceResult:
        """Add how the input was read."""
        del call
        return result.model_copy(update={"note": f"{self._asked.note} {result.note}".strip()})

    async def prepare(self) -> None:
        """Write the request in the one form that is hashed; a dry run needs none."""
        asked = self._asked
        self.request = {
            "tool": "infer",
            "model_cid": asked.model_cid,
            "model_input": await to_thread.run_sync(canonical_input, asked.given, asked.inputs),
            "inference_mode": asked.mode.name,
        }

    async def call_data(self) -> tuple[str, bytes]:
        """Encode the tensors, once; source: `run(string,uint8,tuple)` of the inference contract."""
        if self._data is None:
            asked = self._asked
            self._data = await to_thread.run_sync(
                encode_run, asked.model_cid, int(asked.mode), asked.inputs
            )
        return self._chain.network.inference_contract, self._data

    async def read_result(self, call: CallContext, mined: Receipt) -> InferenceOutput:
        """Read the output; what the model gives is known, so text tensors get their shape."""
        outputs = self._asked.graph.outputs if self._asked.graph is not None else ()
        inference = await self._inference.get()
        return await inference.read(mined, self._asked.mode, call.principal, outputs)

    def over_cap(self, error: FeeCapError) -> None:
        """Say how large an input may be, where its size is what costs too much."""
        error.hint = f"{self._fit(error.fee).capitalize()}. {error.hint}"

    def within_cap(self, fee_wei: int) -> str:
        """Tell also how large an input may be."""
        return f"{WITHIN_CAP}; {self._fit(fee_wei)}"

    def _fit(self, fee_wei: int) -> str:
        """Tell how many values such a model may be given: gas grows with them, nearly evenly."""
        values = sum(len(tensor.values) for tensor in self._asked.inputs.tensors)
        fit = values * self._max_fee_per_call // max(fee_wei, 1)
        # More than two digits would be false precision.
        step = 10 ** max(len(str(fit)) - 2, 0)
        return f"the input has {values:,} values, and the cap pays for about {fit // step * step:,}"

    async def more_checks(self) -> Sequence[Check]:
        """Tell whether the tensors were held against the model's."""
        if self._asked.graph is not None:
            return (
                Check(name="tensors", result="ok", source="the model's graph", detail=TENSORS_FIT),
            )
        why = self._asked.why_unknown or "it could not be looked up"
        detail = f"what the model takes is not known: {why}"
        return (Check(name="tensors", result="not_checked", source="nobody", detail=detail),)


class InferenceRequests:
    """Checks what inferences ask for, against the model's tensors where they can be known.

    Args:
        known: Models that were seen before.
        graphs: Looks others up.
        hub: Finds a model by its name.
        files: Reads tensors from files.
        chain: What a call needs next, asked while a model's file is read.
    """

    def __init__(
        self,
        known: KnownGraphs,
        graphs: Lazy[Graphs],
        hub: Lazy[Hub],
        files: Lazy[FileRoots],
        chain: Lazy[Chain],
    ) -> None:
        self._known, self._graphs, self._hub = known, graphs, hub
        self._files, self._chain = files, chain

    async def check(
        self,
        model: str,
        model_input: Mapping[str, Any],
        mode: InferenceMode | str,
        *,
        max_retries: int,
    ) -> InferenceRequest:
        """Check a request.

        Raises:
            InputError: It cannot go on the wire, or not into this model.
            NotFoundError: It is neither a content id nor the name of a model.
            OGError: The network in use cannot be opened.
        """
        check_retries(max_retries)
        checked_mode = _mode(mode)
        model_cid, note = await self._cid_of(model.strip())
        open_file = partial((await self._files.get()).open, max_bytes=MAX_FILE_BYTES)
        graph = await self._graph_of(model_cid)
        if graph is None and not model_input:
            raise InputError("The model input is empty.", "Give at least one tensor by its name.")
        specs = graph.inputs if graph is not None else ()
        parse = partial(parse_inputs, model_input, specs, open_file=open_file)
        inputs = await to_thread.run_sync(parse)
        if graph is not None:
            inputs = check_against(inputs, graph.inputs)
        why = "" if graph is not None else (await self._graphs.get()).why_not(model_cid)
        note = " ".join(filter(None, (note, *inputs.notes)))
        return InferenceRequest(model_cid, inputs, checked_mode, model_input, graph, why, note)

    async def _cid_of(self, model: str) -> tuple[str, str]:
        """Return a content id unchanged; for a model's name return its file's id, and a note."""
        if CID_LIKE.fullmatch(model):
            return model, ""
        if not MODEL_NAME.fullmatch(model) or not model.isprintable():
            raise InputError(f"{quote(model)} is not a model CID.", FIND_CID)
        try:
            found = await (await self._hub.get()).find_cid(model)
        except ModelNotFoundError as exc:
            reason = (
                f"{quote(model)} is not a model CID, and the Model Hub has no model of that name."
            )
            raise InputError(reason, FIND_CID) from exc
        if not MODEL_CID.fullmatch(found[0]):
            raise InputError(f"The Model Hub gives {quote(found[0])} as a model CID.", FIND_CID)
        return found

    async def _graph_of(self, model_cid: str) -> ModelGraph | None:
        """Find what the model takes. While its file is read, what the call needs next is opened.

        Read before the call is recorded: the record holds the shapes that travel, and an input
        that does not fit makes no call. Once per model: it is kept.
        """
        if await self._known.find(model_cid) is None:
            graphs = await self._graphs.get()
            if not graphs.why_not(model_cid):
                async with create_task_group() as group:
                    group.start_soon(self._open_the_next)
                    await graphs.find(model_cid)
        return self._known.get(model_cid)

    async def _open_the_next(self) -> None:
        """Open what the call needs next; if that fails, the call itself reports it."""
        with suppress(OGError):
            await (await self._chain.get()).check()


def _mode(value: InferenceMode | str) -> InferenceMode:
    if isinstance(value, InferenceMode):
        return value
    try:
        return InferenceMode[value.upper()]
    except (KeyError, AttributeError) as exc:
        names = ", ".join(mode.name for mode in InferenceMode)
        raise InputError(f"There is no inference mode {quote(value)}.", f"Use {names}.") from exc
