"""The prompts: jobs that a person starts from a menu, as steps that an assistant follows."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Annotated, Final

from mcp import MCPError
from mcp.server.mcpserver.prompts import Prompt
from mcp.types import INVALID_PARAMS
from mcp.types import Prompt as ListedPrompt
from pydantic import Field, ValidationError

from og_mcp.errors import quote

RUN_MODEL = "run_model"
PUBLISH_MODEL = "publish_model"
CHECK_ANSWER = "check_answer"

TOOLS_OF: Final[Mapping[str, frozenset[str]]] = {
    RUN_MODEL: frozenset({"get_model", "infer", "get_call"}),
    PUBLISH_MODEL: frozenset(
        {"status", "create_model", "create_version", "upload", "get_model", "infer"}
    ),
    CHECK_ANSWER: frozenset({"get_call", "verify_receipt"}),
}
"""Prompt -> the tools that its steps name; it is offered only with all of them."""

MAX_TOLD: Final = 5
"""Number of wrong arguments that one refusal lists."""

ModelName = Annotated[str, Field(max_length=200, description="Name of the model repository.")]
Question = Annotated[
    str, Field(max_length=4000, description="What the model is to work out, and from which values.")
]
About = Annotated[str, Field(max_length=4000, description="What the model does.")]
ModelPath = Annotated[str, Field(max_length=4096, description="Path of the ONNX file.")]
NewName = Annotated[
    str, Field(max_length=200, description="Name of the repository; made where it is not there.")
]
CallId = Annotated[str, Field(max_length=64, description="Id of the call to check.")]


def offered_prompts(offered: Collection[str]) -> list[Prompt]:
    """Return those of `run_model`, `publish_model` and `check_answer` whose tools are all there.

    Args:
        offered: Names of the tools that are listed.
    """
    return [prompt for prompt in _prompts() if TOOLS_OF[prompt.name] <= set(offered)]


@cache
def _prompts() -> tuple[Prompt, ...]:
    """Build the prompts, once in a process: their schemas take milliseconds."""
    return (
        Prompt.from_function(
            _run_model,
            RUN_MODEL,
            "Run a model",
            "Run a model of the hub on chain, step by step.",
        ),
        Prompt.from_function(
            _publish_model,
            PUBLISH_MODEL,
            "Publish a model",
            "Put an ONNX file on the hub and try it there.",
        ),
        Prompt.from_function(
            _check_answer, CHECK_ANSWER, "Check an answer", "Check the proof of an earlier call."
        ),
    )


@contextmanager
def refusing(
    listed: Sequence[ListedPrompt], name: str, arguments: Mapping[str, object]
) -> Iterator[None]:
    """Refuse an unknown prompt and wrong arguments with the protocol's error.

    Args:
        listed: The prompts that are offered.
        name: The one that is wanted.
        arguments: What it is given.

    Raises:
        MCPError: The name or an argument is wrong (-32602).
    """
    prompt = next((one for one in listed if one.name == name), None)
    if prompt is None:
        there = ", ".join(one.name for one in listed) or "none"
        raise MCPError(INVALID_PARAMS, f"There is no prompt {quote(name)}; there are: {there}.")
    known = {one.name: bool(one.required) for one in prompt.arguments or ()}
    told = [f"Argument {one} is missing." for one in known if known[one] and one not in arguments]
    told += [f"Unknown argument {quote(one)}." for one in arguments if one not in known]
    if told:
        raise MCPError(INVALID_PARAMS, " ".join([*told[:MAX_TOLD], _takes(name, known)]))
    try:
        yield
    except ValueError as exc:
        unfit = exc.__cause__.__cause__ if exc.__cause__ is not None else None
        if not isinstance(unfit, ValidationError):
            raise
        told = [f"Argument {one['loc'][0]}: {one['msg']}." for one in unfit.errors()]
        raise MCPError(INVALID_PARAMS, " ".join([*told, _takes(name, known)])) from exc


def _takes(name: str, known: Collection[str]) -> str:
    return f"{name} takes {', '.join(known)}."


def _run_model(model_name: ModelName, question: Question = "") -> str:
    asked = f" to answer this: {_quoted_text(question)}" if question.strip() else ""
    return (
        f"Run the model {_quoted_text(model_name)} of the OpenGradient Model Hub{asked}.\n"
        "1. Call get_model. Where several authors have a model of that name, ask me which.\n"
        "2. Take model_cid from the newest version's ONNX file. Fill model_input with one entry "
        "for each tensor under inputs, in its shape; example_input shows the form. Ask me for "
        "values that you do not have; do not make any up.\n"
        "3. Call infer with dry_run true and tell me the highest cost (fee_wei).\n"
        "4. Call infer with a new idempotency_key. Where its status is running, call get_call.\n"
        "5. Tell me model_output in plain words, the transaction_hash, and what it cost."
    )


def _publish_model(model_path: ModelPath, model_name: NewName, description: About = "") -> str:
    about = f" Describe it as {_quoted_text(description)}." if description.strip() else ""
    return (
        f"Publish the file {_quoted_text(model_path)} as the model {_quoted_text(model_name)} on the "
        f"OpenGradient Model Hub.{about}\n"
        "Publishing cannot be undone: tell me the file, the name and the network that status "
        "shows, and wait for my yes.\n"
        "1. Call create_model with model_name, model_desc and model_path. If the model "
        "exists already, call create_version and then upload instead.\n"
        "2. Call get_model and tell me the version, the model_cid and the tensors.\n"
        "3. Call infer on it with example_input and dry_run true, and tell me whether the "
        "network takes the model and what a call may cost."
    )


def _check_answer(call_id: CallId) -> str:
    return (
        f"Check the answer of call {_quoted_text(call_id)}.\n"
        "1. Call get_call. Where it failed, tell me its stage and whether money moved.\n"
        "2. Call verify_receipt with online true.\n"
        "3. Tell me for each check its result and who vouches for it (source), and name what "
        "was not checked. Call the answer confirmed only where level is confirmed and the "
        "check that compares the answer itself is ok."
    )


def _quoted_text(text: str) -> str:
    """Quote what a person typed, so that it cannot be read as one of the steps."""
    return json.dumps(text.strip(), ensure_ascii=False)
