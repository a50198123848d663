"""Filled gaps as lines: never wider than asked, of any script, with control characters escaped."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from pipeline.runs.filled_gaps import FilledGap, end_of, latest_gaps, line_of, start_of

SWAHILI = FilledGap("sw", "Watu wote wamezaliwa ", "huru", "huru", ", hadhi na haki zao ni sawa.")
TEXT = st.text(st.characters(codec="utf-8"), max_size=60)


def test_a_line_has_the_gap_in_its_place_and_the_truth():
    line = "sw: Watu wote wamezaliwa [huru], hadhi na haki zao ni sawa. (was: huru)"
    assert line_of(SWAHILI) == line
    assert line_of(SWAHILI._replace(filled="")) == line.replace("[huru]", "[-]")


@pytest.mark.parametrize("cells", [56, 76, 116])
@pytest.mark.parametrize(
    "text", ["人人生而自由在尊严和权利上", "يولد جميع الناس أحرارا ", "सभी मनुष्यों को ", "Watu "]
)
def test_every_script_fits_with_gap_and_truth(text, cells):
    gap = FilledGap("zh", text * 20, text, text, text * 20)
    line = line_of(gap, cells)
    assert 0.8 * cells < cell_len(line) <= cells
    assert line.startswith("zh: ...")
    assert text.strip()[:3] in line.split("[")[1].split("]")[0]
    assert "(was: " in line
    assert line.endswith(")")


@given(st.builds(FilledGap, st.just("ar"), TEXT, TEXT, TEXT, TEXT), st.integers(40, 130))
def test_no_text_breaks_the_line_or_its_width(gap, cells):
    line = line_of(gap, cells)
    assert line.isprintable() or not any(ord(one) < 32 or one == "\x7f" for one in line)
    assert cell_len(line) <= cells


@given(TEXT, st.integers(0, 20))
def test_cut_texts_fit_and_are_ends_of_the_text(text, cells):
    start, end = start_of(text, cells), end_of(text, cells)
    assert cell_len(start) <= cells
    assert cell_len(end) <= cells
    assert text.startswith(start.removesuffix("...").rstrip(".")) or text == start
    assert text.endswith(end.removeprefix("...").lstrip(".")) or text == end


def test_a_run_that_filled_none_has_none(tmp_path):
    assert latest_gaps(tmp_path) == (0, [])
