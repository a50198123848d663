import subprocess
import sys
from pathlib import Path

import pytest

from data.errors import DataError
from data.language_id.cld3 import CLD3Identifier, identifier
from data.language_id.fasttext import FastTextIdentifier
from data.language_id.prediction import Identifier, Prediction

# 27 KB, made by fasttext-community 0.11.9 from 959 rows of 12 words of the Universal Declaration in
# sw, iw, hi, en, vi and yo, labelled swh_Latn, heb_Hebr, ...: train_supervised(dim=8, minn=1,
# maxn=3, bucket=800, minCount=40, epoch=60, lr=0.8, thread=1).
SIX_LANGUAGES = Path(__file__).parent / "six_languages.bin"

SWAHILI = (
    "Watu wote wamezaliwa huru, hadhi na haki zao ni sawa. Wote wamejaliwa akili na dhamiri, "
    "hivyo yapasa watendeane kindugu."
)
HEBREW = (
    "כל בני אדם נולדו בני חורין ושווים בערכם ובזכויותיהם. כולם חוננו בתבונה ובמצפון, "
    "לפיכך חובה עליהם לנהוג איש ברעהו ברוח של אחווה."
)
YORUBA = (
    "Gbogbo ènìyàn ni a bí ní òmìnira; iyì àti ẹ̀tọ́ kọ̀ọ̀kan sì dọ́gba. Wọ́n ní ẹ̀bùn làákàyè àti "
    "ti ẹ̀rí-ọkàn, ó sì yẹ kí wọn ó máa hùwà sí ara wọn gẹ́gẹ́ bí ọmọ ìyá."
)


@pytest.fixture(scope="module")
def cld3() -> Identifier:
    return identifier(None)


@pytest.fixture(scope="module")
def fasttext() -> Identifier:
    return identifier(SIX_LANGUAGES)


@pytest.mark.parametrize("text, language", [(SWAHILI, "sw"), (HEBREW, "iw")])
def test_certain_answers_have_mc4_codes(cld3, text, language):
    assert cld3.identify(text).language_above(0.95) == language


def test_toned_yoruba_is_taken_for_vietnamese_with_certainty(cld3):
    assert cld3.identify(YORUBA).language_above(0.95) == "vi"


@pytest.mark.parametrize("text", ["", "Habari", "Habari za asubuhi. " * 9])
def test_short_and_repetitive_text_is_undetermined(cld3, text):
    assert cld3.identify(text).language_above(0.7) == "und"


def test_lone_surrogates_do_not_raise(cld3):
    assert cld3.identify(SWAHILI + "\ud800").language_above(0.7) == "sw"


@pytest.mark.parametrize(
    "answer, certain",
    [
        (Prediction("sw", 0.95, True), "sw"),
        (Prediction("sw", 0.94, True), "und"),
        (Prediction("sw", 1.0, False), "und"),
    ],
)
def test_certainty(answer, certain):
    assert answer.language_above(0.95) == certain


def test_a_process_with_tensorflow_is_refused_and_not_crashed():
    code = "import sys; sys.modules['tensorflow'] = sys; import data.language_id.cld3"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "does not import TensorFlow" in done.stderr


@pytest.mark.parametrize(
    "text, language",
    [(SWAHILI, "sw"), (HEBREW, "iw"), (YORUBA, "yo"), (YORUBA + "\n\0\ud800", "yo")],
)
def test_a_fasttext_model_answers_with_mc4_codes(fasttext, text, language):
    answer = fasttext.identify(text)
    assert answer.language_above(0.9) == language
    assert answer.probability <= 1


def test_a_fasttext_model_looks_at_all_lines_of_the_first_10000_characters(fasttext):
    assert fasttext.identify("\n".join([HEBREW, *[SWAHILI] * 20])).language == "sw"
    assert fasttext.identify(HEBREW * 90 + SWAHILI * 900).language == "iw"


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_a_fasttext_model_says_nothing_of_no_text(fasttext, text):
    assert fasttext.identify(text) == Prediction("und", 0.0, False)


def test_the_path_picks_the_identifier(cld3, fasttext):
    assert isinstance(cld3, CLD3Identifier)
    assert isinstance(fasttext, FastTextIdentifier)


def test_a_file_that_is_no_model(tmp_path):
    with pytest.raises(DataError, match=r"no\.bin' was asked for and is no file; give a fastText"):
        identifier(tmp_path / "no.bin")
    (tmp_path / "text.bin").write_text("Habari")
    with pytest.raises(DataError, match="should be a fastText classifier and is not"):
        identifier(tmp_path / "text.bin")


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "fasttext", None)
    with pytest.raises(DataError, match="install mswitch with the extra 'fasttext'"):
        identifier(SIX_LANGUAGES)
