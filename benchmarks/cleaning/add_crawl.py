"""What adding a crawl costs, beside cleaning all input at once: CPU seconds, bytes kept, changes.

The pages of the input are dealt at random to eleven parts: ten are the corpus, one is added. So all
sites of the addition are in the corpus too, and more pages change than between two months of a
crawl. The targets are at most a quarter of the full run's CPU seconds for a tenth more, and the
same pages. With `--times`, the corpus is 1, 2, ... times as large (copies with their own addresses,
lines and shingles) and the addition is the same.

Each run is a process of its own that cleans a few pages first, so that its imports, models and the
runner's start are not counted; CPU seconds of its children are. Results go to
benchmarks/results/add_crawl.json, where a case that is measured again replaces its former row.

    python benchmarks/cleaning/add_crawl.py [--rules mc4] [--copies 1 5 10]
        [--times 1 2 4] [--format warc]
"""

import json
import multiprocessing
import random
import resource
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import grown_web
import pyarrow.parquet as pq
import tyro
from warcio.archiveiterator import ArchiveIterator
from warcio.warcwriter import WARCWriter

from data.demo import member_of
from data.reading.page import Page
from pipeline.commands.clean import Clean

ONE_PROCESS = ("--direct_running_mode=in_memory", "--direct_num_workers=1")
PARTS = 11  # ten and one
WARM_PAGES = 20
FEW_WORDS = 4
RESULTS = Path(__file__).parents[1] / "results/add_crawl.json"
CASE = ("rules", "format", "copies", "times")  # fields that name a row of the results
ENDINGS = {"wet": ".warc.wet.gz", "warc": ".warc.gz"}


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Rules and sizes of the measurement."""

    rules: tuple[str, ...] = ("mc4", "mswitch-web")
    """Rule sets to measure."""
    format: Literal["wet", "warc"] = "wet"
    """Format of the input: text, or HTML, which is not copied."""
    copies: tuple[int, ...] = (1,)
    """Sizes of corpus and addition together, in copies of 20 MB of text."""
    times: tuple[int, ...] = (1,)
    """Sizes of the corpus beside the same addition, in copies of its ten parts."""
    seed: int = 0
    """Seed of the parts."""


def main(arguments: Arguments) -> None:
    if not grown_web.WEB.exists():
        print(f"needs {grown_web.WEB}")
        return
    for copies in arguments.copies:
        with tempfile.TemporaryDirectory() as name:
            parts = write_parts(Path(name), arguments, copies)
            for rules in arguments.rules:
                for times in arguments.times:
                    about = {"rules": rules, "format": arguments.format, "copies": copies}
                    found = compare(Path(name, f"{rules}-{times}"), parts, rules, times)
                    record(about | {"times": times} | found)


def record(row: dict[str, Any]) -> None:
    """Prints a row and writes it among the results, instead of a former row of the same case."""
    print(json.dumps(row), flush=True)
    rows = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    case = [row[name] for name in CASE]
    rows = [one for one in rows if [one[name] for name in CASE] != case]
    rows = sorted([*rows, row], key=lambda one: [one[name] for name in CASE])
    RESULTS.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def write_parts(directory: Path, arguments: Arguments, copies: int) -> dict[str, list[str]]:
    """Writes archives: the parts of each copy of the corpus, the added one, and a small one."""

    def part(name: str, some: Sequence[bytes]) -> str:
        file = directory / f"{name}{ENDINGS[arguments.format]}"
        file.write_bytes(b"".join(some))
        return str(file)

    dealt = dealt_records(arguments, copies)
    parts = {
        "new": [part("new", dealt[0][PARTS - 1 :: PARTS])],
        "warm": [part("warm", dealt[0][:WARM_PAGES])],
    }
    for copy, records in enumerate(dealt):
        parts[str(copy)] = [
            part(f"base-{copy}-{number}", records[number::PARTS]) for number in range(PARTS - 1)
        ]
    return parts


def dealt_records(arguments: Arguments, copies: int) -> list[list[bytes]]:
    """Returns the records of each copy of the corpus, in the same random order."""
    draw = random.Random(arguments.seed)
    if arguments.format == "warc":
        assert copies == max(arguments.times) == 1, "HTML is not copied"
        records = responses()
        draw.shuffle(records)
        return [records]
    pages = grown_web.real_pages()
    pages = [copied(page, f"c{copy}") for copy in range(copies) for page in pages]
    draw.shuffle(pages)
    times = range(max(arguments.times))
    return [[member_of(copied(page, f"t{copy}")) for page in pages] for copy in times]


def responses() -> list[bytes]:
    """Returns the responses of the WARC files, as they are written."""
    found = []
    for path in sorted(grown_web.WEB.glob("*[0-9].warc.gz")):
        with path.open("rb") as file:
            for record in ArchiveIterator(file):
                if record.rec_type == "response":
                    content = BytesIO()
                    WARCWriter(content, gzip=True).write_record(record)
                    found.append(content.getvalue())
    return found


def copied(page: Page, copy: str) -> Page:
    """Returns a page whose address, lines and shingles are no other copy's.

    The first copy is the page itself. In others the words of a line are in another order, but for
    the last one, so that lengths, ends of sentences and languages stay what they were.
    """
    if copy[1:] == "0":
        return page
    draw = random.Random(page.url + copy)
    text = "\n".join(f"{copy} {reordered(line, draw)}" for line in page.text.split("\n"))
    return page._replace(url=f"{page.url}?copy={copy}", text=text)


def reordered(line: str, draw: random.Random) -> str:
    """Returns a line with its words, or threes of letters, in another order; the last stays."""
    words = line.split(" ")
    if len(words) < FEW_WORDS:  # a short line, or a script without spaces
        parts = [line[at : at + 3] for at in range(0, len(line), 3)]
        return "".join([*draw.sample(parts[:-1], max(0, len(parts) - 1)), *parts[-1:]])
    return " ".join([*draw.sample(words[:-1], len(words) - 1), words[-1]])


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
        "pages": manifest["input"]["records"],
        "input_bytes": sum(Path(file).stat().st_size for file in (*base, *parts["new"])),
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
    Clean(**warm, beam=ONE_PROCESS).execute()
    before = cpu_seconds()
    Clean(**fields, beam=ONE_PROCESS).execute()
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
