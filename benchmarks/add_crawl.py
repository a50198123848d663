"""What adding a crawl costs, beside cleaning all input at once: CPU seconds, bytes kept, changes.

The pages of the input are dealt at random to equal parts: ten are the corpus, one is added. So all
sites of the addition are in the corpus too, and more pages change than between two months of a
crawl. The targets are at most a quarter of the full run's CPU seconds for a tenth more, and the
same pages. With `--times`, the corpus is 1, 2, ... times as large (copies with their own addresses
and lines, as in `grown_web`) and the addition is the same.

Each run is a process of its own that cleans a few pages first, so that its imports, models and the
runner's start are not counted; CPU seconds of its children are.

    python benchmarks/add_crawl.py --input 'shared/data/web/*.warc.wet.gz' [--times 1 2 4]
"""

import glob
import json
import multiprocessing
import random
import re
import resource
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import tyro

from data.demo.archive import member_of
from data.reading.page import Page
from pipeline import clean
from pipeline.arguments import Clean
from pipeline.cleaning.read import READERS

ONE_PROCESS = ("--direct_running_mode=in_memory", "--direct_num_workers=1")
PARTS = 11  # ten and one
WARM_PAGES = 20


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Input and rules of the measurement."""

    input: tuple[str, ...]
    """Files or globs, as `mswitch clean` takes them."""
    rules: tuple[str, ...] = ("mc4", "mswitch-web")
    """Rule sets to measure."""
    copies: int = 1
    """Copies of the input that are dealt, the addition included: a larger crawl."""
    times: tuple[int, ...] = (1,)
    """Sizes of the corpus, in copies of ten parts of the input."""
    seed: int = 0
    """Seed of the parts."""
    out: Path | None = None
    """JSON file for the results."""


def main(arguments: Arguments) -> None:
    results = []
    with tempfile.TemporaryDirectory() as name:
        pages = read(arguments.input)
        pages = [copied(page, f"c{copy}") for copy in range(arguments.copies) for page in pages]
        parts = write_parts(Path(name), pages, max(arguments.times), arguments.seed)
        for rules in arguments.rules:
            for times in arguments.times:
                found = compare(Path(name, f"{rules}-{times}"), parts, rules, times)
                results.append({"copies": arguments.copies} | found)
                print(json.dumps(results[-1]), flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def read(patterns: tuple[str, ...]) -> list[Page]:
    """Returns the pages of the input."""
    files = sorted({path for pattern in patterns for path in glob.glob(pattern, recursive=True)})
    pages = []
    for path in files:
        reader = next(reader for suffix, reader in READERS.items() if path.endswith(suffix))
        pages += [one for one in reader(Path(path)) if isinstance(one, Page)]
    return pages


def write_parts(directory: Path, pages: list[Page], times: int, seed: int) -> dict[str, list[str]]:
    """Writes WET files: the parts of each copy of the corpus, the added one, and a small one."""
    random.Random(seed).shuffle(pages)
    parts = {"new": [part(directory / "new", pages[PARTS - 1 :: PARTS])]}
    parts["warm"] = [part(directory / "warm", pages[:WARM_PAGES])]
    for copy in range(times):
        parts[str(copy)] = [
            part(
                directory / f"base-{copy}-{number}",
                [copied(p, f"t{copy}") for p in pages[number::PARTS]],
            )
            for number in range(PARTS - 1)
        ]
    return parts


def copied(page: Page, copy: str) -> Page:
    """Returns a page whose address and lines are no other copy's; the first is the page itself."""
    if copy[1:] == "0":
        return page
    text = re.sub("$", f" {copy}", page.text, flags=re.MULTILINE)
    return page._replace(url=f"{page.url}?copy={copy}", text=text)


def part(path: Path, pages: list[Page]) -> str:
    file = path.with_suffix(".warc.wet.gz")
    file.write_bytes(b"".join(map(member_of, pages)))
    return str(file)


def compare(directory: Path, parts: dict[str, list[str]], rules: str, times: int) -> dict[str, Any]:
    """Returns costs and results of both ways."""
    directory.mkdir()
    base = [file for copy in range(times) for file in parts[str(copy)]]
    both, one, two = (str(directory / name) for name in ("both", "one", "two"))
    runs = {
        "all": {"input": (*base, *parts["new"]), "rules": rules, "out": both},
        "growable": {"input": tuple(base), "rules": rules, "out": one, "growable": True},
        "added": {"input": tuple(parts["new"]), "onto": one, "out": two},
    }
    context = multiprocessing.get_context("spawn")
    seconds = {}
    for name, fields in runs.items():
        warm = {"input": tuple(parts["warm"]), "rules": rules, "out": str(directory / f"w-{name}")}
        with context.Pool(1) as pool:
            seconds[name] = pool.apply(measured, (warm, fields))
    manifest = json.loads(Path(two, "manifest.json").read_text())
    changes = {
        kind: sum(sum(reasons.values()) for reasons in by_language.values())
        for kind, by_language in manifest["addition"]["changes"].items()
    }
    return {
        "rules": rules,
        "times": times,
        "pages": manifest["input"]["records"],
        "input_bytes": sum(Path(file).stat().st_size for file in base),
        "cpu_seconds": {name: round(one, 2) for name, one in seconds.items()},
        "added_over_all": round(seconds["added"] / seconds["all"], 3),
        "kept_bytes": sum(manifest["kept_beside"].values()),
        "kept_bytes_by_kind": manifest["kept_beside"],
        "corpus_bytes": size_of(Path(two, "pages")) + size_of(Path(two, "rejected")),
        "changes": changes,
        "files": manifest["addition"]["files"],
        "same_pages": rows_of(Path(both)) == rows_of(Path(two)),
    }


def measured(warm: dict[str, Any], fields: dict[str, Any]) -> float:
    """Returns the CPU seconds of a cleaning, children included."""
    clean.run(Clean(**warm, beam=ONE_PROCESS))
    before = cpu_seconds()
    clean.run(Clean(**fields, beam=ONE_PROCESS))
    return cpu_seconds() - before


def cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def rows_of(corpus: Path) -> Counter:
    """Returns the kept and rejected rows of a corpus, without the split."""
    return Counter(
        (path.parts[-3], *(str(row[name]) for name in row if name != "split"))
        for folder in ("pages", "rejected")
        for path in (corpus / folder).rglob("*.parquet")
        for row in pq.read_table(path).to_pylist()
    )


def size_of(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())


if __name__ == "__main__":
    main(tyro.cli(Arguments))
