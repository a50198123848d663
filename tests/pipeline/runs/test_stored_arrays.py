"""A run on a laptop is inspected, and a text for it refused, without what takes seconds to load."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorstore

from data.files.json_files import read_json, write_json
from pipeline.errors import ArtifactError
from pipeline.runs import stored_arrays
from pipeline.runs.directory import arrays_folder, find_run, record_path, saved_steps
from pipeline.runs.stored_arrays import array_spec, verify_checkpoint

PROGRAM = """
import json, sys
from pipeline import cli

status = cli.run(sys.argv[1:])
sys.stderr.write(json.dumps([status, *({"jax", "scipy", "optax"} & {*sys.modules})]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["inspect", "RUN"], 0),
        (["fill", "--run", "RUN", "a text without a gap"], 2),
        (["fill", "--run", "RUN", "a <extra_id_1>"], 2),
        (["fill", "--run", "RUN", "a " * 1000 + "<extra_id_0>"], 2),
        (["fill", "--run", "RUN", ""], 2),
        (["fill", "--run", "RUN", "a <extra_id_0>", "--top-k", "3"], 2),  # no temperature
    ],
)
def test_a_run_is_verified_and_a_text_refused_without_jax(pretrained, words, status):
    """The status of a command in a process of its own, and slow libraries in its memory."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *(str(pretrained) if w == "RUN" else w for w in words)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert json.loads(done.stderr.splitlines()[-1]) == [status]


@pytest.fixture
def checkpoints(pretrained, tmp_path) -> tuple[Path, int, int]:
    """A copy of a run's last checkpoint, which may be damaged; its step and its run's weights."""
    shutil.copytree(pretrained / "checkpoints", tmp_path / "checkpoints")
    parameters = find_run(pretrained).parameters
    assert parameters
    return tmp_path / "checkpoints", saved_steps(pretrained)[-1], parameters


def damaged(checkpoints: Path, step: int, parameters: int | None) -> str:
    with pytest.raises(ArtifactError) as refused:
        verify_checkpoint(checkpoints, step, parameters)
    return str(refused.value)


@pytest.mark.slow
def test_a_whole_checkpoint_passes_and_that_of_another_network_does_not(checkpoints):
    directory, step, parameters = checkpoints
    verify_checkpoint(directory, step, parameters)
    verify_checkpoint(directory, step, None)
    assert "other sizes" in damaged(directory, step, parameters + 1)


@pytest.mark.slow
def test_a_changed_bit_and_a_lost_array_are_noticed(checkpoints):
    directory, step, parameters = checkpoints
    record = read_json(record_path(directory, step), dict)
    number = record["arrays"].index(".arrays.embedding")
    spec = array_spec(arrays_folder(directory, step), number)
    stored = tensorstore.open(spec, open=True, read=True, write=True).result()
    array = np.array(stored.read().result())
    array.view(np.uint32)[3, 1] ^= 1
    stored.write(array).result()
    assert ".arrays.embedding is not what was saved" in damaged(directory, step, parameters)
    gone = [name for name in record["arrays"] if name != ".step"]
    assert len(gone) < len(record["arrays"])
    write_json(record_path(directory, step), record | {"arrays": gone})
    assert "is damaged" in damaged(directory, step, parameters)
    shutil.rmtree(arrays_folder(directory, step) / "0")
    write_json(record_path(directory, step), record)
    assert "is damaged" in damaged(directory, step, parameters)


@pytest.mark.slow
def test_an_array_that_claims_terabytes_is_not_read(checkpoints, monkeypatch):
    directory, step, parameters = checkpoints
    path = arrays_folder(directory, step) / "0/zarr.json"
    shape = read_json(path, dict)["shape"]
    whole = read_json(path, dict)
    chunk = {"chunk_shape": [2**40, *shape[1:]]}
    monkeypatch.setattr(stored_arrays, "_read", None)
    write_json(path, whole | {"shape": [2**40, *shape[1:]]})
    assert "other sizes" in damaged(directory, step, parameters)
    write_json(path, whole | {"chunk_grid": {"name": "regular", "configuration": chunk}})
    assert "other sizes" in damaged(directory, step, parameters)
