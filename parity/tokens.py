"""Ids of tensorflow-text's op against SentencePiece's own, over every text of the real corpus.

    python parity/tokens.py [--corpus ../shared/data/corpus] [--model runs/demo/vocabulary/sentencepiece.model]

Both of tensorflow-text's tokenizers are compared. SentencepieceTokenizer must agree in every
text: blocks are made with it. FastSentencepieceTokenizer has no unigram model with byte fallback as
SentencePiece has, so its differences are only counted.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from data.tokenizer import load
from pipeline.transforms.sentencepiece_op import SentencePieceOp

TEXTS_A_CALL = 256


def texts(corpus: Path) -> Iterator[str]:
    for path in sorted(corpus.glob("*/*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)["text"]


def chunks(corpus: Path) -> Iterator[list[str]]:
    chunk: list[str] = []
    for text in texts(corpus):
        chunk.append(text)
        if len(chunk) == TEXTS_A_CALL:
            yield chunk
            chunk = []
    yield chunk


def differences(found: Sequence[np.ndarray], expected: Sequence[list[int]]) -> int:
    return sum(a.tolist() != b for a, b in zip(found, expected, strict=True))


def main() -> None:
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
