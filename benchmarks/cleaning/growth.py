"""Growth: 1, 2, 4 and 8 times the pages, in CPU time per page and in memory of the fullest worker.

Targets: CPU seconds per page constant within 15 %, and a bounded peak per worker. One process does
all the work, a new one for each size, so its peak is that of one worker including the local runner.
Input grows by copies with their own addresses and lines (`grown_web`), 20 MB of text each. Of the
CPU time, that of the exchanges is what shards send, partitions compare and shards collect; what the
engine does with the elements is not in it. The largest size gives by proportion what the 71 monthly
crawls of mC4 3.0.1 would take (Xue et al. 2021, section 3.1); `docs/scale-cleaning.md` has it, with
its assumptions.

    python benchmarks/cleaning/growth.py [--copies N] [--price-per-core-hour PRICE]
"""

import contextlib
import json
import multiprocessing
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grown_web
import tyro
from apache_beam.metrics.metric import MetricsFilter

from pipeline.beam import job
from pipeline.beam.job import NAMESPACE
from pipeline.beam.options import pipeline_options
from pipeline.corpus import submission
from pipeline.corpus.job import CleaningJob, begin_job
from pipeline.corpus.read import input_files
from pipeline.corpus.rules import find_rules
from pipeline.corpus.submission import total_of

RESULTS = Path(__file__).parents[1] / "results/growth.json"
TIMES = (1, 2, 4, 8)
CRAWLS, CRAWL_BYTES = 71, 9e12  # of compressed WET, as pipeline/corpus/read.py assumes


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Size of the measurement, and the price per core-hour for the 71 crawls."""

    copies: int = 4
    """Copies at 1 times: 78 MB of text; with 39 MB a tenth was the job's own start."""
    price_per_core_hour: float = 0.05
    """In your currency."""


def main(arguments: Arguments) -> None:
    if not grown_web.WEB.exists():
        print(f"needs {grown_web.WEB}")
        return
    copies = arguments.copies
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name, context.Pool(1, maxtasksperchild=1) as processes:
        directory = Path(name)
        files = grown_web.grow(copies * max(TIMES), directory)
        runs = []
        for times in TIMES:
            some = [str(file) for file in files[: copies * times]]
            runs.append(processes.apply(measure, (some, str(directory / f"out-{times}"))))
            print(json.dumps({"times": times} | runs[-1]))
    a_page = [run["cpu_seconds"] / run["pages"] for run in runs]
    spread = max(a_page) / min(a_page)
    print(f"CPU seconds per page, most to least: {spread:.3f} (target: at most 1.15)")
    print(f"peak memory at {max(TIMES)} times, of that at 1: "
          f"{runs[-1]['peak_bytes'] / runs[0]['peak_bytes']:.2f}")  # fmt: skip
    estimate = all_of_mc4(runs[-1], arguments.price_per_core_hour)
    print(json.dumps(estimate, indent=2))
    result = {"runs": runs, "cpu_seconds_a_page_spread": spread, "71_crawls": estimate}
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def measure(paths: list[str], out: str) -> dict[str, Any]:
    """Cleans the files in this process; returns its costs, with its start counted apart."""
    began = cpu_seconds()
    cleaned([str(grown_web.few(Path(out).parent))], f"{out}-warm", Counter())
    before, exchanged = cpu_seconds(), Counter[str]()
    with exchanges_timed(exchanged):
        job = cleaned(paths, out, exchanged)
    spent = cpu_seconds() - before
    return {
        "start_cpu_seconds": round(before - began, 2),
        "pages": total_of(job).number("read"),
        "input_bytes": sum(Path(path).stat().st_size for path in paths),
        "cpu_seconds": round(spent, 2),
        "exchange_cpu_seconds": round(exchanged["seconds"], 2),
        "shuffled_bytes": exchanged["bytes"],
        "spilled_bytes": size_of(Path(job.workspace.directory)),
        "corpus_bytes": size_of(Path(out, "pages")) + size_of(Path(out, "rejected")),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
    }


def cleaned(paths: list[str], out: str, exchanged: Counter[str]) -> CleaningJob:
    job = begin_job(out, find_rules("mc4"), input_files(paths))
    options = pipeline_options(("--direct_num_workers=1",))
    ran: list[Any] = []
    submission.run_job(job, options, ran.append)
    for graph in ran:
        add_sizes(graph.result, exchanged)
    return job


def add_sizes(run: Any, exchanged: Counter[str]) -> None:
    """Adds the bytes of a finished graph's elements."""
    for one in run.metrics().query(MetricsFilter().with_namespace(NAMESPACE))["distributions"]:
        exchanged["bytes"] += one.committed.sum


@contextlib.contextmanager
def exchanges_timed(exchanged: Counter[str]) -> Iterator[None]:
    """Adds the CPU time of all parts of exchanges during the block."""
    parts = (job._Send, job._Compare, job._Collect)
    originals = [part.__call__ for part in parts]

    def timed(original: Any) -> Any:
        def call(self: Any, element: Any) -> Any:
            started = time.thread_time()
            found = original(self, element)
            found = list(found) if isinstance(found, Iterator) else found
            exchanged["seconds"] += time.thread_time() - started
            return found

        return call

    for part, original in zip(parts, originals, strict=True):
        part.__call__ = timed(original)
    try:
        yield
    finally:
        for part, original in zip(parts, originals, strict=True):
            part.__call__ = original


def all_of_mc4(run: dict[str, Any], price: float) -> dict[str, float]:
    """Returns the cost of all crawls, in proportion to the bytes of a measured run."""
    factor = CRAWLS * CRAWL_BYTES / run["input_bytes"]
    core_hours = run["cpu_seconds"] * factor / 3600
    return {
        "input_bytes": CRAWLS * CRAWL_BYTES,
        "core_hours": round(core_hours),
        "shuffled_bytes": round(run["shuffled_bytes"] * factor),
        "spilled_bytes": round(run["spilled_bytes"] * factor),
        "corpus_bytes": round(run["corpus_bytes"] * factor),
        "price_per_core_hour": price,
        "money": round(core_hours * price),
    }


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def size_of(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())


if __name__ == "__main__":
    main(tyro.cli(Arguments))
