"""Networks that others may have written: a model's `config.json`, a checkpoint's arrays.

A mutated array lies among whole ones, in a checkpoint whose record names them all.
"""

import functools
import json
import tempfile
from pathlib import Path

import numpy as np
import tensorstore
from family import Family, Read

from data.files.json_files import read_json, write_json
from model.config import ConfigurationError
from model.hugging_face.config import TheirConfig, import_config
from model.mixing import FINGERPRINTS, host_fingerprint
from pipeline.errors import ArtifactError
from pipeline.runs.directory import record_path
from pipeline.runs.stored_arrays import WRITTEN, array_spec, verify_checkpoint

T5 = {
    "model_type": "t5", "d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4,
    "num_decoder_layers": 2, "vocab_size": 384, "feed_forward_proj": "gated-gelu",
    "tie_word_embeddings": False, "relative_attention_num_buckets": 32, "dropout_rate": 0.1,
    "relative_attention_max_distance": 128, "layer_norm_epsilon": 1e-06,
}  # fmt: skip
SWITCH = T5 | {
    "model_type": "switch_transformers", "num_experts": 8, "num_sparse_encoder_layers": 1,
    "num_sparse_decoder_layers": 1, "expert_capacity": 64, "router_bias": False,
    "feed_forward_proj": "relu", "tie_word_embeddings": True,
}  # fmt: skip


def config(path: Path) -> Read:
    try:
        found = import_config(read_json(path, TheirConfig), 64, 14)
    except ConfigurationError as error:  # one sentence, too
        raise ArtifactError(str(error)) from error
    return Read(len(repr(found)), False)


ARRAYS = {".arrays.table": np.arange(24, dtype=np.float32).reshape(6, 4), ".step": np.int32(7)}
STEP = 7
FOLDER = f"{STEP}-00000000"


def write_checkpoint(checkpoints: Path) -> None:
    """Writes a small whole checkpoint."""
    sums = np.stack([host_fingerprint(np.asarray(array)) for array in ARRAYS.values()])
    table = {name: np.asarray(array) for name, array in ARRAYS.items()} | {FINGERPRINTS: sums}
    for number, array in enumerate(table.values()):
        spec = array_spec(checkpoints / FOLDER, number) | WRITTEN
        shape, kind = array.shape, array.dtype.name
        stored = tensorstore.open(spec, create=True, shape=shape, dtype=kind).result()
        stored.write(array).result()
    write_json(record_path(checkpoints, STEP), {"folder": FOLDER, "arrays": list(table)})


@functools.cache
def files_of_checkpoint() -> dict[str, bytes]:
    """Returns the files of a whole checkpoint, by their names in it."""
    with tempfile.TemporaryDirectory() as directory:
        write_checkpoint(Path(directory))
        files = (path for path in Path(directory).rglob("*") if path.is_file())
        return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


METADATA = f"{FOLDER}/0/zarr.json"
(CHUNK,) = (name for name in files_of_checkpoint() if name.startswith(f"{FOLDER}/0/c"))
RECORD = f"{STEP}.json"


def checkpoint(path: Path, name: str) -> Read:
    """Verifies a checkpoint of which one file was mutated."""
    checkpoints = path.parents[name.count("/")]
    for other, content in files_of_checkpoint().items():
        if other != name:
            (checkpoints / other).parent.mkdir(parents=True, exist_ok=True)
            (checkpoints / other).write_bytes(content)
    verify_checkpoint(checkpoints, STEP, 24)
    return Read(path.stat().st_size, False)


FAMILIES = (
    Family(
        name="config of a model",
        file="config.json",
        seeds=[json.dumps(value).encode() for value in (T5, SWITCH)],
        read=config,
    ),
    *(
        Family(
            name=f"{what} of a checkpoint",
            file=f"checkpoints/{name}",
            seeds=[files_of_checkpoint()[name]],
            read=functools.partial(checkpoint, name=name),
        )
        for what, name in (("metadata", METADATA), ("chunk", CHUNK), ("record", RECORD))
    ),
)
