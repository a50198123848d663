import unicodedata

import numpy as np
import pytest

from data import scripts


@pytest.mark.parametrize(
    "text, kind",
    [
        ("aжաक्ი한ሀ0٣", scripts.IN_A_WORD),
        ("中かカー々กาລកះမြ", scripts.UNSPACED),
        (" .,。、।።་-…«", scripts.SEPARATOR),
    ],
)
def test_kinds(text, kind):
    assert set(scripts.kinds()[scripts.code_points(text)].tolist()) == {kind}


@pytest.mark.parametrize(
    "text, halves", [("中々", 6), ("한", 4), ("かカሀ", 3), ("aжกမ។ ", scripts.HALVES)]
)
def test_weights(text, halves):
    assert set(scripts.weights()[scripts.code_points(text)].tolist()) == {halves}


def test_every_letter_of_unicode_is_in_a_word_or_unspaced():
    kinds = scripts.kinds()
    separators = [
        code
        for code in range(0x3000)
        if unicodedata.category(chr(code))[0] == "L" and kinds[code] == scripts.SEPARATOR
    ]
    assert not separators


def test_lone_surrogates_are_code_points():
    assert scripts.code_points("a\ud800").tolist() == [97, 0xD800]
    assert scripts.kinds()[0xD800] == scripts.SEPARATOR
    assert scripts.characters_with("[ab]").tolist() == [97, 98]
    assert scripts.weights().dtype == np.uint8
