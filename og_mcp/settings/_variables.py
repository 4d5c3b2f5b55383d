"""Every environment variable, what reads it, and the reading."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Final

from og_mcp.errors import SettingProblem
from og_mcp.networks import NAMES
from og_mcp.settings import _values as v
from og_mcp.types import PublishedModel

PREFIX: Final = "OG_"
TOOLSETS: Final = ("models", "llm", "hub", "wallet", "calls")

UNTOUCHED: Final = frozenset({"OG_PASSWORD", "OG_KEYSTORE_PASSWORD"})
"""Variables whose spaces at the ends are part of the value."""


def _models(text: str) -> tuple[PublishedModel, ...]:
    # Imported here because its shapes take 8 ms to make, and few set the variable.
    from og_mcp.settings._models import models  # noqa: PLC0415 - see the line above

    return models(text)


_CHAIN_ID: Final = v.integer(1, 2**64 - 1)

VARIABLES: Final[Mapping[str, v.Parse[Any]]] = {
    "OG_NETWORK": v.one_of(*NAMES),
    "OG_PRIVATE_KEY": v.private_key,
    "OG_PRIVATE_KEY_FILE": v.key_file,
    "OG_KEYSTORE": v.keystore,
    "OG_KEYSTORE_PASSWORD": v.secret,
    "OG_BASE_PRIVATE_KEY": v.private_key,
    "OG_EMAIL": v.plain,
    "OG_PASSWORD": v.secret,
    "FIREBASE_API_KEY": v.secret,
    "OG_RPC_URL": v.url,
    "OG_CHAIN_ID": _CHAIN_ID,
    "OG_CONTRACT_ADDRESS": v.address,
    "OG_TEE_REGISTRY_ADDRESS": v.address,
    "OG_BASE_RPC_URL": v.url,
    "OG_BASE_CHAIN_ID": _CHAIN_ID,
    "OG_NODE_API_URL": v.base_url,
    "OG_HUB_URL": v.base_url,
    "OG_HUB_READ_URL": v.base_url,
    "OG_AUTH_URL": v.base_url,
    "OG_TOKEN_URL": v.base_url,
    "OG_LOCALNET": v.future_file,
    "OG_MAX_PER_CALL": v.amount,
    "OG_MAX_PER_DAY": v.amount,
    "OG_MAX_FEE_PER_CALL": v.amount,
    "OG_MAX_FEE_PER_DAY": v.amount,
    "OG_CONFIRM_ABOVE": v.amount,
    "OG_PUBLISH": v.one_of("ask", "allow"),
    "OG_UPLOAD_ROOTS": v.folders,
    "OG_DATA_DIR": v.data_folder,
    "OG_RECEIPTS": v.one_of("full", "hashes"),
    "OG_JOURNAL_URL": v.journal_url,
    "OG_WAIT_S": v.seconds,
    "OG_GRACE_S": v.seconds,
    "OG_TEE_PCR": v.many(v.measurement),
    "OG_RPC_URLS": v.many(v.url),
    "OG_BASE_RPC_URLS": v.many(v.url),
    "OG_ALLOW_INSECURE": v.boolean,
    "OG_ALLOW_IMAGE_URLS": v.boolean,
    "OG_ALLOW_UNSIGNED": v.boolean,
    "OG_CHAT_MODEL": v.model,
    "OG_IMAGE_MODEL": v.model,
    "OG_IMAGES": v.one_of("preview", "omit"),
    "OG_MODELS": _models,
    "OG_LOCAL_LLM_URL": v.base_url,
    "OG_TOOLSETS": v.many(v.one_of(*TOOLSETS)),
    "OG_READ_ONLY": v.boolean,
    "OG_LOG_LEVEL": v.one_of("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
    "OG_TRANSPORT": v.one_of("stdio", "sse", "http"),
    "OG_HOST": v.host,
    "OG_PORT": v.integer(0, 65535),
    "OG_HTTP_TOKEN": v.token,
}
"""Every variable and what reads it, in the order of problems and of the documentation."""


def read(environ: Mapping[str, str]) -> tuple[dict[str, Any], list[SettingProblem]]:
    """Parse every variable that is set; one that cannot be parsed is a problem and has no value."""
    values: dict[str, Any] = {}
    problems: list[SettingProblem] = []
    for name, parse in VARIABLES.items():
        text = environ.get(name, "")
        text = text if name in UNTOUCHED else text.strip()
        if not text:
            continue
        try:
            values[name] = parse(text)
        except v.BadValueError as exc:
            problems.append(SettingProblem(name, str(exc)))
    return values, problems


def unknown(environ: Mapping[str, str]) -> list[SettingProblem]:
    """Refuse names that look like ours and are not, with the nearest known one."""
    return [
        SettingProblem(
            v.quoted_name(name), f"is not a setting of og-mcp; the nearest one is {_nearest(name)}"
        )
        for name in environ
        if name not in VARIABLES and (name.startswith(PREFIX) or name.upper() in VARIABLES)
    ]


def _nearest(name: str) -> str:
    return str(difflib.get_close_matches(name.upper(), VARIABLES, n=1, cutoff=0)[0])


def place(problem: SettingProblem) -> tuple[int, str]:
    """Sort key: the order of the table, unknown names after it."""
    names = list(VARIABLES)
    known = problem.variable in VARIABLES
    return names.index(problem.variable) if known else len(names), problem.variable
