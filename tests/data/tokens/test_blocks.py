""" """

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import to_builtins

from data.errors import DataError
from data.files.json_files import of_shape
from data.tokens import shards
from data.tokens.block_files import LocalFiles, Readers
from data.tokens.blocks import (
    TokenBlocks,
    TokenStream,
    total_bytes,
    verify_contents,
    verify_languages,
    verify_sizes,
)
from data.tokens.manifest import TokenManifest
from data.tokens.shards import (
    RECORD_TOKENS,
    TokenizedPage,
    manifest_entry,
    token_dtype,
    write_shard,
)

COUNTS = (0, 1, 5, RECORD_TOKENS - 1, RECORD_TOKENS, 2 * RECORD_TOKENS + 7)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A stream over several shards, one of them empty, and its tokens."""
    directory = tmp_path_factory.mktemp("blocks")
    generator = np.random.default_rng(0)
    shards, expected = [], []
    for number, count in enumerate(COUNTS):
        tokens = generator.integers(0, 60_000, count)
        page = TokenizedPage("https://a.example", tokens, count, count)
        shards.append(write_shard(directory, f"sw/train-{number:05d}", [page], token_dtype(60_000)))
        expected.append(tokens)
    readers = Readers(LocalFiles(directory))
    stream = TokenStream(readers, shards, token_dtype(60_000), ids=60_000)
    return stream, np.concatenate(expected)


def test_unfinished_files_lie_in_the_scratch_folder(tmp_path, monkeypatch):
    """A killed job's would else stay among the shards."""
    seen = []

    def stop(path, stream):
        seen.append(path.parent)
        raise KeyboardInterrupt

    monkeypatch.setattr(shards, "_write_records", stop)
    page = TokenizedPage("u", np.arange(3, 9), 9, 8)
    with pytest.raises(KeyboardInterrupt):
        write_shard(
            tmp_path / "out", "sw/t", [page], token_dtype(1000), scratch=str(tmp_path / "scratch")
        )
    assert seen == [tmp_path / "scratch"]


@given(st.integers(0, sum(COUNTS) - 1), st.integers(0, 3 * RECORD_TOKENS))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_window_is_the_same_slice(whole, start, length):
    stream, expected = whole
    wrapped = np.take(expected, np.arange(start, start + length), mode="wrap")
    assert stream.read(start, length).tolist() == wrapped.tolist()


def test_many_windows_at_once_are_the_same_windows(whole):
    stream, expected = whole
    starts = np.random.default_rng(1).integers(0, 3 * len(expected), 50).tolist()
    windows = stream.read_windows(starts, 600)
    for start, window in zip(starts, windows, strict=True):
        assert window.tolist() == np.take(expected, range(start, start + 600), mode="wrap").tolist()


def test_unknown_ids_and_bytes_are_counted(tmp_path):
    page = TokenizedPage("u", np.array([2, 3, 3, 258, 259, 2, 700]), 9, 8)
    shard = write_shard(tmp_path, "sw/train", [page], token_dtype(1000), range(3, 259))
    assert (shard.unknown_tokens, shard.byte_tokens, shard.characters) == (2, 3, 8)
    assert shard.file_bytes == (tmp_path / "sw/train.arrayrecord").stat().st_size


@pytest.mark.parametrize(
    "wrong, ids", [(-1, 1000), (2**16, 1000), (2**24, 250_100), (2**31, 250_100), (2**32, 250_100)]
)
def test_an_id_that_does_not_fit_is_not_written(tmp_path, wrong, ids):
    page = TokenizedPage("https://a.example", np.array([3, wrong, 4]), 9, 8)
    with pytest.raises(DataError, match=rf"a\.example has the id {wrong}, and uint"):
        write_shard(tmp_path, "sw/t", [page], token_dtype(ids))


def test_an_id_outside_the_vocabulary_is_refused_where_it_is_read(tmp_path):
    """The second block has one; windows of the first are read."""
    tokens = np.arange(RECORD_TOKENS + 10) % 700
    tokens[RECORD_TOKENS + 5] = 1000
    shard = write_shard(tmp_path, "sw/t", [TokenizedPage("u", tokens, 9, 8)], token_dtype(1000))
    stream = TokenStream(Readers(LocalFiles(tmp_path)), [shard], token_dtype(1000), ids=1000)
    assert stream.read(0, 600).tolist() == tokens[:600].tolist()
    with pytest.raises(DataError, match=r"Block 1 of .* has the id 1000, .* has 1000 ids"):
        stream.read(RECORD_TOKENS - 1, 2)


@pytest.mark.parametrize(("size", "dtype"), [(65_536, "<u2"), (65_537, "<u4"), (250_100, "<u4")])
def test_ids_are_as_narrow_as_they_can_be(size, dtype):
    assert token_dtype(size).str == dtype


def test_the_same_pages_give_the_same_bytes(tmp_path):
    pages = [TokenizedPage("u", np.arange(9000), 1, 1), TokenizedPage("v", np.arange(3), 2, 2)]
    first, second = (
        write_shard(tmp_path / name, "sw/train", pages, token_dtype(9000)) for name in "ab"
    )
    assert first == second


