"""Both sides on a task: overlaps and cut sentences are left out, and no section is empty.

Numbers of tasks in words.
"""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_reports import make
from task_predictions import classified, read

from eval import compare
from eval.compare import Estimate
from eval.report.data import to_json
from eval.report.html import to_html
from eval.report.markdown import to_markdown
from eval.tasks.comparison import (
    SENTENCES_SCHEMA,
    Compared,
    TaskComparison,
    mode_scores,
    sentence_comparison,
    shown,
)
from eval.tasks.metrics import ACCURACIES
from eval.tasks.scores import task_scores


def overlapping(seed, at):
    found = read(classified(seed))
    return replace(found, overlaps=np.arange(found.overlaps.size) == at)


def test_what_overlaps_on_one_side_is_left_out_on_both():
    one, other = overlapping(0, 3), overlapping(1, 40)
    mode = mode_scores("all", {0: one}, {0: other}, ACCURACIES)
    assert (mode.examples, mode.overlapping) == (90, 2)
    assert mode.overlapping_by_language == {"en": 1, "sw": 1, "yo": 0}
    assert [found.without_overlaps for found in mode.scores] == [False, False, True, True]
    kept = np.isin(np.arange(90), [3, 40], invert=True)
    theirs, ours = (task_scores([run.only(kept)], ACCURACIES[0]) for run in (one, other))
    expected = compare.each([(-1.0, theirs), (1.0, ours)])
    found = mode.scores[2].languages
    assert {code: row.gain for code, row in found.items()} == expected
    assert [row.gain.examples for row in found.values()] == [29, 29, 30]


def test_without_overlaps_or_with_nothing_else_there_are_the_scores_alone():
    for marked in (np.zeros(90, bool), np.ones(90, bool)):
        one = replace(read(classified(0)), overlaps=marked)
        mode = mode_scores("all", {0: one}, {0: one}, ACCURACIES)
        assert [found.without_overlaps for found in mode.scores] == [False, False]
        assert all(row.verdict == "unclear" for row in mode.scores[0].languages.values())


def test_no_overlap_is_not_the_same_as_not_looked_for():
    looked = replace(read(classified(0)), overlaps=np.zeros(90, bool))
    not_looked = replace(looked, compared=np.zeros(90, bool))
    shown = {}
    for name, runs in (("none", [looked, looked]), ("unknown", [not_looked, not_looked])):
        mode = mode_scores("all", {0: runs[0]}, {0: runs[1]}, ACCURACIES)
        report = make(tasks=(TaskComparison(name="topics", split="test", modes=(mode,)),))
        shown[name] = mode, to_markdown(report), to_html(report), to_json(report)
    assert shown["none"][0].overlapping == 0
    assert shown["unknown"][0].overlapping is None
    assert "0 of 90 examples share text with the pretraining corpus." in shown["none"][1]
    assert ">Overlaps<" in shown["none"][2]
    assert "was not looked for; --corpus" in shown["unknown"][1]
    assert "With one seed on a side" in shown["unknown"][1]
    assert ">Overlaps<" not in shown["unknown"][2]
    assert shown["unknown"][3]["tasks"][0]["modes"][0]["overlapping"] is None
    half = mode_scores("all", {0: not_looked}, {0: looked}, ACCURACIES)
    assert half.overlapping == 0  # one run that looked is enough


def sentences(nats, cut=(False, False, False)):
    rows = {
        "language": ["sw", "sw", "en"],
        "identity": ["b", "a", "a"],
        "loss_nats": nats,
        "tokens": [1, 1, 1],
        "text_bytes": [1, 1, 1],
        "cut": cut,
    }
    return pa.table(rows, SENTENCES_SCHEMA)


def test_nats_per_sentence_are_means_of_whole_sentences():
    baseline, candidate = sentences([30.0, 10.0, 7.0]), sentences([20.0, 12.0, 8.0])
    found = sentence_comparison("verses", [baseline], [candidate])
    swahili = found.scores.languages["sw"]
    numbers = swahili.baseline.value, swahili.candidate.value, swahili.gain.value
    assert numbers == pytest.approx((20.0, 16.0, 4.0))
    assert found.scores.languages["en"].gain.low is None  # one sentence
    cut = sentences([30.0, 10.0, 7.0], (True, False, False))
    found = sentence_comparison("verses", [cut], [candidate])
    assert (found.sentences, found.cut) == (3, 1)
    assert found.scores.languages["sw"].gain.value == -2.0
    assert found.scores.mean is None
    everything = sentences([1.0, 1.0, 1.0], (True, True, True))
    assert sentence_comparison("verses", [everything], [candidate]) is None


def test_a_report_without_tasks_has_no_section():
    report = make()
    assert 'id="tasks"' not in to_html(report)
    assert "per sentence" not in to_markdown(report)
    assert to_json(report)["tasks"] == to_json(report)["sentences"] == []


def estimate(value: float, half: float) -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half, p_value=None, examples=9)


def test_an_interval_is_shown_up_to_the_end_of_its_scale():
    one = Compared(
        baseline=estimate(97.0, 36.8), candidate=estimate(2.0, 1.0), gain=estimate(-95.0, 40.0)
    )
    clipped = shown(one)
    ends = [(part.low, part.high) for part in (clipped.baseline, clipped.candidate, clipped.gain)]
    assert ends == [(60.2, 100.0), (1.0, 3.0), (-100.0, -55.0)]
    assert shown(one, None) == one


@given(*[st.floats(0.0, 100.0)] * 2, st.floats(0, 1300))
def test_what_is_shown_holds_the_value_and_decides_the_same(baseline, candidate, half):
    gain = candidate - baseline
    one = Compared(
        baseline=estimate(baseline, half),
        candidate=estimate(candidate, half),
        gain=estimate(gain, half),
    )
    found = shown(one)
    for score in (found.baseline, found.candidate):
        assert 0 <= score.low <= score.value <= score.high <= 100
    assert found.gain.low <= found.gain.value <= found.gain.high
    assert (found.gain.low > 0, found.gain.high < 0) == (gain - half > 0, gain + half < 0)
