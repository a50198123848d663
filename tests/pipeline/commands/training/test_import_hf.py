"""Weights of strangers that are damaged, or smaller than their config claims, are one sentence.

A refused import claims no directory, and its dry run refuses the same in the same words.
"""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from data.errors import DataError
from data.files.json_files import read_json, write_json
from data.tokens.tokenizer import MODEL_FILE
from model.config import ConfigurationError, ModelConfig
from model.hugging_face import weights
from model.hugging_face.config import export_config
from model.hugging_face.weights import exported_shapes
from pipeline.commands.import_hf import ImportHf
from pipeline.errors import ArtifactError
from pipeline.recipe.recipe import Recipe
from pipeline.runs.transformers_files import arrays_in
from pipeline.training import importing

ARRAYS = {"one": np.arange(6, dtype=np.float16).reshape(2, 3)}
GIGABYTES = 8 << 30
SMALL = ModelConfig(
    vocabulary_rows=384, embed=8, heads=2, head=4, mlp=16, layers=1, feed_forward="relu"
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("length", [0, 7, 8, 40, -1])
def test_a_damaged_file_of_weights_is_one_sentence(path, length):
    save_file(ARRAYS, path)
    assert dict(arrays_in([path]))["one"].dtype == np.float32
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ArtifactError, match=rf"{path} cannot be read as safetensors"):
        dict(arrays_in([path]))


@pytest.mark.parametrize("weight", [np.nan, np.inf, -1e300])
def test_a_weight_that_is_not_finite_is_one_sentence(path, weight):
    save_file(ARRAYS | {"two": np.array([1.0, weight])}, path)
    with pytest.raises(ArtifactError, match=r"safetensors \(two holds weights that are infinite"):
        dict(arrays_in([path]))


def test_a_pipe_in_place_of_weights_is_one_sentence(path):
    os.mkfifo(path)
    with pytest.raises(DataError, match="is a pipe or a device"):
        dict(arrays_in([path]))


def write_header(path, size, **arrays):
    """Writes a file whose header claims arrays, and which has so many bytes behind it, all 0."""
    header = json.dumps(arrays).encode()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)


def test_a_header_that_claims_gigabytes_is_one_sentence(path):
    claimed = {"dtype": "F32", "shape": [GIGABYTES // 4], "data_offsets": [0, GIGABYTES]}
    write_header(path, 16, one=claimed)
    with pytest.raises(ArtifactError, match="cannot be read as safetensors"):
        dict(arrays_in([path]))


def test_shapes_are_compared_before_anything_is_allocated(monkeypatch):
    names = {one.theirs for one in weights.weight_names(SMALL)}
    state = {name: np.zeros((1, 1), np.float32) for name in names}
    monkeypatch.setattr(weights.np, "empty", lambda *_: pytest.fail("allocated"))
    with pytest.raises(ConfigurationError, match="belong to another config"):
        weights.import_state(replace(SMALL, vocabulary_rows=2**24), state)


@pytest.mark.parametrize("shape", [[GIGABYTES // 32, 8], [128, GIGABYTES // 512]])
def test_a_sparse_file_of_gigabytes_is_refused_by_its_header(path, monkeypatch, shape):
    """Its arrays are never read: of a vocabulary, or a width, that the config does not have."""
    claimed = {"dtype": "F32", "shape": shape, "data_offsets": [0, GIGABYTES]}
    write_header(path, GIGABYTES, **{"shared.weight": claimed})
    recipe = Recipe(name="small", model=SMALL, rows=8, inputs=64, steps=1)
    monkeypatch.setattr(importing, "arrays_in", None)
    with pytest.raises(ConfigurationError, match="belong to another config"):
        importing.check_weights([path], recipe)


@pytest.fixture
def theirs(tokens, tmp_path):
    """A T5 as Transformers writes it, whose logits are not tied."""
    directory = tmp_path / "theirs"
    directory.mkdir()
    write_json(directory / "config.json", export_config(SMALL, 64, 16))
    shutil.copy(tokens / MODEL_FILE, directory / "spiece.model")
    write_weights(directory)
    return directory


def write_weights(directory, *left_out, rows=SMALL.vocabulary_rows):
    shapes = exported_shapes(SMALL) | {"shared.weight": (rows, 8), "lm_head.weight": (rows, 8)}
    arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    arrays["lm_head.weight"] += 1
    kept = {name: array for name, array in arrays.items() if name not in left_out}
    save_file(kept, directory / "model.safetensors")


def change_config(directory, **changes):
    path = directory / "config.json"
    write_json(path, read_json(path, dict) | changes)


def has_layers(number):
    def spoil(directory):
        change_config(directory, num_layers=number, num_decoder_layers=number)

    return spoil


def has_too_few_rows(directory):
    change_config(directory, vocab_size=256)
    write_weights(directory, rows=256)


def has_a_device_as_vocabulary(directory):
    (directory / "spiece.model").unlink()
    (directory / "spiece.model").symlink_to("/dev/zero")


def has_a_pipe_as_config(directory):
    (directory / "config.json").unlink()
    os.mkfifo(directory / "config.json")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (has_a_device_as_vocabulary, "is a pipe or a device"),
        (has_a_pipe_as_config, "is a pipe or a device"),
        (lambda it: change_config(it, tie_word_embeddings=True), "correct tie_word_embeddings"),
        (lambda it: write_weights(it, "encoder.final_layer_norm.weight"), "1 are missing"),
        (lambda it: change_config(it, d_ff=32), "should by its config be"),
        (has_too_few_rows, "380 ids with its sentinels and the embedding has 256 rows"),
        # As many as are allowed: their 10^8 names would take 100 GB.
        (has_layers(1 << 24), "should have more than 100,000 others"),
        (has_layers(2), r"missing \['decoder\.block\.1\..* and 0 are unknown"),
    ],
)
def test_a_refused_import_can_be_corrected_and_repeated(theirs, tmp_path, spoil, message):
    asked = ImportHf(directory=theirs, out=tmp_path / "run", inputs=64)
    (job,) = asked.jobs()
    assert job.intent().out == asked.out
    spoil(theirs)
    for command in (replace(asked, dry_run=True), asked):
        with pytest.raises((ArtifactError, ConfigurationError, DataError), match=message):
            command.execute()
    assert not asked.out.exists()


@pytest.mark.parametrize("inputs", [3, 1810])
def test_inputs_that_no_window_fits_are_one_sentence(theirs, tmp_path, inputs):
    asked = ImportHf(directory=theirs, out=tmp_path / "run", inputs=inputs)
    with pytest.raises(ConfigurationError, match=r"--inputs was .*; give 10 or more"):
        asked.execute()
