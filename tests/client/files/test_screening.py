"""Secrets are found wherever they stand, and models without any pass."""

from __future__ import annotations

import random

import pytest

from og_mcp.client.files.screening import CONTEXT, LONG_RUN, MIN_RUN, Screen, SecretFoundError
from tests.client.secret_texts import INNOCENT, SECRETS

WINDOW = 2**20
IN_TEXT_ALONE = {"hex alone", "env file", "seed phrase", "aws access key"}
in_weights = pytest.mark.parametrize("kind", sorted(SECRETS.keys() - IN_TEXT_ALONE))


def weights(size: int = WINDOW, seed: int = 1) -> bytearray:
    """Bytes as a model's weights have them."""
    return bytearray(random.Random(seed).randbytes(size))  # noqa: S311 - bytes of a test


def look(content: bytes | bytearray) -> None:
    Screen(len(content)).look(bytearray(content), 0, len(content))


@pytest.mark.parametrize("kind", SECRETS)
def test_a_text_that_is_or_holds_a_secret_is_found(kind: str) -> None:
    with pytest.raises(SecretFoundError) as told:
        look(SECRETS[kind].encode())

    assert SECRETS[kind][:8] not in str(told.value)


@pytest.mark.parametrize("kind", INNOCENT)
def test_a_text_that_is_no_secret_passes(kind: str) -> None:
    look(INNOCENT[kind].encode())


@pytest.mark.sweep(quick=13)
@in_weights
@pytest.mark.parametrize("place", [0, 1, 7, 8, CONTEXT - 3, WINDOW // 2 + 5, WINDOW - 400])
def test_a_secret_among_weights_is_found_at_any_place(kind: str, place: int) -> None:
    content, secret = weights(), SECRETS[kind].encode()
    assert len(secret) >= MIN_RUN
    content[place : place + len(secret)] = secret

    with pytest.raises(SecretFoundError):
        look(content)


@pytest.mark.parametrize("fill", [b"\0", b"\xff", b"\x3d"])
def test_a_secret_among_equal_bytes_is_found(fill: bytes) -> None:
    content, secret = bytearray(fill * WINDOW), SECRETS["pem"].encode()
    content[77777 : 77777 + len(secret)] = secret

    with pytest.raises(SecretFoundError):
        look(content)


@pytest.mark.parametrize("seed", range(3))
def test_weights_alone_pass(seed: int) -> None:
    look(weights(seed=seed))
    look(bytes(WINDOW))


@pytest.mark.parametrize("place", range(4096, 4112))
@pytest.mark.parametrize("label", ["key=", "Seed:"])
def test_the_shortest_labelled_key_is_found_at_any_place(label: str, place: int) -> None:
    content, secret = weights(), label.encode() + SECRETS["hex alone"].strip()[2:].encode()
    assert len(secret) >= LONG_RUN
    # Bytes that are no text stand right before and after it.
    content[place - 1 : place + len(secret) + 1] = b"\xff" + secret + b"\xff"

    with pytest.raises(SecretFoundError):
        look(content)


def test_a_checksum_of_a_key_s_length_among_weights_passes() -> None:
    content, text = weights(), SECRETS["hex alone"].encode()
    content[5000 : 5000 + len(text)] = text

    look(content)
