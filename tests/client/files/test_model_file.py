"""threats.md T26 and T27: nothing leaves a file that was not checked."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from og_mcp.client.files.model_file import PIECE, Publishable
from og_mcp.client.files.roots import FileRoots
from og_mcp.client.files.screening import CONTEXT
from og_mcp.errors import FileRefusedError, InputError, UnfitFileError
from tests import onnx_files
from tests.client.files.test_roots import open_descriptors
from tests.client.secret_texts import SECRETS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes of POSIX")


@pytest.fixture(autouse=True)
def _no_descriptor_stays_open() -> Iterator[None]:
    before = open_descriptors()
    yield
    assert open_descriptors() == before


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    return root


def publishable(path: Path) -> Publishable:
    return Publishable.open(FileRoots([path.parent]), str(path))


def content_of(path: Path) -> bytes:
    """Read a file as an upload does: checked before, and while it is read."""
    model = publishable(path)
    try:
        model.check_structure()
        return b"".join(model.pieces())
    finally:
        model.close()


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as told:
        content_of(path)
    return str(told.value)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("size", [1, CONTEXT, CONTEXT + 1, PIECE, PIECE + CONTEXT, 3 * PIECE + 7])
def test_what_is_read_is_the_file_and_its_hash(root: Path, size: int) -> None:
    path = write(root / "m.safetensors", os.urandom(size))
    model = publishable(path)
    pieces = list(model.pieces())
    model.close()

    assert b"".join(pieces) == path.read_bytes()
    assert model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert all(pieces)


def test_an_onnx_file_is_checked_by_its_package_and_tells_its_tensors(root: Path) -> None:
    path = write(root / "m.onnx", onnx_files.small("price", width=4))
    model = publishable(path)
    model.check_structure()
    model.close()

    assert model.graph is not None
    assert [(spec.name, spec.shape) for spec in model.graph.inputs] == [("price", [1, 4])]
    assert model.checked_by == "onnx"
    assert model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_t27_the_check_by_the_onnx_package_gets_no_variables_of_ours(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OG_PRIVATE_KEY", "0x" + "46" * 32)
    given: list[Mapping[str, str] | None] = []
    listening = True

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        # An audit hook stays for the life of the process.
        if listening and event == "subprocess.Popen":
            given.append(arguments[-1])

    sys.addaudithook(hear)
    model = publishable(write(root / "m.onnx", onnx_files.small("price", width=4)))
    model.check_structure()
    listening = False
    model.close()

    [environ] = given
    assert environ is not None
    assert not environ.keys() - {"SYSTEMROOT", "TEMP"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [("m.pt", "pickle"), ("m.PTH", "pickle"), ("m.joblib", "pickle"), ("m.h5", "hdf5")],
)
def test_what_a_file_is_is_told_by_its_name(root: Path, name: str, kind: str) -> None:
    model = publishable(write(root / name, b"\x80\x02"))
    model.close()

    assert model.format == kind


@pytest.mark.parametrize("name", ["m", "m.py", "m.onnx.sh", "m.bin", "m.env", "m.zip", ".onnx"])
def test_other_files_than_models_are_refused(root: Path, name: str) -> None:
    assert "not an ending of a model file" in refusal(write(root / name, b"content"))


@pytest.mark.parametrize(
    "name", [".hidden.onnx", "id_rsa.pt", "wallet.json", "secrets.txt", "my_private_key.txt"]
)
def test_t26_hidden_files_and_names_of_keys_are_refused(root: Path, name: str) -> None:
    assert "was not read" in refusal(write(root / name, b"content"))


def test_t26_an_empty_file_is_refused(root: Path) -> None:
    assert "it is empty" in refusal(write(root / "m.pt", b""))


@pytest.mark.parametrize("make", ["folder", "pipe", "device", "link"])
def test_t26_only_regular_files_are_published(root: Path, make: str, tmp_path: Path) -> None:
    path = root / "m.onnx"
    if make == "folder":
        path.mkdir()
    elif make == "pipe":
        os.mkfifo(path)
    elif make == "device":
        path.symlink_to("/dev/zero")
    else:
        path.symlink_to(write(tmp_path / "outside.onnx", onnx_files.small()))

    assert "was not read" in refusal(path)


def test_t26_dots_do_not_lead_out(root: Path, tmp_path: Path) -> None:
    write(tmp_path / "outside.onnx", onnx_files.small())

    with pytest.raises(FileRefusedError, match=r"contains '\.\.'"):
        Publishable.open(FileRoots([root]), f"{root}/../outside.onnx")


def test_t26_a_name_that_is_swapped_after_the_opening_changes_nothing(
    root: Path, tmp_path: Path
) -> None:
    path = write(root / "m.onnx", onnx_files.small())
    content = path.read_bytes()
    model = publishable(path)
    path.unlink()
    path.symlink_to(write(tmp_path / "outside.onnx", SECRETS["pem"].encode()))
    model.check_structure()

    assert b"".join(model.pieces()) == content
    model.close()


@pytest.mark.sweep(quick=17)
@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("name", ["m.onnx", "m.pt", "m.safetensors", "m.txt", "m.json"])
def test_t26_a_key_file_under_a_model_s_name_is_refused(root: Path, kind: str, name: str) -> None:
    told = refusal(write(root / name, SECRETS[kind].encode()))

    assert "is not published" in told
    assert SECRETS[kind][:10] not in told


def key_files() -> dict[str, bytes]:
    """Keys as programs store them that write no text."""
    edwards, curve = Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256K1())
    rsa_key = rsa.generate_private_key(65537, 2048)
    bare, der = NoEncryption(), Encoding.DER
    return {
        "pkcs8": edwards.private_bytes(der, PrivateFormat.PKCS8, bare),
        "sec1": curve.private_bytes(der, PrivateFormat.TraditionalOpenSSL, bare),
        "pkcs1": rsa_key.private_bytes(der, PrivateFormat.TraditionalOpenSSL, bare),
        "pkcs12": pkcs12.serialize_key_and_certificates(b"key", curve, None, None, bare),
        "java": b"\xfe\xed\xfe\xed\0\0\0\2" + os.urandom(500),
        "keepass": b"\x03\xd9\xa2\x9a\x67\xfb\x4b\xb5" + os.urandom(500),
        "sqlite": b"SQLite format 3\0" + os.urandom(500),
    }


@pytest.mark.parametrize("name", ["m.pt", "m.onnx", "m.safetensors", "m.h5", "m.md"])
def test_t26_a_key_file_that_is_no_text_is_refused_under_a_model_s_name(
    root: Path, name: str
) -> None:
    for kind, content in key_files().items():
        assert "is not published" in refusal(write(root / name, content)), kind


@pytest.mark.parametrize("name", ["m.txt", "m.md", "m.json"])
@pytest.mark.parametrize("place", [0, 2**16 + 9, 2 * PIECE + 1])
def test_t26_a_text_is_a_text_to_its_end(root: Path, name: str, place: int) -> None:
    content = bytearray(b"word " * (PIECE // 2))
    content[place] = 0

    assert "it is not plain text" in refusal(write(root / name, bytes(content)))


def test_t26_a_key_in_a_text_of_two_bytes_a_character_is_refused(root: Path) -> None:
    content = SECRETS["pem"].encode("utf-16")

    assert "it is not plain text" in refusal(write(root / "m.txt", content))


@pytest.mark.parametrize(
    "name",
    [
        "a\nb.onnx",
        'a".onnx',
        "a\\b.onnx",
        "xnno\u202e.onnx",
        "a\u200b.onnx",
        "a\x7f.pt",
        "a\udcff.pt",
    ],
)
def test_t26_a_name_that_would_arrive_as_another_is_refused(root: Path, name: str) -> None:
    told = refusal(write(root / name, onnx_files.small()))

    assert "its name holds characters that cannot be sent" in told
    assert told.isprintable()


@pytest.mark.parametrize("name", ["modèle 2.onnx", "模型.onnx", "it's (1)+x=y;z.onnx"])
def test_other_names_are_taken(root: Path, name: str) -> None:
    assert content_of(write(root / name, onnx_files.small())) == onnx_files.small()


@pytest.mark.parametrize(
    "place",
    [100, PIECE - 10, PIECE - CONTEXT, PIECE, 2 * PIECE - 13, 3 * PIECE - 300],
    ids=lambda place: f"at {place}",
)
def test_t26_no_byte_of_a_secret_inside_leaves(root: Path, place: int) -> None:
    secret, content = SECRETS["pem"].encode(), bytearray(os.urandom(3 * PIECE))
    content[place : place + len(secret)] = secret
    model = publishable(write(root / "m.safetensors", bytes(content)))
    sent: list[bytes] = []
    with pytest.raises(UnfitFileError, match=r"holds a private key \(PEM\)"):
        sent.extend(model.pieces())
    model.close()

    assert sum(map(len, sent)) <= place


def test_t26_a_secret_in_a_whole_onnx_file_is_found(root: Path) -> None:
    content = onnx_files.small() + b"\x32" + bytes([27]) + SECRETS["pem"].encode()[:27]

    assert "holds a private key" in refusal(write(root / "m.onnx", content))


@pytest.mark.parametrize("change", ["grows", "shrinks"])
@pytest.mark.parametrize("size", [100, 3 * PIECE])
def test_t26_a_file_that_changes_its_size_while_it_is_read_fails(
    root: Path, change: str, size: int
) -> None:
    path = write(root / "m.pt", os.urandom(size))
    model = publishable(path)
    pieces = model.pieces()
    if size > PIECE:
        next(pieces)
    with path.open("r+b") as file:
        file.truncate(size + 1 if change == "grows" else size - 1)

    told = "longer" if change == "grows" else "shorter"
    with pytest.raises(UnfitFileError, match=f"became {told} while it was read"):
        list(pieces)
    model.close()


def test_t26_a_file_that_is_written_to_in_place_while_it_is_read_fails_at_its_end(
    root: Path,
) -> None:
    path = write(root / "m.pt", os.urandom(3 * PIECE))
    os.utime(path, ns=(0, 0))
    model = publishable(path)
    pieces = model.pieces()
    next(pieces)
    with path.open("r+b") as file:
        file.seek(2 * PIECE)
        file.write(os.urandom(PIECE))

    with pytest.raises(UnfitFileError, match="was written to while it was read"):
        list(pieces)
    model.close()


def test_t26_a_file_that_is_rewritten_after_its_check_fails_at_its_end(root: Path) -> None:
    path = write(root / "m.onnx", onnx_files.small("x"))
    model = publishable(path)
    model.check_structure()
    with path.open("r+b") as file:
        file.write(onnx_files.small("z"))

    with pytest.raises(UnfitFileError, match="has changed since it was checked"):
        list(model.pieces())
    model.close()


def test_t26_a_large_onnx_file_is_checked_again_in_what_is_sent(root: Path) -> None:
    path = root / "m.onnx"
    onnx_files.write_large(path, 3 * PIECE)
    model = publishable(path)
    model.checked_by = "structure"
    with path.open("r+b") as file:
        file.seek(2 * PIECE)
        file.truncate()
        file.write(b"\xff" * (model.size - 2 * PIECE))
        file.seek(0)
        file.write(b"\xff\xff\xff\xff")

    with pytest.raises(UnfitFileError, match="not an ONNX model that can be read"):
        list(model.pieces())
    model.close()


def test_t27_weights_in_other_files_are_refused(root: Path) -> None:
    told = refusal(write(root / "m.onnx", onnx_files.external()))

    assert "weights in other files" in told


@pytest.mark.parametrize(
    "content", [b"\xff" * 100, b"not a model at all", b"\x08\x08", onnx_files.small()[:-3]]
)
def test_what_is_no_onnx_is_refused(root: Path, content: bytes) -> None:
    assert "not an ONNX model" in refusal(write(root / "m.onnx", content))


def test_a_graph_that_onnxruntime_does_not_load_is_told_in_its_words(root: Path) -> None:
    content = onnx_files.small().replace(b"Add", b"Adx")

    told = refusal(write(root / "m.onnx", content))

    assert "onnxruntime cannot load it: 'This is an invalid model. In Node" in told
    assert "No Op registered for Adx" in told
    assert told.endswith("Export it with operators and an opset that onnxruntime has.")
