"""CPU seconds of what is decided after cleaning: personal data, robots.txt, lists, benchmarks.

    python benchmarks/cleaning/late_decisions.py [--web ../shared/data/web]
        [--tasks ../shared/data/tasks] [--domains 1000000]

On the pages of real WET files, language by language in one process, as the median of three rounds
after one that fills caches. Benchmarks are SIB-200's files, of which each is looked for in every
page. The pages' own hosts get a robots.txt of 40 rules each. The block list has made-up domains:
seconds to read it and bytes in memory. Peers are timed in parity/personal_data.py and
parity/decontamination.py.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from robots_of_hosts import RobotsOfHosts

from data.curation.block_lists import BlockList
from data.curation.leakage import Benchmarks
from data.curation.personal_data import mask, personal_data
from data.curation.robots import Robots
from data.reading.page import Page
from data.reading.web_archive import read
from data.urls import host_of

ROUNDS = 3
RULES = "User-agent: *\n" + "".join(f"Disallow: /private/{number}/*.php\n" for number in range(40))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--web", type=Path, default=Path("../shared/data/web"))
    parser.add_argument("--tasks", type=Path, default=Path("../shared/data/tasks"))
    parser.add_argument("--domains", type=int, default=1_000_000)
    arguments = parser.parse_args()
    of_language = pages_of(arguments.web)
    if not of_language:
        print(f"needs WET files (--web; {arguments.web} has none)")
        return 0
    size = sum(len(page.text.encode()) for pages in of_language.values() for page in pages) / 1e6
    urls = [page.url for pages in of_language.values() for page in pages]
    print(f"{len(urls)} pages, {size:.1f} MB of text")
    by_text: dict[str, Callable[[list[str], str], object]] = {
        "personal_data": personal_data,
        "personal_data and masked": lambda texts, code: mask(texts, personal_data(texts, code)),
    }
    if files := sorted(map(str, arguments.tasks.glob("sib200/*.jsonl.gz"))):
        benchmarks = Benchmarks.read(files)
        print(f"benchmarks: {len(files)} files, {sum(benchmarks.ngrams):,} n-grams")
        by_text["Benchmarks.overlaps"] = benchmarks.overlaps
    for name, work in by_text.items():
        seconds = timed(lambda work=work: [
            work([page.text for page in pages], code) for code, pages in of_language.items()
        ])  # fmt: skip
        print(f"{name}: {seconds / size:.4f} CPU s per MB")
    blocked = big_list(arguments.domains)
    robots = RobotsOfHosts({host_of(url): Robots("", False, RULES, host_of(url)) for url in urls})
    for name, refused in (
        ("BlockList.reasons_of", blocked.reasons_of),
        ("RobotsOfHosts.reasons_of", robots.reasons_of),
    ):
        seconds = timed(lambda refused=refused: refused(urls))
        print(
            f"{name}: {seconds / len(urls) * 1e6:.1f} microseconds per address, "
            f"{seconds / size:.4f} CPU s per MB"
        )
    return 0


def pages_of(web: Path) -> dict[str, list[Page]]:
    found = defaultdict(list)
    for path in sorted(web.glob("*.warc.wet.gz")):
        for page in read(path):
            if isinstance(page, Page):
                found[page.declared_language or "und"].append(page)
    return dict(found)


def big_list(domains: int) -> BlockList:
    """A list of made-up domains, and what it takes."""
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "list.txt")
        with path.open("w") as file:
            file.writelines(f"{draw.getrandbits(60):x}.example\n" for _ in range(domains))
        started = time.process_time()
        blocked = BlockList.read([str(path)])
        seconds = time.process_time() - started
    print(
        f"list of {domains:,} domains: read in {seconds:.1f} CPU s, "
        f"{(blocked.domains.nbytes + blocked.urls.nbytes) / domains:.1f} bytes per entry"
    )
    return blocked


def timed(work: Callable[[], object]) -> float:
    """The median CPU seconds of some rounds, after one that is not counted."""
    seconds = []
    for _ in range(ROUNDS + 1):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return statistics.median(seconds[1:])


if __name__ == "__main__":
    sys.exit(main())
