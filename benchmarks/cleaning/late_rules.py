"""CPU time of `score`, `select`, `withdraw` and near-duplicates beside that of `clean`.

Targets, at 1,000 kept pages per file and more: score and select together at most 0.30 times the CPU
of `clean --rules mswitch-web` on the same input, and a withdrawal of one site in a hundred at most
0.05 times; with 1, 10 and 40 % of the pages candidates, `mswitch-web` at most 1.3 times what it
takes without near-duplicates.

The input is one file of copies of the real web pages (`grown_web`), so that each language has one
training file. One process per row does everything, after a warm-up, so that starts of programs
do not count. Near-duplicates are what their steps and exchanges take, in the whole job's process.

    python benchmarks/cleaning/late_rules.py [--copies N ...] [--repeated N ...]
"""

import contextlib
import glob
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grown_web
import pyarrow.parquet as pq
import tyro

from data.urls import host_of
from pipeline.commands.clean import Clean
from pipeline.commands.score import Score
from pipeline.commands.select import Select
from pipeline.commands.withdraw import Withdraw
from pipeline.corpus import near_duplicates

RESULTS = Path(__file__).parents[1] / "results/late_rules.json"
ONE_PROCESS = ("--direct_running_mode=in_memory", "--direct_num_workers=1")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Sizes of the measurement."""

    copies: tuple[int, ...] = (1, 8, 64)
    """Sizes of the input of late rules, in copies of 20 MB of text."""
    repeated: tuple[int, ...] = (200, 20, 5)
    """Of how many pages one has another's text, for near-duplicates: 2 of so many are candidates.
    """
    candidate_copies: int = 10
    """Size of the input for near-duplicates, in copies."""


def main(arguments: Arguments) -> None:
    if not grown_web.WEB.exists():
        print(f"needs {grown_web.WEB}")
        return
    results: dict[str, list[dict[str, Any]]] = {"late_rules": [], "near_duplicates": []}
    cases = [("late_rules", late_rules, copies, grown_web.REPEATED) for copies in arguments.copies]
    cases += [
        ("near_duplicates", shares, arguments.candidate_copies, repeated)
        for repeated in arguments.repeated
    ]
    for name, measured, copies, repeated in cases:
        with tempfile.TemporaryDirectory() as directory:
            case = copies, repeated, directory
            with multiprocessing.get_context("spawn").Pool(1) as process:
                row = process.apply(measured, case)
        results[name].append({"copies": copies, "repeated": repeated} | row)
        print(json.dumps(results[name][-1]), flush=True)
        RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def grown(copies: int, repeated: int, directory: str) -> list[str]:
    """Returns one file of copies, after a few pages were cleaned, scored and selected."""
    with tempfile.TemporaryDirectory() as warm:
        seconds_of([str(grown_web.few(Path(warm)))], "none", warm)
    files = grown_web.grow(copies, Path(directory), files=1, repeated=repeated)
    return [str(file) for file in files]


def late_rules(copies: int, repeated: int, directory: str) -> dict[str, Any]:
    """Returns the CPU seconds of each command, its shares of cleaning, and the numbers of pages."""
    row = seconds_of(grown(copies, repeated, directory), "mswitch-web", directory)
    late = row["score"] + row["select"]
    files = len(glob.glob(f"{directory}/corpus/pages/*/*.parquet"))
    return row | {
        "score_and_select_of_clean": round(late / row["clean"], 3),
        "withdraw_of_clean": round(row["withdraw"] / row["clean"], 3),
        "late_milliseconds_per_kept_page": round(1000 * late / row["kept"], 3),
        "kept_pages_per_file": round(row["kept"] / files),
    }


def shares(copies: int, repeated: int, directory: str) -> dict[str, Any]:
    """Returns the CPU seconds of a job and of its near-duplicates."""
    files, near = grown(copies, repeated, directory), [0.0]
    for stage, *methods in STAGES:
        for method in methods:
            setattr(stage, method, counted(getattr(stage, method), near))
    began, out = time.process_time(), f"{directory}/corpus"
    Clean(input=tuple(files), rules="mswitch-web", out=out, beam=ONE_PROCESS).execute()
    whole = time.process_time() - began
    rejected = [
        reason
        for path in glob.glob(f"{out}/rejected/**/*.parquet", recursive=True)
        for reason in pq.read_table(path, columns=["reason"])["reason"].to_pylist()
    ]
    return {
        "pages": json.loads(Path(out, "manifest.json").read_text())["input"]["records"],
        "removed": rejected.count(near_duplicates.NEAR_DUPLICATE),
        "clean": round(whole, 2),
        "near_duplicates": round(near[0], 2),
        "of_clean_without": round(whole / (whole - near[0]), 3),
    }


EXCHANGE = "send", "compare", "collect"
STAGES = (
    (near_duplicates.SpillMinHashKeys, "__call__"),
    (near_duplicates.PairPages, *EXCHANGE),
    (near_duplicates.ContractPairs, "__call__"),
    (near_duplicates.AskForNodes, *EXCHANGE),
    (near_duplicates.SpillCandidates, "__call__"),
    (near_duplicates.ChoosePages, *EXCHANGE),
)


def counted(method: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    """Returns the method, whose CPU time is added; what it yields is made at once."""

    def call(*arguments: Any) -> Any:
        began = time.process_time()
        made = method(*arguments)
        made = iter(list(made)) if isinstance(made, Iterator) else made
        seconds[0] += time.process_time() - began
        return made

    return call


def seconds_of(paths: list[str], rules: Any, out: str) -> dict[str, Any]:
    """Runs the commands one after the other; returns CPU seconds and counts."""
    corpus, scores, selected = (f"{out}/{name}" for name in ("corpus", "scores", "selected"))
    seconds: dict[str, Any] = {}
    with timed(seconds, "clean"):
        Clean(input=tuple(paths), rules=rules, out=corpus, beam=ONE_PROCESS).execute()
    with timed(seconds, "score"):
        Score(corpus=corpus, out=scores, beam=ONE_PROCESS).execute()
    with timed(seconds, "select"):
        Select(
            corpus=corpus,
            scores=scores,
            out=selected,
            mask=("email", "ip", "phone", "national_number"),
            beam=ONE_PROCESS,
        ).execute()
    urls = [url for path in glob.glob(f"{selected}/pages/*/*.parquet") for url in urls_of(path)]
    hosts = sorted({host_of(url) for url in urls})[::100] or ["nobody.example"]
    listed = Path(out, "sites.txt")
    listed.write_text("\n".join(hosts) + "\n", encoding="utf-8")
    with timed(seconds, "withdraw"):
        Withdraw(corpus=selected, sites=(str(listed),), reason="a test", beam=ONE_PROCESS).execute()
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
