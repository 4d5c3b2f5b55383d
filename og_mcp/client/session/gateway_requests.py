"""Requests to gateways: checked and written as they are sent, before anything is journalled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from og_mcp.catalogue import Entry
from og_mcp.client.session.gateway_asking import GatewayRequest
from og_mcp.client.session.loading import load
from og_mcp.client.session.wishes import Drawing, How, Sampling, Wishes
from og_mcp.client.wire.offloading import off_loop
from og_mcp.errors import InputError

if TYPE_CHECKING:
    from og_mcp.client.files.attachments import Attachments
    from og_mcp.client.llm.question import Question

LONGEST_QUERY: Final = 2000
"""Characters of a search: what leaves the machine by it is bounded (threats.md T51)."""

MOST_RESULTS: Final = 100
MOST_DAYS: Final = 3650


async def chat_request(  # noqa: PLR0913, PLR0917 - what is asked, how, and what goes along
    entry: Entry,
    messages: Sequence[Mapping[str, Any]],
    sampling: Sampling,
    wishes: Wishes,
    how: How,
    attachments: Attachments,
) -> GatewayRequest:
    """Write a chat, with the files that it names.

    Raises:
        InputError: No gateway can be asked this.
    """
    check = await load("llm.messages")

    def body() -> dict[str, Any]:
        tools = check.tools(wishes.tools)
        choice = check.tool_choice(wishes.tool_choice, tools)
        takes_json = entry.json_object is not False
        format_ = check.response_format(
            wishes.response_format, model=entry.id, json_object=takes_json
        )
        return {
            "model": entry.wire_name,
            "messages": check.messages(messages, attachments),
            **_sampled(sampling, entry),
            **({"tools": tools, "tool_choice": choice} if tools else {}),
            **({"response_format": format_} if format_ else {}),
            **({"web_search": True} if wishes.web_search else {}),
        }

    # A stream costs time and says nothing before its end but how far it is; and those of some
    # gateways leave tool calls out.
    streams = how.counted is not None and not wishes.tools
    given: list[object] = [messages, wishes.tools, wishes.response_format]
    if check.has_parts(messages):
        # Short as their paths may be, files are read.
        given.append(attachments)
    question = await _question("CHAT", body, given, how, streams=streams)
    beside = _attached(attachments)
    return GatewayRequest(tool="chat", model=entry, question=question, beside=beside)


async def completion_request(
    entry: Entry, prompt: str, sampling: Sampling, how: How
) -> GatewayRequest:
    """Write a completion.

    Raises:
        InputError: No gateway can be asked this.
    """

    def body() -> dict[str, Any]:
        return {"model": entry.wire_name, "prompt": prompt, **_sampled(sampling, entry)}

    question = await _question("COMPLETION", body, prompt, how)
    return GatewayRequest(tool="completion", model=entry, question=question)


async def image_request(  # noqa: PLR0913, PLR0917 - what is asked, how, and what goes along
    entry: Entry,
    prompt: str,
    drawing: Drawing,
    references: Sequence[str],
    how: How,
    attachments: Attachments,
) -> GatewayRequest:
    """Write the request for images.

    Args:
        entry: The model.
        prompt: What is to be drawn.
        drawing: What it is to be like.
        references: `data:` URIs of the pictures to start from.
        how: On what terms.
        attachments: What tells of those pictures.

    Raises:
        InputError: No gateway can be asked this.
    """
    if not prompt.strip():
        raise InputError("There is no prompt.", "Say what is to be drawn.")
    options = drawing.sent(entry)

    def body() -> dict[str, Any]:
        # The network's gateways take no size: another one is made of what they send.
        content: Any = prompt
        if references:
            pictures = ({"type": "image_url", "image_url": {"url": uri}} for uri in references)
            content = [{"type": "text", "text": prompt}, *pictures]
        messages = [{"role": "user", "content": content}]
        return {"model": entry.wire_name, "messages": messages, "temperature": 0.0, **options}

    most_bytes = (await load("llm.gateway_answer")).MAX_IMAGE_BYTES
    question = await _question("CHAT", body, (prompt, references), how, most_bytes=most_bytes)
    beside: dict[str, Any] = {"width": drawing.width, "height": drawing.height}
    beside |= _attached(attachments) | ({"save_as": drawing.save_as} if drawing.save_as else {})
    return GatewayRequest(tool="generate_image", model=entry, question=question, beside=beside)


async def search_request(
    query: str, num_results: int, recency_days: int, how: How
) -> GatewayRequest:
    """Write a search of the web.

    Raises:
        InputError: No gateway can be asked this.
    """
    if not query.strip() or len(query) > LONGEST_QUERY:
        raise InputError(
            f"query has {len(query):,} characters.",
            f"Use 1 to {LONGEST_QUERY:,}, not blanks alone; nothing was sent or paid.",
        )
    numbers = {"num_results": num_results, "recency_days": recency_days}
    for (name, number), most in zip(numbers.items(), (MOST_RESULTS, MOST_DAYS), strict=True):
        if not 0 <= number <= most:
            raise InputError(f"{name} is {number}.", f"Use 0 (the gateway's own) to {most}.")

    def body() -> dict[str, Any]:
        return {"query": query, **{name: number for name, number in numbers.items() if number}}

    question = await _question("SEARCH", body, query, how)
    return GatewayRequest(tool="web_search", question=question)


def _attached(attachments: Attachments) -> dict[str, Any]:
    """Tell of the files in the request: a gateway's TEE may hash no more of them than their names."""
    told = [one.model_dump() for one in attachments.told]
    return {"attachments": told} if told else {}


def _sampled(sampling: Sampling, entry: Entry) -> dict[str, Any]:
    """Write how an answer is made; a model that takes no temperature is sent none.

    Raises:
        InputError: A value is out of bounds, or the model does not take it.
    """
    sent = sampling.sent()
    if not entry.temperature and sent.pop("temperature"):
        raise InputError(
            f"{entry.id} does not take a temperature, and {sampling.temperature} was given. "
            "Nothing was sent or paid.",
            "Leave temperature out, or use another model.",
        )
    return sent


async def _question(
    path: str,
    body: Callable[[], dict[str, Any]],
    given: object,
    how: How,
    **rest: Any,  # noqa: ANN401 - fields of Question
) -> Question:
    """Write a question of what was given, without holding up the event loop."""
    module, most = await load("llm.question"), (await load("files.attachments")).MAX_REQUEST

    def write() -> Question:
        question: Question = module.Question(
            path=getattr(module, path), body=body(), settlement=how.settlement, **rest
        )
        # Refused here rather than when it is sent: nothing is journalled for it.
        size = len(question.asked)
        if size > most:
            raise InputError(
                f"The request has {size:,} bytes, and gateways take up to {most // 2**20} MiB.",
                "Send less; nothing was sent or paid.",
            )
        return question

    return await off_loop(write, given)
