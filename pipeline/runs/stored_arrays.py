"""The arrays of a checkpoint as TensorStore has them: where each lies, and whether it is whole.

`checkpoints.py` writes them from devices and reads them back. Here they are verified, one after the
other in this machine's memory, by their fingerprints (`model/mixing.py`). No JAX is imported: a
run is inspected without a device, and in less time than JAX takes to load.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import DataError
from data.files.json_files import MOST_BYTES, decode_json
from data.files.paths import Place, read_at_most
from data.files.stores import kvstore
from model.mixing import ARRAYS, FINGERPRINTS, host_fingerprint
from pipeline.errors import ArtifactError
from pipeline.runs.checkpoint_errors import damage_error, lacks_room, read_error
from pipeline.runs.directory import CheckpointRecord, record_path

UNCACHED = {"cache_pool": {"total_bytes_limit": 0}}  # JAX would keep 10 GB of what was read
# Files of zeros are written too, so that one that is missing is an error and not zeros.
WRITTEN = {"store_data_equal_to_fill_value": True}
READ = {"fill_missing_data_reads": False}
AHEAD = 8  # arrays that are read at one time


def array_spec(folder: Place, number: int) -> dict[str, Any]:
    """Returns TensorStore's JSON of an array in a folder."""
    place = folder / str(number)
    where = {"driver": "file", "path": f"{place}/"} if isinstance(place, Path) else kvstore(place)
    return {"driver": "zarr3", "kvstore": where, "context": UNCACHED}


def array_specs(checkpoints: Place, step: int, names: Collection[str]) -> list[dict[str, Any]]:
    """Returns TensorStore's JSON of arrays of a checkpoint, to read.

    Raises:
        ValueError: if its record is damaged or lacks one.
    """
    record = read_record(checkpoints, step)
    folder = checkpoints / record.folder
    return [array_spec(folder, record.arrays.index(name)) | READ for name in names]


def read_record(checkpoints: Place, step: int) -> CheckpointRecord:
    """Returns the record of a checkpoint.

    Raises:
        ValueError: if it is damaged.
    """
    path = record_path(checkpoints, step)
    content = read_at_most(path, MOST_BYTES)
    if content is None:
        raise ValueError(f"{path} is larger than {MOST_BYTES:,} bytes")
    try:
        return decode_json(content, CheckpointRecord, str(path))
    except DataError as error:
        raise ValueError(str(error)) from error


def verify_checkpoint(checkpoints: Place, step: int, parameters: int | None) -> None:
    """Checks that every array of a checkpoint is the one that was saved.

    Args:
        checkpoints: directory or address of the checkpoints.
        step: its step.
        parameters: number of the run's weights; None if it was not recorded.

    Raises:
        ArtifactError: if an array is missing or altered, or they are of a network of another size.
        DataError: if the store does not answer.
    """
    try:
        wrong = _wrong_array(checkpoints, step, parameters)
    except DataError:  # the store does not answer
        raise
    except Exception as error:  # TensorStore and fsspec raise classes of many libraries
        failure = read_error(checkpoints, step, error, has_room=not lacks_room(error))
        raise (
            failure if isinstance(failure, DataError) else ArtifactError(str(failure))
        ) from error
    if wrong:
        raise ArtifactError(str(damage_error(checkpoints, step, wrong)))


def _wrong_array(checkpoints: Place, step: int, parameters: int | None) -> str:
    """Returns what is wrong with a checkpoint's arrays; "" for nothing.

    Sizes come first: a damaged one does not fill the memory.
    """
    import tensorstore

    names = [name for name in read_record(checkpoints, step).arrays if name != FINGERPRINTS]
    specs = array_specs(checkpoints, step, [*names, FINGERPRINTS])
    futures = [tensorstore.open(spec, open=True, read=True) for spec in specs]
    *arrays, sums = [future.result() for future in futures]
    sizes = [_most_elements(array) for array in arrays]
    weights = sum(size for name, size in zip(names, sizes, strict=True) if name.startswith(ARRAYS))
    if weights != (weights if parameters is None else parameters) or max(sizes) > weights:
        return f"its arrays have other sizes than those of {parameters or weights:,} weights"
    if sums.shape != (len(names), 2) or _most_elements(sums) > sums.size:
        return f"its fingerprints are not those of {len(names)} arrays"
    saved = sums.read().result()
    for name, array, fingerprint in zip(names, _read(arrays), saved, strict=True):
        if not np.array_equal(host_fingerprint(array), fingerprint):
            return f"{name} is not what was saved"
    return ""


def _most_elements(array: Any) -> int:
    """Returns the elements that reading an array allocates: its own, or those of a larger chunk.

    A chunk is what one device stored, so that it has no more elements than the array.
    """
    layout = array.chunk_layout
    shapes = (array.shape, layout.read_chunk.shape, layout.write_chunk.shape)
    return max(math.prod(shape or ()) for shape in shapes)  # a single number has none


def _read(opened: Sequence[Any]) -> Iterator[np.ndarray]:
    """Yields the contents of arrays, some of which are read at one time."""
    for first in range(0, len(opened), AHEAD):
        reads = [array.read() for array in opened[first : first + AHEAD]]
        yield from (read.result() for read in reads)
