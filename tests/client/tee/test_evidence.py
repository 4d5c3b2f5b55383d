"""Answers of gateways: what is verified, what is not, and that nothing else passes."""

from __future__ import annotations

import json
import math
from copy import deepcopy
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from og_mcp.client.tee.canonical_request import chat_forms, completion_forms
from og_mcp.client.tee.evidence import (
    CLOCK_DRIFT_S,
    Evidence,
    chat_request,
    completion_request,
    encode_body,
    verify_chat,
    verify_completion,
)
from og_mcp.client.tee.registry import TEE
from og_mcp.client.tee.rejected_answer import SIGNED_FIELDS
from og_mcp.errors import InputError, VerificationError
from og_mcp.types import Stage
from tests.client.enclave import NOW, SOURCE, Enclave, chat_answer
from tests.client.whatever import changed

ENCLAVE = Enclave()
TEE_ = ENCLAVE.tee
HELLO = [{"role": "user", "content": "Grüß dich \U0001f600"}]
REQUEST: dict[str, Any] = {
    "model": "gpt-5",
    "messages": HELLO,
    "max_tokens": 100,
    "temperature": 0,
    "stream": True,
}
CANONICAL: dict[str, Any] = {
    "model": "gpt-5",
    "messages": HELLO,
    "max_tokens": 100,
    "temperature": 0.0,
}
CALLS = [
    {
        "id": "call_1",
        "type": "function",
        "function": {"name": "sum", "arguments": '{"a": 1, "b": "ü"}'},
    }
]
PARTS = [
    {"type": "text", "text": "What is this?"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"}},
]


def verified(
    request: dict[str, Any], answer: dict[str, Any], tee: TEE = TEE_, now: float = NOW
) -> Evidence:
    return verify_chat(chat_request(encode_body(request)), answer, tee, now=now, local=False)


def answer_to(
    canonical: dict[str, Any], text: str = "Hallo ü", timestamp: int = NOW
) -> dict[str, Any]:
    return {**chat_answer(text), **ENCLAVE.signed(canonical, text, timestamp)}


def mismatch(
    request: dict[str, Any], answer: dict[str, Any], tee: TEE = TEE_, now: float = NOW
) -> VerificationError:
    with pytest.raises(VerificationError) as caught:
        verified(request, answer, tee, now)
    return caught.value


def dumped(document: object) -> bytes:
    return json.dumps(document, sort_keys=True).encode()


def canonical_chat(body: bytes) -> tuple[bytes, ...]:
    return tuple(form.text for form in chat_forms(body))


def test_an_answer_that_the_tee_signed_is_verified_and_says_what_that_covers() -> None:
    evidence = verified(REQUEST, answer_to(CANONICAL))

    assert evidence.text == "Hallo ü"
    assert evidence.tool_calls == ()
    assert evidence.proof.model_dump() == {
        "status": "verified",
        "tee_id": ENCLAVE.tee_id,
        "tee_endpoint": "https://203.0.113.7",
        "pcr_hash": "0x" + "cd" * 32,
        "timestamp": NOW,
        "covers": [
            "of the request: model, messages, temperature, max_tokens",
            "of the answer: text",
            "the time of the answer, by the TEE's clock",
        ],
        "not_covered": [
            "the answer's finish_reason, usage and model name",
            (
                "that the answer is new: there is no nonce, and an earlier answer to an identical "
                "request would pass for 15 minutes"
            ),
        ],
        "registry": SOURCE.model_dump(),
    }


def test_what_a_receipt_needs_is_there_and_hashes_to_what_was_signed() -> None:
    answer = answer_to(CANONICAL)

    tee = verified(REQUEST, answer).tee

    assert tee["canonical_request"].encode() == dumped(CANONICAL)
    assert tee["content"] == "Hallo ü"
    assert tee["request_hash"] == "0x" + answer["tee_request_hash"]
    assert tee["output_hash"] == "0x" + keccak("Hallo ü".encode()).hex()
    assert bytes.fromhex(tee["public_key"][2:]) == ENCLAVE.public_key
    assert tee["registry"] == SOURCE.model_dump()


def test_the_local_networks_signature_is_checked_alike_and_called_local() -> None:
    body, answer = encode_body(REQUEST), answer_to(CANONICAL)

    evidence = verify_chat(chat_request(body), answer, TEE_, now=NOW, local=True)

    assert evidence.proof.status == "local"
    with pytest.raises(VerificationError):
        verify_chat(
            chat_request(body), answer | {"tee_timestamp": NOW + 1}, TEE_, now=NOW, local=True
        )


def test_t36_an_answer_that_nobody_signed_is_withheld() -> None:
    for nothing in ({}, dict.fromkeys(SIGNED_FIELDS, ""), dict.fromkeys(SIGNED_FIELDS)):
        error = mismatch(REQUEST, chat_answer("forged") | nothing)

        assert "the gateway signed nothing, and OG_ALLOW_UNSIGNED is not set" in str(error)
        assert "forged" not in str(error)
        assert "forged" in error.evidence["answer"]


def test_t36_where_the_operator_allows_it_it_is_called_unsigned() -> None:
    evidence = verify_chat(
        chat_request(encode_body(REQUEST)),
        chat_answer("text"),
        TEE_,
        now=NOW,
        local=False,
        allow_unsigned=True,
    )

    assert evidence.text == "text"
    assert evidence.proof.status == "unsigned"
    assert evidence.proof.covers == []
    assert evidence.proof.timestamp == 0
    assert "signature" not in evidence.tee


@pytest.mark.parametrize("name", ["signature", "request_hash", "output_hash", "timestamp", "id"])
def test_an_answer_that_is_signed_in_part_is_a_mismatch(name: str) -> None:
    for nothing in (None, ""):
        error = mismatch(REQUEST, answer_to(CANONICAL) | {f"tee_{name}": nothing})

        assert f"lacks tee_{name}" in str(error)
    alone = chat_answer("text") | {f"tee_{name}": answer_to(CANONICAL)[f"tee_{name}"]}
    assert "signed in part" in str(mismatch(REQUEST, alone))
    with pytest.raises(VerificationError, match="signed in part"):
        verify_chat(
            chat_request(encode_body(REQUEST)),
            alone,
            TEE_,
            now=NOW,
            local=False,
            allow_unsigned=True,
        )


def test_a_mismatch_tells_what_is_withheld_and_keeps_the_evidence() -> None:
    answer = answer_to(CANONICAL)
    answer["choices"][0]["message"]["content"] = "altered"

    error = mismatch(REQUEST, answer)

    assert str(error) == (
        f"The answer of TEE '{ENCLAVE.tee_id}' cannot be verified: its output hash is not that of "
        "the answer that came. The content is withheld, and the receipt keeps it as evidence; "
        "repeating the call pays again."
    )
    assert error.stage is Stage.CHARGED
    kept = json.loads(error.evidence["answer"])
    assert kept["choices"] == answer["choices"]
    assert kept["tee_signature"] == answer["tee_signature"]
    assert error.evidence["canonical_request"].encode() == dumped(CANONICAL)
    assert "content" not in error.evidence


def test_t18_another_tees_answer_does_not_pass_for_the_one_that_was_asked() -> None:
    other = Enclave()
    answer = chat_answer("x") | other.signed(CANONICAL, "x")

    assert "names another TEE" in str(mismatch(REQUEST, answer))
    assert "signature is not by the key" in str(
        mismatch(REQUEST, answer | {"tee_id": ENCLAVE.tee_id})
    )


@pytest.mark.parametrize("drift", [CLOCK_DRIFT_S, -CLOCK_DRIFT_S])
def test_t18_a_clock_may_drift_so_far_and_no_further(drift: int) -> None:
    answer = answer_to(CANONICAL, timestamp=NOW + drift)

    assert verified(REQUEST, answer).proof.timestamp == NOW + drift
    assert "machine's clock" in str(mismatch(REQUEST, answer, now=NOW - math.copysign(1, drift)))


def test_t18_an_answer_to_another_request_does_not_pass() -> None:
    answer = answer_to(CANONICAL)

    for other in ({"temperature": 0.1}, {"max_tokens": 99}, {"model": "gpt-5-mini"}):
        assert "request hash" in str(mismatch(REQUEST | other, answer))


def test_each_bit_of_the_signed_fields_counts() -> None:
    answer = answer_to(CANONICAL)
    for name in ("tee_signature", "tee_request_hash", "tee_output_hash", "tee_id"):
        value = answer[name]
        for place in range(0, len(value) - 2, 7):
            other = "a" if value[place] != "a" else "b"
            changed = value[:place] + other + value[place + 1 :]

            mismatch(REQUEST, answer | {name: changed})
    mismatch(REQUEST, answer | {"tee_timestamp": NOW + 1})


@pytest.mark.parametrize(
    "changes",
    [
        {"tee_signature": "no base64!"},
        {"tee_signature": 5},
        {"tee_signature": ["x"]},
        {"tee_request_hash": "ab"},
        {"tee_output_hash": 7},
        {"tee_timestamp": True},
        {"tee_timestamp": 1.5},
        {"tee_timestamp": -1},
        {"tee_timestamp": 2**300},
        {"tee_timestamp": "soon"},
        {"tee_id": {}},
        {"choices": []},
        {"choices": None},
        {"choices": [{"message": 5}]},
        {"choices": [{"message": {"content": 5}}]},
        {"choices": [{"message": {"content": "half \ud800"}}]},
        {"choices": [{"message": {"content": [5]}}]},
        {"choices": [{"message": {"tool_calls": 5}, "finish_reason": "tool_calls"}]},
    ],
)
def test_t19_whatever_cannot_be_read_is_a_mismatch(changes: dict[str, Any]) -> None:
    error = mismatch(REQUEST, answer_to(CANONICAL) | changes)

    assert json.dumps(error.evidence)


@pytest.mark.parametrize("ended", ["stop", "tool_calls"])
def test_t19_whatever_stands_in_an_answer_only_what_was_signed_is_shown(ended: str) -> None:
    signed = "Hallo ü" if ended == "stop" else json.dumps(CALLS, sort_keys=True)
    whole = chat_answer("Hallo ü", ended, **({} if ended == "stop" else {"tool_calls": CALLS}))
    whole |= ENCLAVE.signed(CANONICAL, signed)
    shown, withheld = 0, 0

    for other in changed(whole):
        try:
            evidence = verified(REQUEST, other)
        except VerificationError as exc:
            withheld += 1
            json.dumps(exc.evidence)
        else:
            shown += 1
            right = ("Hallo ü", ()) if ended == "stop" else ("", tuple(CALLS))
            assert (evidence.text, evidence.tool_calls) == right

    assert shown
    assert withheld


def test_a_key_that_no_tee_would_sign_with_verifies_nothing() -> None:
    spki = PublicFormat.SubjectPublicKeyInfo
    curve = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(Encoding.DER, spki)
    weak = Enclave(rsa.generate_private_key(65537, 1024))  # noqa: S505 - that is the point

    for key in (b"", b"\x30\x00", curve):
        tee = TEE(**{**vars(TEE_), "public_key": key})
        assert "public key" in str(mismatch(REQUEST, answer_to(CANONICAL), tee=tee))
    answer = chat_answer("x") | weak.signed(CANONICAL, "x")
    assert "1024 bits" in str(mismatch(REQUEST, answer, tee=weak.tee))


def test_hashes_may_be_written_with_0x_and_in_capitals() -> None:
    answer = answer_to(CANONICAL)
    answer |= {name: "0x" + answer[name].upper() for name in ("tee_request_hash",)}
    answer |= {"tee_id": answer["tee_id"][2:].upper(), "tee_timestamp": str(NOW)}

    assert verified(REQUEST, answer).proof.status == "verified"


def test_t17_tool_calls_are_what_is_signed_and_text_beside_them_is_dropped() -> None:
    request = REQUEST | {"tools": [{"type": "function", "function": {"name": "sum"}}]}
    canonical = CANONICAL | {"tools": request["tools"]}
    answer = chat_answer("trust me", "tool_calls", tool_calls=CALLS)
    answer |= ENCLAVE.signed(canonical, json.dumps(CALLS, sort_keys=True))

    evidence = verified(request, answer)

    assert evidence.tool_calls == tuple(CALLS)
    assert evidence.text == ""
    assert "of the answer: tool_calls" in evidence.proof.covers
    assert "the text beside the tool calls, which is left out" in evidence.proof.not_covered


def test_t17_tool_calls_that_the_label_hides_from_the_signature_are_a_mismatch() -> None:
    answer = chat_answer("fine", "stop", tool_calls=CALLS) | ENCLAVE.signed(CANONICAL, "fine")

    assert "finish_reason is not tool_calls" in str(mismatch(REQUEST, answer))


def test_t17_fields_of_a_tool_call_that_results_do_not_show_are_signed_all_the_same() -> None:
    calls = [{"index": 0, **CALLS[0]}]
    answer = chat_answer(None, "tool_calls", tool_calls=calls)
    answer |= ENCLAVE.signed(CANONICAL, json.dumps(calls, sort_keys=True))

    assert verified(REQUEST, answer).tool_calls == tuple(CALLS)


def test_t17_images_are_said_not_to_be_covered() -> None:
    answer = answer_to(CANONICAL) | {"images": ["data:image/png;base64,AAAA"]}

    assert "the bytes and addresses of the images" in verified(REQUEST, answer).proof.not_covered


def test_a_wish_to_search_is_covered_where_the_gateway_covers_it_and_else_not() -> None:
    request = REQUEST | {"web_search": True}

    newer = verified(request, answer_to(CANONICAL | {"web_search": True}))
    public = verified(request, answer_to(CANONICAL))

    assert "web_search" in newer.proof.covers[0]
    assert "the request's web_search" in public.proof.not_covered
    assert "web_search" not in str(newer.proof.not_covered)
    mismatch(REQUEST, answer_to(CANONICAL | {"web_search": True}))


def test_a_response_format_is_covered_but_by_the_oldest_gateways() -> None:
    wish = {"response_format": {"type": "json_object"}}
    request = REQUEST | wish | {"web_search": True}
    newest = CANONICAL | wish | {"web_search": True}

    for canonical, left_out in (
        (newest, ""),
        (CANONICAL | wish, "the request's web_search"),
        (CANONICAL, "the request's response_format, web_search"),
    ):
        proof = verified(request, answer_to(canonical)).proof
        assert (left_out in proof.not_covered) is bool(left_out)
        assert ("response_format" in proof.covers[0]) is ("response_format" in canonical)


def test_parts_of_a_message_are_read_as_each_generation_of_gateways_hashes_them() -> None:
    request = REQUEST | {"messages": [{"role": "user", "content": PARTS}]}
    reduced = [PARTS[0], {"type": "image_url"}, {"type": "file", "filename": "a.pdf"}]
    bytes_left_out = "the bytes and addresses of the messages' images and files"
    for content, covers_bytes in ((reduced, False), (PARTS, True), (str(PARTS), True)):
        canonical = CANONICAL | {"messages": [{"role": "user", "content": content}]}

        evidence = verified(request, answer_to(canonical))

        assert evidence.tee["canonical_request"].encode() == dumped(canonical)
        assert (bytes_left_out not in evidence.proof.not_covered) is covers_bytes


def test_every_role_is_written_as_the_protocol_says() -> None:
    request = REQUEST | {
        "messages": [
            {"role": "system", "content": "s", "name": "n"},
            {"role": "developer", "content": "d"},
            {"role": "user", "content": "u"},
            {"role": "assistant", "content": None, "tool_calls": CALLS},
            {"role": "tool", "content": "3", "tool_call_id": "call_1", "name": "sum"},
            {"role": "function", "content": "f", "name": "g"},
        ],
        "stop": ["\n"],
        "tool_choice": "auto",
        "response_format": {"type": "json_object"},
        "tools": [],
    }
    canonical = CANONICAL | {
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "system", "content": "d"},
            {"role": "user", "content": "u"},
            {"role": "assistant", "content": "", "tool_calls": CALLS},
            {"role": "tool", "content": "3", "tool_call_id": "call_1"},
            {"role": "function", "content": "f", "name": "g"},
        ],
        "stop": ["\n"],
        "response_format": {"type": "json_object"},
    }

    assert canonical_chat(encode_body(request))[0] == dumped(canonical)
    not_covered = verified(request, answer_to(canonical)).proof.not_covered
    assert not_covered[:2] == ["the request's tool_choice, tools", "the messages' name"]


