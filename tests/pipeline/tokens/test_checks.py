import hashlib

import pytest
from msgspec.structs import replace
from other_blocks import with_another_vocabulary
from small_corpora import texts_of, write_corpus

from data.errors import DataError
from data.tokens.blocks import TokenBlocks
from data.tokens.tokenizer import MODEL_FILE
from pipeline.errors import ArtifactError
from pipeline.recipe import named
from pipeline.tokens.checks import check_blocks, check_held_out, check_pages, check_vocabulary


@pytest.fixture
def blocks(tmp_path, make_blocks):
    made = make_blocks(tmp_path, {"sw": 1000})
    (tmp_path / MODEL_FILE).write_bytes(b"a model")
    digest = hashlib.sha256(b"a model").hexdigest()
    return with_another_vocabulary(made, digest)


def test_whole_blocks_pass(blocks):
    check_blocks(blocks)


def test_pages_that_are_in_no_block_are_counted(tmp_path):
    """Pages of a corpus are counted over all corpora, by language and split."""
    corpora = [str(write_corpus(tmp_path / one, {"sw": texts_of("sw", 5)})) for one in "ab"]
    entries = {"sw": {"train": {"pages": 8}, "validation": {"pages": 2}}}
    check_pages(entries, corpora)
    entries["sw"]["train"]["pages"] = 7
    with pytest.raises(ArtifactError, match=r"7 of 8 in sw/train\); restore the files"):
        check_pages(entries, corpora)


def test_an_altered_block_is_named(blocks):
    path = blocks.directory / "sw/train-00000-of-00002.arrayrecord"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"train-00000-of-00002\.arrayrecord"):
        check_blocks(blocks)


def test_another_vocabulary_is_named(blocks):
    (blocks.directory / MODEL_FILE).write_bytes(b"another model")
    with pytest.raises(ArtifactError, match=rf"{MODEL_FILE} should be the vocabulary"):
        check_blocks(blocks)


def test_blocks_without_held_out_tokens_are_not_scored(blocks):
    check_held_out(blocks)
    trained = {code: {"train": of["train"]} for code, of in blocks.manifest.languages.items()}
    without = TokenBlocks(blocks.directory, replace(blocks.manifest, languages=trained))
    with pytest.raises(ArtifactError, match=r"no held-out page .* --validation-minimum 10"):
        check_held_out(without)


def test_a_network_with_other_rows_is_refused(blocks):
    with pytest.raises(ArtifactError, match="tokens need 1024"):
        check_vocabulary(named.get("mt5-demo"), blocks.manifest.vocabulary)
