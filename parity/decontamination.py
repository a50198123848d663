"""Overlap of pages with benchmarks: ours against datatrove's `NGramsDecontFilter`.

    python parity/decontamination.py [--corpus ../shared/data/corpus] [--pages 60]

In 24 scripts, passages of a benchmark (the Universal Declaration) are planted in pages of another
source, with other case, punctuation and numbers around them. Both look for 13-grams in the
same pages, in one process and taking turns, so that CPU seconds compare. datatrove's words are
those of its tokenizer for the language; languages whose tokenizer is a model of its own download
(Stanza, Kiwi) are left out, and named.

Exits with 1 if we miss a planted passage or mark a page without one, or datatrove is not twenty
times as slow in all.
"""

import argparse
import gzip
import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xxhash

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/helpers"))

from planted_data import SCRIPTS
from quality import file_name

from data import languages
from data.curation.leakage import NGRAM_WORDS, Benchmarks
from data.dedup.hashed_words import units_of_words
from data.demo import pages_of

SPEED = 20
PASSAGES = 20
SOURCES = ("opensource_guide", "gnome_help", "bible_pd", "mozilla_www", "tico19", "common_voice")
Mark = Callable[[list[str]], list[bool]]


class Outcome(NamedTuple):
    """What one of the two marks in the pages of a language, and in how many CPU seconds."""

    planted: int
    others: int
    seconds: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--corpus", type=Path, default=Path("../shared/data/corpus"))
    parser.add_argument("--pages", type=int, default=60, help="pages per language")
    arguments = parser.parse_args()
    totals, left_out, size, exact = np.zeros(2), [], 0, True
    print("| | MB | planted | ours | ours, others | datatrove | datatrove, others | times |")
    for code in SCRIPTS:
        hosts = host_pages(arguments.corpus / code, arguments.pages)
        passages = passages_of(code)
        if not hosts:
            left_out.append(f"{code} (no pages)")
            continue
        pages = [*plant(hosts, passages, random.Random(code), code), *hosts]
        try:
            theirs = datatroves(code, passages)
        except (ImportError, OSError, LookupError, ValueError) as error:
            left_out.append(f"{code} ({type(error).__name__})")
            continue
        outcomes = [judged(mark, pages, len(hosts)) for mark in (ours(code, passages), theirs)]
        totals += [outcome.seconds for outcome in outcomes]
        megabytes = sum(len(page.encode()) for page in pages) / 1e6
        size += megabytes
        exact &= outcomes[0][:2] == (len(hosts), 0)
        (found, others, seconds), (their_found, their_others, their_seconds) = outcomes
        print(
            f"| {code} | {megabytes:.2f} | {len(hosts)} | {found} | {others} | {their_found} "
            f"| {their_others} | {their_seconds / seconds:.0f} |", flush=True,
        )  # fmt: skip
    print(f"left out: {', '.join(left_out) or 'none'}")
    if not size:
        return 0
    per_megabyte = totals / size
    print(
        f"CPU s per MB: ours {per_megabyte[0]:.3f}, datatrove {per_megabyte[1]:.3f}: "
        f"{totals[1] / totals[0]:.0f} times; all planted found by us and nothing else: {exact}"
    )
    return 0 if exact and totals[1] >= SPEED * totals[0] else 1


def host_pages(folder: Path, most: int) -> list[str]:
    """Pages of other sources than the benchmark, so that they share no run with it."""
    texts = []
    for path in sorted(folder.glob("*.jsonl.gz")):
        if path.name.removesuffix(".jsonl.gz") in SOURCES:
            with gzip.open(path, "rt", encoding="utf-8") as file:
                texts += [json.loads(line)["text"] for line in file]
    return random.Random(0).sample(texts, min(most, len(texts)))


def passages_of(code: str) -> list[str]:
    """Passages of up to twice the length of a run, of the Declaration."""
    text = " ".join(
        page.text for page in pages_of(languages.get(code)) if "declaration" in page.url
    )
    units = UNIT.findall(text) if units_of_words(NGRAM_WORDS, code) > NGRAM_WORDS else text.split()
    length = min(2 * units_of_words(NGRAM_WORDS, code), len(units))
    joint = "" if length > 2 * NGRAM_WORDS else " "
    room = len(units) - length + 1
    return [joint.join(units[at : at + length]) for at in range(0, room, max(room // PASSAGES, 1))]


UNIT = re.compile(r"\S\s*")


def plant(hosts: list[str], passages: list[str], draw: random.Random, code: str) -> list[str]:
    """The pages with a passage each, between two of their lines, in capitals and between dashes."""
    planted = []
    for host in hosts:
        lines = host.split("\n")
        at = draw.randint(0, len(lines))
        passage = draw.choice(passages)
        if code != "tr":  # Python knows no capital of the Turkish i
            passage = passage.upper()
        planted.append("\n".join([*lines[:at], f"– {passage}!", *lines[at:]]))
    return planted


def ours(code: str, passages: list[str]) -> Mark:
    benchmarks = Benchmarks.of({"declaration": passages})
    benchmarks.overlaps([passages[0]], code)  # tables
    return lambda texts: [bool(names) for names in benchmarks.overlaps(texts, code)]


def datatroves(code: str, passages: list[str]) -> Mark:
    """datatrove's filter, with an index as its indexer writes one."""
    from datatrove.data import Document
    from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter
    from datatrove.utils.text import ngrams, simplify_text

    config = NGramsDecontConfig(n_grams=NGRAM_WORDS)
    directory = tempfile.mkdtemp()
    decontaminate = NGramsDecontFilter(directory, config, language=file_name(code))
    # datatrove 0.10.1 gives xxhash a string, which xxhash 4 refuses.
    decontaminate.hash_func = lambda run: xxhash.xxh64_intdigest(run.encode())
    hashes = {
        decontaminate.hash_func(" ".join(run))
        for passage in passages
        for run in ngrams(
            decontaminate.tokenizer.word_tokenize(simplify_text(passage, config.norm_config)),
            NGRAM_WORDS,
        )
    }
    np.array(sorted(hashes), config.hash_config.np_descr).tofile(f"{directory}/a.index.hashes")
    decontaminate.filter(Document(text=passages[0], id=""))  # loads index and models

    def mark(texts: list[str]) -> list[bool]:
        return [decontaminate.filter(Document(text=text, id="")) is not True for text in texts]

    return mark


def judged(mark: Mark, pages: list[str], planted: int) -> Outcome:
    started = time.process_time()
    marked = mark(pages)
    seconds = time.process_time() - started
    return Outcome(sum(marked[:planted]), sum(marked[planted:]), seconds)


if __name__ == "__main__":
    sys.exit(main())
