"""The sentence of a small report, won, lost and undecided."""

import pytest
from small_reports import make


def test_sentence_when_it_wins():
    assert make().sentence == (
        "Switch is better than mT5 in 2 of 3 languages (2 beyond noise) and worse in 1 (1 beyond "
        "noise). It reaches mT5’s final quality in 2 of 3; the mean step speed-up is 1.16 (95% "
        "interval 1.15 to 1.16, over pages only)."
    )


@pytest.mark.parametrize(
    "final, ending",
    [
        ((3.5, 3.5, 3.5, 1.0), "final quality in none of 3; the mean step speed-up is 0.71 ("),
        ((2.5, 3.5, 3.5, 1.0), "in 1 of 3; the mean step speed-up is 0.86 ("),
    ],
)
def test_sentence_when_it_loses(final, ending):
    sentence = make(final).sentence
    assert ending in sentence
    assert "Switch is better than mT5 in" in sentence


def test_sentence_when_nothing_is_beyond_noise():
    assert (
        "languages and worse in 1, nowhere beyond noise."
        in make((3.001, 2.999, 3.001, 1.0)).sentence
    )
