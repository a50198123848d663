""" """

import re
import struct
import sys
from pathlib import Path

import fsspec
import pytest
from colliding_words import colliding_words
from declarations import HEBREW, SIX_LANGUAGES, SWAHILI, YORUBA
from hypothesis import given
from hypothesis import strategies as st
from raw_fasttext import LABELS, PRUNED, WORDS, arguments, counts, dense, entries, model, quantized
from trained_fasttext import trained

from data.demo import pages_of
from data.errors import DataError
from data.language_id.cld3 import identifier
from data.language_id.fasttext import (
    FastTextIdentifier,
    infer_training_text,
    mc4_code,
    read_entries,
    training_text,
    try_to_load,
)
from data.language_id.identifiers import Identifier, Prediction
from data.languages import all_languages, get


@pytest.mark.parametrize(
    "label, code",
    [
        ("__label__sw", "sw"),  # lid.176
        ("__label__swh_Latn", "sw"),  # GlotLID, NLLB
        ("__label__he", "iw"),
        ("__label__heb_Hebr", "iw"),
        ("__label__nob_Latn", "no"),
        ("__label__nno_Latn", "no"),
        ("__label__tl", "fil"),
        ("__label__jav_Latn", "jv"),
        ("__label__zho_Hant", "zh"),
        ("__label__cmn_Hani", "zh"),
        ("__label__arz_Arab", "ar"),  # a macrolanguage's member
        ("__label__pbt_Arab", "ps"),
        ("__label__ind_Latn", "id"),  # a language of mC4 first, a member of Malay second
        ("__label__zsm_Latn", "ms"),
        ("__label__hin_Deva", "hi"),
        ("__label__hin_Latn", "hi-Latn"),
        ("__label__rus_Latn", "ru-Latn"),
        ("__label__srp_Latn", "sr"),
        ("__label__als_Latn", "sq"),
        ("__label__als", "gsw"),  # lid.176 means Alemannic
        ("__label__hrv_Latn", "hr"),
        ("__label__quz_Latn", "quz"),
        ("__label__und_Mong", "und"),
        ("__label__zxx_Zxxx", "zxx"),
        ("__label__nonsense", "und"),
    ],
)
def test_labels(label, code):
    assert mc4_code(label) == code


def test_every_language_has_its_three_letter_code():
    three_letters = {one.iso639_3: one.code for one in all_languages() if one.iso639_3}
    found = {name: mc4_code(f"__label__{name}_{'Xxxx'}") for name in three_letters}
    assert found == three_letters
    assert len(found) == 101


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


LANGUAGES = {"swh_Latn": "sw", "yor_Latn": "yo", "deu_Latn": "de", "zul_Latn": "zu"}


def declaration(code: str) -> list[str]:
    return [one.text for one in pages_of(get(code)) if "declaration" in one.url]


def as_openlid_does(text: str) -> str:
    """OpenLID's preparation of text, by other means."""
    return "".join(one for one in text.lower() if one.isalpha() or one.isspace() or one == "̀")


@pytest.fixture
def prepared(tmp_path) -> Path:
    """A model trained on prepared text of all passages of the Declaration but the first."""
    lines = {
        f"__label__{label}": as_openlid_does(" ".join(declaration(code)[1:]))
        for label, code in LANGUAGES.items()
    }
    (tmp_path / "prepared.bin").write_bytes(trained(lines))
    return tmp_path / "prepared.bin"


def test_the_vocabulary_tells_how_text_was_prepared(prepared):
    found = training_text(prepared)
    assert found.labels == tuple(f"__label__{label}" for label in LANGUAGES)
    assert (found.is_lower_case, found.has_digits, found.has_marks) == (True, False, False)
    assert found.written("Watu WOTE, 26\n(haki)!").split() == ["watu", "wote", "haki"]


@pytest.mark.parametrize("code", LANGUAGES.values())
def test_a_model_of_prepared_text_reads_shouted_text(prepared, code):
    """Without preparation no word of it is among the model's."""
    shouted = re.sub(r"\s+", ", 12 ", declaration(code)[0].upper())
    found = FastTextIdentifier(prepared).identify(shouted)
    assert found.language == code
    assert found.probability > 0.9


def test_a_model_of_text_as_it_is_reads_it_as_it_is(tmp_path):
    lines = {"__label__de": "Die Würde (1949) ist WÜRDE.", "__label__en": "the dignity is ours."}
    (tmp_path / "raw.bin").write_bytes(trained(lines))
    found = training_text(tmp_path / "raw.bin")
    assert (found.is_lower_case, found.has_digits, found.has_marks) == (False, True, True)
    text = " Die  Würde,\n(1949) WÜRDE. "
    assert found.written(text) == "Die Würde, (1949) WÜRDE."
    assert FastTextIdentifier(tmp_path / "raw.bin").identify(text).language == "de"


def test_a_vocabulary_with_a_stray_is_lower_case_all_the_same():
    words = [f"neno{'a' * number}" for number in range(2000)]
    assert infer_training_text([*words, "Neno"], ()).is_lower_case
    assert not infer_training_text([*words[:100], "Neno"], ()).is_lower_case


