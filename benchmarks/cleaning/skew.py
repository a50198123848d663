"""Skew: a corpus as lopsided as a crawl can be, against an even one of the same size.

Lopsided: 95 % of the pages are in one language, all have one first line, and one address comes
fifty thousand times. Even: as many pages and characters, languages as on the web, every line and
address unique. Targets: no exchange gives a worker more than 64 MB at once, and the lopsided corpus
takes at most 1.3 times the CPU time of the even one, in one process (wall time is printed beside
it; on a busy machine it means little).

An exchange gives a worker the keys of one hash partition, of all shards.
"""

import contextlib
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import grown_web

from data import demo
from data.reading.page import Page
from data.reading.web_archive import read
from pipeline.beam.options import pipeline_options
from pipeline.corpus import submission
from pipeline.corpus.addresses import FindNewest
from pipeline.corpus.job import begin_job
from pipeline.corpus.lines import FindDuplicateLines, FindRepeatedHashes
from pipeline.corpus.read import input_files
from pipeline.corpus.rules import find_rules
from pipeline.corpus.submission import total_of

RESULTS = Path(__file__).parents[1] / "results/skew.json"
PAGES = 60_000
REPEATED = 50_000  # of them have one address
LARGEST_HANDED_BYTES = 64 << 20
LINES_A_PAGE = 3  # a page of the real ones is cut to this, so that 60,000 are some 40 MB
ONE_LINE = "Accept all cookies and go on to the page that you have asked for, please."


def main() -> None:
    if not grown_web.WEB.exists():
        print(f"needs {grown_web.WEB}")
        return
    pages = int(sys.argv[1]) if len(sys.argv) > 1 else PAGES
    results = {}
    for name, corpus in (("even", even), ("lopsided", lopsided)):
        with tempfile.TemporaryDirectory() as directory:
            results[name] = measure(corpus(pages), Path(directory))
            print(name, json.dumps(results[name], indent=2))
    ratio = results["lopsided"]["cpu_seconds"] / results["even"]["cpu_seconds"]
    handed = max(max(one["largest_handed_bytes"].values()) for one in results.values())
    print(f"CPU time of the lopsided corpus, times the even one's: {ratio:.2f} (target: 1.3)")
    print(f"most handed to a worker at once: {handed:,} bytes (target: {LARGEST_HANDED_BYTES:,})")
    result = {"pages": pages, "corpora": results, "ratio": ratio, "largest_handed_bytes": handed}
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def short_pages() -> dict[str, list[Page]]:
    """The longest lines of the real pages, by the language that their site declares."""
    found: dict[str, list[Page]] = {}
    for file in sorted(grown_web.WEB.glob("*.warc.wet.gz")):
        for page in read(file):
            if isinstance(page, Page):
                lines = sorted(page.text.split("\n"), key=len, reverse=True)[:LINES_A_PAGE]
                if len(lines) == LINES_A_PAGE and len(lines[-1]) > 200:
                    short = page._replace(text="\n".join(lines))
                    found.setdefault(page.declared_language or "", []).append(short)
    return found


def even(count: int) -> Iterator[Page]:
    """As many pages, nothing in common but their languages."""
    every = [page for pages in short_pages().values() for page in pages]
    draw = random.Random(0)
    for number in range(count):
        page = draw.choice(every)
        text = "\n".join(f"{line} {number}" for line in page.text.split("\n"))
        first = f"{ONE_LINE} {number}"
        yield page._replace(url=f"https://even.example/{number}", text=f"{first}\n{text}")


def lopsided(count: int) -> Iterator[Page]:
    """Pages of which 95 % are in one language, with one line on all and one address on most."""
    by_language = short_pages()
    most = max(by_language, key=lambda code: len(by_language[code]))
    others = [page for code, pages in by_language.items() if code != most for page in pages]
    draw, repeated = random.Random(0), min(REPEATED, count * REPEATED // PAGES)
    for number in range(count):
        page = draw.choice(by_language[most] if draw.random() < 0.95 else others)
        address = "again" if number < repeated else str(number)
        text = "\n".join(f"{line} {number}" for line in page.text.split("\n"))
        yield page._replace(
            url=f"https://lopsided.example/{address}",
            text=f"{ONE_LINE}\n{text}",
            timestamp=f"{datetime(2026, 1, 1) + timedelta(seconds=number):%FT%TZ}",
        )


def measure(pages: Iterable[Page], directory: Path) -> dict:
    """Cleans the pages; returns CPU time and the bytes that the exchanges gave out."""
    files = write(pages, directory)
    found = input_files([str(file) for file in files])
    job = begin_job(str(directory / "out"), find_rules("mc4"), found)
    wall, cpu = time.monotonic(), time.process_time()
    largest: Counter[str] = Counter()
    with groups_measured(largest):
        submission.run_job(job, pipeline_options(("--direct_num_workers=1",)))
    kinds: Counter[str] = Counter()
    for kind, languages in total_of(job).counts.items():
        for detail, number in ((d, n) for of in languages.values() for d, n in of.items()):
            kinds[f"{kind}/{detail}" if kind == "rejected" else kind] += number
    return {
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "wall_seconds": round(time.monotonic() - wall, 2),
        "input_bytes": sum(file.size for file in found),
        "counts": {
            name: n for name, n in kinds.items() if name.startswith(("read", "kept", "rej"))
        },
        "largest_handed_bytes": dict(largest),
    }


def write(pages: Iterable[Page], directory: Path, a_file: int = 5_000) -> list[Path]:
    """Writes WET files of a number of pages each."""
    paths: list[Path] = []
    for number, page in enumerate(pages):
        if number % a_file == 0:
            paths.append(directory / f"{len(paths):05d}.warc.wet.gz")
        with paths[-1].open("ab") as file:
            file.write(demo.member_of(page))
    return paths


@contextlib.contextmanager
def groups_measured(largest: Counter[str]) -> Iterator[None]:
    """Notes the bytes of each exchange's fullest group, in a job that runs in this process."""
    rounds = (FindNewest, FindRepeatedHashes, FindDuplicateLines)
    compares = [one.compare for one in rounds]

    def measured(turn: Any, compare: Any) -> Any:
        def comparing(self: Any, partition: int, parts: Any) -> Any:
            size = sum(len(part) for _, part in parts)
            largest[turn.name] = max(largest[turn.name], size)
            return compare(self, partition, parts)

        return comparing

    for turn, compare in zip(rounds, compares, strict=True):
        turn.compare = measured(turn, compare)
    try:
        yield
    finally:
        for turn, compare in zip(rounds, compares, strict=True):
            turn.compare = compare


if __name__ == "__main__":
    main()
