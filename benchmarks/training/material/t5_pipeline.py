"""Examples per CPU-second of seqio's T5 pipeline, on the pages of the same token blocks.

    PYTHON_OF_THE_PARITY_ENVIRONMENT benchmarks/training/material/t5_pipeline.py TOKENS LANGUAGES

As T5X trains: one task per language from its cached, tokenized pages (TFRecord), T5's own
`span_corruption` and `append_eos_after_trim`, a mixture with mT5's rates, shuffled, endless,
batches of 128. The library's defaults throughout. The caches are small and stay warm.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import seqio
import tensorflow as tf
from t5.data import preprocessors

from data.files.json_files import read_json
from data.languages import all_languages
from data.tokens.blocks import TokenBlocks
from data.tokens.manifest import TokenManifest
from data.tokens.tokenizer import MODEL_FILE

ROWS, ROUNDS, BATCHES = 128, 3, 8
LENGTHS = {"inputs": 512, "targets": 114}


def write_cache(blocks: TokenBlocks, language: str, path: Path) -> None:
    """Writes a language's pages as seqio's offline cache has them."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for page in blocks.pages(language, "train"):
            ids = tf.train.Feature(int64_list=tf.train.Int64List(value=page.tokens))
            example = tf.train.Example(features=tf.train.Features(feature={"targets": ids}))
            writer.write(example.SerializeToString())


def with_empty_inputs(row: dict) -> dict:
    """The form of a page after T5's `rekey`, before span corruption."""
    ids = tf.cast(row["targets"], tf.int32)
    return {"inputs": ids[:0], "targets": ids}


def add_task(name: str, path: Path, model: Path) -> None:
    """Registers one language's task."""
    vocabulary = seqio.SentencePieceVocabulary(str(model), extra_ids=0)  # its own are the last ids
    ids = tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True)
    seqio.TaskRegistry.add(
        name,
        source=seqio.TFExampleDataSource({"train": str(path)}, {"targets": ids}),
        preprocessors=[
            seqio.map_over_dataset(with_empty_inputs),
            preprocessors.span_corruption,
            seqio.preprocessors.append_eos_after_trim,
        ],
        output_features={
            side: seqio.Feature(vocabulary, add_eos=True, dtype=tf.int32) for side in LENGTHS
        },
    )


def measure(tokens: Path, languages: int) -> dict[str, float]:
    """Runs the pipeline over a number of languages."""
    blocks = TokenBlocks(tokens, read_json(tokens / "manifest.json", TokenManifest))
    present = [row for row in all_languages() if row.code in blocks.languages("train")][:languages]
    with tempfile.TemporaryDirectory() as name:
        rates = []
        for row in present:
            path = Path(name, f"{row.code}.tfrecord")
            write_cache(blocks, row.code, path)
            add_task(f"task_{row.code.replace('-', '_').lower()}", path, tokens / MODEL_FILE)
            rates.append((f"task_{row.code.replace('-', '_').lower()}", row.pages_millions**0.3))
        seqio.MixtureRegistry.add("mixture", rates)
        started = time.perf_counter()
        source = (
            seqio.get_mixture_or_task("mixture")
            .get_dataset(LENGTHS, split="train", shuffle=True, seed=0, num_epochs=None)
            .padded_batch(ROWS, LENGTHS)
            .as_numpy_iterator()
        )
        next(source)
        startup = time.perf_counter() - started
        for _ in range(BATCHES):
            next(source)
        found = [_round(source) for _ in range(ROUNDS)]
    return {
        "languages": len(present),
        "startup_seconds": startup,
        "examples_per_cpu_second": statistics.median(found),
        "lowest": min(found),
        "highest": max(found),
    }


def _round(source) -> float:
    started = time.process_time()
    rows = sum(len(next(source)["inputs"]) for _ in range(BATCHES))
    return rows / (time.process_time() - started)


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), int(sys.argv[2]))))
