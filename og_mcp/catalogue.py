"""The language and image models of the network, as data.

Names: protocol.md section 1, and for the enum members the public SDK 1.1.4. Which providers take
`json_object` and which search the web: the same SDK's documentation. What a model can do is what
its provider documents; `None` where that is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final, Literal

Kind = Literal["llm", "image"]

Generation = Literal["gateway", "on_chain"]
"""Which route answers: a TEE gateway, or the inference contract of the first generation."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One model that answers chats, completions or drawing requests."""

    provider: str
    name: str
    member: str
    """The name in the SDK's enums: `TEE_LLM` of the gateway generation, `LLM` on chain."""

    kind: Kind = "llm"
    generation: Generation = "gateway"
    in_tee: bool = True
    """Whether it may be called in TEE mode; on chain one model alone may."""

    json_object: bool | None = None
    """Whether it takes the response format `json_object`; all take `json_schema`."""

    tools: bool | None = None
    vision: bool | None = None
    """Whether it reads images."""

    web_search: bool = False
    """Whether the gateway lets it search; other models ignore the wish."""

    @property
    def id(self) -> str:
        """`provider/name`."""
        return f"{self.provider}/{self.name}"

    @property
    def wire_name(self) -> str:
        """What a request carries: the bare name to a gateway, the whole id on chain."""
        return self.name if self.generation == "gateway" else self.id

    @property
    def abilities(self) -> str:
        """What it can do and cannot, as far as that is known; in words that a search can find."""
        if self.generation == "on_chain":
            mode = "inference_mode VANILLA or TEE" if self.in_tee else "inference_mode VANILLA"
            return f"Answers on chain, {mode}."
        if self.kind == "image":
            return "Draws images."
        told = {
            "tools": self.tools,
            "image input": self.vision,
            "json_object": self.json_object,
            "web_search": self.web_search or None,
        }
        can = ", ".join(name for name, known in told.items() if known)
        cannot = ", ".join(name for name, known in told.items() if known is False)
        parts = (f"takes {can}" if can else "", f"not {cannot}" if cannot else "")
        return "; ".join(filter(None, ("Answers in a TEE", *parts))) + "."

    @property
    def names(self) -> tuple[str, str, str]:
        """Every way to name it."""
        return self.id, self.name, self.member


_ON_CHAIN: Final = (
    ("NousResearch", "Hermes-3-Llama-3.1-70B", "HERMES_3_LLAMA_3_1_70B"),
    ("meta-llama", "Llama-3.2-3B-Instruct", "LLAMA_3_2_3B_INSTRUCT"),
    ("meta-llama", "Llama-3.1-70B-Instruct", "META_LLAMA_3_1_70B_INSTRUCT"),
    ("meta-llama", "Meta-Llama-3-8B-Instruct", "META_LLAMA_3_8B_INSTRUCT"),
    ("mistralai", "Mistral-7B-Instruct-v0.3", "MISTRAL_7B_INSTRUCT_V3"),
)
_ON_CHAIN_IN_TEE: Final = "META_LLAMA_3_1_70B_INSTRUCT"


def _openai() -> Iterator[Entry]:
    for name, member in (
        ("gpt-4.1-2025-04-14", "GPT_4_1_2025_04_14"),
        ("gpt-4.1-mini", "GPT_4_1_MINI"),
        ("gpt-4.1-nano", "GPT_4_1_NANO"),
        ("o3", "O3"),
        ("o4-mini", "O4_MINI"),
        ("gpt-5", "GPT_5"),
        ("gpt-5-mini", "GPT_5_MINI"),
        ("gpt-5.2", "GPT_5_2"),
        ("gpt-5.4", "GPT_5_4"),
        ("gpt-5.4-mini", "GPT_5_4_MINI"),
        ("gpt-5.4-nano", "GPT_5_4_NANO"),
        ("gpt-5.5", "GPT_5_5"),
    ):
        yield Entry(
            provider="openai",
            name=name,
            member=member,
            json_object=True,
            tools=True,
            vision=True,
            web_search=True,
        )
    yield _image("openai", "gpt-image-2", "GPT_IMAGE_2")


def _anthropic() -> Iterator[Entry]:
    for name, member in (
        ("claude-sonnet-4-5", "CLAUDE_SONNET_4_5"),
        ("claude-sonnet-4-6", "CLAUDE_SONNET_4_6"),
        ("claude-haiku-4-5", "CLAUDE_HAIKU_4_5"),
        ("claude-opus-4-5", "CLAUDE_OPUS_4_5"),
        ("claude-opus-4-6", "CLAUDE_OPUS_4_6"),
        ("claude-opus-4-7", "CLAUDE_OPUS_4_7"),
        ("claude-opus-4-8", "CLAUDE_OPUS_4_8"),
    ):
        yield Entry(
            provider="anthropic",
            name=name,
            member=member,
            json_object=False,
            tools=True,
            vision=True,
            web_search=True,
        )


