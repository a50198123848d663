"""Groups random values by key through a runner, and leaves one file per key: values, bytes.

    large_groups.py FOLDER MEGABYTES BEAM_OPTION...

Random, so that no shuffle compresses them. Workers elsewhere receive these functions pickled.
"""

import random
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import apache_beam as beam

from pipeline.beam.options import pipeline_for, pipeline_options

KEYS, VALUE_BYTES, VALUES_PER_SHARD = 200, 10_000, 500


def main(folder: str, megabytes: str, *options: str) -> None:
    def note(grouped: tuple[int, Iterable[bytes]]) -> None:
        key, sizes = grouped[0], [len(value) for value in grouped[1]]
        (Path(folder) / str(key)).write_text(f"{len(sizes)} {sum(sizes)}")

    shards = int(megabytes) * 1_000_000 // (VALUE_BYTES * VALUES_PER_SHARD)
    with pipeline_for(pipeline_options(options)) as pipeline:
        _ = (
            pipeline
            | beam.Create(range(shards))
            | beam.Reshuffle()
            | beam.FlatMap(values)
            | beam.GroupByKey()
            | beam.Map(note)
        )


def values(shard: int) -> Iterator[tuple[int, bytes]]:
    drawn = random.Random(shard)
    for _ in range(VALUES_PER_SHARD):
        yield drawn.randrange(KEYS), drawn.randbytes(VALUE_BYTES)


if __name__ == "__main__":
    main(*sys.argv[1:])
