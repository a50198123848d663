""""""

import hashlib
import shutil
from typing import Any

import pytest
from msgspec.structs import replace
from other_blocks import with_another_vocabulary
from small_corpora import texts_of, write_corpus

from data.errors import DataError
from data.files.json_files import read_json, write_json
from data.tokens.blocks import TokenBlocks
from data.tokens.tokenizer import MODEL_FILE
from pipeline.artifacts import digest_of_manifest
from pipeline.corpus.pages import corpus_digests, sources_of
from pipeline.errors import ArtifactError
from pipeline.recipe import named
from pipeline.tokens.opened_blocks import (
    check_blocks,
    check_held_out,
    check_pages,
    check_vocabulary,
)


@pytest.fixture
def blocks(tmp_path, make_blocks):
    made = make_blocks(tmp_path, {"sw": 1000})
    (tmp_path / MODEL_FILE).write_bytes(b"a model")
    digest = hashlib.sha256(b"a model").hexdigest()
    return with_another_vocabulary(made, digest)


def test_pages_that_are_in_no_block_are_counted(tmp_path):
    """Pages of a corpus are counted over all corpora, by language and split."""
    corpora = [str(write_corpus(tmp_path / one, {"sw": texts_of("sw", 5)})) for one in "ab"]
    entries = {"sw": {"train": {"pages": 8}, "validation": {"pages": 2}}}
    check_pages(entries, corpora)
    for wrong in (7, 9):  # 9: a copy of a file lies beside it
        entries["sw"]["train"]["pages"] = wrong
        with pytest.raises(ArtifactError, match=rf"{wrong} of 8 in sw/train\); restore the files"):
            check_pages(entries, corpora)


def selection_of(source, out):
    """Makes a corpus a selection of another, by its manifest."""
    manifest = read_json(out / "manifest.json", dict[str, Any])
    made = {"stage": "select", "inputs": {"corpus": digest_of_manifest(source)}}
    write_json(out / "manifest.json", manifest | made | {"selected_from": sources_of(str(source))})
    return out


@pytest.mark.parametrize("odd", [{"addition": []}, {"addition": {"lineage": 7}}, {"history": 3}])
def test_a_manifest_of_another_shape_is_one_sentence(tmp_path, odd):
    corpus = write_corpus(tmp_path / "a", {"sw": texts_of("sw", 5)})
    manifest = read_json(corpus / "manifest.json", dict[str, Any])
    write_json(corpus / "manifest.json", manifest | odd)
    with pytest.raises(DataError, match=next(iter(odd))):
        corpus_digests([str(corpus)])


def test_pages_that_two_corpora_share_are_not_counted_twice(tmp_path):
    first = write_corpus(tmp_path / "a", {"sw": texts_of("sw", 5)})
    other = write_corpus(tmp_path / "b", {"sw": texts_of("sw", 6)})
    grown = write_corpus(tmp_path / "c", {"sw": texts_of("sw", 7)})
    manifest = read_json(grown / "manifest.json", dict[str, Any])
    manifest["addition"] = {"lineage": [digest_of_manifest(first)]}
    write_json(grown / "manifest.json", manifest)
    assert len(corpus_digests([str(first), str(other)])) == 2
    shutil.copytree(first, tmp_path / "copy")
    chosen = selection_of(grown, write_corpus(tmp_path / "d", {"sw": texts_of("sw", 4)}))
    again = selection_of(chosen, write_corpus(tmp_path / "e", {"sw": texts_of("sw", 3)}))
    pairs = [(first, first), (first, tmp_path / "copy"), (first, grown), (grown, first)]
    for pair in [*pairs, (grown, chosen), (again, chosen), (again, first)]:
        with pytest.raises(ArtifactError, match=r"hold the same pages.* name one of them"):
            corpus_digests([str(other), *map(str, pair)])


def test_an_altered_block_or_vocabulary_is_named(blocks):
    check_blocks(blocks)
    with pytest.raises(ArtifactError, match="tokens need 1024"):  # a network with other rows
        check_vocabulary(named.get("mt5-demo"), blocks.manifest.vocabulary)
    for name, message in (
        ("sw/train-00000-of-00002.arrayrecord", r"train-00000-of-00002\.arrayrecord"),
        (MODEL_FILE, f"{MODEL_FILE} should be the vocabulary"),
    ):
        path = blocks.directory / name
        content = path.read_bytes()
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        with pytest.raises(DataError, match=message):
            check_blocks(blocks)
        path.write_bytes(content)


def test_blocks_without_held_out_tokens_are_not_scored(blocks):
    check_held_out(blocks)
    trained = {code: {"train": of["train"]} for code, of in blocks.manifest.languages.items()}
    without = TokenBlocks(blocks.directory, replace(blocks.manifest, languages=trained))
    with pytest.raises(ArtifactError, match=r"no held-out page .* --validation-minimum 10"):
        check_held_out(without)
