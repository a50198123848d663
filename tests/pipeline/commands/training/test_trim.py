"""A run with a trimmed vocabulary is a run: filled, inspected, exported, tokenized for, scored.

The runs and their text are those of `tests/fixture/`.
"""

import json
import tarfile
from pathlib import Path

import made_mt5
import numpy as np
import pytest
from tensorflow_forks import python
from training_runs import table

from data.files.json_files import read_json
from data.tokens.tokenizer import MODEL_FILE, load
from model.sharding.layouts import by_path
from pipeline import cli
from pipeline.fields import CacheOptions
from pipeline.runs.directory import find_run
from pipeline.runs.opened_run import load_run, restore
from pipeline.tokens.opened_blocks import open_blocks

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("traced_once")]

STEP = 4


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("made")
    with tarfile.open(Path(__file__).parents[3] / "fixture/artifacts.tar.xz") as archive:
        archive.extractall(directory, filter="data")
    return directory


def prune(run, out, *more):
    return cli.run(["prune", "--run", str(run), "--languages", "sw,fr", "--out", str(out), *more])


def trim(made, name, out, *more):
    return prune(made / name, out, "--trim", "1", "--tokens", str(made / "tokens"), *more)


@pytest.fixture(scope="module")
def small(made):
    """The dense run, trimmed."""
    assert trim(made, "mt5", made / "small") == 0
    return made / "small"


def weights(run):
    """The arrays of a run's last checkpoint by name."""
    _, trainer = load_run(run)
    arrays, step = restore(run, trainer, None)
    assert step == STEP
    return {name: np.asarray(leaf) for name, leaf in by_path(arrays).items()}


def kept_ids(made, run):
    """The ids before of the pieces of a trimmed run, by their names."""
    whole, tokenizer = load(made / "tokens" / MODEL_FILE), load(run / MODEL_FILE)
    names = map(tokenizer.processor.IdToPiece, range(tokenizer.size))
    return np.array([whole.processor.PieceToId(name) for name in names])


def test_rows_follow_the_pieces_and_nothing_else_changes(made, small):
    kept = kept_ids(made, small)
    before, after = weights(made / "mt5"), weights(small)
    np.testing.assert_array_equal(after.pop(".embedding"), before.pop(".embedding")[kept])
    np.testing.assert_array_equal(after.pop(".logits"), before.pop(".logits")[:, kept])
    assert all(np.array_equal(before[name], after[name]) for name in before | after)
    about, body = find_run(small), read_json(small / "manifest.json", dict)
    assert about.recipe["model"]["vocabulary_rows"] == body["pieces"] == len(kept)
    assert about.parameters == body["parameters"] < body["parameters_before"]
    assert about.pruned is None  # all experts of none
    assert {code: found["lines"] > 0 for code, found in body["lines"].items()} == {
        "sw": True,
        "fr": True,
    }


def test_it_is_inspected_filled_exported_and_imported(small, tmp_path, capsys):
    assert cli.run(["inspect", str(small)]) == 0
    assert "640 of 1,400 pieces" in " ".join(capsys.readouterr().out.split())
    assert cli.run(["fill", "Watu <extra_id_0> huru", "--run", str(small), "--tokens", "4"]) == 0
    exported = tmp_path / "exported"
    assert cli.run(["export-hf", "--run", str(small), "--out", str(exported)]) == 0
    config = json.loads((exported / "config.json").read_text())
    told = json.loads((exported / "tokenizer.json").read_text())
    names = [name for name, _ in told["model"]["vocab"]]
    card = (exported / "README.md").read_text()
    assert f"Its vocabulary was trimmed to {', '.join(find_run(small).trimmed.languages)}." in card
    assert config["vocab_size"] == len(names) == len(set(names)) == load(small / MODEL_FILE).size
    again = ["import-hf", str(exported), "--inputs", "64", "--out", str(tmp_path / "back")]
    assert cli.run(again) == 0
    one, other = weights(small), by_path(restored(tmp_path / "back"))
    assert all(np.array_equal(one[name], other[name]) for name in one)


def restored(run):
    return restore(run, load_run(run)[1], None)[0]