def test_pages_come_back(tmp_path, make_blocks):
    blocks = make_blocks(tmp_path, {"sw": 1000})
    pages = blocks.pages("sw", "train")
    assert [page.url for page in pages] == [f"https://sw.example/{n}" for n in (0, 300, 600, 900)]
    assert [len(page.tokens) for page in pages] == [300, 300, 300, 100]
    assert np.concatenate([p.tokens for p in pages]).tolist() == (
        blocks.stream("sw", "train").read(0, 1000).tolist()
    )


class Pinned(LocalFiles):
    """Notes the files that are read."""

    names = ()

    def pin(self, file):
        self.names = (*self.names, file.name)
        return super().pin(file)


def test_the_first_pages_are_read_without_the_shards_beyond(tmp_path, make_blocks):
    """And without the tokens beyond: on a store they would be downloaded, and kept in memory."""
    made = make_blocks(tmp_path, {"sw": 30_000})
    blocks = TokenBlocks(tmp_path, made.manifest, files := Pinned(tmp_path))
    pages = blocks.pages("sw", "train", 7)
    first = "sw/train-00000-of-00002"
    assert files.names == (f"{first}.pages.parquet", f"{first}.arrayrecord")
    assert [page.url for page in pages] == [f"https://sw.example/{300 * n}" for n in range(7)]
    assert {page.tokens.base.size for page in pages} == {7 * 300}
    assert len(blocks.pages("sw", "train", 51)) == 51  # of 50 in the first shard


@pytest.mark.parametrize("held", [9, 11, RECORD_TOKENS, RECORD_TOKENS + 1])
def test_a_block_of_another_length_than_the_manifests_is_refused(tmp_path, held):
    shard = write_shard(
        tmp_path, "sw/t", [TokenizedPage("u", np.arange(10), 9, 8)], token_dtype(1000)
    )
    shard = msgspec.structs.replace(shard, tokens=held)
    stream = TokenStream(Readers(LocalFiles(tmp_path)), [shard], token_dtype(1000), ids=1000)
    with pytest.raises(DataError, match=r"t\.arrayrecord"):
        stream.read(0, held)


def test_a_stream_of_a_missing_file_is_refused(tmp_path, make_blocks):
    blocks = make_blocks(tmp_path, {"sw": 1000})
    (tmp_path / "sw/train-00001-of-00002.arrayrecord").unlink()
    with pytest.raises(DataError, match=r"train-00001-of-00002\.arrayrecord, which is missing"):
        blocks.stream("sw", "train")


def test_an_altered_record_is_never_read_silently(tmp_path, make_blocks):
    """ArrayRecord's checksums, as a DataError; a bit outside of all records changes nothing."""
    blocks = make_blocks(tmp_path, {"sw": 10_000})
    expected = blocks.stream("sw", "train").read(0, 10_000).tolist()
    path = tmp_path / "sw/train-00000-of-00002.arrayrecord"
    whole = path.read_bytes()
    raised = 0
    for place in range(0, 2000, 20):
        content = bytearray(whole)
        content[place] ^= 1
        path.write_bytes(content)
        try:
            assert blocks.stream("sw", "train").read(0, 10_000).tolist() == expected
        except DataError as error:
            raised += f"{path} is damaged" in str(error)
    assert raised >= 3


def test_shards_are_plain_values(tmp_path):
    shard = write_shard(tmp_path, "sw/train", [], token_dtype(10))
    assert shard.tokens == 0


SHARD = "sw/train-00001-of-00002"


@pytest.fixture
def blocks(tmp_path, make_blocks):
    return make_blocks(tmp_path, {"sw": 1000, "yo": 500})


def test_whole_blocks_pass(blocks):
    verify_sizes(blocks)
    verify_contents(blocks)
    verify_languages(blocks)
    files = blocks.directory.rglob("*.arrayrecord")
    assert total_bytes(blocks) == sum(path.stat().st_size for path in files)


@pytest.mark.parametrize("ending", ["arrayrecord", "pages.parquet"])
def test_an_altered_file_is_named(blocks, ending):
    path = blocks.directory / f"{SHARD}.{ending}"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    verify_sizes(blocks)  # which cannot see it
    with pytest.raises(DataError, match=rf"{SHARD}\.{ending} has another checksum"):
        verify_contents(blocks)


def test_a_truncated_file_is_named(blocks):
    path = blocks.directory / f"{SHARD}.arrayrecord"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=rf"{SHARD}\.arrayrecord has .* bytes and the manifest"):
        verify_sizes(blocks)


def test_a_missing_file_is_named(blocks):
    (blocks.directory / f"{SHARD}.arrayrecord").unlink()
    for verify in (verify_sizes, verify_contents):
        with pytest.raises(DataError, match=rf"{SHARD}\.arrayrecord, which is missing"):
            verify(blocks)


def test_a_language_without_tokens_is_named(blocks):
    nothing = manifest_entry([])
    yoruba = {"yo": {"train": nothing, "validation": nothing}}
    manifest = to_builtins(blocks.manifest)
    manifest["languages"] |= yoruba
    blocks = TokenBlocks(blocks.directory, of_shape(manifest, TokenManifest, "here"))
    with pytest.raises(DataError, match="has yo without training tokens"):
        verify_languages(blocks)
