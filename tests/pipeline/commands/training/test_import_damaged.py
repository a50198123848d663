"""Weights of strangers that are damaged, of unknown types, or smaller than their config claims."""

import dataclasses
import json
import os

import numpy as np
import pytest
from safetensors.numpy import save_file

from data.errors import DataError
from model.config import ConfigurationError, ModelConfig
from model.hugging_face import weights
from pipeline.errors import ArtifactError
from pipeline.recipe.recipe import Recipe
from pipeline.runs.transformers_files import arrays_in
from pipeline.training import importing

ARRAYS = {"one": np.arange(6, dtype=np.float16).reshape(2, 3)}


@pytest.mark.parametrize("length", [0, 7, 8, 40, -1])
def test_a_damaged_file_of_weights_is_one_sentence(tmp_path, length):
    path = tmp_path / "model.safetensors"
    save_file(ARRAYS, path)
    assert dict(arrays_in([path]))["one"].dtype == np.float32
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ArtifactError, match=rf"{path} cannot be read as safetensors"):
        dict(arrays_in([path]))


@pytest.mark.parametrize("weight", [np.nan, np.inf, -1e300])
def test_a_weight_that_is_not_finite_is_one_sentence(tmp_path, weight):
    path = tmp_path / "model.safetensors"
    save_file(ARRAYS | {"two": np.array([1.0, weight])}, path)
    with pytest.raises(
        ArtifactError, match=r"safetensors \(two holds weights that are infinite or"
    ):
        dict(arrays_in([path]))


def test_a_pipe_in_place_of_weights_is_one_sentence(tmp_path):
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(DataError, match="is a pipe or a device"):
        dict(arrays_in([tmp_path / "model.safetensors"]))


def test_a_header_that_claims_gigabytes_is_one_sentence(tmp_path):
    path = tmp_path / "model.safetensors"
    header = b'{"one":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
    with pytest.raises(ArtifactError, match="cannot be read as safetensors"):
        dict(arrays_in([path]))


def test_shapes_are_compared_before_anything_is_allocated(monkeypatch):
    small = ModelConfig(vocabulary_rows=128, embed=8, heads=2, head=4, mlp=16, layers=2)
    names = {one.theirs for one in weights.weight_names(small)}
    state = {name: np.zeros((1, 1), np.float32) for name in names}
    claimed = dataclasses.replace(small, vocabulary_rows=2**24)
    monkeypatch.setattr(weights.np, "empty", lambda *_: pytest.fail("allocated"))
    with pytest.raises(ConfigurationError, match="belong to another config"):
        weights.import_state(claimed, state)


GIGABYTES = 8 << 30


@pytest.mark.parametrize("shape", [[GIGABYTES // 32, 8], [128, GIGABYTES // 512]])
def test_a_sparse_file_of_gigabytes_is_refused_by_its_header(tmp_path, monkeypatch, shape):
    """Its arrays are never read: of a vocabulary, or a width, that the config does not have."""
    small = ModelConfig(vocabulary_rows=128, embed=8, heads=2, head=4, mlp=16, layers=2)
    path = tmp_path / "model.safetensors"
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, GIGABYTES]}
    header = json.dumps({"shared.weight": entry}).encode()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + GIGABYTES)
    recipe = Recipe(name="small", model=small, rows=8, inputs=64, steps=1)
    monkeypatch.setattr(importing, "arrays_in", None)
    with pytest.raises(ConfigurationError, match="belong to another config"):
        importing.check_weights([path], recipe)
