"""The round of addresses, called as an engine may: against one comparison of all versions."""

import hashlib

import numpy as np
import pytest
from exchanges import exchanged
from hypothesis import given, settings
from hypothesis import strategies as st

from data.dedup.newest_per_url import PageVersion, newest
from pipeline.beam.workspace import Wave, Waves, Workspace
from pipeline.corpus import spills
from pipeline.corpus.addresses import FindNewest
from pipeline.corpus.keys import collected_numbers
from pipeline.corpus.read import VERSIONS, versions_path

TIMES = ("", "2019", "2019-04-25", "2019-04-25T12:57:54Z", "2019-04-25T12:57:54.123456789+00:00")


def md5(text: str) -> bytes:
    return hashlib.md5(text.encode()).digest()


VERSION = st.builds(
    PageVersion,
    st.sampled_from("abcdef").map(md5),
    st.sampled_from(TIMES),
    st.sampled_from("xyz").map(md5),
)
SHARDS = st.lists(st.lists(st.lists(VERSION, max_size=4), max_size=3), min_size=1, max_size=4)


def spilled(workspace: Workspace, shards: list[list[list[PageVersion]]]) -> None:
    for shard, chunks in enumerate(shards):
        path, row = versions_path(workspace, shard), 0
        with spills.writer(workspace, path, VERSIONS) as file:
            for chunk in chunks:
                rows = range(row, row + len(chunk))
                columns = [*zip(*chunk, strict=True)] or [[], [], []]
                file.write_batch(spills.arrow_batch(VERSIONS, [*columns, rows]))
                row += len(chunk)


@settings(deadline=None, max_examples=60)
@given(shards=SHARDS, bits=st.integers(0, 3), at_once=st.integers(1, 8), order=st.integers(0, 99))
def test_the_newest_version_of_each_address_stays(tmp_path_factory, shards, bits, at_once, order):
    workspace = Workspace(str(tmp_path_factory.mktemp("addresses")), "job")
    spilled(workspace, shards)
    newest_pages = FindNewest(workspace, Waves(1 << bits, at_once))
    exchanged(newest_pages, len(shards), np.random.default_rng(order))
    every = [
        (shard, row, version)
        for shard, chunks in enumerate(shards)
        for row, version in enumerate(version for chunk in chunks for version in chunk)
    ]
    stays = newest([version for _, _, version in every])
    for shard in range(len(shards)):
        older = [
            row
            for (one, row, _), kept in zip(every, stays, strict=True)
            if one == shard and not kept
        ]
        assert collected_numbers(newest_pages, shard).tolist() == older


@pytest.mark.parametrize("pages", [1, 50])
def test_a_version_takes_56_bytes_beside_one_byte_per_element(tmp_path, pages):
    workspace = Workspace(str(tmp_path), "job")
    versions = [PageVersion(md5(str(page)), TIMES[3], md5("x")) for page in range(pages)]
    spilled(workspace, [[versions]])
    ((_, part),) = FindNewest(workspace, Waves(1, 1)).send(0, Wave(0, 1))
    assert len(part) == 1 + 56 * pages
