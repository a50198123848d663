"""Small reports in headless Chromium: sorted and saved tables, and curves of few points."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from chromium import Browser
from small_reports import CODES, imported, made_of, make, side
from task_predictions import classified, read

from eval import distillation
from eval.report.html import to_html
from eval.tasks.comparison import TaskComparison, mode_scores
from eval.tasks.metrics import ACCURACIES


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
        code: distillation.Retained(
            gain_is_clear=True, **numbers, **dict.fromkeys(shares, kept.get(code))
        )
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


@pytest.mark.slow
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


def test_a_model_of_one_evaluation_is_drawn(browser, tmp_path):
    sides = side("mT5", (3.0,) * 4, 1), imported(side("Switch", (2.5,) * 4, 2))
    open_page(browser, made_of(*sides), tmp_path)
    rows = browser.evaluate("curveRows('sw', 0.1).curve")
    assert {(row["side"], row["step"]) for row in rows} == {
        ("mT5", 100),
        ("mT5", 200),
        ("Switch", 0),
    }


@pytest.mark.parametrize(
    ("final", "words"),
    [(6.0, "reaches mT5’s at or before step 50 of 200."), (3.5, "reaches mT5’s at step ")],
)
def test_a_target_before_the_first_point_is_a_bound_in_words_too(browser, tmp_path, final, words):
    """Both losses are 4.0 at step 100, the first with training; the candidate ends at 3.0."""
    report = made_of(side("mT5", (final,) * 4, 1), side("Switch", (3.0,) * 4, 2))
    assert report.gains["sw"].step_speedup_is_bound == (final > 4)
    open_page(browser, report, tmp_path)
    assert words in browser.evaluate("document.getElementById('curve-text').textContent")
