"""The mean gain over languages, beside a mean of languages and a jackknife over pages.

Rows and summary of a small pair of sides, against numbers computed by hand.

Gains by script, beside the mean over all and the rows of their languages.
"""

import dataclasses
import json

import numpy as np
import pytest
from scipy import stats
from small_reports import CODES, PAGES, imported, made_of, make, side

from data.languages import all_languages
from eval import gains
from eval import gains as comparison
from eval.gains import TrainingText, mean_gain, script_gains
from eval.losses import HeldOutPages, PageLosses, Unit
from eval.report.html import to_html
from eval.report.markdown import to_markdown
from eval.report.tables import to_json
from eval.sides import Points
from eval.verdict import sentences

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
    assert found == pytest.approx((row.gain, row.low, row.high))


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


def test_rows_are_hand_computable():
    gains = make().gains
    assert list(gains) == ["ru-Latn", "sw", "en", "ru"]  # best gain first
    assert gains["sw"].gain_nats == pytest.approx(1.0, abs=0.02)
    assert gains["sw"].gain_nats == pytest.approx(
        gains["sw"].loss_nats_baseline - gains["sw"].loss_nats_candidate
    )
    assert gains["sw"].step_speedup == pytest.approx(200 / (100 * 2**0.5), abs=0.02)
    assert gains["sw"].bits_per_byte_candidate == pytest.approx(2 / np.log(2) / 3, abs=0.01)
    assert gains["ru"].step_speedup == pytest.approx(2 ** (0.8 / 1.0 - 1), abs=0.02)  # worse
    assert not gains["ru"].step_speedup_is_bound
    assert [gains[code].verdict for code in CODES] == ["better", "better", "worse", "unclear"]
    assert gains["sw"].training_tokens == 5.0
    assert gains["en"].training_tokens is None


def test_summary_leaves_script_variants_out():
    summary = make().summary
    assert (summary.languages, summary.script_variants) == (3, 1)
    assert (summary.languages_improved, summary.languages_worse) == (2, 1)
    assert summary.languages_improved_significantly == 2
    assert summary.languages_worse_significantly == 1
    assert summary.languages_not_reached == 1
    assert (
        summary.mean_step_speedup_low < summary.mean_step_speedup < summary.mean_step_speedup_high
    )
    missing = {one.code for one in all_languages() if not one.is_script_variant}
    assert set(summary.languages_missing) == missing - {"sw", "en", "ru"}


