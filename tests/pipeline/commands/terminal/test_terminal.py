"""Text of strangers is shown as text; at any width no number is cut and no line goes beyond."""

import io
import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable

import pytest
from captured_terminal import terminal
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.table import Table
from small_corpora import texts_of, write_corpus
from synthetic_runs import STEPS

from data.errors import CONTROLS, escape_controls
from pipeline import cli
from pipeline.runs.finished import FilledGap
from pipeline.terminal import (
    Terminal,
    broken,
    print_end,
    print_lines,
    print_message,
    replace_unknown_characters,
)
from pipeline.training.evaluation import write_gaps
from pipeline.training.log.summary import print_gaps, summaries, summary_table

HOSTILE = "[/x][bold]:smile:\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\nmswitch: all checksums correct"
SHOWN = r"[/x][bold]:smile:\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\nmswitch: all checksums correct"
FOREIGN = st.text(max_size=60) | st.text(
    st.sampled_from("[/]ab:\\\x00\x1b\x7f\x9b\r\n\t\u2028\udcff")
)


def printed_by(show) -> str:
    terminal = Terminal(file=io.StringIO(), width=500, highlight=False)
    show(terminal)
    return terminal.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


@given(text=FOREIGN)
@example(text=HOSTILE)
def test_a_printed_text_is_one_line_without_controls(text):
    printed = printed_by(lambda terminal: terminal.print(text, soft_wrap=True))
    assert printed == escape_controls(text) + "\n"
    assert not CONTROLS.search(printed[:-1])
    printed.encode()


@given(text=FOREIGN)
@example(text=HOSTILE)
def test_a_cell_of_a_table_has_no_controls(text):
    table = Table(text, title=text, caption=text)
    table.add_row(text)
    printed = printed_by(lambda terminal: terminal.print(table))
    assert not CONTROLS.search(printed.replace("\n", ""))
    assert "x" * 60 not in text or "x" * 60 in printed


@given(text=FOREIGN)
def test_escaped_text_is_told_from_its_escape_only_by_backslashes(text):
    escaped = escape_controls(text)
    assert escape_controls(escaped) == escaped
    assert not CONTROLS.search(escaped)
    assert CONTROLS.search(text) or escaped == text


def test_words_that_need_joiners_are_kept():
    for text in ("می\u200cخواهم", "क्\u200dष", "10\u202f000", "👩\u200d💻"):
        assert escape_controls(text) == text


def test_lines_and_messages_are_escaped(capsys):
    print_lines(HOSTILE, "second")
    print_message(HOSTILE)
    assert capsys.readouterr() == (f"{SHOWN}\nsecond\n", f"{SHOWN}\n")


def test_a_hostile_path_is_named_in_one_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in ("inspect", "report --out o --candidate c --baseline"):
        assert cli.run([*command.split(), HOSTILE.replace("/", "")]) == 2
        message = capsys.readouterr().err
        assert SHOWN.replace("/", "") in message
        assert message.count("\n") == 1


def test_a_hostile_manifest_is_inspected(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    head = {"stage": "other", "settings": {HOSTILE: HOSTILE}, "inputs": {}, "schema_version": 1}
    (tmp_path / "manifest.json").write_text(json.dumps(head), encoding="utf-8")
    assert cli.run(["inspect", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.replace("\n", "").count(SHOWN) == 2
    assert not CONTROLS.search(printed.replace("\n", ""))
    (tmp_path / "manifest.json").write_text(json.dumps(head | {"stage": HOSTILE}))
    assert cli.run(["inspect", str(tmp_path)]) == 2
    assert not CONTROLS.search(capsys.readouterr().err.replace("\n", ""))


@pytest.mark.parametrize("columns", [20, 60, 80, 120])
@pytest.mark.parametrize("is_terminal", [True, False])
def test_no_number_is_cut(columns, is_terminal):
    file = io.StringIO()
    console = Terminal(file=file, width=columns, force_terminal=is_terminal, color_system=None)
    table = Table("language", "of", "most in", expand=True)
    table.columns[1].justify = "right"
    table.columns[2].no_wrap = True
    table.add_row("sw", "123,456,789,012", "a long text " * 20)
    console.print(table)
    assert "123,456,789,012" in file.getvalue()
    assert console.width == columns


def test_a_sentence_in_a_pipe_is_one_line():
    file = io.StringIO()
    Terminal(file=file, width=20).print("a sentence that is longer than twenty columns")
    assert file.getvalue().count("\n") == 1


def test_without_utf8_characters_are_escaped(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    replace_unknown_characters()
    table = Table("language", "≥ 0.95 %")
    table.add_row("日本語", "–")
    Terminal().print(table)
    sys.stdout.flush()
    assert rb"\u2265 0.95 %" in written.getvalue()


WIDTHS = 60, 80, 120
NUMBER = re.compile(r"(?<![\w./-])[+−-]?\d[\d,]*(?:\.\d+)?(?:e[+-]\d+)?(?![\w/-])")


def captures(show: Callable[[], object], widths: tuple[int, ...] = WIDTHS) -> dict[int, list[str]]:
    """Returns the lines that are shown at each width, and at one where all fits."""
    found = {}
    for width in (*widths, 400):
        with terminal(width) as found[width]:
            show()
    return found


def run(*command: str) -> Callable[[], object]:
    return lambda: cli.run([*command])


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


def test_every_artifact_is_inspected_whole(tokens, finished, tmp_path):
    corpus = write_corpus(tmp_path, {"sw": texts_of("sw", 12), "ja": texts_of("ja", 4)})
    for directory in (tokens, corpus, finished / "out"):
        check(captures(run("inspect", str(directory))))


def test_the_steps_of_a_run_and_its_gaps_are_shown_whole(finished, tmp_path):
    shutil.copytree(finished / "dense0", tmp_path / "run")
    text = "人人生而自由在尊严和权利上"
    write_gaps(tmp_path / "run", STEPS[-1], [FilledGap("zh", text * 9, text, text, text * 9)])

    def show() -> None:
        Terminal().print(summary_table(list(summaries(tmp_path / "run"))))
        print_gaps(tmp_path / "run", Terminal())

    found = captures(show)
    assert all(any("(was: " in line for line in lines) for lines in found.values())
    check(found)


def test_a_report_of_hostile_runs_in_a_hostile_directory_ends_in_whole_sentences(
    finished, tmp_path, monkeypatch
):
    monkeypatch.setattr("eval.report.html.to_html", lambda _: "")
    runs = tmp_path / "[x]\x1b[2J"
    for side in ("dense0", "switch0"):
        shutil.copytree(finished / side, runs / side)
    sides = [f"--baseline={runs}/dense0", f"--candidate={runs}/switch0"]
    found = {}
    for width in (60, 400):
        out = runs / ("[wide]" if width > 60 else "[narrow]")
        with terminal(width) as found[width]:
            assert cli.run(["report", *sides, f"--out={out}"]) == 0
            assert cli.run(["inspect", str(out)]) == 0
    printed = "".join(found[400])
    assert r"[x]\x1b[2J/[wide]/index.html" in printed
    assert not CONTROLS.search(printed)
    check(found)


@pytest.mark.slow
def test_all_recipes_are_listed_whole():
    check(captures(run("recipes"), (60,)))  # 25 networks are counted each time


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
