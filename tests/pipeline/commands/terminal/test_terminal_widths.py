"""What commands show at 60, 80 and 120 columns: no number is cut, no line goes beyond."""

import re
import shlex
import shutil

import pytest
from captured_terminal import terminal
from rich.cells import cell_len
from small_corpora import texts_of, write_corpus
from synthetic_runs import STEPS

from pipeline import cli
from pipeline.runs.finished import FilledGap
from pipeline.terminal import Terminal, broken, print_end, print_message
from pipeline.training.evaluation import write_gaps
from pipeline.training.log.summary import print_gaps, summaries, summary_table

WIDTHS = 60, 80, 120
NUMBER = re.compile(r"(?<![\w./-])[+−-]?\d[\d,]*(?:\.\d+)?(?:e[+-]\d+)?(?![\w/-])")


def captures(command: list[str], widths: tuple[int, ...] = WIDTHS) -> dict[int, list[str]]:
    """Returns the lines that a command shows at each width, and at one where all fits."""
    found = {}
    for width in (*widths, 400):
        with terminal(width) as lines:
            assert cli.run(command) == 0
        found[width] = lines
    return found


def beyond(lines: list[str], width: int) -> list[str]:
    """Returns the lines that are too wide, unless a single word is, such as a path."""
    return [
        line
        for line in lines
        if cell_len(line) > width and max(map(cell_len, line.split())) < width - 8
    ]


def check(found: dict[int, list[str]]) -> None:
    everything = set(NUMBER.findall(" ".join(found.pop(400))))
    assert everything
    for width, lines in found.items():
        assert beyond(lines, width) == []
        assert everything - set(NUMBER.findall(" ".join(lines))) == set()


def test_every_artifact_is_inspected_whole(tokens, finished):
    for directory in (tokens, finished / "out"):
        check(captures(["inspect", str(directory)]))


def test_tables_in_a_pipe_have_80_columns_and_say_what_they_count(tokens, tmp_path, capsys):
    corpus = write_corpus(tmp_path, {"sw": texts_of("sw", 12), "ja": texts_of("ja", 4)})
    for directory, heads in (
        (tokens, "tokens per byte, tokens per page, unknown %, bytes %, held out pages"),
        (corpus, "pages kept held out characters % with probability ≥ 0.95"),
    ):
        assert cli.run(["inspect", str(directory)]) == 0
        printed = capsys.readouterr().out
        assert {*re.findall(r"\w+|≥", heads)} <= {*re.findall(r"\w+|≥", printed)}
        assert max(cell_len(row) for row in printed.splitlines() if not row.endswith(".")) <= 80


def test_the_steps_of_a_run_and_its_gaps_are_shown_whole(finished, tmp_path):
    shutil.copytree(finished / "dense0", tmp_path / "run")
    text = "人人生而自由在尊严和权利上"
    write_gaps(tmp_path / "run", STEPS[-1], [FilledGap("zh", text * 9, text, text, text * 9)])
    found = {}
    for width in (*WIDTHS, 400):
        with terminal(width) as found[width]:
            Terminal().print(summary_table(list(summaries(tmp_path / "run"))))
            print_gaps(tmp_path / "run", Terminal())
        assert any("(was: " in line for line in found[width])
    check(found)


def test_a_report_ends_in_whole_sentences(finished, tmp_path, monkeypatch):
    monkeypatch.setattr("eval.report.html.to_html", lambda _: "")
    sides = [
        f"--{side}={finished / run}"
        for side, run in (("baseline", "dense0"), ("candidate", "switch0"))
    ]
    found = {}
    for width in (*WIDTHS, 400):
        with terminal(width) as found[width]:
            assert cli.run(["report", *sides, f"--out={tmp_path / str(width)}"]) == 0
    check(found)


@pytest.mark.slow
def test_all_recipes_are_listed_whole():
    check(captures(["recipes"], (60,)))  # 25 networks are counted each time


@pytest.mark.parametrize("width", WIDTHS)
def test_the_end_of_a_stage_fits_and_its_next_command_is_one_for_a_shell(width):
    made = "1,234,567,890 pages of 101 languages, 12,345 rejected (0.001 %), in runs/corpus"
    following = ["tokenize", "--corpus", "my corpus", "--vocabulary", "vocabulary", "--out=t"]
    with terminal(width) as lines:
        print_end("clean", made, ["66 % of the pages of Swahili have one reason " * 2], following)
        print_message(f"mswitch: {made}; name another --out.")
    assert max(map(cell_len, lines)) <= width
    text = "\n".join(lines)
    assert "1,234,567,890" in text
    command = text.partition("next: mswitch ")[2].partition("\nmswitch:")[0]
    assert shlex.split(command.replace("\\\n", "")) == following


def test_lines_are_broken_between_words_alone():
    text = "one two --three four --five " + "x" * 70
    for width in range(1, 100):
        assert broken(text, width).split() == text.split()
        lines = broken(text, width, " --", " \\\n    ").split(" \\\n    ")
        assert " ".join(lines) == text
