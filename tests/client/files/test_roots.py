"""threats.md T26: a tool opens what the operator offered, and nothing else."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from og_mcp.client.files.roots import FileRoots, looks_like_a_key
from og_mcp.errors import FileRefusedError

MAX = 1000

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes of POSIX")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with one good file at two depths, beside a folder with a secret."""
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    (root / "x.npy").write_bytes(b"top")
    (root / "a" / "b" / "x.npy").write_bytes(b"deep")
    outside = tmp_path / "outside"
    (outside / "b").mkdir(parents=True)
    (outside / "x.npy").write_bytes(b"secret")
    (outside / "b" / "x.npy").write_bytes(b"secret")
    return root


@pytest.fixture(autouse=True)
def _no_descriptor_stays_open() -> Iterator[None]:
    before = open_descriptors()
    yield
    assert open_descriptors() == before


def open_descriptors() -> set[str]:
    return {entry.name for entry in Path("/dev/fd").iterdir() if entry.exists()}


Guarded = Callable[..., FileRoots]


@pytest.fixture(params=[True, False], ids=["by descriptor", "checked"])
def guarded(request: pytest.FixtureRequest) -> Guarded:
    """Both ways of walking a path."""
    return partial(FileRoots, by_descriptor=request.param)


def read(roots: FileRoots, path: str | Path, max_bytes: int = MAX) -> bytes:
    with roots.open(str(path), max_bytes=max_bytes) as file:
        return file.read()


def refusal(roots: FileRoots, path: str | Path, max_bytes: int = MAX) -> str:
    with pytest.raises(FileRefusedError) as caught:
        roots.open(str(path), max_bytes=max_bytes).close()
    return str(caught.value)


def test_files_below_a_root_are_read(root: Path) -> None:
    roots = FileRoots([root])

    assert read(roots, root / "x.npy") == b"top"
    assert read(roots, root / "a" / "b" / "x.npy") == b"deep"
    assert read(roots, f"{root}//a/./b/x.npy") == b"deep"


def test_a_relative_path_belongs_to_the_one_root_that_has_it(root: Path) -> None:
    both = FileRoots([root, root / "a"])

    assert read(FileRoots([root]), "a/b/x.npy") == b"deep"
    assert read(both, "b/x.npy") == b"deep"
    assert read(both, "./x.npy") == b"top"
    (root / "a" / "x.npy").write_bytes(b"other")
    assert "several folders have a file of this name" in refusal(both, "x.npy")
    assert "there is no such file" in refusal(both, "y.npy")


def test_t26_a_relative_path_is_guarded_as_an_absolute_one(root: Path) -> None:
    (root / "a" / "link").symlink_to(root.parent / "outside")
    (root / ".hidden").write_bytes(b"secret")
    both = FileRoots([root, root / "a"])

    assert "is a link" in refusal(both, "link/x.npy")
    assert "hidden" in refusal(both, ".hidden")
    assert "contains '..'" in refusal(both, "b/../../x.npy")


def test_a_tilde_is_the_home_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(root.parent))
    roots = FileRoots([root])

    assert read(roots, "~/root/x.npy") == b"top"
    assert "outside the folders" in refusal(roots, "~/outside/x.npy")
    assert "contains '..'" in refusal(roots, "~/root/../outside/x.npy")
    assert "there is no such file" in refusal(roots, "~root/x.npy")


def test_without_roots_nothing_is_read_and_the_variable_is_named(root: Path) -> None:
    assert "OG_UPLOAD_ROOTS" in refusal(FileRoots([]), root / "x.npy")


