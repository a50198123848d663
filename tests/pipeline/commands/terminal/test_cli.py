import contextlib
import errno
import io
import os
import re
import shlex
import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import jax.numpy as jnp
import pytest

from pipeline import cli, command_line
from pipeline.commands.recipes import Recipes
from pipeline.commands.tokenize import Tokenize


def test_an_option_given_twice_keeps_both_values():
    for given, means in {
        "pretrain --set a=1 --set=b=2 c=3": "pretrain --set a=1 b=2 c=3",
        "clean --input=x --out o --input y": "clean --input=x y --out o",
        "fill --run r text": "fill --run r text",
    }.items():
        assert command_line.join_repeated(given.split()) == means.split()


@pytest.mark.parametrize(
    ("word", "means"),
    [
        ("~/x", "HOME/x"),
        ("--out=~/x", "--out=HOME/x"),
        ("~/a b/*.jsonl", "HOME/a b/*.jsonl"),
        ("weights:~/w.json", "weights:HOME/w.json"),
        ("as in ~/x or =~/y", "as in ~/x or =~/y"),
        ("~other/x", "~other/x"),
    ],
)
def test_the_home_directory_is_meant_where_a_path_begins(word, means):
    expected = means.replace("HOME", str(Path.home()))
    assert command_line.with_home([word]) == [expected]


def test_everything_after_two_dashes_is_for_beam():
    own, beam = command_line.split_beam_options(
        ["clean", "--out", "o", "--", "--runner=X", "--", "y"]
    )
    assert own == ["clean", "--out", "o"]
    assert beam == ("--runner=X", "--", "y")


def test_an_address_for_an_artifact_that_may_be_remote_is_accepted():
    command_line.check_paths(
        "tokenize", Tokenize(corpus=("gs://b/c",), vocabulary="s3://b/v", out="gs://b")
    )
    words = "pretrain --recipe mt5-demo --tokens t --out gs://b/r --start s3://b/s --trunk gs://b/t"
    command = command_line.parse(words.split())
    command_line.check_paths("pretrain", command)
    assert (command.out, command.start, command.trunk) == ("gs://b/r", "s3://b/s", "gs://b/t")
    report = command_line.parse(
        ["report", "--baseline", "a", "gs://b/x", "--candidate", "b", "--out", "o"]
    )
    assert report.baseline == (Path("a"), "gs://b/x")


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    """What --help prints, by command; "" for that of all."""
    printed = {}
    for name in ("", *command_line.COMMANDS):
        with contextlib.redirect_stdout(io.StringIO()) as shown, suppress(SystemExit):
            cli.run([*name.split(), "--help"])
        printed[name] = shown.getvalue()
    return printed


@pytest.mark.parametrize("name", ["", *command_line.COMMANDS])
def test_help_offers_no_value_none_and_every_option_that_it_names_is_known(name, helps):
    lines = helps[name].splitlines()
    assert lines[0].startswith("usage: mswitch")
    assert [line for line in lines if "{None" in line or "None," in line] == []  # Python's word
    assert [line for line in lines if len(line) > 80] == []
    options = set(re.findall(r"--[a-z][\w.-]*[a-z]", helps[name]))
    assert "--help" in options
    known = {*command_line.options_of(name), "--help"}
    taken_back = {one.replace("--", "--no-", 1) for one in known}
    assert not name or options <= known | taken_back


def test_help_groups_all_commands_in_order_and_names_where_to_begin(helps):
    words = ("text:", *command_line.GROUPS["text"], "tokens:", "training:", "using:", "looking:")
    places = [re.search(rf"^ *{re.escape(word)}( |$)", helps[""], re.MULTILINE) for word in words]
    starts = [place.start() for place in places if place]
    assert starts == sorted(starts)
    assert len(starts) == len(words)
    assert "Begin with `clean`" in helps[""]
    assert all(re.search(rf"^  {name} ", helps[""], re.M) for name in command_line.COMMANDS)
    assert "mswitch recipes NAME" in " ".join(helps["pretrain"].split())


@pytest.mark.parametrize("name", command_line.COMMANDS)
def test_a_command_has_its_modules_name_and_an_example_that_is_understood(name, helps):
    command = command_line.COMMANDS[name]
    assert command.command_name() == name
    example = helps[name].partition("example:\n")[2].replace("\\\n", "")
    assert type(cli.command_of(shlex.split(example)[1:])) is command


class LibraryError(Exception):
    """A library's own class, which keeps only the system's text."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device.*make room"),
        (OSError(errno.EROFS, "Read-only file system", "/o"), "Read-only file system: /o.*name"),
        (PermissionError(errno.EACCES, "Permission denied", "/o"), "Permission denied: /o.*rights"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/in"), "No such file: /in.*restore it"),
        (LibraryError("I/O error: No space left on device (os error 28)"), "I/O error.*make room"),
    ],
)
def test_an_error_of_the_system_is_one_sentence(error, said, capsys, monkeypatch):
    monkeypatch.setattr(Recipes, "work", lambda _: (_ for _ in ()).throw(error))
    assert cli.run(["recipes"]) == 2
    printed = capsys.readouterr().err
    assert re.fullmatch(rf"mswitch: recipes met an error of the system \(.*{said}.*\n", printed)


def test_too_little_memory_of_devices_is_one_sentence(capsys, monkeypatch):
    monkeypatch.setattr(Recipes, "work", lambda _: jnp.zeros(10**15).block_until_ready())
    assert cli.run(["recipes"]) == 2
    printed = " ".join(capsys.readouterr().err.split())
    assert printed.startswith("mswitch: recipes met too little memory on the devices (RESOURCE_EX")
    assert "remat=full, and where its recipe allows it with a larger accumulate" in printed


@pytest.mark.parametrize("error", [OSError("damaged content"), KeyError("x"), LibraryError("bug")])
def test_any_other_error_is_a_bug_with_its_traceback(error, monkeypatch):
    monkeypatch.setattr(Recipes, "work", lambda _: (_ for _ in ()).throw(error))
    with pytest.raises(type(error)):
        cli.run(["recipes"])


def test_the_version_is_that_of_the_package(capsys):
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out == f"mswitch {metadata.version('mswitch')}\n"


def test_output_that_nobody_reads_on_ends_without_a_message():
    """As with `| head`: the pipe is closed before anything is written."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "pipeline.cli", "--version"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")
