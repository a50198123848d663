"""Comparison, sentence, JSON and Markdown on a small pair of sides made by hand."""

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pytest

from data.dedup.shared_lines import SharedLines
from data.languages import all_languages
from eval import comparison, language_loss, report
from eval.cautions import cautions
from eval.funnel import funnel
from eval.html import to_html
from eval.language_gain import TrainingText
from eval.markdown import to_markdown
from eval.report_json import to_json
from eval.side import Side

CODES = ("sw", "en", "ru", "ru-Latn")
PAGES = 10
STEPS = (0, 100, 200)
FUNNEL = funnel({"languages": {"sw": {"kept": 3, "rejected": {}}}}, {})


def losses(levels, seed=0, tokens=100, text_bytes=300):
    rng = np.random.default_rng(seed)
    rows = [
        {
            "language": code,
            "url": f"https://example.org/{page}",
            "loss_nats": (level + 0.01 * rng.normal()) * 100,
            "target_tokens": tokens,
            "text_bytes": text_bytes,
        }
        for code, level in zip(CODES, levels, strict=True)
        for page in range(PAGES)
    ]
    return language_loss.from_table(pa.Table.from_pylist(rows), "here")


def side(name, final, seed, step_seconds=0.1, **counts):
    pages = [losses(levels, seed, **counts) for levels in ([9.0] * 4, [4.0] * 4, final)]
    return Side(
        name=name,
        steps=STEPS,
        runs=(tuple(language_loss.by_language(one) for one in pages),),
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
        held_out_loss_nats=(3.0, 3.1),
    )


def make(final=(2.0, 2.5, 3.2, 1.0), **changes):
    return made_of(
        side("mT5", (3.0, 3.0, 3.0, 3.0), 1), side("Switch", final, 2, step_seconds=0.2), **changes
    )


def imported(one):
    """The same side as an imported model: one evaluation, of unknown steps."""
    return dataclasses.replace(one, steps=(0,), runs=tuple(run[-1:] for run in one.runs))


