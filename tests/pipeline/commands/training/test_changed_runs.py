"""A run whose mixture, tokens, rate and length change is, bit for bit, one planned so."""

import json
import shutil
import signal

import pytest
from grown_blocks import grown
from msgspec import to_builtins
from training_runs import EVERY, MESH, SETTINGS, SIZES, STEPS, assert_same_run, killed, ran, refused

from data.tokens.manifest import TokenManifest
from pipeline.artifacts import MANIFEST, finish, read_manifest
from pipeline.fields import CacheOptions
from pipeline.runs.model_card import changes_in_words
from pipeline.tokens.opened_blocks import open_blocks

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("traced_once")]

# A dense run, which compiles in half the time of a sparse one.
CONSTANT = (
    *(f"steps={STEPS}", f"checkpoint_every={EVERY}", "evaluate_every=6"),
    *(*SIZES, *MESH, "optimizer.decay_from=1"),
)


@pytest.fixture(scope="module")
def more(tokens, tmp_path_factory):
    """The tokens with more of `sw`, and of `yo`, which they do not have."""
    directory = tmp_path_factory.mktemp("more")
    blocks = grown(open_blocks(str(tokens), CacheOptions()), directory, {"sw": 900, "yo": 2000})
    (directory / MANIFEST).unlink()
    finish(directory, "tokenize", {}, {}, to_builtins(blocks.manifest))
    assert "yo" in read_manifest(directory, "tokenize", TokenManifest).languages
    return directory


@pytest.fixture(scope="module")
def command(tokens):
    """A function from a directory, settings and further options to the words of the command."""

    def words(out, settings=(), *options):
        asked = ["pretrain", "--recipe=mt5-demo", f"--tokens={tokens}", f"--out={out}"]
        return [*asked, *options, "--set", *CONSTANT, *settings]

    return words


@pytest.fixture(scope="module")
def changing(more):
    """Options for a mixture and a rate that change."""
    mixtures = "--mixture-from", "8=uniform", f"--tokens-from=8={more}"
    return [*mixtures, "--rate-from", "7=scale=0.5,hold_steps=9"]


@pytest.fixture(scope="module")
def planned(command, changing, tmp_path_factory):
    """A run of twelve steps with all changes from its first step on; it is only read."""
    out = tmp_path_factory.mktemp("planned") / "run"
    assert ran(*command(out, (), *changing)) == 0
    files = sorted((path, path.stat().st_mtime_ns) for path in out.rglob("*"))
    yield out
    assert sorted((path, path.stat().st_mtime_ns) for path in out.rglob("*")) == files


def test_a_run_that_changes_is_one_that_was_planned_so(
    command, changing, planned, tmp_path, capsys
):
    """Finished at six steps, made longer with other settings, killed in a save, resumed without."""
    out = tmp_path / "run"
    assert ran(*command(out, ("steps=6",))) == 0
    status, printed = killed(command(out, (), *changing), "during", 9)
    assert status == -signal.SIGKILL, printed
    assert "pretrain: after step 6: steps 6 -> 12" in printed
    assert ran(*command(out)) == 0
    assert_same_run(out, planned, STEPS)
    assert (out / "mixture.json").read_bytes() == (planned / "mixture.json").read_bytes()
    changes = json.loads((out / "changes.json").read_text())["changes"]
    settings = "steps", "mixture_from", "rate_from"
    assert [(one["step"], one["setting"]) for one in changes] == [(6, name) for name in settings]
    assert json.loads((out / MANIFEST).read_text())["changes"] == changes
    on_the_card = "".join(changes_in_words(out))
    assert "- after step 6: steps 6 -\\> 12" in on_the_card
    capsys.readouterr()
    assert ran("inspect", out) == 0
    assert "after step 6: steps 6 -> 12" in " ".join(capsys.readouterr().out.split())


def test_the_mixture_says_what_each_segment_shows(planned, more):
    found = json.loads((planned / "mixture.json").read_text())
    first, second = found["segments"]
    assert (first["from_step"], second["from_step"]) == (0, 8)
    assert second["tokens"] == str(more)
    assert set(second["shares"]) == set(first["shares"]) | {"yo"}
    assert found["languages"]["yo"]["examples"] == round(second["shares"]["yo"] * 4 * 8)


def test_what_a_run_records_stays(command, changing, planned, more, tmp_path, capsys):
    """Named again, from another directory, or not at all, it changes nothing."""
    moved, run = tmp_path / "moved", tmp_path / "run"
    shutil.copytree(more, moved)
    shutil.copytree(planned, run)
    before = (run / MANIFEST).read_bytes()
    for options in (changing, [], [f"--tokens-from=8={moved}"]):
        assert ran(*command(run, (), *options)) == 0
        assert "is finished" in capsys.readouterr().err
    assert (run / MANIFEST).read_bytes() == before


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        ((), ["--mixture-from=8=proportional"], "mixture: there uniform, asked proportional"),
        (("steps=20",), ["--mixture-from=11=uniform"], "has made 12; name a step that is not"),
        (("steps=20",), ["--rate-from=25=scale=2"], "Another rate was asked from step 25 on"),
        ((), ["--rate-from=7=scale=3"], "scale: there 0.5, asked 3.0"),
        ((), ["--rate-from=13=speed=3"], "speed='3' sets no rate"),
        ((), ["--rate-from=13=scale=1,scale=2"], "names a field twice; name each once"),
        ((), ["--mixture-from=soon"], "write STEP=VALUE once per step"),
        (("steps=9",), [], "steps: there 12, asked 9"),
        (("steps=20", "rows=16"), [], "rows: there 8, asked 16"),
        (("steps=20", "optimizer.hold_steps=9"), [], "optimizer.hold_steps: there"),
    ],
)
def test_other_changes_are_refused(command, planned, capsys, settings, options, message):
    assert message in refused(capsys, *command(planned, settings, *options))


def test_a_dry_run_shows_the_change_and_makes_none(command, planned, capsys):
    assert ran(*command(planned, ("steps=20", "log_every=2")), "--dry-run") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "8 steps after step 12" in printed
    assert "after step 12: steps 12 -> 20; after step 12: log_every 1 -> 2" in printed


def test_a_length_that_changes_steps_already_made_is_refused(pretrained, tokens, capsys):
    """The rate of `pretrained` falls over its second half."""
    words = ["pretrain", "--recipe=switch-demo", f"--tokens={tokens}", f"--out={pretrained}"]
    said = refused(capsys, *words, "--set", *SETTINGS, "steps=24")
    assert "has 12 steps and 24 were asked for; add --set steps=12, or" in said
    assert "step 8 would have had" in said
    assert f"add --start {pretrained}" in said


def test_a_finished_run_without_its_checkpoints_is_not_made_longer(
    command, planned, tmp_path, capsys
):
    """It would begin at step 0, and lose its evaluations."""
    out = tmp_path / "run"
    shutil.copytree(planned, out, ignore=shutil.ignore_patterns("checkpoints"))
    before = sorted(out.rglob("*"))
    said = refused(capsys, *command(out, ("steps=24",)))
    assert "has made its 12 steps, has no checkpoint of the last one and was to make 24" in said
    assert sorted(out.rglob("*")) == before
    assert ran(*command(out)) == 0
