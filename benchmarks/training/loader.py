"""Examples per CPU-second of the loader: 107 languages, inputs of 512, from real token blocks.

    python benchmarks/training/loader.py [--tokens runs/demo/tokens] [--megabytes 2400] [--turns 3]

The blocks of `make demo` are grown by copying shards until they are four times as large as the
memory that the loader may take (600 MB); the six Latin variants come from the first six languages.
The case of one language reads the same files as one language. Each case is a process of its own,
measured after its imports: start-up until the first batch, in seconds and CPU seconds, then
examples per CPU-second of all threads, as the median of several rounds with their range. "cold": no
page of the blocks is in the operating system's cache when the process starts (`posix_fadvise`,
DONTNEED); the bytes read from the disk are reported. The cases take turns.

The cost of 107 languages against one, and of examples far out against the first, is measured in one
more process, which makes chunks of all three in turns: medians of the rounds' ratios.

"segments_107" is a mixture that has changed seven times: the weights in turns, and at the fourth
change the blocks, which hold twice as many tokens from there on, the old ones first. It is measured
after the last change. "segments" has start-up and speed by number of changes, for 107 languages.

litdata and mosaicml-streaming mix the same 107 languages where their environment exists
(`material/streaming_loaders.py`). They hide no spans, so each is measured twice: with the collator
of Transformers, as their users have it, and with our function. Their ids are not compressed.

seqio's T5 pipeline on the same pages takes part in the first turn where the environment of `make
parity` exists: `material/t5_pipeline.py`, with 16 languages, because the graph of 107 takes minutes
to start.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from msgspec import convert, to_builtins
from msgspec.structs import replace

from data.examples.loader import CHUNK_EXAMPLES, batches
from data.examples.mixture import make_schedule, temperature_weights
from data.examples.pretraining_examples import Examples
from data.examples.segments import Mixture
from data.examples.span_corruption import lengths_for_inputs
from data.files.json_files import read_json
from data.languages import all_languages
from data.tokens.blocks import TokenBlocks
from data.tokens.manifest import Shard, TokenManifest
from data.tokens.shards import TokenizedPage, manifest_entry, write_shard

HERE = Path(__file__).parent
RESULT = HERE.parent / "results/loader.json"
PARITY_PYTHON = HERE.parents[1] / ".venv-parity/bin/python"
STREAMING_PYTHON = HERE.parents[1] / ".venv-streaming/bin/python"
ROWS, ROUNDS, BATCHES = 128, 5, 64
SHARD_TOKENS = 1 << 20
FAR = 10**9  # batches: a hundred times mT5's whole run
SEQIO_LANGUAGES = 16
STREAMING_TOKENS = 1 << 20  # of a language: more than is read of any
CASES = {"cold": 107, "languages_107": 107, "languages_1": 1, "segments_107": 107}
CHANGES = {"segments_107": 7}
CHANGE_EVERY = 1000  # batches
SEGMENTS = (0, 1, 7, 31, 127)  # changes, of the table
STREAMING = ("litdata", "mosaicml")
SPANS = ("published", "ours")
STREAMING_CASES = {
    f"{library}_{spans}": (library, spans) for library in STREAMING for spans in SPANS
}
KEPT = ("startup_seconds", "startup_cpu_seconds", "examples_per_cpu_second")


def grow(source: TokenBlocks, directory: Path, megabytes: int) -> None:
    """Writes blocks of 107 languages that take `megabytes`, and manifests: `107` and `1`."""
    codes = [language.code for language in all_languages()]
    present = source.languages("train")
    entries = {}
    for number, code in enumerate(codes):
        stream = source.stream(code if code in present else present[number % 6], "train")
        page = TokenizedPage(code, stream.read(0, SHARD_TOKENS), 0, 0)
        shard = write_shard(directory, f"{code}/train-00000", [page], source.dtype)
        count = max(round(megabytes * 1e6 / len(codes) / shard.file_bytes), 1)
        copies = [replace(shard, name=f"{code}/train-{copy:05d}") for copy in range(count)]
        for copy in copies[1:]:
            shutil.copyfile(directory / shard.records.name, directory / copy.records.name)
        entries[code] = {"train": manifest_entry(copies)}
    shards = (shard for entry in entries.values() for shard in entry["train"]["shards"])
    together = manifest_entry(convert(shard, Shard) for shard in shards)
    half = {code: {"train": first_half(entry["train"])} for code, entry in entries.items()}
    one = {codes[0]: {"train": together}}
    for name, languages in (("107", entries), ("1", one), ("half", half)):
        manifest = {**to_builtins(source.manifest), "languages": languages}
        (directory / f"{name}.json").write_text(json.dumps(manifest))


def first_half(entry: dict) -> dict:
    """Returns the manifest entry of the first half of an entry's shards, at least one."""
    shards = entry["shards"][: max(len(entry["shards"]) // 2, 1)]
    return manifest_entry(convert(shard, Shard) for shard in shards)


def forget(directory: Path) -> int:
    """Evicts all blocks from the operating system's cache; returns their bytes."""
    total = 0
    for path in directory.rglob("*.arrayrecord"):
        with path.open("rb+") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        total += path.stat().st_size
    return total


def open_examples(directory: Path, languages: int, changes: int = 0) -> Examples:
    """Returns the examples of grown blocks; with changes the blocks grow at the middle one."""
    blocks = blocks_of(directory, str(languages))
    pages = {row.code: round(row.pages_millions * 1e6) for row in all_languages()[:languages]}
    schedules = [make_schedule(temperature_weights(pages, one), seed=0) for one in (0.3, 0.5)]
    half = blocks_of(directory, "half") if changes else blocks
    later = [
        Mixture(
            number * CHANGE_EVERY * ROWS,
            schedules[number % 2],
            half if 2 * number <= changes else blocks,
        )
        for number in range(1, changes + 1)
    ]
    return Examples(
        blocks=half,
        schedule=schedules[0],
        lengths=lengths_for_inputs(512),
        first_sentinel=blocks.manifest.vocabulary.first_sentinel,
        seed=0,
        later=tuple(later),
    )


def blocks_of(directory: Path, name: str) -> TokenBlocks:
    """Returns the blocks of one of the manifests of `grow`."""
    return TokenBlocks(directory, read_json(directory / f"{name}.json", TokenManifest))


def measure(directory: Path, languages: int, changes: int = 0) -> dict[str, float]:
    """Runs one case in this process, after the last change of the mixture."""
    started, started_cpu, read_before = time.perf_counter(), time.process_time(), _disk_bytes()
    examples = open_examples(directory, languages, changes)
    source = batches(examples, rows=ROWS, first_batch=changes * CHANGE_EVERY)
    next(source)
    startup, startup_cpu = time.perf_counter() - started, time.process_time() - started_cpu
    for _ in range(BATCHES):  # open every language once
        next(source)
    started = time.perf_counter()
    rates = [_round(source) for _ in range(ROUNDS)]
    return {
        "startup_seconds": startup,
        "startup_cpu_seconds": startup_cpu,
        "examples_per_cpu_second": statistics.median(rates),
        "lowest": min(rates),
        "highest": max(rates),
        "examples_per_second": ROUNDS * BATCHES * ROWS / (time.perf_counter() - started),
        "read_from_disk_megabytes": (_disk_bytes() - read_before) / 1e6,
        "memory_megabytes": _peak_megabytes(),
        "threads": len(list(Path("/proc/self/task").iterdir())),
    }


def measure_ratios(directory: Path) -> dict[str, float]:
    """Makes chunks of 107 languages, of one, and far out, in turns."""
    many, one = (open_examples(directory, languages) for languages in (107, 1))
    kinds = {"near": (many, 0), "one": (one, 0), "far": (many, FAR * ROWS)}
    costs = []
    for number in range(ROUNDS + 1):
        costs.append({name: _cost(*kind, number) for name, kind in kinds.items()})
    warm = costs[1:]  # the first opens the files
    return {
        "cost_107_languages_to_1": statistics.median(c["near"] / c["one"] for c in warm),
        "cost_far_to_start": statistics.median(c["far"] / c["near"] for c in warm),
    }


def write_streaming(directory: Path, tokens: Path) -> None:
    """Writes what the streaming loaders read: ids by language, and weights."""
    examples = open_examples(directory, 107)
    schedule = examples.segments[0].schedule
    tokens.mkdir()
    for code, streams in zip(schedule.languages, examples.segments[0].streams, strict=True):
        np.save(tokens / f"{code}.npy", streams[0].read(0, STREAMING_TOKENS).astype(np.uint16))
    shares = {code: schedule.share(code) for code in schedule.languages}
    (tokens / "weights.json").write_text(json.dumps(shares))


def run_streaming(library: str, spans: str, directory: Path) -> dict[str, float]:
    """Runs one streaming loader once."""
    script, tokens = HERE / "material/streaming_loaders.py", directory / "streaming"
    with tempfile.TemporaryDirectory() as scratch:
        return run(str(STREAMING_PYTHON), str(script), library, str(tokens), scratch, spans)


def _cost(examples: Examples, first: int, number: int) -> float:
    """Returns CPU seconds of eight chunks, or of thirty-two the first time."""
    chunks = 8 if number else 32
    started = time.process_time()
    for chunk in range(chunks * number, chunks * (number + 1)):
        examples.take(first + CHUNK_EXAMPLES * chunk + np.arange(CHUNK_EXAMPLES))
    return time.process_time() - started


def _disk_bytes() -> int:
    (line,) = [x for x in Path("/proc/self/io").read_text().splitlines() if "read_bytes" in x]
    return int(line.split()[1])


def _peak_megabytes() -> float:
    """Peak memory of this process; `ru_maxrss` would include its parent's."""
    (line,) = [x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x]
    return int(line.split()[1]) / 1000


def _round(source) -> float:
    started = time.process_time()
    for _ in range(BATCHES):
        next(source)
    return BATCHES * ROWS / (time.process_time() - started)


def run(*command: str) -> dict[str, float]:
    """Runs one case in a process of its own."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def run_turn(directory: Path) -> dict[str, dict[str, float]]:
    """Runs every case of ours once."""
    found = {}
    for case in CASES:
        if case == "cold":
            forget(directory)
        found[case] = run_case(directory, case)
    if STREAMING_PYTHON.exists():
        found |= {case: run_streaming(*of, directory) for case, of in STREAMING_CASES.items()}
    return found


def run_case(directory: Path, case: str, changes: int = 0) -> dict[str, float]:
    """Runs one case of ours in a process of its own."""
    words = ("--case", case, "--changes", str(changes), "--tokens", str(directory))
    return run(sys.executable, __file__, *words)


def run_seqio(tokens: Path) -> dict[str, float]:
    """Runs T5's pipeline once."""
    script = str(HERE / "material/t5_pipeline.py")
    return run(str(PARITY_PYTHON), script, str(tokens), str(SEQIO_LANGUAGES))


def summarize(turns: list[dict[str, dict[str, float]]], ratios: dict[str, float]) -> dict:
    """Returns each case's median turn, and the ratios."""
    cases = {
        case: {
            key: statistics.median(turn[case][key] for turn in turns if case in turn)
            for key in turns[0][case]
        }
        for case in turns[0]
    }
    ours = cases["segments_107"]
    return {
        "inputs": 512,
        "turns": len(turns),
        "cases": cases,
        **ratios,
        "times_seqio": _times(cases["languages_107"], cases.get("seqio")),
        **{f"times_{case}": _times(ours, cases.get(case)) for case in STREAMING_CASES},
    }


def _times(ours: dict[str, float], theirs: dict[str, float] | None) -> float | None:
    key = "examples_per_cpu_second"
    return None if theirs is None else ours[key] / theirs[key]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=Path, default=Path("runs/demo/tokens"))
    parser.add_argument("--megabytes", type=int, default=2400)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--case", choices=[*CASES, "ratios"])
    parser.add_argument("--changes", type=int, default=0)
    asked = parser.parse_args()
    if asked.case:
        ratios = asked.case == "ratios"
        tokens = asked.tokens
        changes = asked.changes or CHANGES.get(asked.case, 0)
        found = measure_ratios(tokens) if ratios else measure(tokens, CASES[asked.case], changes)
        print(json.dumps(found))
        return
    if not (asked.tokens / "manifest.json").exists():
        sys.exit(f"Token blocks were expected in {asked.tokens}; run `make demo` first.")
    if not PARITY_PYTHON.exists():
        print("seqio is left out: `make parity` makes its environment")
    manifest = read_json(asked.tokens / "manifest.json", TokenManifest)
    with tempfile.TemporaryDirectory() as name:
        grow(TokenBlocks(asked.tokens, manifest), Path(name), asked.megabytes)
        megabytes = forget(Path(name)) / 1e6
        if STREAMING_PYTHON.exists():
            write_streaming(Path(name), Path(name) / "streaming")
        else:
            print("litdata and mosaicml-streaming are left out: `make bench` makes their place")
        turns = [run_turn(Path(name)) for _ in range(asked.turns)]
        if PARITY_PYTHON.exists():
            turns[0]["seqio"] = run_seqio(asked.tokens)
        ratios = run(sys.executable, __file__, "--case", "ratios", "--tokens", name)
        result = summarize(turns, ratios)
        result["segments"] = {
            str(changes): {key: found[key] for key in KEPT}
            for changes in SEGMENTS
            for found in [run_case(Path(name), "languages_107", changes)]
        }
    result["megabytes_of_blocks"] = megabytes
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
