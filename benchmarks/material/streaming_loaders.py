"""Examples per CPU-second of litdata and of mosaicml-streaming, on the same tokens.

    PYTHON_OF_THEIR_ENVIRONMENT benchmarks/material/streaming_loaders.py LIBRARY TOKENS SCRATCH

LIBRARY is litdata or mosaicml. TOKENS holds one file of ids per language (`sw.npy`) and
`weights.json`. Each library gets them below SCRATCH in its own format, cut into windows, and mixes
the languages by the weights with its own shuffle: litdata by `CombinedStreamingDataset` of
`TokensLoader`, mosaicml-streaming by one `Stream` per language. Batches of 128 windows; spans are
hidden by our function, a batch at a time. Files are local and stay in the cache.
"""

import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data.examples.span_corruption import corrupt_rows, random_numbers

RAW, ROWS, ROUNDS, BATCHES = 568, 128, 5, 16
FIRST_SENTINEL = 2**16 - 1


def windows(path: Path) -> np.ndarray:
    """Returns a language's windows, one row each."""
    tokens = np.load(path)
    return tokens[: len(tokens) // RAW * RAW].reshape(-1, RAW).astype(np.uint16)


def litdata_rows(source: Path, out: Path, weights: dict[str, float]) -> Iterator:
    """Yields windows as litdata mixes them."""
    import torch
    from litdata import CombinedStreamingDataset, StreamingDataset, TokensLoader
    from litdata.streaming.cache import Cache

    for code in weights:
        cache = Cache(str(out / code), chunk_bytes="64MB", item_loader=TokensLoader(RAW))
        for number, row in enumerate(windows(source / f"{code}.npy")):
            cache[number] = torch.from_numpy(row)
        cache.done()
        cache.merge()
    started(out)
    datasets = [
        StreamingDataset(
            str(out / code), item_loader=TokensLoader(RAW), shuffle=True, drop_last=False
        )
        for code in weights
    ]
    mixed = CombinedStreamingDataset(
        datasets, weights=list(weights.values()), iterate_over_all=False
    )
    while True:  # one epoch after the other
        yield from (row.numpy() for row in mixed)


def mosaicml_rows(source: Path, out: Path, weights: dict[str, float]) -> Iterator:
    """Yields windows as mosaicml-streaming mixes them."""
    from streaming import MDSWriter, Stream, StreamingDataset

    for code in weights:
        with MDSWriter(out=str(out / code), columns={"tokens": f"ndarray:uint16:{RAW}"}) as writer:
            for row in windows(source / f"{code}.npy"):
                writer.write({"tokens": row})
    started(out)
    streams = [Stream(local=str(out / code), proportion=one) for code, one in weights.items()]
    mixed = StreamingDataset(streams=streams, batch_size=ROWS, shuffle=True)
    while True:  # one epoch after the other
        yield from (row["tokens"] for row in mixed)


def started(out: Path) -> None:
    """Notes when the loader's own work begins."""
    (out / "started").write_text(f"{time.perf_counter()} {time.process_time()}")


def batches(rows: Iterator) -> Iterator:
    """Yields batches of inputs and targets."""
    generator = np.random.default_rng(0)
    while True:
        taken = np.stack(list(itertools.islice(rows, ROWS))).astype(np.int32)
        bits = generator.integers(0, 2**64, (ROWS, random_numbers(RAW)), np.uint64)
        yield corrupt_rows(taken, bits, FIRST_SENTINEL)


def round_of(source: Iterator) -> float:
    """Returns the examples per CPU-second of some batches."""
    began = time.process_time()
    for _ in range(BATCHES):
        next(source)
    return BATCHES * ROWS / (time.process_time() - began)


def main() -> None:
    library, source = sys.argv[1], Path(sys.argv[2])
    weights = json.loads((source / "weights.json").read_text())
    name = sys.argv[3]  # their threads still read when this process ends: the caller removes it
    rows = {"litdata": litdata_rows, "mosaicml": mosaicml_rows}[library]
    found = batches(rows(source, Path(name), weights))
    next(found)
    wall, cpu = map(float, (Path(name) / "started").read_text().split())
    startup = time.perf_counter() - wall, time.process_time() - cpu
    round_of(found)  # opens every language
    rates = [round_of(found) for _ in range(ROUNDS)]
    result = {
        "languages": len(weights),
        "startup_seconds": startup[0],
        "startup_cpu_seconds": startup[1],
        "examples_per_cpu_second": statistics.median(rates),
        "lowest": min(rates),
        "highest": max(rates),
    }
    print(json.dumps(result), flush=True)
    os._exit(0)  # their threads do not end


if __name__ == "__main__":
    main()