def test_text_is_tokenized_for_it_and_scored_as_its_manifest_says(made, small, tmp_path):
    """Pages whose pieces all stay have the same gaps, so losses differ by the softmax alone."""
    vocabulary, tokens = str(tmp_path / "vocabulary"), tmp_path / "tokens"
    assert cli.run(["vocabulary", "--model", str(small / MODEL_FILE), "--out", vocabulary]) == 0
    words = ["--corpus", str(made / "corpus"), "--vocabulary", vocabulary, "--out", str(tokens)]
    done = python("-m", "pipeline.cli", "tokenize", *words)
    assert done.returncode == 0, done.stderr
    assert cli.run(["evaluate", "--run", str(small), "--tokens", str(tokens)]) == 0
    kept = kept_ids(made, small)
    nats = read_json(small / "manifest.json", dict)["nats_per_byte"]
    assert nats
    for code in nats:
        whole, trimmed = (held_out_of(at, code) for at in (made / "tokens", tokens))
        same = [url for url in whole if np.isin(whole[url], kept).all()]
        assert all(np.array_equal(kept[trimmed[url]], whole[url]) for url in same)
        for run, when in ((made / "mt5", "before"), (small, "after")):
            rows = table(run / f"evaluation/step={STEP}.parquet").to_pylist()
            pages = [row for row in rows if row["language"] == code and row["url"] in same]
            loss, size = (sum(row[of] for row in pages) for of in ("loss_nats", "text_bytes"))
            assert nats[code][when] == pytest.approx(loss / size, rel=1e-4)
        assert nats[code]["after"] < nats[code]["before"]  # fewer pieces share the probability


def held_out_of(tokens, code):
    """The ids of the held-out pages of a language, by address."""
    pages = open_blocks(str(tokens), CacheOptions()).pages(code, "validation")
    return {page.url: page.tokens for page in pages}


def test_experts_and_pieces_leave_together(made, tmp_path):
    assert trim(made, "switch", tmp_path / "both", "--keep", "0.5") == 0
    assert prune(made / "switch", tmp_path / "experts", "--keep", "0.5",
                 "--tokens", str(made / "tokens")) == 0  # fmt: skip
    kept = kept_ids(made, tmp_path / "both")
    experts, both = weights(tmp_path / "experts"), weights(tmp_path / "both")
    np.testing.assert_array_equal(both.pop(".embedding"), experts.pop(".embedding")[kept])
    np.testing.assert_array_equal(both.pop(".logits"), experts.pop(".logits")[:, kept])
    assert all(np.array_equal(experts[name], both[name]) for name in experts | both)
    assert trim(made, "switch", tmp_path / "pieces") == 0
    recipes = [find_run(run).recipe["model"] for run in (made / "switch", tmp_path / "pieces")]
    assert recipes[1] == recipes[0] | {"vocabulary_rows": len(kept)}


def test_a_trim_without_effect_is_a_caution(made, tmp_path, capsys):
    """The fixture's vocabulary was made of these languages: each piece occurs in their tokens."""
    blocks = made / "tokens"
    languages = ",".join(read_json(blocks / "manifest.json", dict)["languages"])
    words = ["--run", str(made / "mt5"), "--trim", "1", "--tokens", str(blocks)]
    assert cli.run(["prune", *words, "--languages", languages, "--out", str(tmp_path / "all")]) == 0
    body = read_json(tmp_path / "all/manifest.json", dict)
    assert body["pieces"] == body["pieces_before"]
    assert "caution: --trim 1" in " ".join(capsys.readouterr().err.split())
    assert trim(made, "mt5", tmp_path / "two") == 0
    assert "caution" not in capsys.readouterr().err


def test_mt5_for_two_languages(tmp_path, capsys):
    """The true number of rows and pieces, on narrow layers: rows are the same share of the rest."""
    made_mt5.write_model(tmp_path / "theirs", made_mt5.mt5_small(embed=16, heads=2, head=8, mlp=32))
    run, out, tokens = (tmp_path / name for name in ("mt5", "two", "tokens"))
    words = [str(tmp_path / "theirs"), "--inputs", "64", "--out", str(run)]
    assert cli.run(["import-hf", *words]) == 0
    made_mt5.write_tokens(tokens, run / MODEL_FILE)
    assert cli.run(["evaluate", "--run", str(run), "--tokens", str(tokens)]) == 0
    words = ["--run", str(run), "--languages", "sw,yo", "--trim", "1", "--out", str(out)]
    assert cli.run(["prune", *words, "--tokens", str(tokens)]) == 0
    body = read_json(out / "manifest.json", dict)
    assert (body["pieces_before"], body["pieces"]) == (250_100, 16_384)
    assert body["parameters"] < body["parameters_before"] / 4
    for code in ("sw", "yo"):
        assert body["lines"][code]["other"] == 0 < body["lines"][code]["lines"]
        nats = body["nats_per_byte"][code]
        assert nats["after"] < nats["before"]
    assert "held-out lines have other pieces (0.00%)" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("run", "more", "sentence"),
    [
        ("mt5", [], "without a share of experts to keep"),
        ("mt5", ["--keep", "0.5"], "has no experts"),
        ("mt5", ["--trim", "1"], "the tokens (--tokens DIR)"),
        ("mt5", ["--trim", "-1", "--tokens", "tokens"], "give 0 or more"),
        ("switch", ["--trim", "1", "--tokens", "tokens", "--merge"], "with --merge"),
    ],
)
def test_what_cannot_be_trimmed_is_one_sentence(
    made, tmp_path, capsys, monkeypatch, run, more, sentence
):
    monkeypatch.chdir(made)
    assert prune(made / run, tmp_path / "out", *more) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()
