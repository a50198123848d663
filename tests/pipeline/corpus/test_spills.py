"""A spilled file is read as it was written, or refused with its name."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data.errors import DataError
from pipeline.beam.workspace import Workspace
from pipeline.corpus import spills

SCHEMA = pa.schema([("row", pa.uint32()), ("text", pa.string())])


@pytest.fixture
def spilled(tmp_path):
    workspace = Workspace(str(tmp_path), "job")
    path = workspace.spill("step", 0)
    rows = np.arange(500, dtype=np.uint32)
    spills.write(workspace, path, SCHEMA, [rows, [f"row {row % 7}" for row in rows]])
    return path


def read(path):
    for batch in spills.batches(path):
        batch.validate(full=True)


def test_what_is_written_is_read(spilled):
    (batch,) = spills.batches(spilled)
    assert batch["row"].to_pylist() == [*range(500)]


@pytest.mark.parametrize("part", [0, 1, 2, 3])
def test_a_file_that_is_cut_short_is_refused(spilled, part):
    content = Path(spilled).read_bytes()
    Path(spilled).write_bytes(content[: part * len(content) // 4])
    with pytest.raises(DataError, match=spilled):
        read(spilled)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=f"{tmp_path}/0 is missing or damaged"):
        read(f"{tmp_path}/0")


def test_damage_that_arrow_finds_is_a_sentence(spilled):
    content, refused = Path(spilled).read_bytes(), []
    for place in range(0, len(content), 5):
        flipped = bytes([content[place] ^ 0x55])
        Path(spilled).write_bytes(content[:place] + flipped + content[place + 1 :])
        try:
            _ = [*spills.batches(spilled)]
        except DataError as error:
            refused.append(str(error))
    assert len(refused) > 20
    assert all(spilled in sentence for sentence in refused)