def made_of(*sides, **changes):
    gains = comparison.language_gains(*sides, {"sw": TrainingText(tokens=5.0)})
    nothing = {
        "funnel": None,
        "shared_lines": None,
        "experts": None,
        "differences": (),
        "students": (),
    }
    return report.ReportContents(
        baseline=sides[0],
        candidate=sides[1],
        facts=(facts("mT5"), facts("Switch")),
        summary=comparison.summarise(gains, *sides),
        gains=gains,
        training_tokens_are="distinct training tokens",
        **(nothing | changes),
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
    written = to_json(make())
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
    markdown = to_markdown(make())
    rows = [line for line in markdown.splitlines() if line.startswith("| ")]
    assert sum("| ru |" in row for row in rows) == 1
    assert any("Russian (Latin) *" in row for row in rows)
    assert "tiny/er" in markdown  # a pipe in a name breaks no table
    assert {row.count("|") for row in rows} == {3, 4, 9}


def test_fertility_stands_in_markdown_and_json():
    sides = side("mT5", (3.0,) * 4, 1), side("Switch", (2.0, 2.5, 3.2, 1.0), 2)
    text = TrainingText(
        bytes_per_token=4.0, tokens_per_page=1200.4, unknown_share=0.0, byte_fallback_share=0.0123
    )
    made = dataclasses.replace(make(), gains=comparison.language_gains(*sides, {"sw": text}))
    assert "| Swahili | sw | 0.250 | 1,200 | 0.00% | 1.23% |" in to_markdown(made)
    read = to_json(made)["languages"]["sw"]
    assert (read["unknown_share"], read["byte_fallback_share"]) == (0.0, 0.0123)


def test_vocabularies_that_differ_are_compared_in_bits_per_byte():
    """Half the tokens a page and two thirds of the hidden bytes: nats a token say nothing then."""
    baseline = side("mT5", (3.0,) * 4, 1)
    candidate = side("Switch", (2.0, 2.5, 1.0, 1.0), 2, tokens=50, text_bytes=200)
    made = made_of(baseline, candidate)
    gain = made.gains["sw"]
    assert (gain.gain_nats, gain.gain_nats_low) == (None, None)
    assert gain.gain_bits_per_byte == pytest.approx((3.0 / 3 - 2.0 / 2) / np.log(2), abs=0.02)
    assert gain.gain == gain.gain_bits_per_byte
    assert gain.gain_bits_per_byte_low < gain.gain < gain.gain_bits_per_byte_high
    assert [made.gains[code].verdict for code in ("en", "ru")] == ["worse", "better"]
    # Bits per byte fall from 4/2 to 2.5/2 nats and never reach 3/3 in English.
    assert (made.gains["en"].step_speedup, made.gains["en"].step_speedup_bound) == (None, 1.0)
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
    assert made.gains["sw"].step_speedup_bound is None
    assert made.sentence.endswith(
        "No step speed-up is given: mT5 (imported m) was not trained here."
    )
    json.dumps(to_json(made), allow_nan=False)
    assert 'id="speedups"' not in to_html(made)
    assert "| – |" in to_markdown(made)


def test_what_weakens_the_sentence_is_said_everywhere():
    shared = {
        "sw": SharedLines(lines=80, shared_lines=2, pages=9, pages_sharing=1, examples=("<b>x",)),
        "en": SharedLines(lines=20, shared_lines=0, pages=1, pages_sharing=0, examples=()),
    }
    fields = [report.Difference(f"field{n}", ("1",), (f"<{n}>",)) for n in range(8)]
    made = make(shared_lines=shared, differences=tuple(fields), funnel=FUNNEL)
    said = [
        "The runs differ beyond the feed-forward, which was allowed: field0, field1, field2, "
        "field3, field4, field5 and 2 more. What they gain is not sparsity’s alone.",
        "2 of 100 lines of held-out pages also stand on training pages (2.00%; 1 of 10 pages).",
        "Step speed-ups are interpolated between 3 evaluations; 30 or more are wanted.",
        "One run of mT5 and of Switch: intervals speak about pages, not about how another seed "
        "would have fallen.",
        "98 of mC4’s 101 languages were not evaluated.",
    ]
    assert to_json(made)["cautions"] == said
    assert to_json(made)["differences"][7]["candidate"] == ("<7>",)
    assert to_json(made)["held_out"]["languages"]["sw"]["shared_lines"] == 2
    markdown, page = to_markdown(made), to_html(made)
    for caution in said:
        assert f"- {caution}" in markdown
        assert f"<li>{caution}</li>" in page
    assert "Swahili 2." in markdown
    assert "| field7 | 1 | <7> |" in markdown
    assert "&lt;b&gt;x" in page
    assert "<7>" not in page


def test_enough_evaluations_and_runs_leave_no_caution():
    steps = tuple(range(0, 300, 10))
    sides = [
        dataclasses.replace(
            one, steps=steps, runs=(one.runs[0][-1:] * 30,) * 4, pages=one.pages * 4
        )
        for one in (side("mT5", (3.0,) * 4, 1), side("Switch", (2.0,) * 4, 2))
    ]
    made = made_of(*sides, shared_lines={})
    every = dataclasses.replace(made.summary, languages_missing=())
    made = dataclasses.replace(made, summary=every)
    assert cautions(made) == []
    assert 'class="cautions"' not in to_html(made)


def test_few_runs_other_seeds_and_lines_that_nobody_looked_for_are_cautioned():
    two = [
        dataclasses.replace(one, runs=one.runs * 2, pages=one.pages * 2)
        for one in (side("mT5", (3.0,) * 4, 1), side("Switch", (2.0,) * 4, 2))
    ]
    made = made_of(*two)
    others = (made.facts[0], dataclasses.replace(made.facts[1], seeds=(2, 1)))
    said = cautions(dataclasses.replace(made, facts=others))
    assert said[0] == (
        "The sides have other seeds (0, 1 of mT5; 1, 2 of Switch), so they did not read the same "
        "examples in the same order."
    )
    assert said[1].endswith("stand on training pages, too: no corpus was named.")
    assert said[3].startswith("2 runs a side tell little of other seeds")
    huge = dataclasses.replace(made, funnel=FUNNEL)
    assert cautions(huge)[0].endswith("too: the corpus is too large.")


def test_the_summary_stands_in_markdown():
    made = make()
    markdown = to_markdown(made)
    for name, value in dataclasses.asdict(made.summary).items():
        assert f"| {name.replace('_', ' ')} | " in markdown, value
    assert "| languages missing | 98 |" in markdown
    assert f"| mean step speedup | {made.summary.mean_step_speedup:.4g} |" in markdown


def test_languages_that_gain_in_every_run_are_counted():
    baseline, candidate = side("mT5", (3.0,) * 4, 1), side("Switch", (2.0, 2.9, 2.9, 1.0), 2)
    other = side("Switch", (2.1, 3.2, 2.8, 1.0), 3)
    both = dataclasses.replace(
        candidate, runs=candidate.runs + other.runs, pages=candidate.pages + other.pages
    )
    made = made_of(baseline, both)
    assert made.summary.languages_improved_in_every_run == 2  # sw and ru, but not en
    english = made.gains["en"]
    assert english.loss_nats_candidate_runs == pytest.approx((2.9, 3.2), abs=0.02)
    assert english.loss_nats_candidate == pytest.approx(np.mean(english.loss_nats_candidate_runs))
