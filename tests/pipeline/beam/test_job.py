"""Counters are the committed ones where a runner reports them; the display never decreases."""

from collections.abc import Sequence
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from apache_beam.metrics.execution import MetricKey, MetricResult
from apache_beam.metrics.metricbase import MetricName
from apache_beam.runners.runner import PipelineResult, PipelineState

from pipeline.beam import job as beam_job
from pipeline.beam.job import counters, running
from pipeline.beam.workspace import Workspace
from pipeline.corpus.submission import JobProgress


class Job(PipelineResult):
    """Answers with the next of these: rows of step, name, committed and attempted."""

    def __init__(self, *answers: Sequence[tuple[str, str, int | None, int | None]]):
        super().__init__(PipelineState.RUNNING)
        self._answers = iter(answers)

    def metrics(self):
        return self

    def query(self, _) -> dict[str, list[MetricResult]]:
        found = [
            MetricResult(MetricKey(step, MetricName("mswitch", name)), committed, attempted)
            for step, name, committed, attempted in next(self._answers)
        ]
        return {"counters": found}


@pytest.mark.parametrize(
    ("rows", "counted"),
    [
        ([("a", "read", 3, 5), ("b", "read", 4, None), ("b", "kept", None, 9)], [7, 0]),
        ([("a", "read", None, 5), ("b", "read", None, 1)], [6]),  # a runner that knows no commits
    ],
)
def test_committed_counts_are_added_over_steps(rows, counted):
    assert [*counters(Job(rows)).values()] == counted


def test_the_view_does_not_go_back_with_an_attempt_that_is_made_again(tmp_path):
    progress = JobProgress(Workspace(str(tmp_path), "key"), {"read": 2})
    progress.begin()
    job = Job(*([("a", "pages_read", None, pages)] for pages in (40, 3, 50)))
    progress.follow(SimpleNamespace(result=job))  # pyright: ignore
    lines = []
    for _ in range(3):
        progress.update()
        lines.append(progress.line(1.0))
    assert lines == [f"{pages} pages, {pages} per second" for pages in (40, 40, 50)]


@pytest.mark.parametrize(
    ("state", "cancelled"), [(PipelineState.RUNNING, True), (PipelineState.DONE, False)]
)
def test_a_signal_cancels_the_job_that_an_engine_has_begun(monkeypatch, state, cancelled):
    """It would go on beside the one that the same command submits again."""
    asked: list[bool] = []
    result = SimpleNamespace(state=state, cancel=lambda: asked.append(True))
    graph = nullcontext()
    graph.result = result
    monkeypatch.setattr(beam_job, "pipeline_for", lambda _: graph)
    with pytest.raises(KeyboardInterrupt), running(None):  # pyright: ignore
        raise KeyboardInterrupt
    assert asked == [True] * cancelled
