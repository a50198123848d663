"""Rows and summary of a small pair of sides, against numbers computed by hand."""

import dataclasses
import json

import numpy as np
import pytest
from small_reports import CODES, imported, made_of, make, side

from data.languages import all_languages
from eval import comparison
from eval.language_gain import TrainingText
from eval.rendering.html import to_html
from eval.rendering.markdown import to_markdown
from eval.rendering.report_json import to_json
from eval.side import Points
from eval.verdict import sentences


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


def test_the_rank_correlation_is_spearmans():
    sides = side("mT5", (3.0,) * 4, 1), side("Switch", (2.0, 2.5, 3.2, 1.0), 2)

    def correlation(**tokens):
        text = {code: TrainingText(tokens=float(count)) for code, count in tokens.items()}
        gains = comparison.language_gains(*sides, text)
        return comparison.summarise(gains, *sides).gain_tokens_rank_correlation

    # Ranks of gains 3, 2, 1 and of tokens 1, 3, 2: 1 - 6 (4 + 1 + 1) / (3 (9 - 1)).
    assert correlation(sw=5, en=50, ru=7) == pytest.approx(-0.5)
    assert correlation(sw=5, en=5, ru=5) is None
    assert correlation(sw=5) is None
