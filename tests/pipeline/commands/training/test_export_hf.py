"""A Switch run with gated experts leaves as files that Transformers loads, and comes back.

`make parity` loads such files in Transformers (parity/hugging_face_files.py).
"""

import ast
import json
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from training_runs import ran, refused

from data.files.json_files import read_json
from eval.losses import Unit
from model.hugging_face import config
from pipeline.runs.directory import MixtureRecord, find_run
from pipeline.runs.model_card import losses_at, results

MODELING = Path(config.__file__).with_name("modeling_mswitch.py")
TREE = ast.parse(MODELING.read_text())


@pytest.mark.slow
def test_a_gated_switch_leaves_with_its_code_and_comes_back(pretrained, tmp_path, capfd):
    one, run, two = (tmp_path / name for name in ("one", "run", "two"))
    assert ran("export-hf", "--run", pretrained, "--out", one) == 0
    assert "trust_remote_code=True" in " ".join(capfd.readouterr().err.split())
    assert ran("import-hf", one, "--out", run, "--inputs", 64) == 0
    assert ran("export-hf", "--run", run, "--out", two) == 0
    for name in ("model.safetensors", "modeling_mswitch.py"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    assert (one / "modeling_mswitch.py").read_bytes() == MODELING.read_bytes()
    config = json.loads((one / "config.json").read_text())
    assert config["model_type"] == "mswitch"
    classes = {node.name for node in TREE.body if isinstance(node, ast.ClassDef)}
    named = [place.split(".") for place in config["auto_map"].values()]
    assert all((one / f"{module}.py").exists() for module, _ in named)
    assert classes >= {config["architectures"][0], *(name for _, name in named)}
    written = {path.name for path in one.iterdir()} - {"manifest.json"}
    assert set(read_json(one / "manifest.json", dict)["files"]) == written
    assert ran("inspect", one) == 0
    for name in written:
        content = (one / name).read_bytes()
        (one / name).write_bytes(content[:-1])
        assert f"{name} is missing or differs" in refused(capfd, "inspect", one)
        (one / name).write_bytes(content)


def test_the_card_has_the_recipe_the_data_and_a_loss_per_language(pretrained, tmp_path):
    words = "--run", pretrained, "--out", tmp_path / "one", "--license", "apache-2.0"
    assert ran("export-hf", *words) == 0
    card, about = ModelCard.load(tmp_path / "one/README.md"), find_run(pretrained)
    losses = losses_at(pretrained, about.recipe["steps"])
    assert losses is not None
    assert card.data.license == "apache-2.0"
    languages = read_json(pretrained / "mixture.json", MixtureRecord).languages
    assert len(card.data.language) == len(languages)
    assert all(len(code) == 3 for code in card.data.language)  # ISO 639-3
    assert "\nhf upload OWNER/NAME DIRECTORY\n" in card.text
    for name, digest in about.inputs.items():
        assert f"| {name} | {digest} |" in card.text
    for code, nats in zip(losses.languages, losses.losses(Unit.NATS_PER_TOKEN), strict=True):
        row = next(line for line in card.text.splitlines() if line.startswith(f"| {code} |"))
        assert f" {nats:.4f} " in row
    assert losses_at(pretrained, 1) is None
    assert results(None, 1) == "The run has no evaluation at step 1."


def test_the_code_of_the_folder_needs_nothing_of_ours():
    imports = [node for node in ast.walk(TREE) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert all(isinstance(node, ast.ImportFrom) for node in imports)
    assert {(node.module or "").split(".")[0] for node in imports} == {"torch", "transformers"}
