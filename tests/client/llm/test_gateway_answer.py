"""Bodies of gateways, read as they come: put together, bounded, and never more than told."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint

from og_mcp.client.llm.gateway_answer import MAX_TEXT_BYTES, read
from og_mcp.errors import AnswerLostError, GatewayRejectedError
from og_mcp.types import Stage
from tests.client.whatever import VALUES, changed

SIGNED = {"tee_signature": "c2ln", "tee_timestamp": 1}


class Parts(httpx.AsyncByteStream):
    """A body in parts; never ends where it `hangs`."""

    def __init__(self, parts: Iterable[bytes], *, hangs: bool = False) -> None:
        self._parts, self._hangs = parts, hangs

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for number, part in enumerate(self._parts):
            if number % 1000 == 0:
                await checkpoint()
            yield part
        if self._hangs:
            await anyio.sleep_forever()


def answered(
    parts: Iterable[bytes],
    *,
    kind: str = "text/event-stream",
    status: int = 200,
    encoding: str = "identity",
    **how: bool,
) -> httpx.Response:
    request = httpx.Request("POST", "https://203.0.113.7/v1/chat/completions")
    headers = {"content-type": kind, "content-encoding": encoding}
    return httpx.Response(status, headers=headers, stream=Parts(parts, **how), request=request)


def frame(document: object) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def delta(**message: object) -> bytes:
    return frame({"choices": [{"index": 0, "delta": message, "finish_reason": None}]})


def last(**more: object) -> bytes:
    return frame({"choices": [{"delta": {}, "finish_reason": "stop"}], **more})


async def whole(*frames: bytes, max_bytes: int = MAX_TEXT_BYTES) -> dict[str, Any]:
    return await read(answered(frames), cap_id="cap", max_bytes=max_bytes)


async def test_frames_are_put_together_to_what_would_have_come_at_once() -> None:
    answer = await whole(
        delta(role="assistant", content=""),
        delta(content="Hal"),
        b": a comment\r\nevent: message\r\n",
        delta(content="lo"),
        last(**SIGNED),
        frame({"choices": [], "usage": {"total_tokens": 3}}),
        b"data: [DONE]\n\n",
    )

    assert answer == {
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hallo"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"total_tokens": 3},
        **SIGNED,
    }


async def test_a_signed_stream_may_end_without_done_and_an_unsigned_one_may_not() -> None:
    signed = await whole(delta(content="Hi"), last(**SIGNED))

    assert signed["choices"][0]["message"]["content"] == "Hi"
    with pytest.raises(AnswerLostError, match="broke off"):
        await whole(delta(content="Hi"), last())


async def test_a_stream_that_comes_byte_by_byte_is_read_in_its_own_time() -> None:
    text = "ü" * 2**16
    stream = b"".join((delta(content=text), last(), b"data: [DONE]"))

    with anyio.fail_after(5):
        answer = await whole(*(stream[at : at + 1] for at in range(len(stream))))

    assert answer["choices"][0]["message"]["content"] == text


@pytest.mark.parametrize(
    "bad",
    [
        delta(tool_calls=5),
        delta(tool_calls={"id": "x"}),
        delta(images="data:"),
        frame({"choices": {"delta": {}}}),
        frame({"choices": [5]}),
        frame({"choices": [{"delta": [1]}]}),
        frame([]),
        b"data: {\n",
        b"data: " + b"[" * 100_000 + b"\n",
        b"data: " + b"9" * 5000 + b"\n",
        b'data: {"x": "\\ud800"}\n',
        b"data: \xff\n",
    ],
)
async def test_frames_that_the_protocol_does_not_have_are_a_lost_answer(bad: bytes) -> None:
    with pytest.raises(AnswerLostError) as caught:
        await whole(delta(content="a secret"), bad, b"data: [DONE]\n\n")

    assert caught.value.stage is Stage.SENT_UNKNOWN
    assert "secret" not in str(caught.value)


async def test_whatever_stands_in_a_frame_is_read_or_a_lost_answer() -> None:
    frames = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "a"}}]},
        {
            "choices": [{"delta": {"content": "b", "tool_calls": [{}]}, "finish_reason": "stop"}],
            "usage": {"total_tokens": 1},
            "images": ["data:"],
            **SIGNED,
        },
    ]
    read_, lost = 0, 0

    # Half a character can be written in JSON, and a number that is none cannot.
    for other in changed(frames, [one for one in VALUES if str(one) != "nan"]):
        stream = [frame(one) for one in other]
        try:
            await whole(*stream, b"data: [DONE]\n\n")
            read_ += 1
        except AnswerLostError:
            lost += 1

    assert read_
    assert lost


async def test_an_error_in_the_middle_is_quoted_and_shortened() -> None:
    with pytest.raises(GatewayRejectedError) as caught:
        await whole(delta(content="a secret"), frame({"error": {"message": "x" * 10_000}}))

    assert "secret" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({"error": "Invalid attachment", "message": "too large"}, "Invalid attachment: too large"),
        ({"error": {"message": "the model failed", "code": 5}}, "the model failed"),
        ({"detail": "not now"}, "not now"),
        ({"error": 5, "message": ["x"]}, ""),
        ([], ""),
    ],
)
async def test_a_refusal_is_told_in_the_gateway_s_own_words(said: object, shown: str) -> None:
    response = answered([json.dumps(said).encode()], kind="application/json", status=400)

    with pytest.raises(GatewayRejectedError) as caught:
        await read(response, cap_id="cap", max_bytes=1000)

    words = f": '{shown}'" if shown else ""
    assert caught.value.args[0] == f"The gateway https://203.0.113.7 answered 400{words}."


async def test_no_answer_is_longer_than_its_bound() -> None:
    with pytest.raises(AnswerLostError, match="longer than 1000 bytes"):
        await whole(*[delta(content="x")] * 100, max_bytes=1000)
    body = answered([b" " * 600] * 2, kind="application/json")
    with pytest.raises(AnswerLostError, match="longer than 1000 bytes"):
        await read(body, cap_id="cap", max_bytes=1000)


async def test_what_is_compressed_counts_by_what_it_becomes() -> None:
    body = json.dumps({"choices": [], "padding": "x" * 5000}).encode()
    packed = [gzip.compress(body)]

    answer = await read(
        answered(packed, kind="application/json", encoding="gzip"), cap_id="cap", max_bytes=6000
    )

    assert len(answer["padding"]) == 5000
    bomb = answered(packed, kind="application/json", encoding="gzip")
    with pytest.raises(AnswerLostError, match="longer than 1000 bytes"):
        await read(bomb, cap_id="cap", max_bytes=1000)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip"])
async def test_an_encoding_that_knows_no_bound_is_not_decoded(encoding: str) -> None:
    response = answered([b"x"], kind="application/json", encoding=encoding)

    with pytest.raises(AnswerLostError, match="content encoding is"):
        await read(response, cap_id="cap", max_bytes=1000)


@pytest.mark.parametrize("kind", ["text/event-stream", "application/json"])
async def test_an_answer_that_drips_for_ever_ends(kind: str) -> None:
    response = answered([b" "], kind=kind, hangs=True)

    with anyio.fail_after(5), pytest.raises(AnswerLostError, match=r"not whole after 0\.05 s"):
        await read(response, cap_id="cap", max_bytes=1000, max_answer_s=0.05)


async def test_a_refusal_that_drips_for_ever_is_told_by_its_status() -> None:
    response = answered([b'{"error": '], kind="application/json", status=503, hangs=True)

    with anyio.fail_after(5), pytest.raises(GatewayRejectedError, match="answered 503") as caught:
        await read(response, cap_id="", max_bytes=1000, max_answer_s=0.05)

    assert caught.value.stage is Stage.NOT_SENT


# An error of the gateway's own (money.md section 5)

OWN = {
    "error": "no",
    "exception_type": "ProviderError",
    "source": "provider",
    "provider_status": 429,
    "retryable": True,
}


async def refused(body: object, status: int = 503) -> GatewayRejectedError:
    response = answered([json.dumps(body).encode()], kind="application/json", status=status)
    with pytest.raises(GatewayRejectedError) as caught:
        await read(response, cap_id="cap", max_bytes=10_000)
    return caught.value


@pytest.mark.parametrize("status", [200, 400, 503])
async def test_an_error_in_the_one_shape_is_the_gateway_s_own(status: int) -> None:
    error = await refused(OWN, status=status)
    without = await refused({**OWN, "provider_status": None, "source": "gateway"}, status=status)

    assert error.refusal.is_own
    assert without.refusal.is_own
    assert error.may_retry
    assert (error.refusal.source, error.refusal.provider_status) == ("provider", 429)


@pytest.mark.parametrize(
    "change",
    [
        *({name: None} for name in OWN if name != "provider_status"),
        {"error": {"message": "no"}},
        {"source": "somebody"},
        {"source": ["gateway"]},
        {"retryable": "yes"},
        {"provider_status": "429"},
        {"provider_status": 10**30},
        {"opengradient": {"cost_opg": "1"}},
        {"opengradient": None},
        {"tee_signature": "c2ln"},
        {"tee_timestamp": 1},
    ],
)
async def test_what_lacks_a_part_of_the_shape_or_is_charged_is_not(change: dict[str, Any]) -> None:
    error = await refused(OWN | change)

    assert not error.refusal.is_own
    assert not error.may_retry
    assert "may be repeated" not in str(error)


async def test_an_error_that_was_settled_is_not() -> None:
    response = answered([json.dumps(OWN).encode()], kind="application/json", status=503)
    response.headers["PAYMENT-RESPONSE"] = "e30="

    with pytest.raises(GatewayRejectedError) as caught:
        await read(response, cap_id="cap", max_bytes=10_000)

    assert not caught.value.refusal.is_own


@pytest.mark.parametrize(
    ("frames", "is_own"),
    [
        ([delta(content="a"), frame(OWN)], True),
        ([frame(OWN), b"data: [DONE]\n\n"], True),
        ([frame(OWN), delta(content="more")], False),
        ([frame(OWN), last(**SIGNED)], False),
        ([last(**SIGNED), frame(OWN)], False),
        ([last(opengradient={"cost_opg": "1"}), frame(OWN)], False),
        ([delta(content="a"), frame({"error": "no"})], False),
    ],
)
async def test_an_error_that_ends_a_stream_is_where_nothing_charged_came(
    frames: list[bytes], *, is_own: bool
) -> None:
    with pytest.raises(GatewayRejectedError, match="ended its answer with an error") as caught:
        await whole(*frames)

    assert caught.value.refusal.is_own is is_own


async def test_a_stream_that_goes_on_after_its_error_is_not_waited_for() -> None:
    response = answered([frame(OWN)], hangs=True)

    with anyio.fail_after(5), pytest.raises(GatewayRejectedError) as caught:
        await read(response, cap_id="cap", max_bytes=10_000, ends_s=0.05)

    assert not caught.value.refusal.is_own
