"""Runs that are not finished or not evaluated, and pages that differ.

Filled gaps as lines: never wider than asked, of any script, with control characters escaped.
"""

import json
import re
import shutil

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from synthetic_runs import STEPS, write_routing, write_run

from data.errors import DataError
from pipeline import cli
from pipeline.errors import ArtifactError
from pipeline.reporting.facts import mean_of_last_tenth, spread_over_tenths
from pipeline.reporting.sides import differences
from pipeline.runs.finished import (
    FilledGap,
    first_cells,
    gap_in_words,
    last_cells,
    latest_gaps,
    read_run,
)


def test_a_run_is_evaluated_at_its_last_step(tmp_path):
    run = write_run(tmp_path / "run", experts=8, steps=2000)
    message = "trains for 2000 steps and was last evaluated at step 1100"
    with pytest.raises(ArtifactError, match=message):
        read_run(run)


def test_runs_without_evaluations_or_with_other_pages_are_refused(tmp_path):
    run, other = (write_run(tmp_path / name, experts=8) for name in ("run", "other"))
    last = other / f"evaluation/step={STEPS[-1]}.parquet"
    table = pq.read_table(last)
    pq.write_table(table.slice(1), last)
    with pytest.raises(ArtifactError, match="different held-out pages"):
        read_run(other)
    for path in (other / "evaluation").iterdir():
        rows = pq.read_table(path).to_pylist()
        gone = min(row["url"] for row in rows)
        pq.write_table(table.from_pylist([row for row in rows if row["url"] != gone]), path)
    with pytest.raises(ArtifactError, match="different held-out pages"):
        differences([read_run(run)], [read_run(other)], allowed=True)
    shutil.rmtree(other / "evaluation")
    with pytest.raises(ArtifactError, match="run `mswitch evaluate"):
        read_run(other)
    (other / "recipe.json").unlink()
    with pytest.raises(ArtifactError, match=r"no recipe\.json"):
        read_run(other)


def logged(run, lines: list[dict[str, float]]):
    """Returns a run with this log."""
    write_run(run, experts=8)
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return read_run(run)


def test_step_times_that_change_within_a_run_are_a_spread(tmp_path):
    """Forty steps; the last tenth of one run takes three times as long, and one step ten times."""
    seconds = [[0.2] * 40, [0.2] * 36 + [0.6] * 4, [0.2] * 39 + [2.0]]
    for number, (of_run, spread) in enumerate(zip(seconds, (1.0, 3.0, 1.0), strict=True)):
        lines = [{"step": step, "seconds": one} for step, one in enumerate(of_run)]
        run = logged(tmp_path / str(number), lines)
        assert spread_over_tenths([run], "seconds") == pytest.approx(spread)
    assert spread_over_tenths([], "seconds") is None


def test_the_last_tenth_is_of_steps_and_each_run_counts_alike(tmp_path):
    """One run logs each step late, one every tenth, and one was stopped in its last tenth."""
    last = STEPS[-1]
    runs = [
        logged(
            tmp_path / str(number),
            [{"step": at, "steps": steps, "loss_nats": loss} for at, steps, loss in lines],
        )
        for number, lines in enumerate(
            (
                [(step, 1, 2.0) for step in range(last - 9, last + 1)],
                [(step, 10, 4.0) for step in range(10, last + 1, 10)],
                [(last - last // 20, last // 20, 9.0), (last, 1, 7.0)],
            )
        )
    ]
    stopped = (9.0 * (last // 20) + 7.0) / (last // 20 + 1)
    found = mean_of_last_tenth(runs, "loss_nats")
    assert found == pytest.approx((2.0 + 4.0 + stopped) / 3)
    assert mean_of_last_tenth(runs, "dropped_share") is None


def test_a_damaged_evaluation_is_one_sentence_and_other_names_are_none(tmp_path):
    run = write_run(tmp_path / "run", experts=8)
    (run / "evaluation/step=x.parquet").write_bytes(b"not ours")
    (run / "evaluation/step=\u0663.parquet").write_bytes(b"not ours")
    assert list(read_run(run).evaluations) == list(STEPS)
    last = run / f"evaluation/step={STEPS[-1]}.parquet"
    whole, table = last.read_bytes(), pq.read_table(last)
    last.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=rf"{last} should be a Parquet file and is damaged"):
        read_run(run)
    pq.write_table(table.drop(["loss_nats"]), last)
    with pytest.raises(DataError, match="lacks the columns loss_nats"):
        read_run(run)


def test_a_report_of_a_damaged_file_ends_in_one_sentence(tmp_path, capsys):
    write_run(tmp_path / "dense", experts=None)
    write_routing(write_run(tmp_path / "switch", experts=8), experts=8)
    words = ["--baseline", tmp_path / "dense", "--candidate", tmp_path / "switch"]
    for name in ("routing-step", "step"):
        path = tmp_path / f"switch/evaluation/{name}={STEPS[-1]}.parquet"
        path.write_bytes(path.read_bytes()[:-9])
        assert cli.run(["report", *map(str, words), "--out", str(tmp_path / "out")]) == 2
        message = capsys.readouterr().err
        assert f"{path} should be a Parquet file and is damaged" in message
        assert message.count("\n") == 1


SWAHILI = FilledGap("sw", "Watu wote wamezaliwa ", "huru", "huru", ", hadhi na haki zao ni sawa.")
TEXT = st.text(st.characters(codec="utf-8"), max_size=60)


def test_a_line_has_the_gap_in_its_place_and_the_truth(tmp_path):
    line = "sw: Watu wote wamezaliwa [huru], hadhi na haki zao ni sawa. (was: huru)"
    assert gap_in_words(SWAHILI) == line
    assert gap_in_words(SWAHILI._replace(filled="")) == line.replace("[huru]", "[nothing]")
    assert latest_gaps(tmp_path) == (0, [])  # of a run that filled none


@pytest.mark.parametrize("cells", [56, 76, 116])
@pytest.mark.parametrize(
    "text", ["人人生而自由在尊严和权利上", "يولد جميع الناس أحرارا ", "सभी मनुष्यों को ", "Watu "]
)
def test_every_script_fits_with_gap_and_truth(text, cells):
    line = gap_in_words(FilledGap("zh", text * 20, text, text, text * 20), cells)
    assert 0.8 * cells < cell_len(line) <= cells
    assert re.fullmatch(rf"zh: \.\.\..*\[{text.strip()[:3]}.*\].*\(was: .*\)", line)


@given(st.builds(FilledGap, st.just("ar"), TEXT, TEXT, TEXT, TEXT), st.integers(40, 130))
def test_no_text_breaks_the_line_or_its_width(gap, cells):
    line = gap_in_words(gap, cells)
    assert line.isprintable() or not any(ord(one) < 32 or one == "\x7f" for one in line)
    assert cell_len(line) <= cells


@given(TEXT, st.integers(0, 20))
def test_cut_texts_fit_and_are_ends_of_the_text(text, cells):
    start, end = first_cells(text, cells), last_cells(text, cells)
    assert cell_len(start) <= cells
    assert cell_len(end) <= cells
    assert text.startswith(start.removesuffix("...").rstrip(".")) or text == start
    assert text.endswith(end.removeprefix("...").lstrip(".")) or text == end
