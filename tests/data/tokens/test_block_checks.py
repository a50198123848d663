import pytest
from msgspec import to_builtins

from data.errors import DataError
from data.stores.json_files import of_shape
from data.tokens.block_checks import total_bytes, verify_contents, verify_languages, verify_sizes
from data.tokens.blocks import TokenBlocks
from data.tokens.manifest import TokenManifest
from data.tokens.shards import manifest_entry

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