def _google() -> Iterator[Entry]:
    for name, member in (
        ("gemini-2.5-flash", "GEMINI_2_5_FLASH"),
        ("gemini-2.5-pro", "GEMINI_2_5_PRO"),
        ("gemini-2.5-flash-lite", "GEMINI_2_5_FLASH_LITE"),
        ("gemini-3-flash-preview", "GEMINI_3_FLASH"),
        ("gemini-3.1-pro-preview", "GEMINI_3_1_PRO_PREVIEW"),
        ("gemini-3.1-flash-lite-preview", "GEMINI_3_1_FLASH_LITE_PREVIEW"),
        ("gemini-3.5-flash", "GEMINI_3_5_FLASH"),
    ):
        yield Entry(
            provider="google",
            name=name,
            member=member,
            json_object=True,
            tools=True,
            vision=True,
            web_search=True,
        )
    yield _image("google", "gemini-2.5-flash-image", "GEMINI_2_5_FLASH_IMAGE")
    yield _image("google", "gemini-3.1-flash-image", "GEMINI_3_1_FLASH_IMAGE")


def _xai() -> Iterator[Entry]:
    for name, member, vision in (
        ("grok-4", "GROK_4", True),
        ("grok-4-fast", "GROK_4_FAST", True),
        ("grok-4-1-fast", "GROK_4_1_FAST", True),
        ("grok-4-1-fast-non-reasoning", "GROK_4_1_FAST_NON_REASONING", True),
        ("grok-4.20-reasoning", "GROK_4_20_REASONING", None),
        ("grok-4.20-non-reasoning", "GROK_4_20_NON_REASONING", None),
        ("grok-code-fast-1", "GROK_CODE_FAST_1", False),
    ):
        yield Entry(
            provider="x-ai",
            name=name,
            member=member,
            json_object=True,
            tools=True,
            vision=vision,
            web_search=True,
        )
    yield _image("x-ai", "grok-2-image", "GROK_2_IMAGE")


def _others() -> Iterator[Entry]:
    for provider, name, member in (
        ("bytedance", "seed-1.6", "SEED_1_6"),
        ("bytedance", "seed-1.8", "SEED_1_8"),
        ("bytedance", "seed-2.0-lite", "SEED_2_0_LITE"),
        ("bytedance", "deepseek-v4-flash", "DEEPSEEK_V4_FLASH"),
        ("bytedance", "deepseek-v4-pro", "DEEPSEEK_V4_PRO"),
        ("nous", "hermes-4-405b", "HERMES_4_405B"),
        ("nous", "hermes-4-70b", "HERMES_4_70B"),
        ("zai", "glm-5.2", "GLM_5_2"),
    ):
        yield Entry(provider=provider, name=name, member=member)
    yield _image("bytedance", "seedream-4.0", "SEEDREAM_4_0")
    yield _image("bytedance", "seedance-4.5", "SEEDANCE_4_5")
    yield _image("zai", "glm-image", "GLM_IMAGE")


def _on_chain() -> Iterator[Entry]:
    for provider, name, member in _ON_CHAIN:
        yield Entry(
            provider=provider,
            name=name,
            member=member,
            generation="on_chain",
            in_tee=member == _ON_CHAIN_IN_TEE,
        )


def _image(provider: str, name: str, member: str) -> Entry:
    return Entry(provider=provider, name=name, member=member, kind="image", tools=False)


LONGEST: Final = 200
"""Characters of a text that are compared with names."""

MODELS: Final[tuple[Entry, ...]] = (
    *_openai(),
    *_anthropic(),
    *_google(),
    *_xai(),
    *_others(),
    *_on_chain(),
)
"""Every model, providers together; those of the first generation last."""


def find(text: str, generation: Generation | None = None) -> Entry | None:
    """Look a model up by id, bare name or enum member; upper and lower case are alike.

    Args:
        text: What somebody called it.
        generation: Only models of this route; every route if None.
    """
    wanted = text.strip().casefold()
    for entry in _of(generation):
        if wanted in map(str.casefold, entry.names):
            return entry
    return None


def nearest(
    text: str,
    generation: Generation | None = None,
    count: int = 3,
    *,
    kind: Kind | None = None,
) -> tuple[str, ...]:
    """Name the models whose ids, names or members look most like a text, the nearest first."""
    # Comparing takes time by length, and no name is nearly as long.
    wanted = text.strip().casefold()[:LONGEST]

    def likeness(entry: Entry) -> float:
        ratios = (SequenceMatcher(None, wanted, name.casefold()).ratio() for name in entry.names)
        return max(ratios)

    alike = (entry for entry in _of(generation) if kind in {None, entry.kind})
    ranked = sorted(alike, key=likeness, reverse=True)
    return tuple(entry.id for entry in ranked[:count])


def _of(generation: Generation | None) -> Iterator[Entry]:
    return (entry for entry in MODELS if generation in {None, entry.generation})
