"""The loader hangs, takes all memory or reads outside its tables on most of these files."""

import struct

import pytest
from declarations import SIX_LANGUAGES
from hypothesis import given
from hypothesis import strategies as st
from raw_fasttext import (
    LABELS,
    PRUNED,
    WORDS,
    arguments,
    counts,
    dense,
    entries,
    model,
    quantized,
)  # fmt: skip

from data.errors import DataError
from data.language_id.cld3 import identifier
from data.language_id.fasttext_file import memory_to_load

WHOLE = {
    "softmax": model(),
    "hierarchical": model(head=arguments(loss=1)),
    "negative sampling": model(head=arguments(loss=2)),
    "one-vs-all": model(head=arguments(loss=4, word_ngrams=2)),
    "without n-grams": model(head=arguments(bucket=0, maxn=0), matrices=dense(3, 2) + dense(2, 2)),
    "version 11": model(head=arguments(version=11)),
    "quantized": model(matrices=quantized(6, 2) + dense(2, 2)),
    "quantized labels": model(matrices=quantized(6, 2) + quantized(2, 2)),
    "pruned": PRUNED,
}

HOSTILE = {
    "2^31 words": (model(declared=counts(2**31 - 3, 2)), "a dictionary of 21,474,836,470 bytes"),
    "7.6 GB": (
        model(
            head=arguments(dim=950, bucket=1_999_997),
            matrices=struct.pack("<?qq", 0, 2_000_000, 950),
        ),
        "a matrix of 7,600,000,000 bytes where 0 bytes of the file remain",
    ),
    "quantized to 4 GB": (
        model(matrices=struct.pack("<??qqi", 1, 1, 6, 2, 2**31 - 1)), "codes of 2,147,483,647 byte",
    ),
    "endless n-grams": (model(head=arguments(maxn=2**31 - 1)), "n-grams have up to 2,147,483,647"),
    "n-grams of -1": (
        model(head=arguments(maxn=-1), words=entries([*WORDS[:2], b"a" * 300_000], 0)),
        "n-grams have up to -1 characters",
    ),
    "endless word n-grams": (model(head=arguments(word_ngrams=10**6)), "up to 1,000,000 parts"),
    "division by zero": (model(head=arguments(bucket=0)), "it has 0 buckets"),
    "counts of zero": (
        model(
            head=arguments(loss=1),
            declared=counts(3, 100_000),
            labels=entries([b"a"] * 100_000, 1, each=0),
            matrices=dense(6, 2) + dense(100_000, 2),
        ),
        "labels' counts are not in descending order",
    ),
    "counts that close a circle": (
        model(head=arguments(loss=1), labels=entries(LABELS, 1, each=10**15)), "count 1,000,000",
    ),
    "rows that are missing": (
        model(matrices=dense(5, 2) + dense(2, 2)), "5 x 2 numbers should be 6 x 2",
    ),
    "columns that are missing": (model(matrices=dense(6, 1) + dense(2, 2)), "should be 6 x 2"),
    "labels without rows": (model(matrices=dense(6, 2) + dense(1, 2)), "1 x 2 .* should be 2 x 2"),
    "codes that are missing": (
        model(matrices=quantized(6, 2, codes=11) + dense(2, 2)), "6 rows has 11 codes",
    ),
    "parts outside the vector": (
        model(matrices=quantized(6, 2, parts=3) + dense(2, 2)), "2 dimensions into 3 parts",
    ),
    "a table indexed by NaN": (
        model(head=arguments(loss=2), matrices=quantized(6, 2) + quantized(2, 2)), "unsafe with",
    ),
    "pruned n-grams outside": (
        PRUNED.replace(struct.pack("<4i", 0, 1, 2, 0), struct.pack("<4i", 0, 1, 2, 9)),
        "n-gram has no row",
    ),
    "labels among words": (model(words=entries(WORDS, 1)), "entry 1 has the type 1"),
    "labels that are not text": (model(labels=entries([b"\xff", b"a"], 1)), "not UTF-8"),
    "sizes that disagree": (model(declared=counts(3, 2, size=4)), "4 entries should be 3 words"),
    "no labels": (model(declared=counts(5, 0)), "5 words and 0 labels"),
    "no dimensions": (model(head=arguments(dim=0)), "0 dimensions"),
    "word vectors": (model(head=arguments(model=1)), "word vectors"),
    "another version": (model(head=arguments(version=13)), "version is 13"),
    "another loss": (model(head=arguments(loss=5)), "loss is 5"),
    "a word without an end": (
        model(words=entries([*WORDS[:2], b"a" * (1 << 22)], 0)), "word 3 of 5 has no end",
    ),
    "no file": (b"", "a header of 8 bytes where 0 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_a_model_of_each_kind_is_read_to_its_end(tmp_path, name):
    path = tmp_path / "model.bin"
    path.write_bytes(WHOLE[name])
    assert identifier(str(path)).identify("watu huru").language in ("sw", "yo")
    path.write_bytes(WHOLE[name][:-1])
    with pytest.raises(DataError, match="should be a fastText classifier and is not"):
        identifier(str(path))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_model_that_declares_what_it_does_not_hold_is_one_sentence(tmp_path, name):
    content, reason = HOSTILE[name]
    path = tmp_path / "hostile.bin"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"hostile\.bin' should be .* is not \(.*{reason}"):
        identifier(str(path))


@given(length=st.integers(0, SIX_LANGUAGES.stat().st_size - 1))
def test_a_model_that_is_cut_anywhere_is_one_sentence(tmp_path_factory, length):
    path = tmp_path_factory.getbasetemp() / "cut.bin"
    path.write_bytes(SIX_LANGUAGES.read_bytes()[:length])
    with pytest.raises(DataError, match=r"cut\.bin' should be a fastText classifier and is not"):
        identifier(str(path))


def test_words_that_lie_in_two_blocks_of_the_file_are_read(tmp_path):
    long = [bytes([97 + number]) * 300_000 for number in range(9)]
    path = tmp_path / "long.bin"
    matrices = dense(15, 2) + dense(2, 2)
    path.write_bytes(
        model(declared=counts(12, 2), words=entries([*WORDS, *long], 0), matrices=matrices)
    )
    assert path.stat().st_size < memory_to_load(path) < 20 * path.stat().st_size
