"""A refused import claims no directory, and its dry run refuses the same in the same words."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from data.errors import DataError
from data.files.json_files import read_json, write_json
from data.tokens.tokenizer import MODEL_FILE
from model.config import ConfigurationError, ModelConfig
from model.hugging_face.config import export_config
from model.hugging_face.weights import exported_shapes
from pipeline.commands.import_hf import ImportHf
from pipeline.errors import ArtifactError

SMALL = ModelConfig(
    vocabulary_rows=384, embed=8, heads=2, head=4, mlp=16, layers=1, feed_forward="relu"
)


@pytest.fixture
def theirs(tokens, tmp_path) -> Path:
    """A T5 as Transformers writes it, whose logits are not tied."""
    directory = tmp_path / "theirs"
    directory.mkdir()
    write_json(directory / "config.json", export_config(SMALL, 64, 16))
    shutil.copy(tokens / MODEL_FILE, directory / "spiece.model")
    write_weights(directory)
    return directory


def write_weights(directory: Path, *left_out: str, rows: int = SMALL.vocabulary_rows) -> None:
    shapes = exported_shapes(SMALL) | {"shared.weight": (rows, 8), "lm_head.weight": (rows, 8)}
    arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    arrays["lm_head.weight"] += 1
    kept = {name: array for name, array in arrays.items() if name not in left_out}
    save_file(kept, directory / "model.safetensors")


def change_config(directory: Path, **changes) -> None:
    path = directory / "config.json"
    write_json(path, read_json(path, dict) | changes)


def ties_logits(directory: Path) -> str:
    change_config(directory, tie_word_embeddings=True)
    return r"lm_head\.weight differs from shared\.weight.* correct tie_word_embeddings"


def lacks_an_array(directory: Path) -> str:
    write_weights(directory, "encoder.final_layer_norm.weight")
    return "1 are missing"


def is_of_another_shape(directory: Path) -> str:
    change_config(directory, d_ff=32)
    return "should by its config be"


def has_too_few_rows(directory: Path) -> str:
    change_config(directory, vocab_size=256)
    write_weights(directory, rows=256)
    return "380 ids with its sentinels and the embedding has 256 rows"


def claims_many_layers(directory: Path) -> str:
    """As many as are allowed: their 10^8 names would take 100 GB."""
    change_config(directory, num_layers=1 << 24, num_decoder_layers=1 << 24)
    return "should have more than 100,000 others"


def claims_one_layer_more(directory: Path) -> str:
    change_config(directory, num_layers=2, num_decoder_layers=2)
    return r"missing \['decoder\.block\.1\..* and 0 are unknown"


def has_a_device_as_vocabulary(directory: Path) -> str:
    (directory / "spiece.model").unlink()
    (directory / "spiece.model").symlink_to("/dev/zero")
    return "is a pipe or a device"


def has_a_pipe_as_config(directory: Path) -> str:
    (directory / "config.json").unlink()
    os.mkfifo(directory / "config.json")
    return "is a pipe or a device"


@pytest.mark.parametrize(
    "spoil",
    [
        has_a_device_as_vocabulary,
        has_a_pipe_as_config,
        ties_logits,
        lacks_an_array,
        is_of_another_shape,
        has_too_few_rows,
        claims_many_layers,
        claims_one_layer_more,
    ],
)
def test_a_refused_import_can_be_corrected_and_repeated(theirs, tmp_path, spoil):
    asked = ImportHf(directory=theirs, out=tmp_path / "run", inputs=64)
    (job,) = asked.jobs()
    assert job.intent().out == asked.out
    message = spoil(theirs)
    for command in (replace(asked, dry_run=True), asked):
        with pytest.raises((ArtifactError, ConfigurationError, DataError), match=message):
            command.execute()
    assert not asked.out.exists()


@pytest.mark.parametrize("inputs", [3, 1810])
def test_inputs_that_no_window_fits_are_one_sentence(theirs, tmp_path, inputs):
    asked = ImportHf(directory=theirs, out=tmp_path / "run", inputs=inputs)
    with pytest.raises(
        ConfigurationError, match=r"--inputs was .*; give 10 or more and at most 1809"
    ):
        asked.execute()
