"""CPU of quality signals and decisions: beside `clean`'s of the same pages, and beside datatrove's.

    python benchmarks/cleaning/quality.py [--configs fineweb-2/configs]

`clean --rules mswitch-web` reads the web pages in one process. Of the pages that it keeps, signals,
histograms and decisions are made as `mswitch score` makes them, and datatrove's filters decide the
same pages with FineWeb2's thresholds, where it has a file and words that need no download. Each
side is a process of its own, warmed up by a few pages.

Growth is 1, 2 and 4 times the kept pages in one process: CPU per page.

Targets: at most 0.15 of clean's CPU, at least 20 times datatrove's speed, and CPU per page that
does not grow. Needs the environment of `make parity` for datatrove's side, which is else left out.
"""

import argparse
import importlib.util
import json
import multiprocessing
import runpy
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import grown_web
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks/results/quality.json"
ONE_PROCESS = ("--direct_running_mode=in_memory", "--direct_num_workers=1")
TIMES, ROUNDS = (1, 2, 4), 2
Texts = dict[str, list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--configs", type=Path, default=Path("../fineweb-2/configs"))
    configs = parser.parse_args().configs
    files = sorted(grown_web.WEB.glob("*.warc.wet.gz"))
    if not files:
        print(f"needs {grown_web.WEB}")
        return
    with tempfile.TemporaryDirectory() as directory:
        corpus = Path(directory, "corpus")
        clean = in_a_process(cleaned, files, corpus)
        texts = kept(corpus)
    ours = in_a_process(growth, texts)
    result = {
        "pages_read": clean["pages"],
        "pages_kept": sum(map(len, texts.values())),
        "megabytes_kept": sum(len(text.encode()) for some in texts.values() for text in some) / 1e6,
        "clean_cpu_seconds": clean["cpu_seconds"],
        "signals": ours,
        "share_of_clean": ours[0]["cpu_seconds"] / clean["cpu_seconds"],
        "growth": max(row["milliseconds_per_page"] for row in ours)
        / min(row["milliseconds_per_page"] for row in ours),
        "datatrove": None,
    }
    if importlib.util.find_spec("datatrove") is not None and configs.is_dir():
        record(result)
        result["datatrove"] = in_a_process(beside_datatrove, texts, configs)
    record(result)


def record(result: dict[str, Any]) -> None:
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2), flush=True)


def in_a_process(run: Callable[..., Any], *arguments: Any) -> Any:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(run, *arguments).result()


def cleaned(files: list[Path], out: Path) -> dict[str, Any]:
    from pipeline.commands.clean import Clean

    def run(some: list[Path], to: Path) -> int:
        arguments = Clean(
            input=tuple(map(str, some)), rules="mswitch-web", out=str(to), beam=ONE_PROCESS
        )
        arguments.execute()
        return json.loads((to / "manifest.json").read_text())["input"]["records"]

    run([grown_web.few(out.parent)], out.with_name("warm"))
    started = time.process_time()
    pages = run(files, out)
    return {"pages": pages, "cpu_seconds": time.process_time() - started}


def kept(corpus: Path) -> Texts:
    texts: Texts = defaultdict(list)
    for file in sorted(corpus.glob("pages/*/*.parquet")):
        texts[file.parent.name] += pq.read_table(file, columns=["text"])["text"].to_pylist()
    return dict(texts)


def growth(texts: Texts) -> list[dict[str, Any]]:
    """CPU seconds of all pages, of twice and of four times as many; the faster of two rounds."""
    from data.curation.quality_rules import reasons
    from data.curation.signals import signals
    from data.curation.thresholds import derive, histograms

    def score(times: int) -> None:
        batches = {code: signals(some * times, code) for code, some in texts.items()}
        thresholds = derive({code: histograms(batch) for code, batch in batches.items()})
        for code, batch in batches.items():
            reasons(batch, thresholds[code])

    score(1)
    pages, rows = sum(map(len, texts.values())), []
    megabytes = sum(len(text.encode()) for some in texts.values() for text in some) / 1e6
    for times in TIMES:
        seconds = min(cpu_seconds(score, times) for _ in range(ROUNDS))
        rows.append({
            "times": times,
            "cpu_seconds": seconds,
            "milliseconds_per_page": 1000 * seconds / pages / times,
            "milliseconds_per_megabyte": 1000 * seconds / megabytes / times,
        })  # fmt: skip
    return rows


def cpu_seconds(run: Callable[[int], None], times: int) -> float:
    started = time.process_time()
    run(times)
    return time.process_time() - started


def beside_datatrove(texts: Texts, configs: Path) -> dict[str, Any]:
    """CPU seconds of both, per language in turns, where datatrove's words need no download."""
    compared = runpy.run_path(str(ROOT / "parity/quality.py"))["compared"]
    rows, left_out = [], []
    for code, some in sorted(texts.items()):
        try:
            rows.append(compared(code, some, configs))
        except (ImportError, OSError, ValueError):
            left_out.append(code)
    theirs, ours = (
        sum(row[f"{name}_seconds"] for row in rows) for name in ("datatrove", "mswitch")
    )
    pages = sum(row["pages"] for row in rows)
    return {
        "languages": len(rows),
        "languages_left_out": left_out,
        "pages": pages,
        "datatrove_milliseconds_per_page": 1000 * theirs / pages,
        "mswitch_milliseconds_per_page": 1000 * ours / pages,
        "times_as_fast": theirs / ours,
        "same_decisions": sum(row["same"] for row in rows) / pages,
    }


if __name__ == "__main__":
    main()
