"""Examples per CPU-second of litdata and of mosaicml-streaming, on the same tokens.

    PYTHON_OF_THEIRS benchmarks/training/material/streaming_loaders.py LIBRARY TOKENS SCRATCH SPANS

LIBRARY is litdata or mosaicml. TOKENS holds one file of ids per language (`sw.npy`) and
`weights.json`. Each library gets them below SCRATCH in its own format, cut into windows, and mixes
the languages by the weights with its own shuffle: litdata by `CombinedStreamingDataset` of
`TokensLoader`, mosaicml-streaming by one `Stream` per language. Batches of 128 windows. Neither
hides spans: SPANS is "published", as the collator of Transformers does it for their users, or
"ours", our function for a batch at once. Files are local and stay in the cache.
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


def batches(rows: Iterator, spans: str) -> Iterator:
    """Yields batches of inputs and targets."""
    generator = np.random.default_rng(0)
    while True:
        taken = np.stack(list(itertools.islice(rows, ROWS))).astype(np.int32)
        if spans == "ours":
            bits = generator.integers(0, 2**64, (ROWS, random_numbers(RAW)), np.uint64)
            yield corrupt_rows(taken, bits, FIRST_SENTINEL)
        else:
            yield published(taken, generator)


def published(rows: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Hides spans as the collator of Transformers does (run_t5_mlm_flax.py): a mask per row."""
    masks = np.stack([noise_mask(generator) for _ in rows])
    return replaced(rows, masks.astype(np.int8)), replaced(rows, (~masks).astype(np.int8))


def noise_mask(generator: np.random.Generator) -> np.ndarray:
    """Returns which tokens of a row are hidden."""
    hidden = round(RAW * 0.15)
    spans = round(hidden / 3.0)
    lengths = [segment_lengths(count, spans, generator) for count in (RAW - hidden, hidden)]
    starts = np.cumsum(np.stack(lengths, axis=1).reshape(-1))[:-1]
    begins = np.zeros(RAW, np.int8)
    begins[starts] = 1
    return np.equal(np.cumsum(begins) % 2, 1)


def segment_lengths(items: int, segments: int, generator: np.random.Generator) -> np.ndarray:
    """Returns random lengths of segments that sum to `items`."""
    begins = np.arange(items - 1) < segments - 1
    generator.shuffle(begins)
    return np.unique(np.cumsum(np.pad(begins, [[1, 0]])), return_counts=True)[1]


def replaced(rows: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Returns rows with a sentinel for each masked span, and EOS."""
    starts = masks - np.roll(masks, 1, axis=-1) * masks
    starts[:, 0] = masks[:, 0]
    numbers = np.where(starts != 0, np.cumsum(starts, axis=-1), starts)
    sentinels = np.where(numbers != 0, FIRST_SENTINEL + 1 - numbers, 0) - (masks - starts)
    whole = np.where(sentinels != 0, sentinels, rows)
    kept = whole[whole >= 0].reshape(len(rows), -1)
    return np.concatenate([kept, np.full((len(rows), 1), 1, np.int32)], axis=-1)


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
    found = batches(rows(source, Path(name), weights), sys.argv[4])
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
