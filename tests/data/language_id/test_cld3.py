import subprocess
import sys

import pytest
from declarations import HEBREW, SIX_LANGUAGES, SWAHILI, YORUBA

from data.language_id.cld3 import CLD3Identifier, identifier
from data.language_id.fasttext import FastTextIdentifier
from data.language_id.prediction import Identifier


@pytest.fixture(scope="module")
def cld3() -> Identifier:
    return identifier(None)


@pytest.mark.parametrize("text, language", [(SWAHILI, "sw"), (HEBREW, "iw")])
def test_certain_predictions_have_mc4_codes(cld3, text, language):
    assert cld3.identify(text).language_above(0.95) == language


def test_toned_yoruba_is_taken_for_vietnamese_with_certainty(cld3):
    assert cld3.identify(YORUBA).language_above(0.95) == "vi"


@pytest.mark.parametrize("text", ["", "Habari", "Habari za asubuhi. " * 9])
def test_short_and_repetitive_text_is_undetermined(cld3, text):
    assert cld3.identify(text).language_above(0.7) == "und"


def test_lone_surrogates_do_not_raise(cld3):
    assert cld3.identify(SWAHILI + "\ud800").language_above(0.7) == "sw"


def test_a_process_with_tensorflow_is_refused_and_not_crashed():
    code = "import sys; sys.modules['tensorflow'] = sys; import data.language_id.cld3"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "does not import TensorFlow" in done.stderr


def test_the_path_picks_the_identifier(cld3):
    assert isinstance(cld3, CLD3Identifier)
    assert isinstance(identifier(str(SIX_LANGUAGES)), FastTextIdentifier)
