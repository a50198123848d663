"""`report.md` of a small report."""

import dataclasses

from small_reports import make, side

from eval import comparison
from eval.language_gain import TrainingText
from eval.markdown import to_markdown
from eval.report_json import to_json


def test_markdown_has_one_row_per_language_and_whole_tables():
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


def test_the_summary_stands_in_markdown():
    made = make()
    markdown = to_markdown(made)
    for name, value in dataclasses.asdict(made.summary).items():
        assert f"| {name.replace('_', ' ')} | " in markdown, value
    assert "| languages missing | 98 |" in markdown
    assert f"| mean step speedup | {made.summary.mean_step_speedup:.4g} |" in markdown
