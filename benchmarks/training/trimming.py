"""What trimming a vocabulary to two languages changes in their text, and its memory at mT5's width.

    python benchmarks/training/trimming.py [--corpus ../shared/data/corpus]

A vocabulary of 32,000 pieces is trained on text of all languages there, of which every tenth
document is held out. For pairs of languages, with all of their training text and with a tenth of
it, pieces that it has at least 1, 2, 5 or 10 times are kept, as `mswitch prune --trim` does, or all
in characters that it has (`--trim 0`). Counted are the held-out lines (sentences) that the trimmed
vocabulary cuts into other pieces.

Then mT5-Small's shape, random weights and a made vocabulary of as many pieces
(`tests/helpers/made_mt5.py`), is imported and trimmed to two made languages by the command, in a
process of its own, whose peak memory is read from the system. Writes
benchmarks/results/trimming.json.
"""

import argparse
import gzip
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import made_mt5
import numpy as np

from data.files.json_files import read_json
from data.tokens.tokenizer import MODEL_FILE, Tokenizer
from data.tokens.trimming import LINE_END, trim
from pipeline.tokens.vocabulary import train

RESULT = Path(__file__).parents[1] / "results" / "trimming.json"
PIECES, CHARACTERS = 32_000, 100_000  # of each language for the vocabulary
PAIRS = ("sw yo", "de fr", "es pt", "ru uk", "ar fa", "hi bn", "ta te", "zh ja", "ko vi", "am so")
LEAST = (0, 1, 2, 5, 10)
HELD_OUT = 10  # one document of so many


class Text(NamedTuple):
    """A language's text: documents to count pieces in, and held-out lines."""

    documents: list[str]
    lines: list[str]


def text_of(folder: Path) -> Text:
    """Returns the text of a language, all its files in turn."""
    documents = []
    for path in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            documents += [json.loads(line)["text"] for line in file]
    held_out = [line for text in documents[::HELD_OUT] for line in LINE_END.split(text)]
    del documents[::HELD_OUT]
    return Text(documents, [line for line in held_out if line.strip()])


def sentences(corpus: Path) -> Iterator[str]:
    """Yields equally much training text of each language."""
    for folder in sorted(corpus.glob("*")):
        left = CHARACTERS
        for line in itertools.chain(*(text.split("\n") for text in text_of(folder).documents)):
            if line.strip() and left > 0:
                yield line[:4000]
                left -= len(line)


def of_pair(pair: str, texts: Sequence[Text], model: bytes) -> Iterator[dict[str, Any]]:
    """Yields the pieces and changes of each threshold."""
    whole = Tokenizer(model)
    ids = [[whole.encode(text) for text in one.documents] for one in texts]
    lines = [[whole.encode(line) for line in one.lines] for one in texts]
    for every, least in itertools.product((1, 10), LEAST):
        read = np.concatenate([part for parts in ids for part in parts[::every]])
        small = trim(model, np.bincount(read, minlength=whole.size), least)
        tokenizer = Tokenizer(small.model)
        other = [
            sum(
                not np.array_equal(before, small.kept[tokenizer.encode(line)])
                for before, line in zip(cut, one.lines, strict=True)
            )
            for cut, one in zip(lines, texts, strict=True)
        ]
        yield {
            "languages": pair.split(),
            "tokens": len(read),
            "least": least,
            "pieces": len(small.kept),
            "lines": [len(one.lines) for one in texts],
            "other": other,
        }


def at_mt5s_width(directory: Path) -> dict[str, Any]:
    """Returns parameters and peak memory of trimming mT5-Small's shape."""
    theirs, run, tokens, out = (directory / name for name in ("theirs", "run", "tokens", "out"))
    made_mt5.write_model(theirs, made_mt5.mt5_small())
    importing = peak_of("import-hf", str(theirs), "--inputs", "64", "--out", str(run))
    made_mt5.write_tokens(tokens, run / MODEL_FILE)
    words = ["--run", str(run), "--languages", "sw,yo", "--trim", "1", "--tokens", str(tokens)]
    pruning = peak_of("prune", *words, "--out", str(out))
    body = read_json(out / "manifest.json", dict)
    names = ("pieces_before", "pieces", "parameters_before", "parameters", "lines")
    return {name: body[name] for name in names} | {
        "import_hf_peak_gb": importing,
        "prune_peak_gb": pruning,
    }


def peak_of(*words: str) -> float:
    """Runs a command; returns its peak memory in GB.

    Raises:
        ChildProcessError: if the command fails.
    """
    process = subprocess.Popen([sys.executable, "-m", "pipeline.cli", *words])
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise ChildProcessError(f"mswitch {' '.join(words)} failed.")
    return round((used.ru_maxrss << 10) / 1e9, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--corpus", type=Path, default=Path("../shared/data/corpus"))
    corpus = parser.parse_args().corpus
    with tempfile.TemporaryDirectory() as directory:
        width = at_mt5s_width(Path(directory))
    print(json.dumps(width, indent=1), flush=True)
    model = train(sentences(corpus), PIECES, 0.9995)
    pairs = []
    for pair in PAIRS:
        pairs += of_pair(pair, [text_of(corpus / code) for code in pair.split()], model)
        print(*pairs[-2 * len(LEAST) :], sep="\n", flush=True)
    result = {"mt5_small": width, "vocabulary": PIECES, "pairs": pairs}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
