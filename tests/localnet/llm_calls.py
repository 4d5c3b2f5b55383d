"""LLM call data and answers, by eth_abi alone (protocol.md section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from eth_abi.abi import decode, encode
from eth_typing import Address

from og_mcp.localnet.chain import Chain
from og_mcp.localnet.evm import Call
from tests.localnet.calls import CONTRACT

TOOL_CALL: Final = "(string,string,string)"
MESSAGE: Final = f"(string,string,string,string,{TOOL_CALL}[])"
CHAT_REQUEST: Final = (
    f"(uint8,string,{MESSAGE}[],(string,string,string)[],string,uint32,string[],uint32)"
)
CHAT_RESPONSE: Final = f"(string,{MESSAGE})"
COMPLETION_REQUEST: Final = "(uint8,string,string,uint32,string[],uint32)"
COMPLETION_RESPONSE: Final = "(string)"

RUN_CHAT: Final = bytes.fromhex("e39aa7e7")
RUN_COMPLETION: Final = bytes.fromhex("14800c61")
CHAT_RESULT: Final = bytes.fromhex(
    "53fcd580be8545626a896d86eb76e16597d793de715dda5d21df71d303d1ff96"
)
COMPLETION_RESULT: Final = bytes.fromhex(
    "e522a1a92cb132ca102e36a004efceb8c83284b64164e0d128ddce12e86cab7b"
)
CHAT_EVENT: Final = bytes.fromhex(
    "4c92d3df7819fcd1c9f9663332f0a599a65eefdad2eaf9193cffb9dbf1919c3b"
)
COMPLETION_EVENT: Final = bytes.fromhex(
    "51fe69d513d73ecde3fa3bf17584f7d2acfd5f0b13d367e898d6e11e742127a3"
)

LLAMA: Final = "meta-llama/Llama-3.1-70B-Instruct"
"""The one model that runs in a TEE too."""

MISTRAL: Final = "mistralai/Mistral-7B-Instruct-v0.3"

Messages = Sequence[tuple[str, str, str, str, Sequence[tuple[str, str, str]]]]


def user(content: str) -> tuple[str, str, str, str, Sequence[tuple[str, str, str]]]:
    """Write a user's message."""
    return ("user", content, "", "", ())


def chat_data(  # noqa: PLR0913 - the members of the request
    messages: Messages,
    *,
    model: str = LLAMA,
    mode: int = 0,
    tools: Sequence[tuple[str, str, str]] = (),
    tool_choice: str = "",
    max_tokens: int = 100,
    stop: Sequence[str] = (),
    temperature: int = 0,
) -> bytes:
    """Write call data of `runLLMChat`; tools are description, name and parameters."""
    request = (mode, model, messages, tools, tool_choice, max_tokens, stop, temperature)
    return RUN_CHAT + encode([CHAT_REQUEST], [request])


def completion_data(  # noqa: PLR0913 - the members of the request
    prompt: str,
    *,
    model: str = LLAMA,
    mode: int = 0,
    max_tokens: int = 100,
    stop: Sequence[str] = (),
    temperature: int = 0,
) -> bytes:
    """Write call data of `runLLMCompletion`."""
    request = (mode, model, prompt, max_tokens, stop, temperature)
    return RUN_COMPLETION + encode([COMPLETION_REQUEST], [request])


def ask(chain: Chain, data: bytes) -> Any:  # noqa: ANN401 - ABI values
    """Call the contract without a transaction; returns the members of the answer."""
    call = Call(sender=Address(bytes(20)), to=CONTRACT, gas=10**8, data=data)
    kind = CHAT_RESPONSE if data[:4] == RUN_CHAT else COMPLETION_RESPONSE
    return decode([kind], chain.call(call))[0]
