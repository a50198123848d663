"""Two small sides compared, against numbers by hand, a jackknife over pages and sums by script."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import stats
from small_reports import CODES, PAGES, compare, imported, made_of, make, side

from data.languages import all_languages
from eval import gains as comparison
from eval.compare import Estimate
from eval.gains import TrainingText
from eval.losses import HeldOutPages, PageLosses, Unit
from eval.report.data import to_json
from eval.report.html import to_html
from eval.report.markdown import to_markdown
from eval.sides import Points
from eval.verdict import sentences

FINAL = (2.0, 2.5, 3.2, 1.0)
DENSE, SPARSE = side("mT5", (3.0,) * 4, 1), side("Switch", FINAL, 2)


def test_mean_of_languages_and_jackknife_over_pages():
    """One run per side: the variance is that of leaving out one page of one language at a time."""
    pages = [one.final_pages[0] for one in (DENSE, SPARSE)]
    gains, squares = [], np.zeros(3)
    for code in CODES[:3]:  # the last one is a script variant
        mine = np.flatnonzero(pages[0].held_out.language == code)
        nats, tokens = ([getattr(p, name)[mine] for p in pages] for name in
                        ("loss_nats", "target_tokens"))  # fmt: skip
        gains.append(nats[0].sum() / tokens[0].sum() - nats[1].sum() / tokens[1].sum())
        for at in range(PAGES):
            rest = [np.delete(n, at).sum() / np.delete(t, at).sum()
                    for n, t in zip(nats, tokens, strict=True)]  # fmt: skip
            moved = rest[0] - rest[1] - gains[-1]
            squares[len(gains) - 1] += (PAGES - 1) / PAGES * moved**2
    freedom = squares.sum() ** 2 / (squares**2 / (PAGES - 1)).sum()
    half = stats.t.ppf(0.975, freedom) * squares.sum() ** 0.5 / 3
    found = compare(DENSE, SPARSE)
    assert found.mean.ends == pytest.approx(np.mean(gains) + half * np.array([0, -1, 1]))
    assert found.summary.mean_gain_languages == 3


def test_rows_are_hand_computable():
    gains = make().gains
    assert list(gains) == ["ru-Latn", "sw", "en", "ru"]  # best gain first
    swahili = gains["sw"]
    assert swahili.gain.value == pytest.approx(1.0, abs=0.02)
    assert swahili.gain.value == pytest.approx(swahili.loss_nats[0] - swahili.loss_nats[1])
    assert swahili.speedup.ratio == pytest.approx(200 / (100 * 2**0.5), abs=0.02)
    assert swahili.bits_per_byte[1] == pytest.approx(2 / np.log(2) / 3, abs=0.01)
    assert gains["ru"].speedup.ratio == pytest.approx(2 ** (0.8 / 1.0 - 1), abs=0.02)  # worse
    assert not gains["ru"].speedup.is_bound
    assert [gains[code].verdict for code in CODES] == ["better", "better", "worse", "unclear"]
    assert (swahili.text.tokens, gains["en"].text.tokens) == (5.0, None)


def test_summary_leaves_script_variants_out():
    summary = make().summary
    assert (summary.languages, summary.script_variants) == (3, 1)
    assert (summary.languages_improved, summary.languages_worse) == (2, 1)
    assert summary.languages_improved_significantly == 2
    assert summary.languages_worse_significantly == summary.languages_not_reached == 1
    ends = summary.mean_step_speedup_low, summary.mean_step_speedup_high
    assert ends[0] < summary.mean_step_speedup < ends[1]
    missing = {one.code for one in all_languages() if not one.is_script_variant}
    assert set(summary.languages_missing) == missing - {"sw", "en", "ru"}


def test_a_candidate_of_fewer_steps_that_ends_worse_does_not_reach_the_baseline():
    """However fast it fell: a quarter of the steps, and a speed-up above 1."""
    longer = side("Switch", (3.3,) * 4, 2)
    steps = tuple(step // 4 for step in longer.steps)
    made = made_of(DENSE, dataclasses.replace(longer, steps=steps))
    assert made.summary.languages_not_reached == made.summary.languages == 3
    assert made.summary.mean_step_speedup > 1
    assert "It reaches mT5’s final quality in none of 3" in sentences(made)


def test_vocabularies_that_differ_are_compared_in_bits_per_byte():
    """Half the tokens per page and two thirds of the hidden bytes: nats per token mean nothing."""
    candidate = side("Switch", (2.0, 2.5, 1.0, 1.0), 2, tokens=50, text_bytes=200)
    made = made_of(DENSE, candidate)
    gain = made.gains["sw"]
    assert gain.gain_in(Unit.NATS_PER_TOKEN) is None
    assert gain.gain_in(Unit.BITS_PER_BYTE) is gain.gain
    assert gain.gain.value == pytest.approx((3.0 / 3 - 2.0 / 2) / np.log(2), abs=0.02)
    assert [made.gains[code].verdict for code in ("en", "ru")] == ["worse", "better"]
    # Bits per byte fall from 4/2 to 2.5/2 nats in English; the baseline is there after a quarter.
    assert made.gains["en"].speedup.ratio == pytest.approx(2 ** (1 / 4 - 1), abs=0.02)
    written = to_json(made)
    json.dumps(written, allow_nan=False)
    assert written["unit"] == "bits per byte"
    row = written["languages"]["sw"]
    assert row["gain_nats"] is row["gain_nats_low"] is None
    assert row["gain_bits_per_byte_low"] < gain.gain.value < row["gain_bits_per_byte_high"]
    assert "bits_per_byte" in written["curves"]["Switch"]
    assert any("bits per byte" in caution for caution in written["cautions"])
    assert "bits per byte" in to_html(made)
    assert "Gain is bits per byte" in to_markdown(made)


@pytest.mark.parametrize(
    ("baseline", "why"),
    [
        (imported(side("mT5 (imported m)", (3.0,) * 4, 1)),
         "mT5 (imported m) was not trained here."),
        (side("mT5", (3.0,) * 4, 1, points=Points.DECAYED),
         "only one side has runs of several lengths."),
    ],
)  # fmt: skip
def test_curves_that_do_not_compare_have_gains_and_no_speedups(baseline, why):
    made = made_of(baseline, side("Switch", (2.0,) * 4, 2))
    assert made.summary.languages_improved == 3
    assert made.summary.mean_step_speedup is made.summary.languages_not_reached is None
    assert made.gains["sw"].speedup is None
    assert sentences(made).endswith(f"No step speed-up is given: {why}")
    json.dumps(to_json(made), allow_nan=False)
    assert 'id="speedups"' not in to_html(made)
    assert "| – |" in to_markdown(made)


def test_languages_that_gain_in_every_run_are_counted():
    first, other = side("Switch", (2.0, 2.9, 2.9, 1.0), 2), side("Switch", (2.1, 3.2, 2.8, 1.0), 3)
    made = compare(DENSE, dataclasses.replace(first, pages=first.pages + other.pages))
    assert made.summary.languages_improved_in_every_run == 2  # sw and ru, but not en
    english = made.gains["en"]
    assert english.loss_nats_runs[1] == pytest.approx((2.9, 3.2), abs=0.02)
    assert english.loss_nats[1] == pytest.approx(np.mean(english.loss_nats_runs[1]))


@pytest.mark.parametrize(
    ("p_value", "low", "high", "verdict"),
    [
        (0.04, 0.1, 0.3, "better"),
        (0.2, 0.1, 0.3, "uncorrected"),
        (0.2, -0.3, -0.1, "uncorrected"),
        (0.2, -0.1, 0.3, "unclear"),
        (None, 0.1, 0.3, "unclear"),  # a script variant, which is not tested
        (None, None, None, "unclear"),  # one page
        (0.01, None, None, "better"),  # examples that are all alike
    ],
)
def test_an_interval_that_excludes_zero_is_not_beyond_noise_by_itself(p_value, low, high, verdict):
    gain = Estimate(value=0.2, low=low, high=high, p_value=p_value, examples=9)
    assert gain.verdict == verdict


def test_the_rank_correlation_is_spearmans(monkeypatch):
    def correlation(**tokens):
        text = {code: TrainingText(tokens=float(count)) for code, count in tokens.items()}
        return compare(DENSE, SPARSE, text).summary.gain_tokens_rank_correlation

    assert correlation(sw=5, en=50, ru=7) is None  # too few to tell
    monkeypatch.setattr(comparison, "FEWEST_RANKED", 3)
    # Ranks of gains 3, 2, 1 and of tokens 1, 3, 2: 1 - 6 (4 + 1 + 1) / (3 (9 - 1)).
    assert correlation(sw=5, en=50, ru=7) == pytest.approx(-0.5)
    assert correlation(sw=5, en=5, ru=5) is correlation(sw=5) is None


def test_a_script_has_the_counts_and_the_mean_of_its_languages():
    made = compare(DENSE, SPARSE)
    rows, (latin, single) = made.gains, made.scripts
    assert (latin.scripts, latin.tally.languages, latin.tally.better) == (("Latn",), 2, 2)
    assert latin.mean.value == pytest.approx((rows["sw"].gain.value + rows["en"].gain.value) / 2)
    bits = [rows[code].gain_in(Unit.BITS_PER_BYTE).value for code in ("sw", "en")]
    assert latin.mean_bits == pytest.approx(np.mean(bits))
    # A script of one language has that language's interval.
    assert (single.scripts, single.tally.worse) == (("Cyrl",), 1)
    assert single.mean.ends == pytest.approx(rows["ru"].gain.ends)
    assert np.add(latin.tally, single.tally).tolist() == list(made.tally)
    written = to_json(make())["scripts"][0]
    assert (written["scripts"], written["mean_gain"]) == (("Latn",), latin.mean.value)


def test_a_language_of_one_page_is_in_no_mean():
    def alone(one):
        last = one.pages[0][-1]
        code = last.held_out.language
        keep = (code != "sw") | (np.cumsum(code == "sw") == 1)
        held_out = HeldOutPages(code[keep], last.held_out.url[keep])
        names = "loss_nats", "target_tokens", "text_bytes"
        pages = PageLosses(held_out, *(getattr(last, name)[keep] for name in names))
        return dataclasses.replace(one, steps=one.steps[-1:], pages=((pages,),))

    made = made_of(alone(DENSE), alone(SPARSE))
    latin, rows = made.compared.scripts[0], made.gains
    assert (latin.tally.languages, latin.mean_languages, rows["sw"].gain.examples) == (2, 1, 1)
    assert latin.mean.value == pytest.approx(rows["en"].gain.value)
    assert latin.mean_bits == pytest.approx(rows["en"].gain_in(Unit.BITS_PER_BYTE).value)


def test_without_a_language_of_two_pages_there_is_no_mean(monkeypatch):
    monkeypatch.setattr("small_reports.PAGES", 1)
    made = compare(side("mT5", (3.0,) * 4, 1), side("Switch", FINAL, 2))
    assert (made.mean, made.summary.mean_gain_languages) == (None, 0)


def test_scripts_of_one_language_share_the_last_row_and_a_single_row_is_left_out():
    def of_scripts(**scripts):
        made = compare(DENSE, SPARSE)
        for code, script in scripts.items():
            row = made.gains[code]
            language = dataclasses.replace(row.language, script=script)
            made.gains[code] = dataclasses.replace(row, language=language)
        return [(one.scripts, one.tally.languages) for one in made.scripts]

    assert of_scripts(en="Grek", ru="Grek") == [(("Grek",), 2), (("Latn",), 1)]
    assert of_scripts(en="Grek") == []  # three scripts of one language
    assert of_scripts(ru="Latn") == []