def test_a_root_behind_a_link_is_the_operators_choice(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    roots = FileRoots([tmp_path / "link"])

    assert read(roots, tmp_path / "link" / "x.npy") == b"top"
    assert read(roots, root / "x.npy") == b"top"


@pytest.mark.parametrize(
    ("link", "target", "asked"),
    [
        ("link.npy", "outside/x.npy", "link.npy"),
        ("link.npy", "root/x.npy", "link.npy"),
        ("a/b/link.npy", "outside/x.npy", "a/b/link.npy"),
        ("link", "outside", "link/x.npy"),
        ("link", "root/a", "link/b/x.npy"),
        ("a/link", "outside", "a/link/b/x.npy"),
        ("link.npy", "nowhere", "link.npy"),
    ],
)
def test_t26_no_link_is_followed_at_any_depth(
    link: str, target: str, asked: str, root: Path, guarded: Guarded
) -> None:
    (root / link).symlink_to(root.parent / target)

    assert "is a link" in refusal(guarded([root]), root / asked)


def test_t26_a_link_swapped_in_while_files_are_opened_is_never_followed(root: Path) -> None:
    roots = FileRoots([root])
    good, bad, place = root / "good", root / "bad", root / "place"
    (root / "a").rename(good)
    bad.symlink_to(root.parent / "outside")
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            for version in (good, bad):
                version.rename(place)
                place.rename(version)

    swapping = threading.Thread(target=swap)
    swapping.start()
    seen = set()
    try:
        for _ in range(2000):
            try:
                seen.add(read(roots, place / "b" / "x.npy"))
            except FileRefusedError as exc:
                seen.add(str(exc).split(": ")[1].encode())
    finally:
        done.set()
        swapping.join()

    assert b"secret" not in seen


@pytest.mark.parametrize(
    "path", ["..", "../outside/x.npy", "a/../x.npy", "a/b/../../../outside/x.npy"]
)
def test_t26_no_way_up(path: str, root: Path, guarded: Guarded) -> None:
    assert "'..'" in refusal(guarded([root]), path)
    assert "'..'" in refusal(guarded([root]), root / path)


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "//etc/passwd", "/", "~/x.npy", "", "a\0b", ".", "\ud800.npy"],
)
def test_t26_nothing_outside_a_root(path: str, root: Path) -> None:
    refusal(FileRoots([root]), path)


def test_t26_a_folder_whose_name_begins_like_a_roots_is_outside(root: Path) -> None:
    other = root.with_name("root-2")
    other.mkdir()
    (other / "x.npy").write_bytes(b"secret")

    assert "outside the folders" in refusal(FileRoots([root]), other / "x.npy")


@pytest.mark.parametrize(
    "path", [".hidden.npy", ".config/x.npy", "a/.cache/b/x.npy", ".env", "..."]
)
def test_t26_hidden_files_and_folders(path: str, root: Path) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(b"secret")

    assert "hidden" in refusal(FileRoots([root]), root / path)


def test_t26_a_pipe_is_refused_without_waiting_for_its_other_end(root: Path) -> None:
    os.mkfifo(root / "pipe.npy")

    assert "regular file" in refusal(FileRoots([root]), root / "pipe.npy")


def test_t26_a_folder_or_a_socket_is_no_file(
    root: Path, guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)  # the path of a socket may not be long
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s.npy")

        assert "regular file" in refusal(guarded([root]), root / "s.npy")
    assert "regular file" in refusal(guarded([root]), root / "a")
    assert "folder" in refusal(guarded([root]), root)


def test_t26_a_device_is_no_file() -> None:
    assert "regular file" in refusal(FileRoots([Path("/dev")]), "/dev/null")


@pytest.mark.parametrize(
    "name",
    [
        *("server.pem", "my.KEY", "id_rsa", "id_ed25519.pub", "eth.keystore", "prod.env"),
        *("UTC--2024-01-01T00-00-00.000Z--5aaeb6053f3e94c9b9a09f33669435e7ef1beaed", "wallet.json"),
        *("wallet-2.json", "Wallet.dat", "credentials", "credentials.json", "secrets.yaml"),
        *(
            "my_private_key.txt",
            "mnemonic.txt",
            "client_secret_1.json",
            "keystore",
            "a.p12",
            "x.pem.",
            "x.pem . .",
            "SERVER.\u212aEY",
            "\u017fecrets.txt",
        ),
    ],
)
def test_t26_names_of_keys(name: str, root: Path) -> None:
    (root / name).write_bytes(b"secret")

    assert looks_like_a_key(name)
    assert "looks like a key" in refusal(FileRoots([root]), root / name)


