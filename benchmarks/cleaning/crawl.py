"""Exchanges of a crawl, in the small: from 1 to 64 times the shards of one size, cut very finely.

A cleaning job is linear if what a page costs does not grow with the input. Here the input grows by
shards of one size, and partitions grow with it, so that the largest job has thousands of both. What
is counted, per page, should be constant within 10 %: bytes shuffled, batches and bytes that stages
read, those of the corpus writer apart, files opened. The graph must not grow. A verdict has one bit
per key and at least one byte, so bytes answered grow until an element has one key.

Elements are then far smaller than a crawl's, as a shard has 10 pages instead of 4 GB; so elements
per page are bounded by shards x partitions and by keys, and are printed, not judged. Bytes leave
out what an engine adds to an element. An exchange takes one wave, as on an engine that keeps what
it groups on disk; waves would read each shard's keys once per wave.

    python benchmarks/cleaning/crawl.py [--largest N] [--out s3://BUCKET/FOLDER]

It prints one JSON line per scale.
"""

import contextlib
import dataclasses
import functools
import json
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import tyro
from apache_beam.metrics.metric import MetricsFilter

from data import demo
from data.demo import shipped_pages
from data.reading.page import Page
from pipeline.beam.job import NAMESPACE
from pipeline.beam.options import pipeline_options
from pipeline.corpus import read, spills, submission, write
from pipeline.corpus.job import begin_job
from pipeline.corpus.read import Cut, input_files
from pipeline.corpus.rules import find_rules
from pipeline.corpus.submission import total_of

RESULTS = Path(__file__).parents[1] / "results/crawl.json"
SHARDS = 32  # at 1 times
TIMES = (1, 4, 16, 64)
PAGES_OF_SHARD = 10
LINES_OF_PAGE = 8
SHARED = 4  # every fourth line is also on a page of three other shards
CONSTANT = ("shuffled", "batches", "batch_bytes", "written_from_bytes", "files_opened")


def main(largest: int = max(TIMES), out: str = "") -> None:
    """Measures each scale up to `largest` times the shards, with outputs in a temporary directory.

    Args:
        largest: last scale.
        out: directory for the outputs instead, as of an object store.
    """
    runs = []
    for times in (one for one in TIMES if one <= largest):
        with tempfile.TemporaryDirectory() as name:
            runs.append({"times": times} | measure(SHARDS * times, Path(name), out or name))
        print(json.dumps(runs[-1]), flush=True)
    spreads = {
        name: round(max(found) / min(found), 3)
        for name in CONSTANT
        for found in [[run["per_page"][name] for run in runs]]
    }
    print(json.dumps({"most to least, per page": spreads}))
    result = {"runs": runs, "spreads": spreads}
    path = RESULTS.with_stem("crawl_on_store") if out else RESULTS
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def measure(count: int, directory: Path, out: str) -> dict[str, Any]:
    """Cleans `count` shards in this process; returns what the exchanges and stages moved."""
    files = [written(number, directory) for number in range(count)]
    size = files[0].stat().st_size
    cut = Cut(shard_bytes=size, partition_bytes=size)
    found = input_files([str(file) for file in files])
    job = begin_job(f"{out}/{count}", find_rules("mc4"), found, cut=cut, in_waves=False)
    counted: Counter[str] = Counter()
    largest: Counter[str] = Counter()
    ran: list[Any] = []
    began, cpu = time.monotonic(), time.process_time()
    with reads_counted(counted):
        submission.run_job(job, pipeline_options(()), ran.append)
    for graph in ran:
        add_sizes(graph.result, counted, largest)
    pages = total_of(job).number("read")
    counted["shuffled"] = counted["sent"] + counted["answered"]
    lines = pages * LINES_OF_PAGE
    return {
        "shards": job.shards,
        "partitions": job.partitions,
        "pages": pages,
        "per_page": {name: round(counted[name] / pages, 2) for name in CONSTANT},
        "answered_per_page": round(counted["answered"] / pages, 2),
        "bytes_per_line": round(counted["of_lines"] / lines, 2),
        "elements": counted["elements"],
        "elements_per_page": round(counted["elements"] / pages, 2),
        "largest_element": max(largest.values()),
        "graph_bytes": graph_bytes(job),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "wall_seconds": round(time.monotonic() - began, 1),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
    }


def written(number: int, directory: Path) -> Path:
    """Writes a WET file of pages; what they share does not depend on the number of files.

    The first line is on every page of all files, every fourth one in four files.
    """
    path = directory / f"{number:06d}.warc.wet.gz"
    texts = shipped_texts()
    with path.open("wb") as file:
        for page in range(PAGES_OF_SHARD):
            text = (texts[page % len(texts)] * 3)[:400]
            whose = [f"{number} {page}", f"{number // SHARED} {page}"]
            lines = [f"{text} {whose[line % SHARED == 0]} {line}" for line in range(LINES_OF_PAGE)]
            lines[0] = "This line is on every page of all files, as a menu of one site would be."
            url = f"https://{number}.example/{page}"
            file.write(demo.member_of(Page(url, "\n".join(lines), "2026-01-01T00:00:00Z")))
    return path


@functools.cache
def shipped_texts() -> list[str]:
    return [page.text.replace("\n", " ") for page in shipped_pages()]


@contextlib.contextmanager
def reads_counted(counted: Counter[str]) -> Iterator[None]:
    """Counts the spilled files that are opened and the batches that are read during the block."""
    reader, read = spills.reader, write.WriteFile._read

    @contextlib.contextmanager
    def counting(path: str) -> Iterator[Any]:
        counted["files_opened"] += 1
        with reader(path) as file:
            yield _Counting(file, counted)

    def of_writer(self: write.WriteFile, file: Any) -> Any:
        before = counted["batch_bytes"]
        table = read(self, file)
        counted["written_from_bytes"] += counted["batch_bytes"] - before
        return table

    spills.reader, write.WriteFile._read = counting, of_writer
    try:
        yield
    finally:
        spills.reader, write.WriteFile._read = reader, read


class _Counting:
    """A reader of a spilled file that counts the batches which it reads."""

    def __init__(self, file: Any, counted: Counter[str]):
        self._file, self._counted = file, counted
        self.num_record_batches = file.num_record_batches

    def get_batch(self, number: int) -> Any:
        batch = self._file.get_batch(number)
        self._counted["batches"] += 1
        self._counted["batch_bytes"] += batch.nbytes
        return batch


def add_sizes(run: Any, counted: Counter[str], largest: Counter[str]) -> None:
    """Adds the sizes of a finished graph's elements."""
    for one in run.metrics().query(MetricsFilter().with_namespace(NAMESPACE))["distributions"]:
        kind, step = one.key.metric.name.split("_bytes/")
        sizes = one.committed
        counted[kind] += sizes.sum
        counted["elements"] += sizes.count
        if step in ("repeated", "duplicate"):
            counted["of_lines"] += sizes.sum
        largest[step] = max(largest[step], sizes.max)


def graph_bytes(job: Any) -> int:
    """Returns the size of the job's graph on an engine that takes one wave."""
    pipeline = beam.Pipeline(options=pipeline_options(()))
    space = dataclasses.replace(job.workspace, key="unstarted")
    job = dataclasses.replace(job, workspace=space)
    submission.build(job, next(submission.graphs(job)), pipeline)
    return len(pipeline.to_runner_api().SerializeToString())


if __name__ == "__main__":
    assert SHARDS * max(TIMES) <= read.MOST_SHARDS
    tyro.cli(main)
