"""Content ids as IPFS gives them.

The first two are known to everybody; the others were computed by two programs of other authors,
npm's ipfs-only-hash 4.0.0 and PyPI's aleph-cid 0.1.0.
"""

from __future__ import annotations

import pytest

from og_mcp.client.files.ipfs_cid import CHUNK, LINKS, IPFSHash

COUNTED = bytes(range(251))


def counted(size: int) -> bytes:
    """Give bytes that go on counting, without a period that chunks share."""
    return (COUNTED * (size // len(COUNTED) + 1))[:size]


def cid_of(content: bytes, step: int = 2**20) -> str:
    hashing = IPFSHash()
    for start in range(0, len(content), step):
        hashing.update(content[start : start + step])
    return hashing.cid()


@pytest.mark.parametrize(
    ("content", "cid"),
    [
        (b"", "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH"),
        (b"hello world\n", "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"),
    ],
)
def test_files_that_everybody_knows(content: bytes, cid: str) -> None:
    assert cid_of(content) == cid


@pytest.mark.parametrize(
    ("size", "cid"),
    [
        (CHUNK, "QmeqfRyS3vkku7n6krqC3DgGMex3x2sCpSeKMDmrG13QQq"),
        (CHUNK + 1, "QmUSjGawaz4ptvREcMKSMJneWCa5j8dAz2wSAAvHtW2rnB"),
        (LINKS * CHUNK, "QmXCym15aFeWjAWyPFaAgwVmkuKB7EBsV77Skt54KmxChF"),
        (LINKS * CHUNK + 1, "QmTedsTekQQkgACJXb1sPZSW8bLdS9LPMrT7L4YdjNRd4n"),
        (2 * LINKS * CHUNK + CHUNK + 7, "QmS2CPBXZSfjHmcXWp4wBgBSr8qFwEdbMwjQbmudtMC5ar"),
    ],
    ids=["one chunk", "two chunks", "a full node", "a second node", "a third node"],
)
def test_files_of_several_chunks(size: int, cid: str) -> None:
    assert cid_of(counted(size)) == cid


@pytest.mark.slow
def test_a_tree_of_four_levels() -> None:
    hashing, zeros = IPFSHash(), bytes(LINKS * CHUNK)
    for _ in range(LINKS):
        hashing.update(zeros)
    hashing.update(b"x")

    assert hashing.cid() == "QmUHV4JsJJ66rzw4pyvy1bDcTJaPX7VUxxeNQE7Wk23KNt"


@pytest.mark.parametrize("step", [1000, CHUNK - 1, CHUNK, 3 * CHUNK + 1])
def test_the_pieces_do_not_matter(step: int) -> None:
    assert cid_of(counted(5 * CHUNK + 9), step) == cid_of(counted(5 * CHUNK + 9), 2**24)
