import sys

import fsspec
import pytest
from declarations import HEBREW, SIX_LANGUAGES, SWAHILI, YORUBA

from data.errors import DataError
from data.language_id.cld3 import identifier
from data.language_id.prediction import Identifier, Prediction


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
