"""A pruned run is a run like any other: evaluated, inspected, exported, trained further."""

import json

import numpy as np
import pytest
import yaml
from training_runs import SIZES, arrays_of, ran, refused, table

from data.files.json_files import read_json
from data.languages import iso639_3_codes
from pipeline.artifacts import digest_of_manifest
from pipeline.runs.directory import find_run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("traced_once")]

WORTH = ("sw", "af")
GROUPS = ["model.switch.encoder_group_tokens=64", "model.switch.decoder_group_tokens=14"]
SMALLER = [*SIZES, *GROUPS, "model.switch.experts=2", "mesh.data=8"]


def prune(run, out, *more, languages="sw,af", keep="0.5"):
    return ["prune", "--run", run, "--languages", languages, "--keep", keep, "--out", out, *more]


@pytest.fixture(scope="module")
def half(pretrained, tmp_path_factory):
    out = tmp_path_factory.mktemp("pruned") / "half"
    assert ran(*prune(pretrained, out)) == 0
    return out


def slowly_chosen(run):
    """The two experts of each layer with the largest sums of gates, by loops."""
    chosen = {}
    for row in table(run / "evaluation/routing-step=12.parquet").to_pylist():
        worth = chosen.setdefault(f"{row['stack']} {row['layer']}", np.zeros(4))
        if row["language"] in WORTH:
            worth += np.array(row["gate"]) / row["tokens"] / 2
    return {place: sorted(np.argsort(-worth)[:2].tolist()) for place, worth in chosen.items()}


def test_the_experts_with_the_largest_gates_stay_bit_for_bit(pretrained, half):
    kept = read_json(half / "manifest.json", dict)["kept"]
    told = read_json(half / "recipe.json", dict)["pruned"]
    assert (told["run"], told["others"]) == (digest_of_manifest(pretrained), "left out")
    assert kept == slowly_chosen(pretrained)
    (whole, step), (pruned, pruned_step) = arrays_of(pretrained), arrays_of(half)
    assert pruned_step == step
    sparse = {name for name in whole if whole[name].shape != pruned[name].shape}
    for name in sparse:
        stack = name.split(".")[1]
        of = [experts for place, experts in kept.items() if place.startswith(stack)]
        axis = 1 if name.endswith("router") else 0
        for block, experts in enumerate(of):
            expected = np.take(whole[name][block], experts, axis)
            np.testing.assert_array_equal(pruned[name][block], expected)
    assert len(sparse) == 8
    assert all(np.array_equal(whole[name], pruned[name]) for name in whole.keys() - sparse)


def test_experts_fitted_to_text_differ_in_their_last_matrix_alone_and_again_by_no_bit(
    pretrained, half, tokens, tmp_path
):
    one, other = tmp_path / "a/fitted", tmp_path / "b/fitted"
    for out in (one, other):
        assert ran(*prune(pretrained, out, "--tokens", tokens)) == 0
    for name in ("recipe.json", "manifest.json", "sentencepiece.model", "mixture.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    left_out, first, again = (arrays_of(run)[0] for run in (half, one, other))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    changed = {name for name in first if not np.array_equal(first[name], left_out[name])}
    assert [name.rpartition(".")[2] for name in changed] == ["down", "down"]


def test_it_is_evaluated_inspected_filled_exported_and_trained_further(
    half, tokens, tmp_path, capsys
):
    about = find_run(half)
    step, languages = about.recipe["steps"], about.pruned.languages
    assert ran("evaluate", "--run", half, "--tokens", tokens) == 0
    routing = table(half / f"evaluation/routing-step={step}.parquet")
    assert {len(load) for load in routing["load"].to_pylist()} == {2}
    assert not any(routing["dropped"].to_pylist())
    assert ran("inspect", half) == 0
    assert "encoder 2: experts" in " ".join(capsys.readouterr().out.split())
    assert ran("fill", "Watu <extra_id_0> huru", "--run", half, "--tokens", "4") == 0
    exported, back = tmp_path / "exported", tmp_path / "back"
    assert ran("export-hf", "--run", half, "--out", exported) == 0
    config = json.loads((exported / "config.json").read_text())
    assert (config["num_experts"], config["expert_capacity"]) == (2, 64)  # every token of a row
    card = (exported / "README.md").read_text()
    assert f"It was pruned from 4 experts per switch layer for {', '.join(languages)}." in card
    assert yaml.safe_load(card.split("---")[1])["language"] == iso639_3_codes(languages)
    assert ran("import-hf", exported, "--inputs", "64", "--out", back) == 0
    one, other = arrays_of(half)[0], arrays_of(back)[0]
    assert all(np.array_equal(one[name], other[name]) for name in one)
    words = ["pretrain", "--recipe", "switch-demo", "--tokens", tokens, "--out", tmp_path / "on"]
    assert ran(*words, "--start", half, "--set", "steps=1", *SMALLER, "--dry-run") == 0
    trunk = ["--trunk", half, "--branch-at", step, "--set", f"steps={step + 2}", *SMALLER]
    assert "was pruned and has no optimizer state of its own" in refused(capsys, *words, *trunk)


def test_a_run_without_an_evaluation_of_its_step_is_to_be_evaluated(pretrained, tmp_path, capsys):
    run = tmp_path / "run"
    (run / "evaluation").mkdir(parents=True)
    for name in ("recipe.json", "manifest.json", "checkpoints", "sentencepiece.model"):
        (run / name).symlink_to(pretrained / name)
    assert "mswitch evaluate --run" in refused(capsys, *prune(run, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"keep": "0"}, "--keep was 0; give"),
        ({"keep": "nan"}, "--keep was nan"),
        ({"languages": ","}, "No language was named"),
        ({"languages": "sw,tlh"}, "'tlh' is not one of mC4's"),
        ({"languages": "sw,yo"}, "The experts of yo were asked for"),
    ],
)
def test_what_cannot_be_pruned_is_one_sentence(pretrained, tmp_path, capsys, more, sentence):
    assert sentence in refused(capsys, *prune(pretrained, tmp_path / "out", **more))
    assert not (tmp_path / "out").exists()