@pytest.mark.parametrize(
    "name", ["x.npy", "model.onnx", "keys.csv", "monkey.json", "tokenizer.json", "environment.csv"]
)
def test_names_of_models_and_data_are_not_taken_for_keys(name: str) -> None:
    assert not looks_like_a_key(name)


def test_t26_a_folder_of_keys_is_closed_with_all_it_holds(root: Path) -> None:
    (root / "keystore").mkdir()
    (root / "keystore" / "x.npy").write_bytes(b"secret")

    assert "looks like a key" in refusal(FileRoots([root]), root / "keystore" / "x.npy")


def test_t26_the_data_folder_is_never_read_wherever_it_lies(root: Path, guarded: Guarded) -> None:
    below, above = guarded([root], [root / "a"]), guarded([root / "a" / "b"], [root])

    assert "og-mcp's own" in refusal(below, root / "a" / "b" / "x.npy")
    assert "og-mcp's own" in refusal(above, root / "a" / "b" / "x.npy")
    assert "og-mcp's own" in refusal(guarded([root], [root]), root / "x.npy")
    assert read(below, root / "x.npy") == b"top"


def test_t26_a_key_file_is_never_read_under_any_of_its_names(
    root: Path, tmp_path: Path, guarded: Guarded
) -> None:
    key = root / "innocent.csv"
    key.write_bytes(b"secret")
    (root / "other.csv").hardlink_to(key)
    (tmp_path / "link").symlink_to(key)
    roots = guarded([root], [tmp_path / "link"])

    assert "og-mcp's own" in refusal(roots, key)
    assert "og-mcp's own" in refusal(roots, root / "other.csv")


def test_t26_a_data_folder_that_comes_later_is_closed_too(root: Path) -> None:
    roots = FileRoots([root], [root / "data"])
    (root / "data").mkdir()
    (root / "data" / "x.npy").write_bytes(b"secret")

    assert "og-mcp's own" in refusal(roots, root / "data" / "x.npy")


def test_a_file_may_be_as_large_as_the_bound(root: Path) -> None:
    (root / "big.npy").write_bytes(b"x" * (MAX + 1))

    assert len(read(FileRoots([root]), root / "big.npy", MAX + 1)) == MAX + 1
    assert "1001 bytes, and 1000 is the most" in refusal(FileRoots([root]), root / "big.npy")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("missing.npy", "there is no such file"),
        ("a/missing/x.npy", "there is no such file"),
        ("x.npy/x.npy", "not a folder"),
        (f"{'n' * 300}.npy", "name is too long"),
    ],
)
def test_what_is_not_there_is_told(path: str, reason: str, root: Path, guarded: Guarded) -> None:
    assert reason in refusal(guarded([root]), path)


@pytest.mark.parametrize("path", ["a/" * 20_000 + "x.npy", "./" * 20_000 + "x.npy"])
def test_t26_a_path_of_any_length_is_only_a_path(path: str, root: Path, guarded: Guarded) -> None:
    roots = guarded([root])
    if path.startswith("./"):
        assert read(roots, path) == b"top"
    else:
        assert "there is no such file" in refusal(roots, path)


def test_a_root_that_is_gone_is_told(tmp_path: Path) -> None:
    gone = tmp_path / "gone"

    assert "there is no such file" in refusal(FileRoots([gone]), gone / "x.npy")


def test_a_refusal_names_the_file_and_the_folders_to_use(root: Path) -> None:
    assert refusal(FileRoots([root]), "/etc/hosts") == (
        "The file '/etc/hosts' was not read: it is outside the folders that tools may read from. "
        f"Files are read from OG_UPLOAD_ROOTS only: '{root}'."
    )
