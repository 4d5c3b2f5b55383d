"""Faults that a test injects into the local network, and counters.

A fault waits for a request whose name matches, shows itself `times` times and is gone. The name of
a JSON-RPC call is its method, also inside a batch; the name of any other request is
`SERVICE METHOD PATH`, e.g. `hub GET /api/v0/models`. Patterns are those of `fnmatch`: `eth_*`.

As JSON (what the admin service takes and gives) a fault is an object:

```
{"method": "eth_sendRawTransaction",   which requests; a pattern
 "action": "error",                    one of the actions below
 "when": "before",                     before the request is carried out, "after" it was, or
                                       "midway": once `after_bytes` of its body have come
 "times": 1, "skip": 0,                shown so often, after so many matches were let through
 "delay_s": 0.0}                       waited first, with any action
```

and, by action:

* `error`: a JSON-RPC error of `code`, `message` and (unless null) `data`. Other services answer
  with `status` and `{"detail": message}`.
* `result`: `result` in place of the true one; with `before` the request is not carried out.
* `status`: the whole HTTP answer has `status` and the text `body`.
* `drop`: the connection closes without an answer.
* `hang`: no answer until the client leaves, the faults are cleared, or `limit_s` has passed;
  then the connection closes.
* `delay`: nothing but `delay_s`.
* `spoil`: the gateway's answer goes wrong as `how` says (`og_mcp.localnet.gateway.gateway_faults`);
  `when` does not matter, and other services never show it.

`midway` is for services other than JSON-RPC: an upload (`"method": "hub POST */files"`) is answered
401, 413 or 500, or cut, in its middle, and nothing is stored; `delay` waits before every further
piece of it. An upload that is answered with nothing is `"when": "after"` with `"action": "status"`,
`"status": 201` and a `body` that is empty or `null`; a version that the hub does not tell is
`"method": "hub POST */versions"`, `"when": "after"`, `"action": "result"`, `"result": []`.

What goes wrong with paid answers most, as JSON; `F` is `POST /services/gateway/faults`, and `P` is
`"method": "gateway POST *"` (`og_mcp.localnet.admin` tells all verbs):

* slow: `F` `{P, "action": "delay", "delay_s": 5}`; piece by piece: `{P, "action": "spoil",
  "how": "slow_frames", "delay_s": 1}`
* cut in the middle: `F` `{P, "action": "spoil", "how": "cut"}`
* wrong signature, wrong hash: `F` `{P, "action": "spoil", "how": "wrong_signature"}`,
  `"wrong_request_hash"`, `"wrong_output_hash"`
* price above the cap: `PUT /payments/terms` `{"accepts": {"amount": "9000000000000000000"}}`
* unknown asset: `PUT /payments/terms` `{"accepts": {"asset": "0x..."}}`
* 503 before a payment: `F` `{P, "action": "status", "status": 503}`; after it: `{P, "action":
  "spoil", "how": "no_price"}`
* an error of the gateway's own: `F` `{P, "action": "spoil", "how": "refuse", "status": 451,
  "retryable": false}`; in the middle of a stream: `"how": "refuse_midway"`
* 402 twice: `POST /payments/refuse` `{"times": 2}`
* garbage: `F` `{P, "action": "spoil", "how": "not_json"}`, `"wrong_shape"`, `"huge"`

Inside a batch, `status`, `drop` and `hang` end the whole HTTP request: what stands before the
faulty call was carried out, what stands behind it was not.

Verbs for the admin service: `Faults.add(Fault.from_json(body))`, `Faults.pending()`,
`Faults.clear()`, `Faults.latency_s` (read and write), `Faults.counters()`,
`Faults.reset_counters()`. The chain's own verbs are in `chain.Chain`: `hold_blocks()`,
`release_blocks()`, `mine(blocks)`, `gas_price`, `least_gas_price`, `answers`.
"""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatchcase
from typing import Any, Final, Literal, Self

import anyio
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

Action = Literal["error", "result", "status", "drop", "hang", "delay", "spoil"]
When = Literal["before", "after"]
Timing = Literal["before", "midway", "after"]
Moment = Literal["before", "midway", "after", "within"]
"""Around a request, while its body comes, or while its answer is made."""

