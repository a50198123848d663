"""CPU time of `score`, `select` and `withdraw` beside that of `clean`, and how it grows.

Targets: score and select together at most 0.35 times the CPU of `clean --rules mswitch-web` on the
same input, and a withdrawal at most 0.05 times; per page constant within 15 % over the sizes. One
process per row does everything, after a warm-up, so that starts of programs do not count. The
withdrawal names one site in a hundred.

The first rows are the real web pages, cleaned by mswitch-web, several times over. The others are
copies of them with their own addresses (`grown_web`), which `--rules none` keeps: near-duplicates
and lines would take the copies.

    python benchmarks/cleaning/late_rules.py [--repeats N] [--copies N ...]
"""

import contextlib
import glob
import json
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import grown_web
import pyarrow.parquet as pq
import tyro

from data.urls import host_of
from pipeline.arguments import Clean, Score, Select, Withdraw
from pipeline.commands import clean, score, select, withdraw

WARM = grown_web.WEB / "fixtures/whirlwind.warc.wet.gz"  # a few pages: imports and models
RESULTS = Path(__file__).parents[1] / "results/late_rules.json"
ONE_PROCESS = ("--direct_running_mode=in_memory", "--direct_num_workers=1")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Sizes of the measurement."""

    repeats: int = 3
    """Number of measurements of the real pages."""
    copies: tuple[int, ...] = (1, 2, 4, 8)
    """Sizes of the others, in copies of 20 MB of text."""


def main(arguments: Arguments) -> None:
    if not grown_web.WEB.exists():
        print(f"needs {grown_web.WEB}")
        return
    context = multiprocessing.get_context("spawn")
    web = [str(path) for path in sorted(grown_web.WEB.glob("*.warc.wet.gz"))]
    with tempfile.TemporaryDirectory() as name, context.Pool(1, maxtasksperchild=1) as processes:
        directory = Path(name)
        files = [str(path) for path in grown_web.grow(max(arguments.copies), directory)]
        inputs = [(web, "mswitch-web")] * arguments.repeats
        inputs += [(files[:copies], "none") for copies in arguments.copies]
        runs = []
        for number, (paths, rules) in enumerate(inputs):
            measured = processes.apply(measure, (paths, rules, str(directory / f"out-{number}")))
            runs.append({"rules": rules, "files": len(paths)} | measured)
            print(json.dumps(runs[-1]), flush=True)
    shares = [(one["score"] + one["select"]) / one["clean"] for one in runs[: arguments.repeats]]
    print(f"score and select, of clean: {median(shares):.3f} (target: at most 0.35)")
    shares = [one["withdraw"] / one["clean"] for one in runs[: arguments.repeats]]
    print(f"withdraw, of clean: {median(shares):.3f} (target: at most 0.05)")
    grown = runs[arguments.repeats :]
    per_page = [(one["score"] + one["select"]) / one["pages"] for one in grown]
    print(f"CPU seconds per page, most to least: {max(per_page) / min(per_page):.3f}")
    RESULTS.write_text(json.dumps({"runs": runs}, indent=2) + "\n", encoding="utf-8")


def measure(paths: list[str], rules: Any, out: str) -> dict[str, Any]:
    """Returns the CPU seconds of each command, and the numbers of pages."""
    with tempfile.TemporaryDirectory() as warm:
        seconds_of([str(WARM)], "none", warm)
    return seconds_of(paths, rules, out)


def seconds_of(paths: list[str], rules: Any, out: str) -> dict[str, Any]:
    """Runs the commands one after the other; returns CPU seconds and counts."""
    corpus, scores, selected = (f"{out}/{name}" for name in ("corpus", "scores", "selected"))
    seconds: dict[str, Any] = {}
    with timed(seconds, "clean"):
        clean.run(Clean(input=tuple(paths), rules=rules, out=corpus, beam=ONE_PROCESS))
    with timed(seconds, "score"):
        score.run(Score(corpus=corpus, out=scores, beam=ONE_PROCESS))
    with timed(seconds, "select"):
        select.run(
            Select(
                corpus=corpus,
                scores=scores,
                out=selected,
                mask=("email", "ip", "phone", "national_number"),
                beam=ONE_PROCESS,
            )
        )
    urls = [url for path in glob.glob(f"{selected}/pages/*/*.parquet") for url in urls_of(path)]
    hosts = sorted({host_of(url) for url in urls})[::100] or ["nobody.example"]
    listed = Path(out, "sites.txt")
    listed.write_text("\n".join(hosts) + "\n", encoding="utf-8")
    with timed(seconds, "withdraw"):
        withdraw.run(
            Withdraw(corpus=selected, sites=(str(listed),), reason="a test", beam=ONE_PROCESS)
        )
    kept = sum(pq.read_metadata(path).num_rows for path in glob.glob(f"{corpus}/pages/*/*.parquet"))
    manifest = json.loads(Path(corpus, "manifest.json").read_text(encoding="utf-8"))
    return seconds | {"pages": manifest["input"]["records"], "kept": kept, "selected": len(urls)}


def urls_of(path: str) -> list[str]:
    """Returns the addresses in a file of pages."""
    return pq.read_table(path, columns=["url"])["url"].to_pylist()


@contextlib.contextmanager
def timed(seconds: dict[str, Any], name: str) -> Iterator[None]:
    """Adds the CPU seconds of the block."""
    begin = time.process_time()
    yield
    seconds[name] = round(time.process_time() - begin, 2)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
