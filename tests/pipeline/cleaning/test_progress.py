"""The progress of a running job, from its tallies: pages, rate, kept share."""

from pathlib import Path

import pytest

from data.reading.page import Page, Rejected
from pipeline.beam.workspace import Workspace
from pipeline.cleaning.progress import WEIGHTS, WRITING, JobProgress
from pipeline.cleaning.tally import Tally

PIECES = {"read": 2, "judge": 4}


def reading(pages: int) -> Tally:
    tally = Tally()
    tally.counts["read", "", ""] += pages
    return tally


def judging(kept: int, rejected: int) -> Tally:
    tally = Tally()
    page = Page("https://a.example/", "text", language="sw", split="train")
    for _ in range(kept):
        tally.count_kept(page)
    for _ in range(rejected):
        tally.count_dropped(Rejected(page, "short"))
    return tally


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return Workspace(str(tmp_path), "key")


def test_it_counts_pages_their_rate_and_the_share_that_is_kept(space):
    progress = JobProgress(space, PIECES)
    progress.begin()
    assert progress.line(1.0) == "0 pages, 0 per second"
    space.finish("read", 0, reading(300).as_json())
    progress.update()
    assert progress.line(10.0) == "300 pages, 30 per second"
    space.finish("judge", 0, judging(3, 1).as_json())
    space.finish("read", 1, reading(900).as_json())
    progress.update()
    progress.update()  # what was seen once is not counted again
    assert progress.line(10.0) == "1,200 pages, 120 per second, 75% kept"


def test_what_is_done_weighs_what_each_step_costs_and_ends_before_the_writing(space):
    progress = JobProgress(space, PIECES)
    progress.begin()
    assert progress.done == 0
    space.finish("judge", 3, judging(1, 0).as_json())
    progress.update()
    whole = WEIGHTS["read"] + WEIGHTS["judge"] + WRITING
    assert progress.done == pytest.approx(WEIGHTS["judge"] / 4 / whole)
    for step, count in PIECES.items():
        for number in range(count):
            space.finish(step, number, Tally().as_json())
    progress.update()
    assert progress.done == pytest.approx(1 - WRITING / whole)


def test_a_run_that_goes_on_counts_what_was_done_and_not_into_its_rate(space):
    space.finish("read", 0, reading(1000).as_json())
    progress = JobProgress(space, PIECES)
    progress.begin()
    space.finish("read", 1, reading(50).as_json())
    progress.update()
    assert progress.line(10.0) == "1,050 pages, 5 per second"
