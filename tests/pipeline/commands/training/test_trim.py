"""A run with a trimmed vocabulary is a run: filled, inspected, exported, tokenized for, scored.

The runs and their text are those of `tests/fixture/`.
"""

import json

import made_mt5
import numpy as np
import pytest
from tensorflow_forks import python
from training_runs import arrays_of, ran, refused, table

from data.files.json_files import read_json
from data.tokens.tokenizer import MODEL_FILE, load
from pipeline.fields import CacheOptions
from pipeline.runs.directory import find_run
from pipeline.tokens.opened_blocks import open_blocks

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("traced_once")]


def prune(run, out, *more, languages="sw,fr"):
    return ["prune", "--run", run, "--languages", languages, "--out", out, *more]


@pytest.fixture(scope="module")
def trim(artifacts):
    """The words that trim one of the runs."""

    def words(name, out, *more, **languages):
        tokens = "--tokens", artifacts / "tokens"
        return prune(artifacts / name, out, "--trim", "1", *tokens, *more, **languages)

    return words


@pytest.fixture(scope="module")
def small(trim, tmp_path_factory):
    """The dense run, trimmed."""
    out = tmp_path_factory.mktemp("trimmed") / "small"
    assert ran(*trim("mt5", out)) == 0
    return out


def kept_ids(artifacts, run):
    """The ids before of the pieces of a trimmed run, by their names."""
    whole, tokenizer = load(artifacts / "tokens" / MODEL_FILE), load(run / MODEL_FILE)
    names = map(tokenizer.processor.IdToPiece, range(tokenizer.size))
    return np.array([whole.processor.PieceToId(name) for name in names])


def assert_rows_are_those_of(kept, before, after):
    """And that nothing else changes."""
    (before, _), (after, _) = arrays_of(before), arrays_of(after)
    np.testing.assert_array_equal(after.pop(".embedding"), before.pop(".embedding")[kept])
    np.testing.assert_array_equal(after.pop(".logits"), before.pop(".logits")[:, kept])
    assert all(np.array_equal(before[name], after[name]) for name in before | after)


def test_rows_follow_the_pieces_and_nothing_else_changes(artifacts, small):
    kept = kept_ids(artifacts, small)
    assert_rows_are_those_of(kept, artifacts / "mt5", small)
    about, body = find_run(small), read_json(small / "manifest.json", dict)
    assert about.recipe["model"]["vocabulary_rows"] == body["pieces"] == len(kept)
    assert about.parameters == body["parameters"] < body["parameters_before"]
    assert about.pruned is None  # all experts of none
    assert sorted(code for code, found in body["lines"].items() if found["lines"]) == ["fr", "sw"]


def test_it_is_inspected_filled_exported_and_imported(small, tmp_path, capsys):
    assert ran("inspect", small) == 0
    assert "640 of 1,400 pieces" in " ".join(capsys.readouterr().out.split())
    assert ran("fill", "Watu <extra_id_0> huru", "--run", small, "--tokens", 4) == 0
    exported, back = tmp_path / "exported", tmp_path / "back"
    assert ran("export-hf", "--run", small, "--out", exported) == 0
    config, told = (read_json(exported / f"{name}.json", dict) for name in ("config", "tokenizer"))
    names = [name for name, _ in told["model"]["vocab"]]
    assert config["vocab_size"] == len(names) == len(set(names)) == load(small / MODEL_FILE).size
    card = (exported / "README.md").read_text()
    assert f"Its vocabulary was trimmed to {', '.join(find_run(small).trimmed.languages)}." in card
    assert ran("import-hf", exported, "--inputs", 64, "--out", back) == 0
    one, other = arrays_of(small)[0], arrays_of(back)[0]
    assert all(np.array_equal(one[name], other[name]) for name in one)


def held_out_of(tokens, code):
    """The ids of the held-out pages of a language, by address."""
    pages = open_blocks(str(tokens), CacheOptions()).pages(code, "validation")
    return {page.url: page.tokens for page in pages}


