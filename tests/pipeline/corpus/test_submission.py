"""The progress of a running job, from its tallies: pages, rate, kept share."""

from pathlib import Path

import pytest

from data.reading.page import Page, Rejected
from pipeline.beam.workspace import Workspace
from pipeline.corpus.counts import Tally
from pipeline.corpus.submission import WEIGHTS, WRITING, JobProgress

ITEMS = {"read": 2, "judge": 4}


def read_tally(pages: int) -> Tally:
    tally = Tally()
    tally.add("read", number=pages)
    return tally


def judge_tally(kept: int, rejected: int) -> Tally:
    tally = Tally()
    page = Page("https://a.example/", "text", language="sw", split="train")
    for outcome in [page] * kept + [Rejected(page, "short")] * rejected:
        tally.count_outcome(outcome)
    return tally


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return Workspace(str(tmp_path), "key")


def test_the_line_holds_pages_rate_and_kept_share(space):
    """Earlier work of a resumed job counts, but not in the rate."""
    progress = JobProgress(space, ITEMS)
    progress.begin()
    assert progress.line(1.0) == "0 pages, 0 per second"
    space.finish("read", 0, read_tally(300).as_json())
    progress.update()
    assert progress.line(10.0) == "300 pages, 30 per second"
    resumed = JobProgress(space, ITEMS)
    resumed.begin()
    space.finish("judge", 0, judge_tally(3, 1).as_json())
    space.finish("read", 1, read_tally(900).as_json())
    progress.update()
    progress.update()  # a tally is counted once
    assert progress.line(10.0) == "1,200 pages, 120 per second, 75% kept"
    resumed.update()
    assert resumed.line(10.0) == "1,200 pages, 90 per second, 75% kept"


def test_the_share_of_work_done_is_weighted_by_step_and_leaves_out_the_writing(space):
    progress = JobProgress(space, ITEMS)
    progress.begin()
    assert progress.done == 0
    space.finish("judge", 3, judge_tally(1, 0).as_json())
    progress.update()
    all_weights = WEIGHTS["read"] + WEIGHTS["judge"] + WRITING
    assert progress.done == pytest.approx(WEIGHTS["judge"] / 4 / all_weights)
    for step, count in ITEMS.items():
        for number in range(count):
            space.finish(step, number, Tally().as_json())
    progress.update()
    assert progress.done == pytest.approx(1 - WRITING / all_weights)
