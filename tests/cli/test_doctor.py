"""`og-mcp doctor` as a person runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from og_mcp.client import Session
from tests.cli.program import inside
from tests.localnet_client import LocalNetwork


def doctor(environ: dict[str, str], *options: str) -> tuple[int, str, str]:
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-P", "-m", "og_mcp", "doctor", *options],
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def findings(environ: dict[str, str]) -> tuple[int, dict[str, Any]]:
    code, out, _ = doctor(environ, "--json")
    return code, {finding["name"]: finding for finding in json.loads(out)}


async def test_a_working_network_is_well(localnet: LocalNetwork) -> None:
    sample = localnet.ready["sample_models"][0]
    async with Session.from_env(localnet.environ) as og:
        await og.infer(sample["cid"], sample["model_input"])

    code, found = findings(localnet.environ)

    assert code == 0
    assert localnet.ready["accounts"][0]["address"] in found["wallet and chain"]["detail"]
    assert "0 interrupted" in found["journal"]["detail"]


def test_a_missing_wallet_and_a_wrong_value_are_told_with_their_mend(tmp_path: Path) -> None:
    missing = inside(
        *("doctor", "--json"),
        environ={"OG_NETWORK": "opengradient", "OG_DATA_DIR": str(tmp_path)},
    )
    wrong = inside("doctor", environ={"OG_MAX_FEE_PER_DAY": "much"})
    found = {finding["name"]: finding for finding in json.loads(missing.stdout)}

    assert missing.returncode == wrong.returncode == 1
    assert "OG_PRIVATE_KEY" in found["wallet and chain"]["fix"]
    assert "OG_MAX_FEE_PER_DAY" in wrong.stdout
