"""Step times of a small report, in every format."""

import dataclasses

import numpy as np
import pytest
from small_reports import make

from eval.rendering.html import to_html
from eval.rendering.markdown import to_markdown
from eval.rendering.report_json import to_json
from eval.statistics.standard_error import StandardError
from eval.statistics.time_speedup import LogRatio
from eval.step_times import Rounds, sentence, step_times

NAMES = "mT5", "Switch"
STEPS = LogRatio(np.log(2.0), StandardError(0.01, 50.0))


def measured(factor):
    """Rounds in which the candidate's steps take `factor` times as long, up to a percent."""
    baseline = np.array([0.4, 0.9, 0.4, 0.5])
    noise = np.array([1.01, 0.99, 1.0, 1.0])
    return Rounds(
        baseline_run="mt5 (seed 0)",
        candidate_run="switch (seed 0)",
        devices="1 × cpu",
        steps=2,
        baseline_seconds=baseline,
        candidate_seconds=baseline * noise * factor,
    )


def test_medians_are_per_step_and_the_speedup_is_a_product():
    found = step_times(measured(1.25), STEPS)
    assert (found.baseline_step_seconds, found.rounds) == (0.225, 4)
    assert found.step_time_ratio == pytest.approx(0.8, rel=1e-3)
    assert found.time_speedup == pytest.approx(2 * found.step_time_ratio)


@pytest.mark.parametrize(
    ("factor", "meaning"),
    [
        (1.25, "Switch needs less time than mT5 for equal quality, in the mean over languages."),
        (2.0, "no difference in time was detected on these devices."),
        (4.0, "Switch needs more time than mT5 for equal quality, in the mean over languages."),
    ],
)
def test_the_sentence_means_what_the_interval_does(factor, meaning):
    found = step_times(measured(factor), STEPS)
    said = sentence(found, NAMES, "pages only")
    assert said.endswith(meaning)
    assert ", over pages and the rounds)" in said


def test_without_a_step_speedup_there_is_a_ratio_alone():
    found = step_times(measured(1.25), None)
    assert found.time_speedup is found.time_speedup_low is None
    assert sentence(found, NAMES, "pages only").endswith(
        "Without a step speed-up no time speed-up follows."
    )
    made = dataclasses.replace(make(), step_times=found)
    assert "Time: their product" not in to_html(made)


def test_every_format_has_the_numbers():
    found = step_times(measured(1.25), STEPS)
    made = dataclasses.replace(make(), step_times=found)
    assert to_json(made)["step_times"] == dataclasses.asdict(found)
    markdown, page = to_markdown(made), to_html(made)
    said = made.time_sentence
    assert "a step takes 0.225 s with mT5 and 0.282 s with Switch, a ratio of 0.800" in said
    assert said in to_json(made)["time_sentence"]
    assert f"<p>{said}</p>" in page
    assert said in markdown
    for name, value in dataclasses.asdict(found).items():
        assert f"| {name.replace('_', ' ')} | " in markdown, value
    assert f"<dt>Mean time speed-up</dt><dd>{found.time_speedup:.2f}" in page


def test_a_report_without_them_says_how_to_measure_them_and_shows_none():
    made = make()
    assert to_json(made)["step_times"] is None
    for text in (to_markdown(made), to_html(made), to_json(made)["time_sentence"]):
        assert "No time speed-up is given: mswitch time measures step times" in text
        assert "ime speed-up is 1" not in text
        assert "Mean time speed-up" not in text
