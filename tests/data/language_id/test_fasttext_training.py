import re
from pathlib import Path

import pytest
from declarations import SIX_LANGUAGES
from trained_fasttext import trained

from data.demo.shipped_text import pages_of
from data.language_id.fasttext import FastTextIdentifier
from data.language_id.fasttext_training import of_vocabulary, training_text
from data.languages import get

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
    assert of_vocabulary([*words, "Neno"], ()).is_lower_case
    assert not of_vocabulary([*words[:100], "Neno"], ()).is_lower_case


def test_a_model_without_words_is_given_text_as_it_is():
    """Its n-grams alone tell nothing."""
    assert of_vocabulary(["</s>"], ()).written("Watu, 26!") == "Watu, 26!"


def test_the_model_of_six_languages_was_lower_cased():
    found = training_text(SIX_LANGUAGES)
    assert found.is_lower_case
    assert len(found.labels) == 6