def test_text_is_tokenized_for_it_and_scored_as_its_manifest_says(artifacts, small, tmp_path):
    """Pages whose pieces all stay have the same gaps, so losses differ by the softmax alone."""
    vocabulary, tokens = tmp_path / "vocabulary", tmp_path / "tokens"
    assert ran("vocabulary", "--model", small / MODEL_FILE, "--out", vocabulary) == 0
    words = f"--corpus={artifacts / 'corpus'}", f"--vocabulary={vocabulary}", f"--out={tokens}"
    done = python("-m", "pipeline.cli", "tokenize", *words)
    assert done.returncode == 0, done.stderr
    assert ran("evaluate", "--run", small, "--tokens", tokens) == 0
    kept = kept_ids(artifacts, small)
    nats = read_json(small / "manifest.json", dict)["nats_per_byte"]
    assert nats
    for code in nats:
        whole, trimmed = (held_out_of(at, code) for at in (artifacts / "tokens", tokens))
        same = [url for url in whole if np.isin(whole[url], kept).all()]
        assert all(np.array_equal(kept[trimmed[url]], whole[url]) for url in same)
        for run, when in ((artifacts / "mt5", "before"), (small, "after")):
            rows = table(run / "evaluation/step=4.parquet").to_pylist()
            pages = [row for row in rows if row["language"] == code and row["url"] in same]
            loss, size = (sum(row[of] for row in pages) for of in ("loss_nats", "text_bytes"))
            assert nats[code][when] == pytest.approx(loss / size, rel=1e-4)
        assert nats[code]["after"] < nats[code]["before"]  # fewer pieces share the probability


def test_experts_and_pieces_leave_together(artifacts, trim, tmp_path):
    switch, both, experts, pieces = artifacts / "switch", *map(tmp_path.joinpath, "bep")
    half = "--keep", "0.5", "--tokens", artifacts / "tokens"
    assert ran(*trim("switch", both, *half[:2])) == 0
    assert ran(*prune(switch, experts, *half)) == 0
    kept = kept_ids(artifacts, both)
    assert_rows_are_those_of(kept, experts, both)
    assert ran(*trim("switch", pieces)) == 0
    whole, trimmed = (find_run(run).recipe["model"] for run in (switch, pieces))
    assert trimmed == whole | {"vocabulary_rows": len(kept)}


def test_a_trim_without_effect_is_a_caution(artifacts, trim, tmp_path, capsys):
    """The fixture's vocabulary was made of these languages: each piece occurs in their tokens."""
    every = ",".join(read_json(artifacts / "tokens/manifest.json", dict)["languages"])
    assert ran(*trim("mt5", tmp_path / "all", languages=every)) == 0
    body = read_json(tmp_path / "all/manifest.json", dict)
    assert body["pieces"] == body["pieces_before"]
    assert "caution: --trim 1" in " ".join(capsys.readouterr().err.split())


def test_mt5_for_two_languages(tmp_path, capsys):
    """The true number of rows and pieces, on narrow layers: rows are the same share of the rest."""
    made_mt5.write_model(tmp_path / "theirs", made_mt5.mt5_small(embed=16, heads=2, head=8, mlp=32))
    run, out, tokens = (tmp_path / name for name in ("mt5", "two", "tokens"))
    assert ran("import-hf", tmp_path / "theirs", "--inputs", 64, "--out", run) == 0
    made_mt5.write_tokens(tokens, run / MODEL_FILE)
    assert ran("evaluate", "--run", run, "--tokens", tokens) == 0
    assert ran(*prune(run, out, "--trim", 1, "--tokens", tokens, languages="sw,yo")) == 0
    body = json.loads((out / "manifest.json").read_text())
    assert (body["pieces_before"], body["pieces"]) == (250_100, 16_384)
    assert body["parameters"] < body["parameters_before"] / 4
    for code in ("sw", "yo"):
        assert body["lines"][code]["other"] == 0 < body["lines"][code]["lines"]
        assert body["nats_per_byte"][code]["after"] < body["nats_per_byte"][code]["before"]
    said = " ".join(capsys.readouterr().err.split())
    assert "held-out lines have other pieces (0.00%)" in said
    assert "caution: --trim 1" not in said


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
    artifacts, tmp_path, capsys, monkeypatch, run, more, sentence
):
    monkeypatch.chdir(artifacts)
    assert sentence in refused(capsys, *prune(artifacts / run, tmp_path / "out", *more))
    assert not (tmp_path / "out").exists()
