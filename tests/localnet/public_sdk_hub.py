"""Runs in the public SDK's own environment: publishes as told on standard input, answers in JSON.

Reads `{"ready", "calls": [[method, *arguments], ...]}`, calls `ModelHub` in turn and writes a list
of what it returned, or `{"error"}`. The SDK's addresses stand in its code, so that its requests are
led to the local network on their way out.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from typing import Any

import requests.adapters


def main() -> None:
    told = json.load(sys.stdin)
    ready = told["ready"]
    login = ready["hub_login"]
    # Read when the module is imported.
    os.environ["FIREBASE_API_KEY"] = login["firebase_api_key"]
    os.environ["FIREBASE_AUTH_DOMAIN"] = os.environ["FIREBASE_PROJECT_ID"] = "local"
    os.environ["FIREBASE_STORAGE_BUCKET"] = os.environ["FIREBASE_APP_ID"] = "local"
    _lead_to(ready)
    import opengradient as og  # type: ignore[import-not-found] # noqa: PLC0415 - see above

    hub = og.ModelHub(email=login["email"], password=login["password"])
    json.dump([_call(hub, *call) for call in told["calls"]], sys.stdout)


def _lead_to(ready: dict[str, Any]) -> None:
    routes = {
        "https://api.opengradient.ai": ready["hub_url"],
        "https://www.googleapis.com/identitytoolkit/v3/relyingparty/verifyPassword": ready[
            "auth_url"
        ],
        "https://securetoken.googleapis.com/v1/token": ready["token_url"],
    }
    adapters: Any = requests.adapters.HTTPAdapter
    send = adapters.send

    def led(adapter: Any, request: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as requests has it
        for origin, local in routes.items():
            if request.url.startswith(origin):
                request.url = local + request.url.removeprefix(origin)
        return send(adapter, request, *args, **kwargs)

    adapters.send = led


def _call(hub: Any, method: str, *arguments: Any) -> Any:  # noqa: ANN401 - the SDK's client
    try:
        result = getattr(hub, method)(*arguments)
    except Exception as exc:  # noqa: BLE001 - the SDK raises bare exceptions
        return {"error": str(exc)}
    return dataclasses.asdict(result) if method in {"create_model", "upload"} else result


if __name__ == "__main__":
    main()
