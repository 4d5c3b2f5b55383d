"""The folder of saved copies: names are new, links are not followed, nothing is left half written."""

from __future__ import annotations

import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from og_mcp.client.files.roots import BY_DESCRIPTOR
from og_mcp.client.files.saved import check_free, save
from og_mcp.errors import InputError

each_way = pytest.mark.parametrize("by_descriptor", sorted({False, BY_DESCRIPTOR}))


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let the system refuse to write longer files, as where a disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@each_way
def test_t50_a_file_is_new_whole_and_its_owners_alone(tmp_path: Path, by_descriptor: bool) -> None:
    folder = tmp_path / "data" / "saved"
    path = save(folder, "cat.png", b"mine", by_descriptor=by_descriptor)

    with pytest.raises(InputError, match=r"cat.png': there is a file of that name already"):
        save(folder, "cat.png", b"other", by_descriptor=by_descriptor)

    assert path.read_bytes() == b"mine"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@each_way
def test_t50_neither_a_linked_name_nor_a_linked_folder_is_followed(
    tmp_path: Path,
    by_descriptor: bool,
) -> None:
    elsewhere, folder, linked = (tmp_path / name for name in ("elsewhere", "saved", "linked"))
    elsewhere.mkdir()
    folder.mkdir()
    linked.symlink_to(elsewhere)
    (folder / "cat.png").symlink_to(elsewhere / "cat.png")

    for one in (folder, linked):
        with pytest.raises(InputError, match="Nothing can be saved"):
            check_free(one, ["cat.png"])
        with pytest.raises(InputError, match="Nothing can be saved"):
            save(one, "cat.png", b"x", by_descriptor=by_descriptor)

    assert list(elsewhere.iterdir()) == []


@each_way
def test_what_cannot_be_written_whole_is_not_left_there(
    tmp_path: Path,
    by_descriptor: bool,
) -> None:
    with files_of_at_most(1000), pytest.raises(InputError, match="File too large"):
        save(tmp_path, "cat.png", bytes(2000), by_descriptor=by_descriptor)

    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_folders_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "saved").write_bytes(b"")

    with pytest.raises(InputError, match="not a folder"):
        check_free(tmp_path / "saved", ["cat.png"])
