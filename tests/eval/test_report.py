"""Comparison, sentence, JSON and Markdown on a small pair of sides made by hand."""

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pytest

from data.languages import all_languages
from eval import comparison, language_loss, report
from eval.comparison import Side, TrainingText

CODES = ("sw", "en", "ru", "ru-Latn")
PAGES = 10
STEPS = (0, 100, 200)


def losses(levels, seed=0):
    rng = np.random.default_rng(seed)
    rows = [
        {
            "language": code,
            "url": f"https://example.org/{page}",
            "loss_nats": (level + 0.01 * rng.normal()) * 100,
            "target_tokens": 100,
            "text_bytes": 300,
        }
        for code, level in zip(CODES, levels, strict=True)
        for page in range(PAGES)
    ]
    return language_loss.from_table(pa.Table.from_pylist(rows), "here")


def side(name, final, seed, step_seconds=0.1):
    pages = [losses(levels, seed) for levels in ([9.0] * 4, [4.0] * 4, final)]
    return Side(
        name=name,
        steps=STEPS,
        losses=tuple(language_loss.by_language(one) for one in pages),
        pages=(pages[-1],),
        step_seconds=step_seconds,
    )


def facts(name):
    return report.RunFacts(
        name=name,
        recipe="tiny|er",
        seeds=(0, 1),
        parameters=10,
        flops_per_sequence=None,
        experts=None,
        devices="1 × cpu",
        steps=200,
        step_seconds=0.1,
        tokens_per_second=1e4,
        dropped_share=None,
        training_loss_nats=3.0,
    )


def make(final=(2.0, 2.5, 3.2, 1.0)):
    sides = side("mT5", (3.0, 3.0, 3.0, 3.0), 1), side("Switch", final, 2, step_seconds=0.2)
    gains = comparison.language_gains(*sides, {"sw": TrainingText(tokens=5.0)})
    return report.Report(
        baseline=sides[0],
        candidate=sides[1],
        facts=(facts("mT5"), facts("Switch")),
        summary=comparison.summarise(gains, *sides),
        gains=gains,
        funnel=None,
        training_tokens_are="distinct training tokens",
    )


def test_rows_are_hand_computable():
    gains = make().gains
    assert list(gains) == ["ru-Latn", "sw", "en", "ru"]  # best gain first
    assert gains["sw"].gain_nats == pytest.approx(1.0, abs=0.02)
    assert gains["sw"].gain_nats == pytest.approx(
        gains["sw"].loss_nats_baseline - gains["sw"].loss_nats_candidate
    )
    assert gains["sw"].step_speedup == pytest.approx(200 / 150, abs=0.02)
    assert gains["sw"].bits_per_byte_candidate == pytest.approx(2 / np.log(2) / 3, abs=0.01)
    assert (gains["ru"].step_speedup, gains["ru"].step_speedup_bound) == (None, 1.0)
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
    assert summary.time_speedup == pytest.approx(summary.median_step_speedup / 2)
    missing = {one.code for one in all_languages() if not one.is_script_variant}
    assert set(summary.languages_missing) == missing - {"sw", "en", "ru"}


def test_sentence_when_it_wins():
    assert make().sentence == (
        "Switch is better than mT5 in 2 of 3 languages (2 beyond noise) and worse in 1 (1 beyond "
        "noise). It reaches mT5’s final quality in 2 of 3; the median language needs 1/1.20 of "
        "the steps and 167% of the wall time."
    )


@pytest.mark.parametrize(
    "final, says",
    [
        ((3.5, 3.5, 3.5, 1.0), "final quality in none."),
        ((2.5, 3.5, 3.5, 1.0), "in 1 of 3; in the median language it does not."),
    ],
)
def test_sentence_when_it_loses(final, says):
    sentence = make(final).sentence
    assert sentence.endswith(says)
    assert "Switch is better than mT5 in" in sentence


def test_sentence_when_nothing_is_beyond_noise():
    assert (
        "languages and worse in 1, nowhere beyond noise."
        in make((3.001, 2.999, 3.001, 1.0)).sentence
    )


def test_json_is_strict_and_has_the_contracted_fields():
    written = report.to_json(make())
    read = json.loads(json.dumps(written, allow_nan=False))
    assert read["languages"]["ru"]["step_speedup"] is None
    assert {
        "languages",
        "languages_improved",
        "languages_improved_significantly",
        "languages_worse_significantly",
        "languages_not_reached",
        "median_step_speedup",
        "mean_step_speedup",
        "share_step_speedup_at_least_4",
        "time_speedup",
    } <= read["summary"].keys()
    assert {
        "loss_nats_baseline",
        "loss_nats_candidate",
        "gain_nats",
        "gain_nats_low",
        "gain_nats_high",
        "bits_per_byte_baseline",
        "bits_per_byte_candidate",
        "step_speedup",
        "step_speedup_bound",
        "training_tokens",
        "held_out_pages",
    } <= read["languages"]["sw"].keys()


def test_markdown_has_a_row_a_language_and_whole_tables():
    markdown = report.to_markdown(make())
    rows = [line for line in markdown.splitlines() if line.startswith("| ")]
    assert sum("| ru |" in row for row in rows) == 1
    assert any("Russian (Latin) *" in row for row in rows)
    assert "tiny/er" in markdown  # a pipe in a name breaks no table
    assert {row.count("|") for row in rows} == {4, 9}


def test_fertility_stands_in_markdown_and_json():
    sides = side("mT5", (3.0,) * 4, 1), side("Switch", (2.0, 2.5, 3.2, 1.0), 2)
    text = TrainingText(
        bytes_per_token=4.0, tokens_per_page=1200.4, unknown_share=0.0, byte_fallback_share=0.0123
    )
    made = dataclasses.replace(make(), gains=comparison.language_gains(*sides, {"sw": text}))
    assert "| Swahili | sw | 0.250 | 1,200 | 0.00% | 1.23% |" in report.to_markdown(made)
    read = report.to_json(made)["languages"]["sw"]
    assert (read["unknown_share"], read["byte_fallback_share"]) == (0.0, 0.0123)
