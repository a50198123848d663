"""Documents per second through MinHash: ours against datatrove's, on the same pages.

    python benchmarks/cleaning/near_duplicates.py [--web ../shared/data/web]

Both make 112 minima in 14 bands of 8 from the 5-grams of a page, with 64-bit hashes, one thread and
one process, language by language, taking turns; reported is the median of several rounds with their
range. The files that datatrove writes in between are not counted. Its words come from spaCy, the
tokenizer that it assigns to most languages. Languages with other tokenizers, which are packages of
their own, are left out and named.

Speed is not evidence of what is found, so both also report near-duplicates: pairs of pages that
share a band, among the pages and a copy of each with one word in thirty changed. That makes a
similarity of about 0.7, at which some six of ten should be found.

Needs the environment of `make parity`; elsewhere it prints that and stops.
"""

import os

os.environ["RAYON_NUM_THREADS"] = "1"  # before rensa: one thread per side

import argparse
import importlib.util
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from data.dedup.minhash import band_keys
from data.languages import get
from data.reading.page import Page
from data.reading.web_archive import read

RESULT = Path(__file__).parents[1] / "results/near_duplicates.json"
ROUNDS, PAGES_A_LANGUAGE, FEWEST_PAGES = 5, 20, 10
Bands = Callable[[list[str], str], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--web", type=Path, default=Path("../shared/data/web"))
    files = sorted(parser.parse_args().web.glob("*.warc.wet.gz"))
    if importlib.util.find_spec("datatrove") is None or not files:
        print(f"needs datatrove (.venv-parity/bin/python {__file__}) and web pages (--web)")
        return
    theirs, left_out = datatroves(texts := pages(files))
    texts = {language: texts[language] for language in texts if language not in left_out}
    result = {
        "pages": sum(map(len, texts.values())),
        "characters": sum(len(text) for some in texts.values() for text in some),
        "languages": list(texts),
        "languages_left_out": left_out,
        **measured(texts, {"datatrove": theirs, "mswitch": band_keys}),
        "near_duplicates": {
            "datatrove": found(texts, theirs),
            "mswitch": found(texts, band_keys),
        },
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


def pages(files: list[Path]) -> dict[str, list[str]]:
    """Some pages of each language that has enough of them."""
    texts: dict[str, list[str]] = defaultdict(list)
    for one in (one for file in files for one in read(file)):
        if isinstance(one, Page) and len(texts[one.counted_language]) < PAGES_A_LANGUAGE:
            texts[one.counted_language].append(one.text)
    return {code: some for code, some in sorted(texts.items()) if len(some) >= FEWEST_PAGES}


def datatroves(languages: Any) -> tuple[Bands, list[str]]:
    """Returns datatrove's bands, and the languages that it cannot take here.

    The hash is xxhash as in FineWeb2; datatrove 0.10.1 passes text, which xxhash 4 refuses.
    """
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature
    from datatrove.utils.hashing import HashConfig
    from datatrove.utils.word_tokenizers import SpaCyTokenizer

    config = MinhashConfig(hash_config=HashConfig(hash_fc="xxhash", precision=64))
    signatures, left_out = {}, []
    for code in languages:
        try:
            step = MinhashDedupSignature(tempfile.mkdtemp(), config, get(code).iso639_3)
            step._hash_func = lambda text: xxhash.xxh64_intdigest(text.encode())
            step.get_shingles("One two three four five six.")
        except ImportError:
            left_out.append(code)
            continue
        if isinstance(step.word_tokenizer, SpaCyTokenizer):
            signatures[code] = step
        else:
            left_out.append(code)

    def bands(texts: list[str], language: str) -> np.ndarray:
        step = signatures[language]
        made = []
        for text in texts:
            shingles = step.get_shingles(text)
            made.append(step.get_signature(shingles) if shingles.size else [[0] * 8] * 14)
        return np.array(made, np.uint64)

    return bands, left_out


def measured(texts: dict[str, list[str]], makers: dict[str, Bands]) -> dict[str, Any]:
    """Documents per second and CPU milliseconds per document of each, and their ratio."""
    count = sum(map(len, texts.values()))
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in makers}
    for make in makers.values():  # tables and tokenizers are made once
        run(make, {code: some[:1] for code, some in texts.items()})
    for _ in range(ROUNDS):
        for name, make in makers.items():
            seconds[name].append(run(make, texts))
    rates = {name: [count / wall for wall, _ in found] for name, found in seconds.items()}
    cpu = {name: statistics.median(cpu for _, cpu in found) for name, found in seconds.items()}
    return {
        "makers": {
            name: {
                "documents_per_second": statistics.median(rates[name]),
                "lowest": min(rates[name]),
                "highest": max(rates[name]),
                "cpu_milliseconds_per_document": 1000 * cpu[name] / count,
            }
            for name in makers
        },
        "documents_per_second_ratio": statistics.median(
            ours / theirs for theirs, ours in zip(*rates.values(), strict=True)
        ),
        "cpu_seconds_ratio": cpu["datatrove"] / cpu["mswitch"],
    }


def run(make: Bands, texts: dict[str, list[str]]) -> tuple[float, float]:
    started, cpu = time.perf_counter(), time.process_time()
    for language, some in texts.items():
        make(some, language)
    return time.perf_counter() - started, time.process_time() - cpu


def found(texts: dict[str, list[str]], make: Bands) -> dict[str, int]:
    """Number of copies that share a band with their page, and of other pairs that do."""
    copies = others = 0
    for language, some in texts.items():
        keys = make([*some, *map(with_changed_words, some)], language)
        bands = keys.reshape(2 * len(some), 14, -1)
        meet = (bands[:, None] == bands[None]).all(axis=-1).any(axis=-1)
        own = meet[range(len(some)), range(len(some), 2 * len(some))]
        copies += int(own.sum())
        others += int(np.triu(meet, 1).sum() - own.sum())
    return {"copies": copies, "other_pairs": others}


def with_changed_words(text: str) -> str:
    words = text.split()
    words[::30] = ["xyz"] * len(words[::30])
    return " ".join(words)


if __name__ == "__main__":
    main()
