import subprocess
import sys

import pytest

from data.language_id import Answer, LanguageIdentifier

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
def identifier() -> LanguageIdentifier:
    return LanguageIdentifier()


@pytest.mark.parametrize("text, language", [(SWAHILI, "sw"), (HEBREW, "iw")])
def test_certain_answers_have_mc4_codes(identifier, text, language):
    assert identifier.identify(text).certain(0.95) == language


def test_toned_yoruba_is_taken_for_vietnamese_with_certainty(identifier):
    assert identifier.identify(YORUBA).certain(0.95) == "vi"


@pytest.mark.parametrize("text", ["", "Habari", "Habari za asubuhi. " * 9])
def test_short_and_repetitive_text_is_undetermined(identifier, text):
    assert identifier.identify(text).certain(0.7) == "und"


def test_lone_surrogates_do_not_raise(identifier):
    assert identifier.identify(SWAHILI + "\ud800").certain(0.7) == "sw"


@pytest.mark.parametrize(
    "answer, certain",
    [
        (Answer("sw", 0.95, True), "sw"),
        (Answer("sw", 0.94, True), "und"),
        (Answer("sw", 1.0, False), "und"),
    ],
)
def test_certainty(answer, certain):
    assert answer.certain(0.95) == certain


def test_a_process_with_tensorflow_is_refused_and_not_crashed():
    code = "import sys; sys.modules['tensorflow'] = sys; import data.language_id"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "does not import TensorFlow" in done.stderr