@pytest.mark.parametrize(
    ("stop", "shown"),
    [
        (["\n\n", "b"], "a"),
        ("c", "ab"),
        (["x"], "abcabc"),
        ([], "abcabc"),
        ("", "abcabc"),
        (["a"], ""),
    ],
)
def test_what_stands_behind_a_stop_sequence_is_signed_and_left_out(
    stop: object, shown: str
) -> None:
    request = REQUEST | {"stop": stop}
    answer = answer_to(CANONICAL | ({"stop": stop} if stop else {}), "abcabc")

    evidence = verified(request, answer)

    assert evidence.text == shown
    assert evidence.is_cut is (shown != "abcabc")
    assert evidence.tee["content"] == "abcabc"
    cut = "of the answer: text, shown up to the first stop sequence"
    assert (cut in evidence.proof.covers) is evidence.is_cut
    unsigned = verify_chat(
        chat_request(encode_body(request)),
        chat_answer("abcabc"),
        TEE_,
        now=NOW,
        local=False,
        allow_unsigned=True,
    )
    assert unsigned.text == shown


def test_evidence_of_a_mismatch_keeps_no_images() -> None:
    images = ["data:image/png;base64,AAAA"]
    answer = answer_to(CANONICAL) | {"images": images, "tee_timestamp": NOW + 1}
    answer["choices"][0]["message"]["images"] = images

    kept = json.loads(mismatch(REQUEST, answer).evidence["answer"])

    assert "images" not in kept
    assert kept["choices"][0]["message"] == {"role": "assistant", "content": "Hallo ü"}


