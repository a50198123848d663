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


def test_a_file_that_is_cut_short_or_missing_is_refused(spilled):
    content = Path(spilled).read_bytes()
    for part in range(4):
        Path(spilled).write_bytes(content[: part * len(content) // 4])
        with pytest.raises(DataError, match=spilled):
            read(spilled)
    Path(spilled).unlink()
    with pytest.raises(DataError, match=f"{spilled} is missing or damaged"):
        read(spilled)


def test_damage_that_arrow_finds_is_a_sentence(spilled):
    content, refused = Path(spilled).read_bytes(), []
    for place in range(0, len(content), 25):
        flipped = bytes([content[place] ^ 0x55])
        Path(spilled).write_bytes(content[:place] + flipped + content[place + 1 :])
        try:
            _ = [*spills.batches(spilled)]
        except DataError as error:
            refused.append(str(error))
    assert len(refused) > 4
    assert all(spilled in sentence for sentence in refused)
