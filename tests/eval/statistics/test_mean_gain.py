"""The mean gain over languages, beside a mean of languages and a jackknife over pages."""

import dataclasses

import numpy as np
import pytest
from scipy import stats
from small_reports import CODES, PAGES, made_of, side

from eval.language_loss import Unit
from eval.statistics.mean_gain import mean_gain

FINAL = (2.0, 2.5, 3.2, 1.0)


def test_one_language_has_the_interval_of_that_language(monkeypatch):
    monkeypatch.setattr("small_reports.CODES", ("sw",) * 4)  # forty pages of one language
    sides = [
        dataclasses.replace(one, pages=(one.pages[0], other.pages[0]))
        for one, other in (
            (side("mT5", (3.0,) * 4, 1), side("mT5", (3.1,) * 4, 3)),
            (side("Switch", (2.0,) * 4, 2), side("Switch", (2.2,) * 4, 4)),
        )
    ]
    found = mean_gain(sides[0], sides[1], Unit.NATS_PER_TOKEN)
    assert found is not None
    row = made_of(*sides).gains["sw"]
    assert found == pytest.approx((row.gain, row.low, row.high, 1))


def test_mean_of_languages_and_jackknife_over_pages():
    """One run per side: the variance is that of leaving out one page of one language at a time."""
    sides = side("mT5", (3.0,) * 4, 1), side("Switch", FINAL, 2)
    made = made_of(*sides)
    pages = [one.final_pages[0] for one in sides]
    gains, squares = [], np.zeros(3)
    for code in CODES[:3]:  # the last one is a script variant
        mine = np.flatnonzero(pages[0].held_out.language == code)
        nats, tokens = ([getattr(p, name)[mine] for p in pages] for name in
                        ("loss_nats", "target_tokens"))  # fmt: skip
        whole = [n.sum() / t.sum() for n, t in zip(nats, tokens, strict=True)]
        gains.append(whole[0] - whole[1])
        for at in range(PAGES):
            rest = [
                np.delete(n, at).sum() / np.delete(t, at).sum()
                for n, t in zip(nats, tokens, strict=True)
            ]
            moved = rest[0] - rest[1] - gains[-1]
            squares[len(gains) - 1] += (PAGES - 1) / PAGES * moved**2
    freedom = squares.sum() ** 2 / (squares**2 / (PAGES - 1)).sum()
    half = stats.t.ppf(0.975, freedom) * squares.sum() ** 0.5 / 3
    mean = np.mean(gains)
    summary = made.summary
    assert summary.mean_gain_languages == 3
    assert (summary.mean_gain, summary.mean_gain_low, summary.mean_gain_high) == pytest.approx(
        (mean, mean - half, mean + half)
    )


def test_a_language_of_one_page_is_left_out(monkeypatch):
    monkeypatch.setattr("small_reports.PAGES", 1)
    made = made_of(side("mT5", (3.0,) * 4, 1), side("Switch", FINAL, 2))
    assert (made.summary.mean_gain, made.summary.mean_gain_languages) == (None, 0)