def test_a_completion_is_verified_by_either_name_of_its_text() -> None:
    request = {"model": "gpt-5", "prompt": "1+1=", "max_tokens": 0, "stop": "\n"}
    canonical = request | {"temperature": 0.0}
    body, signed = encode_body(request), ENCLAVE.signed(canonical, "2")
    answers: list[dict[str, Any]] = [
        {"choices": [{"text": "2"}]},
        {"completion": "2"},
        {"choices": [{"text": "2"}], "completion": "2"},
    ]

    for answer in answers:
        evidence = verify_completion(
            completion_request(body), answer | signed, TEE_, now=NOW, local=False
        )
        assert evidence.text == "2"
        assert evidence.proof.covers[0] == (
            "of the request: model, prompt, temperature, max_tokens, stop"
        )
    for wrong in ({"choices": [{"text": "2"}], "completion": "3"}, {}, {"completion": 2}):
        with pytest.raises(VerificationError):
            verify_completion(completion_request(body), wrong | signed, TEE_, now=NOW, local=False)
    assert [form.text for form in completion_forms(body)] == [dumped(canonical)]


def test_t19_the_canonical_request_is_made_of_the_bytes_that_are_sent() -> None:
    request = deepcopy(REQUEST)
    body = encode_body(request)
    request["messages"][0]["content"] = "changed later"

    assert canonical_chat(body) == (dumped(CANONICAL),)
    assert verify_chat(chat_request(body), answer_to(CANONICAL), TEE_, now=NOW, local=False).text


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (math.nan, "is nan"),
        (math.inf, "is inf"),
        (float("1e400"), "is inf"),
        (-0.0, "is -0.0"),
        ("\ud800", "half of a surrogate pair"),
        (2**1024, "beyond 2**1024"),
        ({1: "x"}, "a key that is not a text"),
        ({"\udc00": 1}, "half of a surrogate pair"),
        (b"x", "is a bytes"),
        ({"x"}, "is a set"),
    ],
)
def test_t19_what_json_does_not_carry_alike_is_refused_before_it_is_sent(
    value: object, words: str
) -> None:
    with pytest.raises(InputError) as caught:
        encode_body(REQUEST | {"tools": [{"function": {"parameters": {"maximum": value}}}]})

    assert words in str(caught.value)
    assert "tools[0].function.parameters.maximum" in str(caught.value)


