"""Keys and passwords on a command line are refused, and credentials are printed nowhere."""

import base64
import bz2
import re

import apache_beam as beam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import CONTROLS, DataError
from data.rules import rule_sets
from pipeline import cli
from pipeline.beam.options import pipeline_options
from pipeline.corpus import job as new_job
from pipeline.corpus import submission
from pipeline.corpus.read import InputFile
from pipeline.terminal import Terminal, print_message, redact, refuse

PLANTED = "pLaNtEdVaLuE42"
CLEAN = "clean --input x.wet --rules none --out o"


@pytest.mark.parametrize(
    ("command", "named"),
    [
        (f"pretrain --recipe r --tokens t --out o -- --s3_secret_access_key={PLANTED}", "--s3_sec"),
        (f"{CLEAN} -- --s3_secret_access_key {PLANTED}", "--s3_secret_access_key"),
        (f"{CLEAN} -- --s3_access_key_id={PLANTED}", "--s3_access_key_id"),
        (f"{CLEAN} -- --azure_connection_string={PLANTED}", "--azure_connection_string"),
        (f"{CLEAN} --s3-secret-access-key={PLANTED}", "--s3-secret-access-key"),
        (f"{CLEAN} -- --s3_endpoint_url=https://user:{PLANTED}@host", "An address with a password"),
        (f"{CLEAN} --crawl-base https://user:{PLANTED}@host", "An address with a password"),
    ],
)
def test_a_credential_on_the_command_line_is_refused_in_one_sentence(
    command, named, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.wet").touch()
    assert cli.run(command.split()) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"mswitch: {named}")
    assert printed.err.count("\n") == 1
    assert "AWS_SECRET_ACCESS_KEY (or ~/.aws/credentials)" in printed.err
    assert PLANTED not in printed.err
    assert [path.name for path in tmp_path.iterdir()] == ["x.wet"]


def test_options_for_a_command_without_a_job_are_named_without_their_values(capsys):
    words = ["pretrain", "--recipe", "r", "--tokens", "t", "--out", "o", "--", "--runner=Prism"]
    assert cli.run([*words, f"--s3_region_name={PLANTED}", PLANTED]) == 2
    printed = capsys.readouterr().err
    assert "Beam options (--runner --s3_region_name) were given to pretrain" in printed
    assert PLANTED not in printed


def test_other_words_are_no_credentials():
    for words in (
        "fill --run runs/secret --tokens 3 a_password:",
        "pretrain --tokens s3://bucket/secret=1/tokens --out password",
        "clean --input gs://bucket/a@b.wet.gz hdfs://user@name/x.wet.gz --out o",
        "clean --out o -- --s3_endpoint_url=http://host:9000 --experiments=use_runner_v2",
        "clean --password-file=x --out o -- --s3_api_version=1 --secret_manager=on",
    ):
        refuse(words.split())


def unpacked(graph: bytes) -> bytes:
    """Returns a job's graph with the functions that Beam compressed into it."""
    functions = (base64.b64decode(text) for text in re.findall(rb"QlpoO[\w+/]{40,}={0,2}", graph))
    return b"".join((graph, *map(bz2.decompress, functions)))


def test_neither_graph_nor_options_hold_what_the_environment_does(tmp_path, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, PLANTED)
    options = pipeline_options(["--s3_endpoint_url=http://planted-host"])
    job = new_job.begin_job(str(tmp_path), rule_sets.none(), [InputFile("s3://bucket/a.wet", 1)])
    pipeline = beam.Pipeline(options=options)
    submission.build(job, next(submission.graphs(job)), pipeline)
    graph = unpacked(pipeline.to_runner_api().SerializeToString())
    assert b"planted-host" in graph  # the search finds what is there
    assert PLANTED.encode() not in graph
    assert PLANTED not in str(options.get_all_options())


@given(st.text(min_size=8), st.text(), st.text())
def test_a_message_is_printed_without_credentials(secret, before, after):
    shown = redact(f"{before}{secret}{after}", {"AWS_SECRET_ACCESS_KEY": secret, "HOME": before})
    assert secret not in shown.replace("***", "") or secret in before + after


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (f"API request to http://me:{PLANTED}@host:80/api failed", "http://***@host:80/api"),
        (f"API request to http://:{PLANTED}@host/", "http://***@host/"),
        (f"'HTTPS://me:{PLANTED}@{PLANTED}@[::1]/'", "'HTTPS://***@[::1]/'"),
        ("http://host:80/a@b and s3://bucket/a:b@c", "http://host:80/a@b and s3://bucket/a:b@c"),
    ],
)
def test_a_password_in_an_address_is_not_printed(message, shown, capsys):
    print_message(message)
    Terminal(stderr=True).print(message)
    printed = capsys.readouterr().err
    assert printed.count(shown) == 2
    assert PLANTED not in printed


def test_a_long_message_loses_its_middle_alone(capsys):
    print_message(f"asked {'x' * 10**6} do")
    printed = capsys.readouterr().err
    assert printed.startswith("asked xx")
    assert printed.endswith("xx do\n")
    assert "x [... 996,009 characters ...] x" in printed
    assert len(printed) < 4_100


@pytest.mark.parametrize("unit", ["a", "a.", "a:", "a://", "a://a:", "://:", "@"])
def test_hiding_takes_time_in_proportion_to_a_message(unit):
    redact(unit * 300_000)  # a test run's limit ends it otherwise


def test_a_traceback_shows_no_credential_and_no_control(monkeypatch, capsys):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", PLANTED)

    def fails(_):
        raise RuntimeError(f"the store refuses {PLANTED}\x1b[2J\x9b31m")

    monkeypatch.setattr(cli, "run", fails)
    with pytest.raises(SystemExit) as stopped:
        cli.main([])
    assert stopped.value.code == 1
    printed = capsys.readouterr().err
    assert printed.startswith("Traceback")
    assert r"RuntimeError: the store refuses ***\x1b[2J\x9b31m" in printed
    assert PLANTED not in printed
    assert not CONTROLS.search(printed.replace("\n", ""))


def test_a_job_refuses_credentials_also_without_the_command_line():
    with pytest.raises(DataError, match="--s3_session_token was given"):
        pipeline_options([f"--s3_session_token={PLANTED}"])
