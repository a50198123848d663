import json
import pickle
import threading
import time
from typing import ClassVar

import fsspec
import msgspec
import numpy as np
import pytest
from fsspec.implementations.local import LocalFileSystem

from data.errors import DataError
from data.examples import loader, window_order
from data.examples.loader import batches
from data.examples.mixture import make_schedule
from data.examples.pretraining_examples import Examples
from data.examples.span_corruption import lengths_for_inputs
from data.files import stores
from data.files.block_cache import BlockCache
from data.files.json_files import read_json
from data.tokens.block_files import LocalFiles, StagedFiles, open_directory
from data.tokens.blocks import TokenBlocks, verify_contents, verify_sizes
from data.tokens.manifest import SplitTokens, TokenManifest
from data.tokens.shards import TokenizedPage, manifest_entry, write_shard

TOKENS = {"en": 30_000, "sw": 5_000, "yo": 900}


class UnreliableFileSystem(LocalFileSystem):
    """A store of which every other transfer of a file fails and one in six is cut short.

    Counted by file: of a common count the threads of one file might get every odd number.
    """

    protocol = "unreliable"
    transfers = 0
    of_file: ClassVar[dict[str, int]] = {}
    counting = threading.Lock()

    @classmethod
    def _strip_protocol(cls, path):
        return str(path).removeprefix("unreliable://")

    def get_file(self, path1, path2, callback=None, **kwargs):
        with self.counting:
            UnreliableFileSystem.transfers += 1
            number = self.of_file.get(path1, len(self.of_file)) + 1
            self.of_file[path1] = number
        if number % 2:
            raise OSError("connection reset")
        with open(path1, "rb") as source, open(path2, "wb") as target:
            content = source.read()
            target.write(content if number % 3 else content[: len(content) // 2])


@pytest.fixture(scope="module", autouse=True)
def unreliable():
    fsspec.register_implementation("unreliable", UnreliableFileSystem, clobber=True)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(stores, "FIRST_WAIT_SECONDS", 0.001)
    monkeypatch.setattr(stores, "LONGEST_WAIT_SECONDS", 0.001)


@pytest.fixture(scope="module")
def local(tmp_path_factory, make_blocks) -> TokenBlocks:
    blocks = make_blocks(tmp_path_factory.mktemp("store"), TOKENS)
    (blocks.directory / "manifest.json").write_text(
        json.dumps(msgspec.to_builtins(blocks.manifest))
    )
    (blocks.directory / "sentencepiece.model").write_bytes(b"a model")
    return blocks


def staged_job(blocks: TokenBlocks, cache, limit_bytes=10**6, protocol="unreliable") -> TokenBlocks:
    directory, files = open_directory(
        f"{protocol}://{blocks.directory}", ["manifest.json"], cache, limit_bytes
    )
    return TokenBlocks(directory, read_json(directory / "manifest.json", TokenManifest), files)


def first_batches(blocks: TokenBlocks, count: int) -> list[bytes]:
    examples = Examples(
        blocks=blocks,
        schedule=make_schedule({"en": 0.5, "sw": 0.3, "yo": 0.2}, seed=1),
        lengths=lengths_for_inputs(64),
        first_sentinel=1023,
        seed=1,
    )
    source = batches(examples, rows=24)
    return [next(source)["inputs"].tobytes() for _ in range(count)]


def occupied(cache) -> int:
    return sum(path.stat().st_size for path in (cache / "blocks").iterdir())


def test_examples_from_a_store_that_fails_are_the_same(tmp_path, local, monkeypatch):
    monkeypatch.setattr(UnreliableFileSystem, "transfers", 0)
    monkeypatch.setattr(UnreliableFileSystem, "of_file", {})
    blocks = staged_job(local, tmp_path)
    verify_sizes(blocks)
    verify_contents(blocks)
    assert first_batches(blocks, 5) == first_batches(local, 5)
    files = len(list(local.directory.rglob("*-of-*")))
    assert UnreliableFileSystem.transfers > 2 * files
    assert blocks.pages("sw", "validation")[0].url == local.pages("sw", "validation")[0].url


def test_a_cache_smaller_than_the_blocks_is_enough(tmp_path, local):
    whole = sum(path.stat().st_size for path in local.directory.rglob("*.arrayrecord"))
    limit = 2 * max(path.stat().st_size for path in local.directory.rglob("*.arrayrecord"))
    assert limit < whole
    assert first_batches(staged_job(local, tmp_path, limit), 40) == first_batches(local, 40)
    assert occupied(tmp_path) <= limit


def test_blocks_can_be_asked_for_ahead(tmp_path, local):
    files = pickle.loads(pickle.dumps(staged_job(local, tmp_path).files))
    wanted = [shard.records for shard in local.shards("en", "train")]
    files.prefetch([*wanted, *wanted])
    deadline = time.monotonic() + 120
    places = [files.cache.directory / file.sha256 for file in wanted]
    while not all(place.exists() for place in places):
        assert time.monotonic() < deadline
        time.sleep(0.01)


class AskedFirst(LocalFiles):
    """Lends nothing that it was not asked to stage before."""

    staged = True

    def __init__(self, directory):
        super().__init__(directory)
        self.asked: set[str] = set()

    def prefetch(self, files):
        self.asked |= {file.name for file in files}

    def pin(self, file):
        assert file.name in self.asked
        return super().pin(file)


@pytest.fixture
def many_shards(tmp_path, make_blocks, monkeypatch) -> TokenBlocks:
    """One language in 16 shards, in 16 parts of two sections each."""
    monkeypatch.setattr(window_order, "SECTION_TOKENS", 1000)
    tokens = np.arange(32_000).reshape(16, 2000) % 900 + 3
    names = [f"en/train-{number:05d}-of-00016" for number in range(16)]
    shards = [
        write_shard(tmp_path, name, [TokenizedPage(name, row, 1, 1)], np.dtype("<u2"))
        for name, row in zip(names, tokens, strict=True)
    ]
    blocks = make_blocks(tmp_path, {})
    train = msgspec.convert(manifest_entry(shards), SplitTokens)
    manifest = msgspec.structs.replace(blocks.manifest, languages={"en": {"train": train}})
    return TokenBlocks(tmp_path, manifest, AskedFirst(tmp_path))


@pytest.mark.parametrize("hosts", [1, 4])
def test_what_is_read_was_asked_for_before(many_shards, monkeypatch, hosts):
    monkeypatch.setattr(loader, "CHUNK_EXAMPLES", 48)
    monkeypatch.setattr(loader, "CHUNKS_PREFETCHED", 3)
    source = batches(whole(many_shards), rows=48, host=hosts - 1, hosts=hosts)
    for _ in range(20):
        next(source)
    assert many_shards.files.asked


@pytest.mark.parametrize(("hosts", "most"), [(1, 16), (2, 10), (4, 6), (8, 4)])
def test_a_host_asks_for_its_share(many_shards, hosts, most):
    """Its 16 / hosts shards, one for each end, and one more as each epoch begins elsewhere."""
    examples = whole(many_shards)
    (segment,) = examples.segments
    for host in range(hosts):
        mine = np.arange(host, 2048, hosts)
        assert 16 / hosts <= len(set(segment.files(mine, examples.lengths.raw))) <= most


def whole(blocks: TokenBlocks) -> Examples:
    plan = make_schedule({"en": 1.0}, seed=2)
    lengths = lengths_for_inputs(64)
    return Examples(blocks=blocks, schedule=plan, lengths=lengths, first_sentinel=1023, seed=2)


def test_a_block_that_stays_damaged_is_named(tmp_path, local):
    path = local.directory / "sw/train-00000-of-00002.arrayrecord"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        blocks = staged_job(local, tmp_path, protocol="file")
        verify_sizes(blocks)  # which cannot see it
        with pytest.raises(DataError, match=r"file://.*sw/train-00000.*\.arrayrecord differs"):
            first_batches(blocks, 1)
    finally:
        path.write_bytes(whole)


def test_a_missing_and_a_truncated_block_are_named_before_training(tmp_path, local):
    path = local.directory / "sw/train-00000-of-00002.arrayrecord"
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:-1])
        with pytest.raises(
            DataError, match=r"file://.*train-00000.* bytes and the manifest records"
        ):
            verify_sizes(staged_job(local, tmp_path, protocol="file"))
        path.unlink()
        with pytest.raises(DataError, match=r"file://.*train-00000.* which is missing"):
            verify_sizes(staged_job(local, tmp_path, protocol="file"))
    finally:
        path.write_bytes(whole)


def test_a_store_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match=r"memory://nothing/manifest.json cannot be read"):
        open_directory("memory://nothing", ["manifest.json"], tmp_path, 1000)
    with pytest.raises(DataError, match="nosuch://bucket lies in a store that cannot be reached"):
        StagedFiles("nosuch://bucket", BlockCache(tmp_path, 1000)).size("x")


def test_an_object_in_memory_is_staged_too(tmp_path, local):
    """A store with no directories and names that begin with a slash."""
    store = fsspec.filesystem("memory")
    store.put(str(local.directory), "/tokens", recursive=True)
    files = StagedFiles("memory://tokens", BlockCache(tmp_path, 10**6))
    (shard, _) = local.shards("sw", "train")
    assert files.size(shard.records.name) == shard.file_bytes
    with files.pin(shard.records) as path:
        assert path.stat().st_size == shard.file_bytes
    assert np.all([files.size(s.page_table.name) for s in local.shards("sw", "train")])
