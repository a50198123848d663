"""Ids of tensorflow-text's op against SentencePiece's own, over every text of the real corpus.

    python parity/tokens.py [--corpus ../shared/data/corpus] [--model FILE]

The op of the tokenize stage (tensorflow-text's SentencepieceTokenizer) must agree in every text.
Its faster sibling does not: `benchmarks/training/tokenization.py` counts where it differs.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from data.tokens.tokenizer import load
from pipeline.tokens.sentencepiece_op import SentencePieceOp

TEXTS_A_CALL = 256


def texts(corpus: Path) -> Iterator[str]:
    """Yields every text of the corpus."""
    for path in sorted(corpus.glob("*/*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)["text"]


def chunks(corpus: Path) -> Iterator[list[str]]:
    """Yields the texts in batches."""
    chunk: list[str] = []
    for text in texts(corpus):
        chunk.append(text)
        if len(chunk) == TEXTS_A_CALL:
            yield chunk
            chunk = []
    yield chunk


def differences(found: Sequence[np.ndarray], expected: Sequence[list[int]]) -> int:
    """Returns how many texts have other ids."""
    return sum(a.tolist() != b for a, b in zip(found, expected, strict=True))


def main() -> None:
    """Compares all texts; exits with 1 if one differs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--corpus", type=Path, default=Path("../shared/data/corpus"))
    parser.add_argument(
        "--model", type=Path, default=Path("runs/demo/vocabulary/sentencepiece.model")
    )
    asked = parser.parse_args()
    if not asked.corpus.is_dir() or not asked.model.exists():
        print(f"tokens: skipped, {asked.corpus} or {asked.model} is absent (run `make demo`)")
        return
    op = SentencePieceOp(asked.model.read_bytes())
    processor = load(asked.model).processor
    read = different = tokens = 0
    for chunk in chunks(asked.corpus):
        expected = processor.EncodeAsIds(chunk)
        different += differences(op(chunk), expected)
        read += len(chunk)
        tokens += sum(map(len, expected))
    print(f"tokens: {different} of {read:,} texts ({tokens:,} tokens) differ from SentencePiece's")
    sys.exit(different > 0)


if __name__ == "__main__":
    main()
