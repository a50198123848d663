"""Models of fastText: how they are read, and what of a hostile one is refused."""

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
from data.language_id.identifiers import Prediction
from data.languages import all_languages, get

CODES = {
    "sw": "sw swh_Latn",  # lid.176; GlotLID and NLLB
    "iw": "he heb_Hebr", "no": "nob_Latn nno_Latn", "fil": "tl", "jv": "jav_Latn",
    "zh": "zho_Hant cmn_Hani", "ar": "arz_Arab", "ps": "pbt_Arab",  # members of macrolanguages
    "id": "ind_Latn",  # a language of mC4 first, a member of Malay second
    "ms": "zsm_Latn", "hi": "hin_Deva", "hi-Latn": "hin_Latn", "ru-Latn": "rus_Latn",
    "sr": "srp_Latn", "sq": "als_Latn", "gsw": "als",  # lid.176 means Alemannic
    "hr": "hrv_Latn", "quz": "quz_Latn", "und": "und_Mong nonsense", "zxx": "zxx_Zxxx",
}  # fmt: skip


def test_labels_are_read_as_mc4_codes():
    found = {code: {mc4_code(f"__label__{one}") for one in CODES[code].split()} for code in CODES}
    assert found == {code: {code} for code in CODES}
    three_letters = {one.iso639_3: one.code for one in all_languages() if one.iso639_3}
    assert {name: mc4_code(f"__label__{name}_Xxxx") for name in three_letters} == three_letters
    assert len(three_letters) == 101


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


def test_a_model_of_prepared_text_reads_shouted_text(tmp_path):
    """Without preparation no word of it is among the model's."""
    lines = {
        f"__label__{label}": as_openlid_does(" ".join(declaration(code)[1:]))
        for label, code in LANGUAGES.items()
    }
    path = tmp_path / "prepared.bin"
    path.write_bytes(trained(lines))
    found = training_text(path)
    assert found.labels == tuple(lines)
    assert (found.is_lower_case, found.has_digits, found.has_marks) == (True, False, False)
    assert found.written("Watu WOTE, 26\n(haki)!").split() == ["watu", "wote", "haki"]
    for code in LANGUAGES.values():
        shouted = re.sub(r"\s+", ", 12 ", declaration(code)[0].upper())
        answer = FastTextIdentifier(path).identify(shouted)
        assert answer.language == code
        assert answer.probability > 0.9


def test_a_model_of_text_as_it_is_reads_it_as_it_is(tmp_path):
    lines = {"__label__de": "Die Würde (1949) ist WÜRDE.", "__label__en": "the dignity is ours."}
    (tmp_path / "raw.bin").write_bytes(trained(lines))
    found = training_text(tmp_path / "raw.bin")
    assert (found.is_lower_case, found.has_digits, found.has_marks) == (False, True, True)
    text = " Die  Würde,\n(1949) WÜRDE. "
    assert found.written(text) == "Die Würde, (1949) WÜRDE."
    assert FastTextIdentifier(tmp_path / "raw.bin").identify(text).language == "de"


def test_how_text_was_prepared_is_inferred_from_the_vocabulary():
    words = [f"neno{'a' * number}" for number in range(2000)]
    assert infer_training_text([*words, "Neno"], ()).is_lower_case  # in spite of a stray
    assert not infer_training_text([*words[:100], "Neno"], ()).is_lower_case
    assert infer_training_text(["</s>"], ()).written("Watu, 26!") == "Watu, 26!"  # of n-grams alone
    assert training_text(SIX_LANGUAGES).is_lower_case
    assert len(training_text(SIX_LANGUAGES).labels) == 6


def test_a_fasttext_model_predicts_mc4_codes_also_from_a_store():
    fsspec.filesystem("memory").pipe_file("/models/six.bin", SIX_LANGUAGES.read_bytes())
    here, there = identifier(str(SIX_LANGUAGES)), identifier("memory://models/six.bin")
    for text, language in ((SWAHILI, "sw"), (HEBREW, "iw"), (YORUBA + "\n\0\ud800", "yo")):
        answer = here.identify(text)
        assert answer == there.identify(text)
        assert answer.language_above(0.9) == language
        assert answer.probability <= 1
    for text in ("", "\n \n"):
        assert here.identify(text) == Prediction("und", 0.0, False)
    # All lines of the first 10,000 characters.
    assert here.identify("\n".join([HEBREW, *[SWAHILI] * 20])).language == "sw"
    assert here.identify(HEBREW * 90 + SWAHILI * 900).language == "iw"


@pytest.mark.parametrize("load", [identifier, lambda path: try_to_load(Path(path))])
def test_a_missing_file_is_refused(tmp_path, load):
    with pytest.raises(DataError, match=r"no\.bin' was asked for and is not a file"):
        load(f"{tmp_path}/no.bin")


def test_without_the_extra_the_error_names_it_also_in_the_process_that_tries(tmp_path, monkeypatch):
    (tmp_path / "fasttext.py").write_text("raise ImportError")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "fasttext", raising=False)
    for load in (lambda: identifier(str(SIX_LANGUAGES)), lambda: try_to_load(SIX_LANGUAGES)):
        with pytest.raises(DataError, match=r"^Language identifier .* the extra 'fasttext'\.$"):
            load()


def test_a_model_loads_within_its_limits():
    try_to_load(SIX_LANGUAGES)


def model_of_colliding_words() -> bytes:
    """The loader compares each of 2^16 words with all before it, which takes half a minute."""
    words = colliding_words(16)
    return model(
        head=arguments(bucket=0, maxn=0, dim=1),
        declared=counts(len(words), len(LABELS)),
        words=entries(words, 0),
        matrices=dense(len(words), 1) + dense(len(LABELS), 1),
    )


@pytest.mark.parametrize(
    "hostile, reason",
    [
        (lambda: model(head=arguments(bucket=0)), "ended with SIGFPE"),
        (model_of_colliding_words, "more processor time than its size"),
    ],
)
def test_a_file_that_breaks_the_loader_ends_its_own_process_only(tmp_path, hostile, reason):
    path = tmp_path / "hostile.bin"
    path.write_bytes(hostile())
    with pytest.raises(DataError, match=rf"hostile\.bin.*{reason}"):
        try_to_load(path, seconds=1)


@pytest.mark.parametrize(
    "loader, reason",
    [
        ("bytearray(1 << 36)", r"takes more than [\d,]+ bytes of memory"),
        ("1 / 0", "failed: ZeroDivisionError: division by zero"),
        ("sys.exit(1)", "failed: no message"),
    ],
)
def test_a_loader_that_fails_ends_its_own_process_only(tmp_path, monkeypatch, loader, reason):
    (tmp_path / "fasttext.py").write_text(f"import sys\ndef load_model(path): {loader}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DataError, match=rf"six_languages\.bin.*{reason}"):
        try_to_load(SIX_LANGUAGES)
