"""Examples a CPU-second of the loader: 107 languages, inputs of 512, from real token blocks.

    python benchmarks/loader.py [--tokens runs/demo/tokens] [--megabytes 300]

The blocks of `make demo` are grown by repetition (each language to the same size; the six Latin
variants from the first six languages), so that what is read is as compressible as text and does not
fit into a chunk. The case of one language has as many megabytes in that one. Each case is a process
of its own, measured after its imports: start-up until the first batch, then CPU seconds of all
threads, the median of several rounds with their range. Pages of the operating system's cache are
warm after the first case; "cold" is the first.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from data.languages import all_languages
from data.loader import Examples, batches
from data.mixture import temperature_weights
from data.schedule import schedule
from data.span_corruption import lengths_for_inputs
from data.token_blocks import TokenBlocks, TokenizedPage, describe, write_shard

RESULT = Path(__file__).parent / "results/loader.json"
ROWS, ROUNDS, BATCHES = 128, 5, 64
FAR = 10**9  # batches: a hundred times mT5's whole run
CASES = {"cold": (107, 0), "languages_107": (107, 0), "languages_1": (1, 0), "far": (107, FAR)}


def grow(source: TokenBlocks, directory: Path, languages: int, megabytes: int) -> None:
    """Writes blocks of some languages that together are `megabytes` of ids."""
    codes = [language.code for language in all_languages()[:languages]]
    present = source.languages("train")
    size = megabytes * 10**6 // len(codes) // source.dtype.itemsize
    entries = {}
    for number, code in enumerate(codes):
        stream = source.stream(code if code in present else present[number % 6], "train")
        page = TokenizedPage(code, stream.read(0, size), 0, 0)
        shard = write_shard(directory, f"{code}/train-00000-of-00001", [page], source.dtype)
        entries[code] = {"train": describe([shard])}
    manifest = {**source.manifest, "languages": entries}
    directory.mkdir(exist_ok=True)
    (directory / "manifest.json").write_text(json.dumps(manifest))


def measure(directory: Path, languages: int, first: int) -> dict[str, float]:
    """Runs one case in this process."""
    started = time.perf_counter()
    blocks = TokenBlocks(directory, json.loads((directory / "manifest.json").read_text()))
    pages = {row.code: round(row.pages_millions * 1e6) for row in all_languages()[:languages]}
    examples = Examples(
        blocks=blocks,
        schedule=schedule(temperature_weights(pages, 0.3), seed=0),
        lengths=lengths_for_inputs(512),
        first_sentinel=blocks.manifest["vocabulary"]["first_sentinel"],
        seed=0,
    )
    source = batches(examples, rows=ROWS, first_batch=first)
    next(source)
    startup = time.perf_counter() - started
    for _ in range(BATCHES):  # open every language once
        next(source)
    rates = [_round(source) for _ in range(ROUNDS)]
    return {
        "startup_seconds": startup,
        "examples_per_cpu_second": statistics.median(rates),
        "lowest": min(rates),
        "highest": max(rates),
        "memory_megabytes": _peak_megabytes(),
        "threads": len(list(Path("/proc/self/task").iterdir())),
    }


def _peak_megabytes() -> float:
    """Peak memory of this process; `ru_maxrss` would count its parent's."""
    (line,) = [x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x]
    return int(line.split()[1]) / 1000


def _round(source) -> float:
    started = time.process_time()
    for _ in range(BATCHES):
        next(source)
    return BATCHES * ROWS / (time.process_time() - started)


def run(directory: Path, case: str) -> dict[str, float]:
    """Runs one case in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--case", case, "--tokens", str(directory)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def summarize(cases: dict[str, dict[str, float]], megabytes: int) -> dict:
    """Returns the result with its ratios."""
    rate = {name: case["examples_per_cpu_second"] for name, case in cases.items()}
    return {
        "inputs": 512,
        "megabytes_of_blocks": megabytes,
        "cases": cases,
        "cost_107_languages_to_1": rate["languages_1"] / rate["languages_107"],
        "cost_far_to_start": rate["languages_107"] / rate["far"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=Path, default=Path("runs/demo/tokens"))
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--case", choices=CASES)
    asked = parser.parse_args()
    if asked.case:
        print(json.dumps(measure(asked.tokens, *CASES[asked.case])))
        return
    if not (asked.tokens / "manifest.json").exists():
        sys.exit(f"Token blocks were expected in {asked.tokens}; run `make demo` first.")
    manifest = json.loads((asked.tokens / "manifest.json").read_text())
    with tempfile.TemporaryDirectory() as name:
        for languages in (1, 107):
            grow(
                TokenBlocks(asked.tokens, manifest),
                Path(name, str(languages)),
                languages,
                asked.megabytes,
            )
        cases = {case: run(Path(name, str(CASES[case][0])), case) for case in CASES}
    result = summarize(cases, asked.megabytes)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
