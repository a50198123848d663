"""A Switch run with gated experts leaves as files that Transformers loads, and comes back.

`make parity` loads such files in Transformers (parity/hugging_face_files.py).
"""

import ast
import json
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from data.files.json_files import read_json
from eval.losses import Unit
from model.hugging_face import config
from pipeline import cli
from pipeline.commands.export_hf import ExportHf
from pipeline.commands.import_hf import ImportHf
from pipeline.runs.directory import MixtureRecord, find_run
from pipeline.runs.model_card import losses_at, results

MODELING = Path(config.__file__).with_name("modeling_mswitch.py")


@pytest.mark.slow
def test_a_gated_switch_leaves_with_its_code_and_comes_back(pretrained, tmp_path, capfd):
    one, run, two = (tmp_path / name for name in ("one", "run", "two"))
    ExportHf(run=pretrained, out=one).execute()
    assert "trust_remote_code=True" in " ".join(capfd.readouterr().err.split())
    ImportHf(directory=one, out=run, inputs=64).execute()
    ExportHf(run=run, out=two).execute()
    for name in ("model.safetensors", "modeling_mswitch.py"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    assert (one / "modeling_mswitch.py").read_bytes() == MODELING.read_bytes()
    config = json.loads((one / "config.json").read_text())
    assert config["model_type"] == "mswitch"
    classes = [node.name for node in ast.parse(MODELING.read_text()).body
               if isinstance(node, ast.ClassDef)]  # fmt: skip
    for named in config["auto_map"].values():
        module, name = named.split(".")
        assert (one / f"{module}.py").exists()
        assert name in classes
    assert config["architectures"][0] in classes
    written = {path.name for path in one.iterdir()} - {"manifest.json"}
    assert set(read_json(one / "manifest.json", dict)["files"]) == written
    assert cli.run(["inspect", str(one)]) == 0
    for name in written:
        content = (one / name).read_bytes()
        (one / name).write_bytes(content[:-1])
        assert cli.run(["inspect", str(one)]) == 2
        assert f"{name} is missing or differs" in " ".join(capfd.readouterr().err.split())
        (one / name).write_bytes(content)


def test_the_card_has_the_recipe_the_data_and_a_loss_per_language(pretrained, tmp_path):
    ExportHf(run=pretrained, out=tmp_path / "one", license="apache-2.0").execute()
    card = ModelCard.load(tmp_path / "one/README.md")
    about = find_run(pretrained)
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


def test_a_step_without_evaluation_has_no_results(pretrained):
    assert losses_at(pretrained, 1) is None
    assert results(None, 1) == "The run has no evaluation at step 1."


def test_the_code_of_the_folder_needs_nothing_of_ours():
    imports = [node for node in ast.walk(ast.parse(MODELING.read_text()))
               if isinstance(node, ast.Import | ast.ImportFrom)]  # fmt: skip
    roots = {(getattr(node, "module", None) or "").split(".")[0] for node in imports}
    assert roots == {"torch", "transformers"}
    assert all(isinstance(node, ast.ImportFrom) for node in imports)
