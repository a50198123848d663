"""Binary artifacts that others may have written: tables, token blocks, weights, vocabularies.

The seeds are those of `tests/fixture`. Whoever writes a table of pages or a block also writes its
checksum, so each input has that of its bytes.
"""

import functools
import hashlib
import tarfile
from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np
from family import Family, Read
from safetensors.numpy import save

from data.files.parquet_files import read_table
from data.tokens import tokenizer
from data.tokens.block_files import LocalFiles, Readers
from data.tokens.blocks import TokenStream
from data.tokens.manifest import Shard
from data.tokens.shards import read_page_table
from eval import losses
from pipeline.runs.transformers_files import arrays_in

FIXTURE = Path(__file__).parents[1] / "fixture/artifacts.tar.xz"
SHARD = "train-00000-of-00001"
OF_FIXTURE = (
    f"tokens/sw/{SHARD}.pages.parquet", "mt5/evaluation/step=4.parquet",
    f"tokens/sw/{SHARD}.arrayrecord", "vocabulary/sentencepiece.model", "tokens/manifest.json",
)  # fmt: skip


@functools.cache
def files_of_fixture() -> dict[str, bytes]:
    with tarfile.open(FIXTURE) as archive:
        files = {one.name: archive.extractfile(one) for one in archive.getmembers()}
        return {name: file.read() for name, file in files.items() if file is not None}


def fixture(names: Iterable[str]) -> list[bytes]:
    """Returns files of the fixture."""
    return [files_of_fixture()[name] for name in names]


PAGE_TABLE, EVALUATION, BLOCK, VOCABULARY, _MANIFEST = fixture(OF_FIXTURE)
_SHARD = msgspec.json.decode(_MANIFEST)["languages"]["sw"]["train"]["shards"][0]
IDS = 1 << 20


def shard(**changed: object) -> Shard:
    """The fixture's shard, in the directory of the input."""
    return msgspec.convert(_SHARD | {"name": SHARD} | changed, Shard)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def page_table(path: Path) -> Read:
    found = read_page_table(LocalFiles(path.parent), shard(pages_sha256=digest(path)))
    return Read(found.nbytes, False)


def block(path: Path) -> Read:
    one = shard(sha256=digest(path), file_bytes=path.stat().st_size)
    stream = TokenStream(Readers(LocalFiles(path.parent)), [one], np.dtype("<u2"), IDS)
    return Read(stream.read(0, len(stream)).nbytes, False)


def evaluation(path: Path) -> Read:
    table = read_table(path, losses.SCHEMA)
    (found,) = losses.from_tables([(table, str(path))])
    return Read(table.nbytes + found.loss_nats.nbytes, False)


def weights(path: Path) -> Read:
    return Read(sum(array.nbytes for array in dict(arrays_in([path])).values()), False)


def vocabulary(path: Path) -> Read:
    found = tokenizer.load(path)
    ids = found.encode("Habari gani? 今日は。")
    return Read(len(ids) + len(found.decode(ids)) + len(found.piece_bytes), False)


WEIGHTS = [
    save({name: np.arange(6, dtype=dtype).reshape(2, 3) for name in ("shared.weight", "b")})
    for dtype in (np.float32, np.float16, np.int8)
]
FAMILIES = (
    Family(name="page table", file=f"{SHARD}.pages.parquet", seeds=(PAGE_TABLE,), read=page_table),
    Family(name="token block", file=f"{SHARD}.arrayrecord", seeds=(BLOCK,), read=block),
    Family(name="evaluation", file="step=4.parquet", seeds=(EVALUATION,), read=evaluation),
    Family(name="safetensors", file="model.safetensors", seeds=WEIGHTS, read=weights),
    Family(name="vocabulary", file="sentencepiece.model", seeds=(VOCABULARY,), read=vocabulary),
)