def test_t19_nesting_has_a_bound() -> None:
    deep: Any = 1
    for _ in range(100):
        deep = [deep]

    with pytest.raises(InputError, match="nested deeper than 64"):
        encode_body({"messages": deep})


@pytest.mark.parametrize(
    "messages",
    [
        None,
        ["text"],
        [{"role": "robot", "content": "x"}],
        [{"content": "x"}],
        [{"role": "assistant", "tool_calls": ["x"]}],
        [{"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "x"}}]}],
    ],
)
def test_a_request_whose_hash_cannot_be_known_is_refused_before_it_is_sent(
    messages: object,
) -> None:
    with pytest.raises(InputError):
        canonical_chat(encode_body(REQUEST | {"messages": messages}))


def test_bytes_that_are_no_request_are_refused() -> None:
    twice = b'{"messages": [], "messages": []}'
    for body in (b"[]", b"{", b"\xff", b'{"temperature": NaN}', b"[" * 1000, twice):
        with pytest.raises(InputError):
            canonical_chat(body)


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: str(x) != "-0.0")
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


REQUESTS = st.fixed_dictionaries(
    {
        "model": st.just("m"),
        "messages": TEXT.map(lambda text: [{"role": "user", "content": text}]),
        "stop": TEXT | st.lists(TEXT, max_size=2),
        "tools": st.lists(st.dictionaries(TEXT, JSON, max_size=3), max_size=2),
        "web_search": st.booleans(),
    },
    optional={"temperature": st.integers(0, 2) | st.floats(0.001, 2)},
)


@given(request=REQUESTS, answer=TEXT)
def test_what_python_would_hash_of_any_request_is_among_the_forms(
    request: dict[str, Any], answer: str
) -> None:
    wire = json.loads(encode_body(request))
    canonical = {"model": "m", "messages": wire["messages"]}
    canonical["temperature"] = float(wire["temperature"]) if "temperature" in wire else 0.0
    canonical |= {name: wire[name] for name in ("stop", "tools") if wire[name]}
    newer = canonical | ({"web_search": True} if request["web_search"] else {})

    assert wire == request
    assert set(canonical_chat(encode_body(request))) == {dumped(canonical), dumped(newer)}
    evidence = verified(request, answer_to(newer, answer))
    assert evidence.tee["content"] == answer


@given(parts=st.lists(st.fixed_dictionaries({"type": TEXT}, optional={"x": JSON}), max_size=3))
def test_python_writes_parts_in_the_order_of_the_wire(parts: list[dict[str, Any]]) -> None:
    request = REQUEST | {"messages": [{"role": "user", "content": parts}]}
    wire = json.loads(encode_body(request))["messages"][0]["content"]
    as_text = CANONICAL | {"messages": [{"role": "user", "content": str(wire)}]}

    assert dumped(as_text) in canonical_chat(encode_body(request))
