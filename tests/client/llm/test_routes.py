"""Which route leads to a model on each network, and what is said where none does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from og_mcp.client import Session
from og_mcp.errors import InputError, UnsafeEndpointError
from og_mcp.types import LLMModeName
from tests.localnet_client import LocalNetwork

LLAMA = "meta-llama/Llama-3.1-70B-Instruct"
MISTRAL = "mistralai/Mistral-7B-Instruct-v0.3"
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture
async def public(tmp_path: Path) -> AsyncIterator[Session]:
    """The current network, by name; what is refused asks nobody."""
    environ = {"OG_NETWORK": "opengradient", "OG_DATA_DIR": str(tmp_path)}
    async with Session.from_env(environ) as og:
        yield og


@pytest.fixture
async def alpha(localnet: LocalNetwork, tmp_path: Path) -> AsyncIterator[Session]:
    """The network of the first generation; it signs for no RPC of this machine."""
    environ = {
        "OG_NETWORK": "alpha-2025",
        "OG_RPC_URL": localnet.ready["rpc_url"],
        "OG_CHAIN_ID": str(localnet.ready["chain_id"]),
        "OG_PRIVATE_KEY": "0x" + "42" * 32,
        "OG_DATA_DIR": str(tmp_path),
    }
    async with Session.from_env(environ) as og:
        yield og


@pytest.fixture
async def local(localnet: LocalNetwork, tmp_path: Path) -> AsyncIterator[Session]:
    async with Session.from_env({**localnet.environ, "OG_DATA_DIR": str(tmp_path)}) as og:
        yield og


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        ("openia/gpt-5.4", "openai/gpt-5.4"),
        ("gpt-5.4-minni", "openai/gpt-5.4-mini"),
        ("CLAUDE_SONET_4_5", "anthropic/claude-sonnet-4-5"),
        ("GEMINI_25_FLASH", "google/gemini-2.5-flash"),
        ("xai/grok-4.6", "x-ai/grok-4.6"),
    ],
)
async def test_a_near_miss_is_told_the_three_nearest_by_every_way_to_name_a_model(
    public: Session, given: str, nearest: str
) -> None:
    with pytest.raises(InputError) as chat:
        await public.chat(given, HELLO)
    with pytest.raises(InputError) as completion:
        await public.completion(given, "Hello")

    assert str(chat.value) == str(completion.value)
    named = str(chat.value).partition("The nearest are ")[2].partition(";")[0].split(", ")
    assert len(named) == 3
    assert nearest in named
    assert not any("image" in name for name in named)


async def test_images_are_drawn_by_models_that_draw_and_texts_written_by_others(
    public: Session,
) -> None:
    with pytest.raises(InputError, match=r"google/gemini-2\.5-flash is a model of kind llm.*chat"):
        await public.generate_image("gemini-2.5-flash", "a tree")
    with pytest.raises(
        InputError, match=r"kind image\. Nothing was sent or paid\. Use it with generate_image"
    ):
        await public.chat("GPT_IMAGE_2", HELLO)
    with pytest.raises(
        InputError, match=r"kind image\. Nothing was sent or paid\. Use it with generate_image"
    ):
        await public.completion("zai/glm-image", "Hello")
    with pytest.raises(InputError) as near:
        await public.generate_image("gpt-image-3", "a tree")
    assert "openai/gpt-image-2" in str(near.value)


async def test_the_current_network_has_gateways_alone(public: Session) -> None:
    with pytest.raises(InputError, match="by TEE gateways alone"):
        await public.chat("openai/gpt-5.4", HELLO, "VANILLA")
    modes: tuple[LLMModeName, ...] = ("AUTO", "TEE")
    for mode in modes:
        with pytest.raises(InputError, match="but one of the first generation"):
            await public.chat(LLAMA, HELLO, mode)


async def test_the_first_generation_has_the_contract_alone(alpha: Session) -> None:
    # Found, and stopped where it would be signed: AUTO is VANILLA there.
    for model, mode in ((MISTRAL, "AUTO"), (MISTRAL, "VANILLA"), (LLAMA, "AUTO"), (LLAMA, "TEE")):
        with pytest.raises(UnsafeEndpointError, match="loopback"):
            await alpha.chat(model, HELLO, mode)  # type: ignore[arg-type]  # one of the three
    with pytest.raises(InputError, match=f"does not run in a TEE on chain. Use {LLAMA}"):
        await alpha.completion(MISTRAL, "Hello", "TEE")
    with pytest.raises(InputError, match=r"answered by gateways.*nearest are \S+, \S+, \S+\.$"):
        await alpha.chat("openai/gpt-5.4", HELLO)
    with pytest.raises(InputError, match="has no gateways"):
        await alpha.generate_image("gpt-image-2", "a tree")
    for more in ({"response_format": {"type": "json_object"}}, {"web_search": True}):
        with pytest.raises(InputError, match="neither response_format nor web_search"):
            await alpha.chat(LLAMA, HELLO, **more)


@pytest.mark.parametrize(
    ("model", "mode", "by"),
    [
        ("gpt-5.4-mini", "AUTO", "TEE"),
        ("GPT_5_4_MINI", "TEE", "TEE"),
        (LLAMA, "AUTO", "TEE"),
        ("META_LLAMA_3_1_70B_INSTRUCT", "VANILLA", "VANILLA"),
        ("mistral-7b-instruct-v0.3", "AUTO", "VANILLA"),
    ],
)
async def test_the_local_network_has_both_routes(
    local: Session, model: str, mode: LLMModeName, by: str
) -> None:
    result = await local.chat(model, HELLO, mode)

    receipt = await local.receipt(result.call_id)
    assert receipt["request"]["inference_mode"] == by
    assert ("tee" in receipt) is ("gpt" in model.lower())
    assert ("chain" in receipt) is not ("tee" in receipt)


async def test_a_gateway_s_model_is_not_asked_on_chain(local: Session) -> None:
    with pytest.raises(InputError, match="is answered by gateways, not on chain"):
        await local.chat("openai/gpt-5.4", HELLO, "VANILLA")


async def test_what_is_to_stay_private_is_not_put_on_chain(alpha: Session, local: Session) -> None:
    for og in (alpha, local):
        with pytest.raises(InputError, match="publish request and answer"):
            await og.chat(LLAMA, HELLO, settlement_mode="private")
        with pytest.raises(InputError, match="publish request and answer"):
            await og.completion(LLAMA, "Hello", settlement_mode="private")


MESSAGES: dict[str, tuple[list[Any], str]] = {
    "none": ([], "no messages"),
    "an unknown role": ([{"role": "robot", "content": "x"}], "role 'robot'"),
    "an unknown key": ([{"role": "user", "content": "x", "audio": {}}], "unknown key 'audio'"),
    "a tool's answer to nothing": ([{"role": "tool", "content": "x"}], "no tool_call_id"),
    "an unknown part": ([{"role": "user", "content": [{"type": "video"}]}], "has type 'video'"),
    "an image without its address": (
        [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
        "image_url.url",
    ),
    "no content": ([{"role": "user", "content": None}], "no content"),
    "a call without arguments": (
        [{"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f"}}]}],
        "arguments",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
async def test_messages_that_no_gateway_takes_are_refused_by_their_place(
    public: Session, name: str
) -> None:
    messages, words = MESSAGES[name]

    with pytest.raises(InputError, match=words):
        await public.chat("openai/gpt-5.4", messages)


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}

WISHES: dict[str, tuple[dict[str, Any], str]] = {
    "a required tool without tools": ({"tool_choice": "required"}, "there are no tools"),
    "a choice of no tool": ({"tool_choice": "g", "tools": [TOOL]}, "'g', which is not a tool"),
    "two tools of one name": ({"tools": [TOOL, TOOL]}, "Two tools have one name"),
    "an unknown format": ({"response_format": {"type": "xml"}}, "type 'xml'"),
    "a format without schema": ({"response_format": {"type": "json_schema"}}, "no json_schema"),
    "no tokens": ({"max_tokens": 0}, "max_tokens is 0"),
    "too warm": ({"temperature": 2.1}, r"temperature is 2\.1"),
    "an empty stop": ({"stop_sequence": [""]}, "stop_sequence"),
    "too many stops": ({"stop_sequence": ["x"] * 17}, "17 texts"),
}


@pytest.mark.parametrize("name", WISHES)
async def test_wishes_that_no_gateway_grants_are_refused(public: Session, name: str) -> None:
    wishes, words = WISHES[name]

    with pytest.raises(InputError, match=words):
        await public.chat("openai/gpt-5.4", HELLO, **wishes)


async def test_json_object_is_refused_where_the_provider_has_it_not(public: Session) -> None:
    with pytest.raises(InputError, match=r"claude-haiku-4-5 does not take .*json_object"):
        await public.chat("claude-haiku-4-5", HELLO, response_format={"type": "json_object"})
