"""No text of strangers reaches a terminal as anything but text."""

import io
import json
import shutil
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.table import Table

from data.errors import CONTROLS, escape_controls
from pipeline import cli
from pipeline.terminal import Terminal, print_lines, print_message, replace_unknown_characters

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


def test_a_traceback_is_escaped(capsys, monkeypatch):
    def fail(_: object) -> int:
        raise RuntimeError(HOSTILE)

    monkeypatch.setattr(cli, "run", fail)
    with pytest.raises(SystemExit) as stopped:
        cli.main([])
    assert stopped.value.code == 1
    message = capsys.readouterr().err
    assert message.startswith("Traceback")
    assert not CONTROLS.search(message.replace("\n", ""))


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


def test_a_report_of_hostile_runs_in_a_hostile_directory(finished, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("eval.report.html.to_html", lambda _: "")
    monkeypatch.setenv("COLUMNS", "300")
    runs = tmp_path / "[x]\x1b[2J"
    for side in ("dense0", "switch0"):
        shutil.copytree(finished / side, runs / side)
    out = runs / "[bold]"
    asked = ["--baseline", runs / "dense0", "--candidate", runs / "switch0", "--out", out]
    assert cli.run(["report", *map(str, asked)]) == 0
    assert cli.run(["inspect", str(out)]) == 0
    printed = capsys.readouterr()
    assert r"[x]\x1b[2J/[bold]/index.html" in printed.err
    assert not CONTROLS.search((printed.out + printed.err).replace("\n", ""))


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


def test_no_color_is_honoured(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    file = io.StringIO()
    Terminal(file=file, force_terminal=True).print("text", style="red")
    assert "\x1b[31m" not in file.getvalue()
