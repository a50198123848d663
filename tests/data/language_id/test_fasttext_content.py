import struct

import pytest
from declarations import SIX_LANGUAGES
from hypothesis import given
from hypothesis import strategies as st
from raw_fasttext import LABELS, PRUNED, WORDS, arguments, counts, dense, entries, model, quantized

from data.errors import DataError
from data.language_id.cld3 import identifier
from data.language_id.fasttext_content import read_entries

WHOLE = {
    "softmax": model(),
    "hierarchical": model(head=arguments(loss=1)),
    "one-vs-all": model(head=arguments(loss=4, word_ngrams=2)),
    "without n-grams": model(head=arguments(bucket=0, maxn=0), matrices=dense(3, 2) + dense(2, 2)),
    "version 11": model(head=arguments(version=11)),
    "quantized": model(matrices=quantized(6, 2) + dense(2, 2)),
    "quantized labels": model(matrices=quantized(6, 2) + quantized(2, 2)),
    "pruned": PRUNED,
}
NO_MODEL = {
    "no file": (b"", "cannot mmap an empty file"),
    "another format": (b"?" + model(), "it does not begin as one"),
    "2^31 words": (model(declared=counts(2**31 - 3, 2)), "word .* of 2,147,483,647 has no end"),
    "7.6 GB": (model(matrices=struct.pack("<?qq", 0, 2_000_000, 950)), ""),
    "labels that are not text": (model(labels=entries([b"\xff", b"a"], 1)), "can't decode"),
    "word vectors": (model(head=arguments(model=1)), "needs to be supervised"),
    "another version": (model(head=arguments(version=13)), "wrong file format"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_model_of_each_kind_is_read_to_its_end(tmp_path, name):
    path = tmp_path / "model.bin"
    path.write_bytes(WHOLE[name])
    words, labels = read_entries(path)
    assert [word.encode() for word in words] == list(WORDS)
    assert tuple(label.encode() for label in labels) == LABELS
    assert identifier(str(path)).identify("watu huru").language in ("sw", "yo")
    path.write_bytes(WHOLE[name][:-1])
    with pytest.raises(DataError, match=r"is not \(its matrices are cut"):
        identifier(str(path))


@pytest.mark.parametrize("name", NO_MODEL)
def test_a_file_that_is_no_model_is_one_sentence(tmp_path, name):
    content, reason = NO_MODEL[name]
    path = tmp_path / "other.bin"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"other\.bin' should be .* is not \(.*{reason}"):
        identifier(str(path))


@given(length=st.integers(0, SIX_LANGUAGES.stat().st_size - 1))
def test_a_model_that_is_cut_anywhere_is_one_sentence(tmp_path_factory, length):
    """The loader would give all of its labels one probability."""
    path = tmp_path_factory.getbasetemp() / "cut.bin"
    path.write_bytes(SIX_LANGUAGES.read_bytes()[:length])
    with pytest.raises(DataError, match=r"cut\.bin' should be a fastText classifier and is not"):
        identifier(str(path))