def test_a_candidate_of_fewer_steps_that_ends_worse_does_not_reach_the_baseline():
    """However fast it fell: a quarter of the steps, and a speed-up above 1."""
    baseline, longer = side("mT5", (3.0,) * 4, 1), side("Switch", (3.3,) * 4, 2)
    steps = tuple(step // 4 for step in longer.steps)
    made = made_of(baseline, dataclasses.replace(longer, steps=steps))
    assert made.summary.languages_not_reached == made.summary.languages == 3
    assert made.summary.mean_step_speedup > 1
    assert "It reaches mT5’s final quality in none of 3" in sentences(made)


def test_vocabularies_that_differ_are_compared_in_bits_per_byte():
    """Half the tokens per page and two thirds of the hidden bytes: nats per token mean nothing."""
    baseline = side("mT5", (3.0,) * 4, 1)
    candidate = side("Switch", (2.0, 2.5, 1.0, 1.0), 2, tokens=50, text_bytes=200)
    made = made_of(baseline, candidate)
    gain = made.gains["sw"]
    assert (gain.gain_nats, gain.gain_nats_low) == (None, None)
    assert gain.gain_bits_per_byte == pytest.approx((3.0 / 3 - 2.0 / 2) / np.log(2), abs=0.02)
    assert gain.gain == gain.gain_bits_per_byte
    assert gain.gain_bits_per_byte_low < gain.gain < gain.gain_bits_per_byte_high
    assert [made.gains[code].verdict for code in ("en", "ru")] == ["worse", "better"]
    # Bits per byte fall from 4/2 to 2.5/2 nats in English; the baseline is there after a quarter.
    assert made.gains["en"].step_speedup == pytest.approx(2 ** (1 / 4 - 1), abs=0.02)
    written = to_json(made)
    json.dumps(written, allow_nan=False)
    assert written["unit"] == "bits per byte"
    assert "bits_per_byte" in written["curves"]["Switch"]
    assert any("bits per byte" in caution for caution in written["cautions"])
    assert "bits per byte" in to_html(made)
    assert "Gain is bits per byte" in to_markdown(made)


def test_an_imported_model_has_gains_and_no_speedups():
    made = made_of(imported(side("mT5 (imported m)", (3.0,) * 4, 1)), side("Switch", (2.0,) * 4, 2))
    assert made.summary.languages_improved == 3
    assert made.summary.median_step_speedup is made.summary.languages_not_reached is None
    assert made.gains["sw"].step_speedup is made.gains["sw"].step_speedup_is_bound is None
    assert sentences(made).endswith(
        "No step speed-up is given: mT5 (imported m) was not trained here."
    )
    json.dumps(to_json(made), allow_nan=False)
    assert 'id="speedups"' not in to_html(made)
    assert "| – |" in to_markdown(made)


def test_ends_of_runs_and_evaluations_within_one_have_no_speedup():
    several = side("mT5", (3.0,) * 4, 1, points=Points.DECAYED)
    made = made_of(several, side("Switch", (2.0,) * 4, 2))
    assert made.summary.mean_step_speedup is made.gains["sw"].step_speedup is None
    assert sentences(made).endswith(
        "No step speed-up is given: only one side has runs of several lengths."
    )
    json.dumps(to_json(made), allow_nan=False)
    assert 'id="speedups"' not in to_html(made)


def test_languages_that_gain_in_every_run_are_counted():
    baseline, candidate = side("mT5", (3.0,) * 4, 1), side("Switch", (2.0, 2.9, 2.9, 1.0), 2)
    other = side("Switch", (2.1, 3.2, 2.8, 1.0), 3)
    both = dataclasses.replace(candidate, pages=candidate.pages + other.pages)
    made = made_of(baseline, both)
    assert made.summary.languages_improved_in_every_run == 2  # sw and ru, but not en
    english = made.gains["en"]
    assert english.loss_nats_candidate_runs == pytest.approx((2.9, 3.2), abs=0.02)
    assert english.loss_nats_candidate == pytest.approx(np.mean(english.loss_nats_candidate_runs))


@pytest.mark.parametrize(
    ("p_value", "low", "high", "verdict"),
    [
        (0.04, 0.1, 0.3, "better"),
        (0.2, 0.1, 0.3, "uncorrected"),
        (0.2, -0.3, -0.1, "uncorrected"),
        (0.2, -0.1, 0.3, "unclear"),
        (None, 0.1, 0.3, "unclear"),  # a script variant, which is not tested
        (None, None, None, "unclear"),  # one page
    ],
)
def test_an_interval_that_excludes_zero_is_not_beyond_noise_by_itself(p_value, low, high, verdict):
    numbers = dict(p_value_adjusted=p_value, gain_nats_low=low, gain_nats_high=high)
    assert dataclasses.replace(make().gains["sw"], **numbers).verdict == verdict


def test_the_rank_correlation_is_spearmans(monkeypatch):
    sides = side("mT5", (3.0,) * 4, 1), side("Switch", (2.0, 2.5, 3.2, 1.0), 2)

    def correlation(**tokens):
        text = {code: TrainingText(tokens=float(count)) for code, count in tokens.items()}
        gains = comparison.language_gains(*sides, text)
        return comparison.summarise(gains, *sides).gain_tokens_rank_correlation

    assert correlation(sw=5, en=50, ru=7) is None  # too few to tell
    monkeypatch.setattr(comparison, "FEWEST_RANKED", 3)
    # Ranks of gains 3, 2, 1 and of tokens 1, 3, 2: 1 - 6 (4 + 1 + 1) / (3 (9 - 1)).
    assert correlation(sw=5, en=50, ru=7) == pytest.approx(-0.5)
    assert correlation(sw=5, en=5, ru=5) is None
    assert correlation(sw=5) is None


SIDES = side("mT5", (3.0,) * 4, 1), side("Switch", (2.0, 2.5, 3.2, 1.0), 2)


def test_a_script_has_the_counts_and_the_mean_of_its_languages():
    rows = gains.language_gains(*SIDES, {})
    latin, single = make().scripts
    assert (latin.scripts, latin.languages, latin.languages_improved) == (("Latn",), 2, 2)
    assert latin.mean_gain == pytest.approx((rows["sw"].gain + rows["en"].gain) / 2)
    assert latin.mean_gain_bits_per_byte == pytest.approx(
        (rows["sw"].gain_bits_per_byte + rows["en"].gain_bits_per_byte) / 2
    )
    ru = rows["ru"]  # a script of one language has that language's interval
    assert (single.scripts, single.languages_worse) == (("Cyrl",), 1)
    assert (single.mean_gain, single.mean_gain_low, single.mean_gain_high) == pytest.approx(
        (ru.gain, ru.low, ru.high)
    )


def test_a_language_of_one_page_is_in_no_mean_of_its_script():
    def alone(one):
        last = one.pages[0][-1]
        code = last.held_out.language
        keep = (code != "sw") | (np.cumsum(code == "sw") == 1)
        held_out = HeldOutPages(code[keep], last.held_out.url[keep])
        counts = (
            getattr(last, name)[keep] for name in ("loss_nats", "target_tokens", "text_bytes")
        )
        pages = ((PageLosses(held_out, *counts),),)
        return dataclasses.replace(one, steps=one.steps[-1:], pages=pages)

    sides = [alone(one) for one in SIDES]
    made = made_of(*sides)
    latin, rows = made.scripts[0], made.gains
    assert (latin.languages, latin.mean_gain_languages, rows["sw"].held_out_pages) == (2, 1, 1)
    assert latin.mean_gain == pytest.approx(rows["en"].gain)
    assert latin.mean_gain_bits_per_byte == pytest.approx(rows["en"].gain_bits_per_byte)
    assert "over 1 |" in to_markdown(made)
    assert ", over 1</td>" in to_html(made)


def test_scripts_together_have_the_counts_of_the_summary():
    made = make()
    for name in ("languages", "languages_improved", "languages_worse_significantly"):
        assert sum(getattr(one, name) for one in made.scripts) == getattr(made.summary, name)


def test_scripts_of_one_language_share_the_last_row():
    made = make()
    twice = {f"{code} {n}": gain for code, gain in made.gains.items() for n in (1, 2)}
    scripts = {"ru 1": "Cyrl", "ru 2": "Grek"}
    rows = {c: dataclasses.replace(g, script=scripts.get(c, g.script)) for c, g in twice.items()}
    latin, single = script_gains(rows, *SIDES, made.unit)
    assert (latin.scripts, latin.languages) == (("Latn",), 4)
    assert (single.scripts, single.languages) == (("Cyrl", "Grek"), 2)


@pytest.mark.parametrize("script", [lambda code: "Latn", lambda code: code])
def test_a_single_row_is_left_to_the_summary(script):
    gains = make().gains.items()
    rows = {code: dataclasses.replace(gain, script=script(code)) for code, gain in gains}
    assert script_gains(rows, *SIDES, make().unit) == []


def test_scripts_stand_in_markdown_and_json():
    latin = make().scripts[0]
    assert f"| Latn | 2 | 2 | 0 | {latin.languages_improved_significantly} | " in to_markdown(
        make()
    )
    assert to_json(make())["scripts"][0]["mean_gain"] == latin.mean_gain
