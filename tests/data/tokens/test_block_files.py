import pickle
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from data.tokens import block_files
from data.tokens.block_files import LocalFiles, Readers
from data.tokens.shards import RECORD_TOKENS, TokenizedPage, write_shard

SHARDS = 6


class CountingFiles(LocalFiles):
    """Counts the files that are pinned at one time."""

    def __init__(self, directory):
        super().__init__(directory)
        self.lent: list[str] = []
        self.most = 0

    @contextmanager
    def pin(self, file):
        self.lent.append(file.name)
        self.most = max(self.most, len(self.lent))
        yield self.directory / file.name
        self.lent.remove(file.name)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Six shards of three records; the ids of a record show its place."""
    directory = tmp_path_factory.mktemp("blocks")
    return directory, [
        write_shard(directory, f"sw/{n}", [TokenizedPage("u", _ids(n), 1, 1)], np.dtype("<u2"))
        for n in range(SHARDS)
    ]


def _ids(shard: int) -> np.ndarray:
    return np.repeat(10 * shard + np.arange(3), RECORD_TOKENS)


def read(readers: Readers, shard, record: int) -> int:
    (content,) = readers.read(shard.records, [record])
    return int(np.unique(np.frombuffer(content, "<u2")).item())


def test_readers_are_closed_beyond_a_bound_and_give_their_files_back(shards, monkeypatch):
    monkeypatch.setattr(block_files, "OPEN_READERS", 3)
    files = CountingFiles(shards[0])
    readers = Readers(files)
    for place in np.random.default_rng(0).integers(0, SHARDS, 60).tolist():
        assert read(readers, shards[1][place], place % 3) == 10 * place + place % 3
    assert files.most == 3


def test_readers_pin_a_bounded_number_of_bytes(shards):
    files = CountingFiles(shards[0])
    files.open_bytes = 2.5 * max(shard.file_bytes for shard in shards[1])
    readers = Readers(files)
    for place in [0, 1, 2, 3, 4, 5, 0]:
        read(readers, shards[1][place], 0)
    assert files.most == 2


def test_the_bound_leaves_room_for_other_files(monkeypatch):
    monkeypatch.setattr(block_files.resource, "getrlimit", lambda _: (1024, 4096))
    assert block_files._most_open() == 128


def test_threads_may_share_readers(shards):
    """A reader has one position: two threads would read each other's records."""
    readers = Readers(LocalFiles(shards[0]))

    def check(seed: int) -> bool:
        places = np.random.default_rng(seed).integers(0, 3, 300).tolist()
        return all(read(readers, shards[1][0], place) == place for place in places)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(check, range(4)))


def test_readers_survive_pickling(shards):
    readers = Readers(LocalFiles(shards[0]))
    read(readers, shards[1][1], 2)
    assert read(pickle.loads(pickle.dumps(readers)), shards[1][1], 2) == 12
