"""Megabytes of text per CPU-second: tensorflow-text's two SentencePiece ops against SentencePiece.

    python benchmarks/training/tokenization.py [--corpus ../shared/data/corpus] [--model FILE]

The same pages in the same batches, in one process, the three taking turns; CPU seconds of all
threads, as the median of several rounds with their range. Loading TensorFlow and the model is
reported apart. Exactness comes first: a tokenizer whose ids differ from SentencePiece's is not
chosen, however fast it is.
"""

import argparse
import gzip
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from data.tokens.tokenizer import load

RESULT = Path(__file__).parents[1] / "results/tokenization.json"
PAGES_A_CALL, ROUNDS, MEGABYTES = 256, 5, 6
Encode = Callable[[list[str]], list[list[int]]]


def pages(corpus: Path) -> list[str]:
    """Some pages of every file, until there are enough megabytes."""
    texts, size = [], 0
    for path in sorted(corpus.glob("*/*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in itertools.islice(file, 20):
                texts.append(json.loads(line)["text"])
                size += len(texts[-1].encode())
    step = max(round(size / (MEGABYTES * 10**6)), 1)
    return texts[::step]


def tensorflow_texts(model: bytes) -> tuple[dict[str, Encode], dict[str, float]]:
    """The two ops, and the CPU seconds until each is ready."""
    started = time.process_time()
    from pipeline.tokens.sentencepiece_op import SentencePieceOp, tensorflow_text

    seconds = {"import": time.process_time() - started}
    started = time.process_time()
    exact = SentencePieceOp(model)
    seconds["SentencepieceTokenizer"] = time.process_time() - started
    started = time.process_time()
    fast = tensorflow_text.FastSentencepieceTokenizer(model)
    seconds["FastSentencepieceTokenizer"] = time.process_time() - started
    return {
        "SentencepieceTokenizer": lambda texts: [ids.tolist() for ids in exact(texts)],
        "FastSentencepieceTokenizer": lambda texts: fast.tokenize(texts).to_list(),
    }, seconds


def megabytes_a_second(encode: Encode, texts: list[str]) -> float:
    size = sum(len(text.encode()) for text in texts)
    started = time.process_time()
    for start in range(0, len(texts), PAGES_A_CALL):
        encode(texts[start : start + PAGES_A_CALL])
    return size / 1e6 / (time.process_time() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--corpus", type=Path, default=Path("../shared/data/corpus"))
    parser.add_argument(
        "--model", type=Path, default=Path("runs/demo/vocabulary/sentencepiece.model")
    )
    asked = parser.parse_args()
    if not asked.corpus.is_dir() or not asked.model.exists():
        sys.exit(f"Text was expected in {asked.corpus} and a model at {asked.model}; name others.")
    texts = pages(asked.corpus)
    processor = load(asked.model).processor
    ops, startup = tensorflow_texts(asked.model.read_bytes())
    encoders = {"sentencepiece": processor.EncodeAsIds, **ops}
    expected = processor.EncodeAsIds(texts)
    rates: dict[str, list[float]] = {name: [] for name in encoders}
    for _, (name, encode) in itertools.product(range(ROUNDS), encoders.items()):
        rates[name].append(megabytes_a_second(encode, texts))
    different = {
        name: sum(a != b for a, b in zip(encode(texts), expected, strict=True))
        for name, encode in encoders.items()
    }
    own = statistics.median(rates["sentencepiece"])
    result = {
        "texts": len(texts),
        "startup_cpu_seconds": startup,
        "tokenizers": {
            name: {
                "megabytes_per_cpu_second": statistics.median(found),
                "lowest": min(found),
                "highest": max(found),
                "ratio_to_sentencepiece": statistics.median(found) / own,
                "texts_that_differ": different[name],
            }
            for name, found in rates.items()
        },
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