Spoil = Literal[
    "wrong_request_hash",
    "wrong_output_hash",
    "old_timestamp",
    "future_timestamp",
    "other_tee",
    "other_text",
    "other_finish_reason",
    "text_beside_tools",
    "replay",
    "wrong_signature",
    "wrong_tee_id",
    "unsigned",
    "web_search_uncovered",
    "parts_as_text",
    "message_frames",
    "completion_field",
    "tools_left_out",
    "no_done",
    "slow_frames",
    "cut",
    "not_json",
    "wrong_shape",
    "redirect",
    "huge",
    "surrogate",
    "error_frame",
    "http_images",
    "large_image",
    "wide_image",
    "wrong_magic",
    "many_images",
    "no_images",
    "no_price",
    "cost_under_told",
    "cost_over_told",
    "no_cost",
    "annotated",
    "refuse",
    "refuse_midway",
]

MAX_HANG_S: Final = 600.0


class FaultError(ValueError):
    """The description of a fault cannot be used."""


class Fault(BaseModel):
    """One fault; the module's docstring explains the fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    method: str
    action: Action
    when: Timing = "before"
    times: int = Field(default=1, ge=1)
    skip: int = Field(default=0, ge=0)
    delay_s: float = Field(default=0.0, ge=0)
    code: int = -32000
    message: str = "fault asked for by the admin service"
    data: Any = None
    result: Any = None
    after_bytes: int = Field(default=0, ge=0)
    status: int = Field(default=500, ge=200, le=599)
    body: str = ""
    limit_s: float = Field(default=MAX_HANG_S, ge=0)
    how: Spoil | None = None
    size: int = Field(default=0, ge=0)
    retryable: bool = False

    @model_validator(mode="after")
    def _check_how(self) -> Self:
        if (self.how is not None) != (self.action == "spoil"):
            raise ValueError("how belongs to the action spoil, and that to it")
        return self

    @classmethod
    def from_json(cls, value: object) -> Fault:
        """Read a fault from its JSON object.

        Raises:
            FaultError: A field is unknown, missing, or not of its kind.
        """
        try:
            return cls.model_validate(value)
        except ValidationError as exc:
            raise FaultError("; ".join(map(_problem, exc.errors()))) from exc

    def as_json(self) -> dict[str, Any]:
        """Write the fault as the object `from_json` reads."""
        return self.model_dump()

    def matches(self, name: str, moment: Moment) -> bool:
        """Whether this fault is for the request `name` at this moment."""
        own = "within" if self.action == "spoil" else self.when
        return own == moment and fnmatchcase(name, self.method)


def _problem(error: ErrorDetails) -> str:
    field = ".".join(map(str, error["loc"])) or "a fault"
    return f"{field}: {error['msg']}"


class Faults:
    """The faults that are waiting, added latency, and counters; one for each chain or service."""

    latency_s: float = 0.0
    """Seconds added to every HTTP request, before it is read."""

    def __init__(self) -> None:
        self._waiting: dict[int, Fault] = {}
        self._next_id = 1
        self._requests = 0
        self._calls: Counter[str] = Counter()
        self._released = anyio.Event()

    def add(self, fault: Fault) -> int:
        """Let a fault wait for its request; returns its id."""
        number = self._next_id
        self._next_id += 1
        self._waiting[number] = fault
        return number

    def pending(self) -> list[dict[str, Any]]:
        """List the faults that still wait, oldest first, with their `id`."""
        return [{"id": number, **fault.as_json()} for number, fault in self._waiting.items()]

    def clear(self) -> None:
        """Forget all faults, take away latency, and let go of requests that hang."""
        self._waiting.clear()
        self.latency_s = 0.0
        self._released.set()
        self._released = anyio.Event()

    def take(self, name: str, moment: Moment) -> Fault | None:
        """Return the oldest fault that is due for this request, and count it as shown once."""
        for number, fault in self._waiting.items():
            if not fault.matches(name, moment):
                continue
            if fault.skip:
                self._waiting[number] = fault.model_copy(update={"skip": fault.skip - 1})
                continue
            if fault.times > 1:
                self._waiting[number] = fault.model_copy(update={"times": fault.times - 1})
            else:
                del self._waiting[number]
            return fault
        return None

    async def until_released(self) -> None:
        """Wait until `clear` is called."""
        await self._released.wait()

    def count_request(self) -> None:
        """Count one HTTP request."""
        self._requests += 1

    def count_call(self, name: str) -> None:
        """Count one call by its name; a batch of three counts three."""
        self._calls[name] += 1

    def counters(self) -> dict[str, Any]:
        """Return `{"http_requests": int, "calls": {name: int}}` since the last reset."""
        return {"http_requests": self._requests, "calls": dict(self._calls)}

    def reset_counters(self) -> None:
        """Count from zero again."""
        self._requests = 0
        self._calls.clear()
