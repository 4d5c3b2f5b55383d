"""Models that are tools of their own (OG_MODELS).

A tool is listed from the start: with an argument for each of the model's inputs where these are
known, from the disk or from the operator's file, else with `model_input` as `infer` takes it. Once
they become known, the listed tool changes in its place and clients are told. So the start waits for
no network, and the order of the listing never changes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from og_mcp.client import Session
from og_mcp.tools._arguments import DryRun, IdempotencyKey, ModelInput
from og_mcp.tools._consent import PayingOG
from og_mcp.tools._injected import Call, Principal
from og_mcp.tools._model_form import MAX_INPUTS, form_of, graph_of_docs, unfit_docs
from og_mcp.tools._progress import progress
from og_mcp.tools._schema import without
from og_mcp.tools._tool import Tool, tool
from og_mcp.types import InferenceMode, InferenceResult, ModelGraph, PublishedModel

logger = logging.getLogger(__name__)

COST = (
    "Runs the model on chain in one transaction and pays its gas in the network's coin (fee_wei, in "
    "wei); dry_run tells the highest cost. Wrong input is refused before anything is sent. When "
    "an answer is lost, retry with the same idempotency_key."
)


class ModelTool:
    """One published model and the tool that runs it."""

    def __init__(self, model: PublishedModel) -> None:
        self.model = model
        self.tool = self._generic()
        self._infer = self.tool.fn
        self.from_file = False
        """Whether the arguments come from the model's file."""

        said = graph_of_docs(model.inputs)
        if said is not None:
            self._take(said)

    def learn(self, graph: ModelGraph) -> bool:
        """Take the arguments from the model's file; true where that changes the tool."""
        before = self.tool.parameters
        self.from_file = True
        for problem in unfit_docs(graph, self.model.inputs):
            logger.warning("OG_MODELS, tool %s: %s", self.model.name, problem)
        self._take(graph)
        return self.tool.parameters != before

    def _generic(self) -> Tool:
        model = self.model

        async def run(  # noqa: PLR0913, PLR0917 - as infer, which mcp calls by name
            model_input: ModelInput,
            og: PayingOG,
            call: Call,
            principal: Principal,
            idempotency_key: IdempotencyKey = "",
            dry_run: DryRun = False,
        ) -> InferenceResult:
            async with progress(call):
                result = await og.infer(
                    model.cid,
                    model_input,
                    InferenceMode[model.mode],
                    idempotency_key=idempotency_key,
                    dry_run=dry_run,
                    principal=principal,
                    wait_s=og.settings.wait_s,
                )
            await self._catch_up(og, call)
            return result

        run.__name__ = model.name
        run.__doc__ = f"{model.description or f'Run the model {model.cid}.'}\n\n{COST}"
        return tool(
            title=model.title or model.name,
            toolset="models",
            read_only=False,
            destructive=False,
            idempotent=False,
            open_world=True,
        )(run)

    async def _catch_up(self, og: Session, call: Call) -> None:
        """Use the graph that the call itself has read."""
        graph = None if self.from_file else og.known_graph(self.model.cid)
        if graph is not None and self.learn(graph):
            await call.notify_tools_changed()

    def _take(self, graph: ModelGraph) -> None:
        if len(graph.inputs) > MAX_INPUTS:
            return
        form, infer = form_of(graph, self.model.inputs), self._infer

        async def run(**given: Any) -> Any:  # noqa: ANN401 - the model's own arguments
            tensors = form.model_input(given)
            rest = {name: value for name, value in given.items() if name not in form.tensors}
            return await infer(model_input=tensors, **rest)

        self.tool.fn = run
        self.tool.fn_metadata = self.tool.fn_metadata.model_copy(
            update={"arg_model": form.arguments}
        )
        self.tool.parameters = without({"title"}, form.schema)


def model_tools(session: Session) -> Sequence[ModelTool]:
    """Make the tools of the published models, in the operator's order."""
    made = [ModelTool(model) for model in session.settings.models]
    for each in made:
        graph = session.known_graph(each.model.cid)
        if graph is not None:
            each.learn(graph)
    return made