def test_a_model_without_words_is_given_text_as_it_is():
    """Its n-grams alone tell nothing."""
    assert infer_training_text(["</s>"], ()).written("Watu, 26!") == "Watu, 26!"


def test_the_model_of_six_languages_was_lower_cased():
    found = training_text(SIX_LANGUAGES)
    assert found.is_lower_case
    assert len(found.labels) == 6


@pytest.fixture(scope="module")
def fasttext() -> Identifier:
    return identifier(str(SIX_LANGUAGES))


@pytest.mark.parametrize(
    "text, language",
    [(SWAHILI, "sw"), (HEBREW, "iw"), (YORUBA, "yo"), (YORUBA + "\n\0\ud800", "yo")],
)
def test_a_fasttext_model_predicts_mc4_codes(fasttext, text, language):
    answer = fasttext.identify(text)
    assert answer.language_above(0.9) == language
    assert answer.probability <= 1


def test_a_fasttext_model_of_a_store_predicts_as_the_local_one(fasttext):
    fsspec.filesystem("memory").pipe_file("/models/six.bin", SIX_LANGUAGES.read_bytes())
    there = identifier("memory://models/six.bin")
    for text in (SWAHILI, HEBREW, YORUBA):
        assert there.identify(text) == fasttext.identify(text)


def test_a_fasttext_model_reads_all_lines_of_the_first_10000_characters(fasttext):
    assert fasttext.identify("\n".join([HEBREW, *[SWAHILI] * 20])).language == "sw"
    assert fasttext.identify(HEBREW * 90 + SWAHILI * 900).language == "iw"


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_a_fasttext_model_predicts_nothing_without_text(fasttext, text):
    assert fasttext.identify(text) == Prediction("und", 0.0, False)


def test_a_file_that_is_no_model(tmp_path):
    with pytest.raises(
        DataError, match=r"no\.bin' was asked for and is not a file; give a fastText"
    ):
        identifier(f"{tmp_path}/no.bin")
    (tmp_path / "text.bin").write_text("Habari")
    with pytest.raises(DataError, match="should be a fastText classifier and is not"):
        identifier(f"{tmp_path}/text.bin")


def test_without_the_extra_the_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "fasttext", None)
    with pytest.raises(DataError, match="install mswitch with the extra 'fasttext'"):
        identifier(str(SIX_LANGUAGES))


def test_a_model_loads_within_its_limits():
    try_to_load(SIX_LANGUAGES)


def test_a_missing_file_starts_no_process(tmp_path):
    with pytest.raises(DataError, match="is not a file"):
        try_to_load(tmp_path / "no.bin")


CHAIN = model(  # Huffman's tree of labels that never occur
    head=arguments(loss=1),
    declared=counts(3, 100_000),
    labels=entries([b"a"] * 100_000, 1, each=0),
    matrices=dense(6, 2) + dense(100_000, 2),
)


@pytest.mark.parametrize(
    "content, reason",
    [(model(head=arguments(bucket=0)), "ended with SIGFPE"), (CHAIN, "loading it takes more")],
    ids=["division by zero", "memory with the square of the labels"],
)
def test_a_file_that_breaks_the_loader_ends_its_own_process_only(tmp_path, content, reason):
    path = tmp_path / "hostile.bin"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"hostile\.bin.*{reason}"):
        try_to_load(path, seconds=2)


def test_words_that_share_a_hash_end_at_the_limit_of_time(tmp_path):
    """The loader compares each word with all before it: 2^16 words take half a minute."""
    words = colliding_words(16)
    path = tmp_path / "colliding.bin"
    path.write_bytes(
        model(
            head=arguments(bucket=0, maxn=0, dim=1),
            declared=counts(len(words), len(LABELS)),
            words=entries(words, 0),
            matrices=dense(len(words), 1) + dense(len(LABELS), 1),
        )
    )
    with pytest.raises(DataError, match=r"colliding\.bin.*more processor time than its size"):
        try_to_load(path, seconds=1)


@pytest.mark.parametrize(
    "loader, reason",
    [
        ("bytearray(1 << 36)", r"takes more than [\d,]+ bytes of memory"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "ended with SIGSEGV"),
        ("1 / 0", "failed: ZeroDivisionError: division by zero"),
        ("sys.exit(1)", "failed: no message"),
    ],
)
def test_a_loader_that_fails_ends_its_own_process_only(tmp_path, monkeypatch, loader, reason):
    source = f"import os, signal, sys\ndef load_model(path): {loader}\n"
    (tmp_path / "fasttext.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DataError, match=rf"six_languages\.bin.*{reason}"):
        try_to_load(SIX_LANGUAGES)


def test_without_the_extra_the_sentence_of_the_process_is_the_error(tmp_path, monkeypatch):
    (tmp_path / "fasttext.py").write_text("raise ImportError")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DataError, match=r"^Language identifier .* the extra 'fasttext'\.$"):
        try_to_load(SIX_LANGUAGES)
