"""`mswitch report --also`: models beside the two sides, in every rendering and recomputed."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import recompute_report
from markdown_reader import MARKDOWN
from recompute_models import compare_further, compare_pruned
from recompute_sides import side
from synthetic_runs import write_run

from pipeline.artifacts import digest_of_manifest
from pipeline.errors import ArtifactError
from pipeline.reporting.contents import _pruning
from pipeline.runs.finished import read_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory, finished):
    """The words of --also: a model of two seeds, and one of another vocabulary."""
    root = tmp_path_factory.mktemp("further")
    for seed in (0, 1):
        write_run(root / f"wide{seed}", experts=None, seed=seed, gain=0.5, name="mt5-wide")
    write_run(root / "finer", experts=None, gain=0.2, pieces_per_token=3, batch=64)
    return *(f"wide={root / f'wide{seed}'}" for seed in (0, 1)), f"finer={root / 'finer'}"


def test_the_verdict_is_of_two_and_every_number_of_all_is_recomputed(asked, runs, capsys):
    asked.execute()
    alone = json.loads((asked.out / "report.json").read_text())
    out = asked.out.with_name("more")
    replace(asked, also=runs[:2], out=out).execute()
    found = json.loads((out / "report.json").read_text())
    differing = {key for key in found if found[key] != alone[key]}
    assert differing == {"further", "losses", "curves", "written"}
    (wide,) = found["further"]
    assert (wide["name"], wide["seeds"], wide["unit"]) == ("wide", [0, 1], "nats per token")
    assert 0.3 < wide["summary"]["mean_gain"] / found["summary"]["mean_gain"] < 0.7
    assert set(found["losses"]) == {"mT5", "Switch", "wide"}
    row = found["losses"]["wide"]["sw"]
    assert row["loss_nats_low"] < row["loss_nats"] < row["loss_nats_high"]
    capsys.readouterr()
    both = [side([*asked.baseline]), side([*asked.candidate])]
    compare_further(found, both, [*map(str, runs[:2])])
    assert "wide: losses of 107 languages and their intervals equal to 1e-9" in (
        capsys.readouterr().out
    )
    found["losses"]["wide"]["sw"]["bits_per_byte_low"] += 1e-6
    with pytest.raises(SystemExit, match="sw bits_per_byte low"):
        compare_further(found, both, [*map(str, runs[:2])])


def pruned_from_candidate_and_another(asked, pruned: Path) -> list[bool]:
    """Returns whether a run counts as pruned from the candidate, by its recorded source."""
    about = json.loads((pruned / "recipe.json").read_text())
    candidate = shutil.copytree(asked.candidate[0], pruned.with_name("candidate"))
    (candidate / "manifest.json").write_text('{"stage": "pretrain"}')
    found = []
    for source in (digest_of_manifest(candidate), "0" * 64):
        about["pruned"]["run"] = source
        (pruned / "recipe.json").write_text(json.dumps(about))
        found.append(_pruning("half", [read_run(pruned)], [read_run(candidate)]))
    return [bool(one.sources) for one in found]


def test_what_pruned_models_lost_is_shown_and_recomputed(asked, tmp_path):
    words = []
    for name, experts, gain in (("quarter", 2, 0.6), ("half", 4, 0.9)):
        run = write_run(tmp_path / name, experts=experts, gain=gain)
        about = json.loads((run / "recipe.json").read_text())
        about["pruned"] = {"languages": ["sw", "yo"], "experts": 8, "others": "left out"}
        (run / "recipe.json").write_text(json.dumps(about))
        words.append(f"{name}={run}")
    replace(asked, also=tuple(words)).execute()
    whole = json.loads((asked.out / "report.json").read_text())
    found = whole["pruned"]
    assert [(one["name"], one["experts"], one["experts_before"]) for one in found] == [
        ("half", 4, 8),
        ("quarter", 2, 8),
    ]
    assert found[0]["lost_in_others"] < found[1]["lost_in_others"]
    own = [found[0]["lost_nats"][code] for code in ("sw", "yo")]
    assert found[0]["lost_in_own"] == pytest.approx(sum(own) / 2)
    text = (asked.out / "report.md").read_text()
    lost = " | ".join(f"{found[0][name]:+.3f}" for name in ("lost_in_own", "lost_in_others"))
    assert f"| half | 4 of 8 | left out | {lost} | sw, yo |" in text
    compare_pruned(whole, [*asked.candidate], words)
    sides = "--baseline", *asked.baseline, "--candidate", *asked.candidate, "--also", *words
    recompute_report.main([str(asked.out), *map(str, sides)])
    ours, elsewhere = pruned_from_candidate_and_another(asked, tmp_path / "half")
    assert (ours, elsewhere) == (True, False)
    whole["pruned"][0]["lost_in_own"] += 1e-6
    with pytest.raises(SystemExit, match="half lost_in_own"):
        compare_pruned(whole, [*asked.candidate], words)


def test_markdown_has_a_row_per_model_and_losses_per_language(asked, runs):
    with pytest.raises(ArtifactError, match="--allow-differences"):
        replace(asked, also=runs).execute()
    replace(asked, also=runs, allow_differences=True).execute()
    text = (asked.out / "report.md").read_text()
    assert "| wide | mt5-wide | 1,234,567 | 1,100 | 0, 1 |" in text
    assert "bits per byte | " in next(
        line for line in text.splitlines() if line.startswith("| finer | ")
    )
    assert "| batch | 32 | 64 |" in text
    head = "| Language | Code | mT5, nats/token | mT5, bits/byte | Switch, nats/token | Switch, "
    assert head in text
    tables = [one for one in MARKDOWN.parse(text) if one.type == "table_open"]
    assert len(tables) >= 7


@pytest.mark.parametrize(
    "also, message",
    [
        (("runs/wide",), "write NAME=RUN"),
        (("=runs/wide",), "write NAME=RUN"),
        (("a/b=runs/wide",), "no slash"),
        (tuple(f"m{n}=runs/{n}" for n in range(5)), "at most 4"),
    ],
)
def test_words_that_are_no_models_are_one_sentence(asked, also, message):
    with pytest.raises(ArtifactError, match=message):
        replace(asked, also=also).execute()
    assert not asked.out.exists()


def test_a_run_and_a_name_stand_once(asked, runs):
    twice = f"again={asked.candidate[0]}"
    with pytest.raises(ArtifactError, match="named already"):
        replace(asked, also=(twice,)).execute()
    with pytest.raises(ArtifactError, match="named already"):
        replace(asked, also=(runs[0], runs[0])).execute()
    with pytest.raises(ArtifactError, match="a model 'Switch'"):
        replace(asked, also=(runs[0].replace("wide=", "Switch=", 1),)).execute()
