"""Small reports in headless Chromium: tables that are sorted and saved."""

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from chromium import CHROMIUM, Browser
from small_reports import CODES, make
from task_predictions import classified, read

from eval import distillation
from eval.rendering.html import to_html
from eval.tasks.compared import TaskComparison, mode_scores
from eval.tasks.metrics import ACCURACIES

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not installed: no browser opens the report"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


def open_page(browser: Browser, report, directory: Path) -> None:
    page = directory / "index.html"
    page.write_text(to_html(report))
    browser.open(page, width=1280)


def student(name: str, **kept: float):
    """Returns a student that keeps these shares; in other languages they are unbounded."""
    numbers = ("loss_nats_baseline", "loss_nats_teacher", "loss_nats_student")
    numbers = dict.fromkeys((*numbers, "gain_nats_teacher", "gain_nats_student"), 0.1)
    shares = ("gain_retained", "gain_retained_low", "gain_retained_high")
    languages = {
        code: distillation.Retained(**numbers, **dict.fromkeys(shares, kept.get(code)))
        for code in CODES
    }
    return distillation.Student(
        name=name,
        seeds=(0,),
        steps=200,
        parameters=10,
        compression=0.5,
        overall=languages["en"],
        median_over_languages=None,
        languages=languages,
    )


def task() -> TaskComparison:
    """Returns a task whose second mode lacks Swahili, with more than 1,000 overlaps in Yoruba."""
    modes = []
    for name, codes in (("all", ("en", "sw", "yo")), ("two", ("en", "yo"))):
        one, other = (
            replace(found, overlaps=np.zeros_like(found.overlaps))
            for found in (read(classified(seed, codes)) for seed in (0, 1))
        )
        mode = mode_scores(name, {0: one}, {0: other}, ACCURACIES)
        counts = {"en": 9, "sw": 11, "yo": 12_345} if name == "all" else None
        modes.append(replace(mode, overlapping_by_language=counts))
    return TaskComparison(name="topics", split="test", modes=tuple(modes))


# The first column of a table and another one, after clicks on the head of the latter.
SORTED = """((table, column, clicks) => {{
  const head = table.tHead.rows[0].cells[column].querySelector('button');
  for (let click = 0; click < clicks; click += 1) head.click();
  const words = (row, at) => row.cells[at].textContent.trim().replace(/\\s+/g, ' ');
  return [...table.tBodies[0].rows].map((row) => [words(row, 0), words(row, column)]);
}})(document.querySelector('{}'), {}, {})"""


def test_languages_of_any_student_are_listed_and_unknown_shares_come_last(browser, tmp_path):
    students = (student("one", en=0.4, ru=-0.2), student("two", sw=0.3, en=0.5))
    open_page(browser, make(students=students), tmp_path)
    table = "#students table.sortable"
    kept = browser.evaluate(SORTED.format(table, 2, 1))
    assert kept == [["English en", "40%"], ["Russian ru", "−20%"], ["Swahili sw", "–"]]
    kept = browser.evaluate(SORTED.format(table, 2, 1))
    assert kept == [["Russian ru", "−20%"], ["English en", "40%"], ["Swahili sw", "–"]]
    saved = browser.evaluate(f"csvOf(document.querySelector('{table}'))")
    assert [row[2] for row in csv.reader(saved.splitlines())][1:] == ["-0.2", "0.4", ""]


def test_scores_and_overlaps_of_a_task_sort_by_their_numbers(browser, tmp_path):
    open_page(browser, make(tasks=(task(),)), tmp_path)
    table = "#tasks table.sortable"
    overlaps = browser.evaluate(SORTED.format(table, 7, 1))
    assert overlaps == [["Yoruba yo", "12 345"], ["Swahili sw", "11"], ["English en", "9"]]
    for _ in range(2):
        assert browser.evaluate(SORTED.format(table, 4, 1))[-1] == ["Swahili sw", "–"]
    saved = browser.evaluate(f"csvOf(document.querySelector('{table}'))")
    swahili = list(csv.reader(saved.splitlines()))[-1]
    assert (swahili[4:7], swahili[7]) == ([""] * 3, "11")
