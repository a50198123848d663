"""Small reports in headless Chromium: sorted and saved tables, and curves of few points."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from chromium import Browser
from small_reports import CODES, imported, losses, made_of, make, side
from task_predictions import classified, read

from data.languages import all_languages
from eval import distillation
from eval.gains import TrainingText
from eval.report.contents import ReportContents
from eval.report.html import to_html
from eval.sides import Points, Side
from eval.tasks.comparison import TaskComparison, mode_scores
from eval.tasks.metrics import ACCURACIES


def open_page(browser: Browser, report, directory: Path) -> None:
    page = directory / "index.html"
    page.write_text(to_html(report))
    browser.open(page, width=1280)


def of_languages(count: int, p_value: float = 0.01) -> ReportContents:
    """Returns a report on as many languages, best first; every fifth has a single page."""
    report = make()
    counted = [one for one in all_languages() if not one.is_script_variant][:count]
    first, gains = report.gains["sw"], report.compared.gains
    gains.clear()
    for number, language in enumerate(counted):
        value, single = 0.4 - 0.005 * number, number % 5 == 0
        ends = (None, None) if single else (value - 0.3, value + 0.3)
        gains[language.code] = replace(
            first,
            language=language,
            gain=replace(first.gain, value=value, low=ends[0], high=ends[1], p_value=p_value),
            text=TrainingText(
                tokens=12_000_000 * 0.93**number,
                bytes_per_token=2.5 + number % 7 / 3,
                tokens_per_page=500.0,
            ),
        )
    known = {"summary": replace(report.summary, languages=count), "scripts": []}
    report.compared.__dict__.update(known)
    return report


# What is wrong with each chart: words cut off or upon each other, and pixels of nothing below.
FAULTS = """[...document.querySelectorAll('.chart')].flatMap((chart) => {
  const drawn = chart.querySelector('svg');
  const whole = drawn.getBoundingClientRect();
  const seen = (one) => one.getAttribute('opacity') !== '0' && one.getBoundingClientRect().width;
  const words = [...drawn.querySelectorAll('text')].filter(seen);
  const boxes = words.map((one) => [one.textContent, one.getBoundingClientRect()]);
  const cut = boxes.filter(([, box]) => box.left < whole.left - 1 || box.right > whole.right + 1);
  const tick = (word) => /^[\\d.,−]+[kMG]?$/.test(word);
  const meet = ([word, a], [other, b]) =>
    Math.min(a.right, b.right) - Math.max(a.left, b.left) > (tick(word) && tick(other) ? -2 : 3) &&
    Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3;
  const touching = boxes.flatMap((one, at) =>
    boxes.slice(at + 1).filter((other) => meet(one, other)).map(([word]) => [one[0], word]));
  const lowest = Math.max(...boxes.map(([, box]) => box.bottom));
  const blank = chart.getBoundingClientRect().bottom - lowest;
  const faults = [...cut.map(([word]) => ['cut', word]), ...touching];
  if (blank > 20) faults.push(['blank', blank]);
  return faults.map((fault) => [chart.dataset.wide, ...fault]);
})"""


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("languages", [1, 3, 33, 101])
def test_charts_of_few_and_many_languages_are_legible(browser, tmp_path, languages, width):
    page = tmp_path / "index.html"
    page.write_text(to_html(of_languages(languages)))
    browser.open(page, width=width)
    assert browser.evaluate(FAULTS) == []
    names = """[...document.querySelectorAll('#gains .role-axis-label text')]
      .map((one) => one.textContent).filter((word) => /^[A-Z]/.test(word))"""
    expected = [gain.name for gain in of_languages(languages).gains.values()]
    assert browser.evaluate(names) == expected  # best first, those of one page too
    said = browser.evaluate("document.getElementById('gains').textContent")
    assert "A dot without a bar is a language with one page" in said
    said = browser.evaluate("document.getElementById('tokens').textContent")
    assert ("A rank correlation is given from 8 languages on." in said) == (languages < 8)
    table = "document.querySelector('#languages .scroll')"
    beyond = browser.evaluate(f"{table}.scrollWidth - {table}.clientWidth")
    assert (beyond > 0) == (width == 390)
    document = "document.documentElement"
    assert browser.evaluate(f"{document}.scrollWidth - {document}.clientWidth") == 0
    assert browser.complaints() == []


@pytest.mark.parametrize("width", [1280, 390])
def test_gains_of_four_lengths_are_legible(browser, tmp_path, width):
    ends = {"mT5": (3.4, 3.3, 3.2, 3.1), "Switch": (3.41, 3.2, 3.05, 2.9)}
    sides = [
        Side(
            name=name,
            seeds=seeds,
            steps=(3968, 7936, 15872, 31744),
            points=Points.DECAYED,
            pages=tuple(tuple(losses([at] * 4, seed) for at in levels) for seed in seeds),
        )
        for (name, levels), seeds in zip(ends.items(), ((0, 1), (2, 3)), strict=True)
    ]
    page = tmp_path / "index.html"
    page.write_text(to_html(made_of(*sides)))
    browser.open(page, width=width)
    assert browser.evaluate(FAULTS) == []
    words = (
        "[...document.querySelectorAll('[data-wide=lengths] text')].map((one) => one.textContent)"
    )
    drawn = browser.evaluate(words)
    assert [word for word in drawn if " of " in word] == ["0 of 3", "3 of 3", "3 of 3", "3 of 3"]
    assert {"3,968", "7,936", "15,872", "31,744"} <= set(drawn)
    assert browser.complaints() == []


def test_an_interval_that_excludes_zero_alone_is_not_called_noise(browser, tmp_path):
    open_page(browser, of_languages(3, p_value=0.2), tmp_path)
    words = "interval excludes 0, but not beyond noise among so many languages"
    assert (
        browser.evaluate("document.querySelector('#gains .key .uncorrected').textContent") == words
    )
    gain = "document.querySelector('tr.uncorrected .gain .hidden').textContent.trim()"
    assert browser.evaluate(gain) == words
    point = "document.querySelectorAll(`#gains [aria-roledescription='point']`)[1]"
    colours = f"[getComputedStyle({point}).fill, getComputedStyle(document.body).color]"
    assert len(set(browser.evaluate(colours))) == 1
    open_page(browser, make(), tmp_path)
    assert not browser.evaluate("document.querySelector('.key .uncorrected')")


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
    english, russian = ["English en", "40%40% to 40%"], ["Russian ru", "−20%−20% to −20%"]
    assert kept == [english, russian, ["Swahili sw", "–"]]
    kept = browser.evaluate(SORTED.format(table, 2, 1))
    assert kept == [russian, english, ["Swahili sw", "–"]]
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
    assert report.gains["sw"].speedup.is_bound == (final > 4)
    open_page(browser, report, tmp_path)
    assert words in browser.evaluate("document.getElementById('curve-text').textContent")
