"""Time of `mswitch report` from finished evaluations. Target: under 20 seconds.

    PYTHONPATH=.:tests/helpers python benchmarks/reports/report.py [--pages 2000 20000 206000]

Two runs per side, 31 evaluations each, of that many held-out pages in 107 languages; a routing file
of 4 switch layers and 16 experts; and a corpus of 114 MB whose held-out lines are searched in its
training pages. All of it is synthetic, because the command does the same work on any numbers. The
command is a process of its own, start included. CPU seconds are those of the process; wall seconds
also depend on the machine's other work. Writes benchmarks/results/report.json.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from synthetic_runs import VOCABULARY, recipe_in_json

from data.files.json_files import write_json
from data.languages import all_languages
from pipeline import artifacts

RESULT = Path(__file__).parents[1] / "results" / "report.json"
CODES = [one.code for one in all_languages()]
EVALUATIONS, STEPS, EXPERTS, LAYERS = 31, 3000, 16, 4
CORPUS_BYTES, PAGE_LINES, LINE_WORDS = 114_000_000, 20, 12
LIMIT_SECONDS = 20


def write_run(directory: Path, pages: int, experts: int | None, seed: int, tokens: Path) -> Path:
    (directory / "evaluation").mkdir(parents=True)
    recipe = recipe_in_json(experts, steps=STEPS, seed=seed)
    inputs = {"tokens": artifacts.digest_of_manifest(tokens)}
    write_json(directory / "recipe.json", {"recipe": recipe, "devices": ["cpu"], "inputs": inputs})
    rng, same = np.random.default_rng([seed, experts or 0]), np.random.default_rng(0)
    language = np.array(CODES)[np.arange(pages) % len(CODES)]
    target_tokens = same.integers(40, 400, pages)
    fixed = {
        "language": language,
        "url": [f"https://{code}.example.org/some/page/{n}" for n, code in enumerate(language)],
        "target_tokens": target_tokens,
        "text_bytes": target_tokens * 4,
        "windows": np.ones(pages, np.int32),
    }
    level = 3 + same.normal(size=pages) * 0.3
    for step in np.linspace(0, STEPS, EVALUATIONS).astype(int):
        gain = 0.1 * step / STEPS if experts else 0.0
        loss = level + 5 * np.exp(-step / 600) - gain + 0.05 * rng.normal(size=pages)
        table = pa.table(fixed | {"loss_nats": loss * target_tokens})
        pq.write_table(table, directory / f"evaluation/step={step}.parquet")
        if experts:
            routing = routed(rng)
            pq.write_table(routing, directory / f"evaluation/routing-step={step}.parquet")
    lines = [{"step": n, "loss_nats": 3.0, "seconds": 0.2} for n in range(STEPS // 10)]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    return directory


def routed(rng: np.random.Generator) -> pa.Table:
    load = rng.integers(10, 1000, (LAYERS * len(CODES), EXPERTS))
    places = [(stack, layer) for stack in ("encoder", "decoder") for layer in (1, 2)]
    return pa.table(
        {
            "stack": [stack for stack, _ in places for _ in CODES],
            "layer": [layer for _, layer in places for _ in CODES],
            "language": CODES * LAYERS,
            "tokens": load.sum(axis=1),
            "choices": load.sum(axis=1),
            "dropped": load[:, 0] // 10,
            "entropy_nats": load.sum(axis=1) * 2.0,
            "load": load.tolist(),
        }
    )


def write_corpus(directory: Path) -> Path:
    """Pages of random words, a twentieth of them held out."""
    rng = np.random.default_rng(0)
    words = np.array(["".join(map(chr, row)) for row in rng.integers(97, 123, (50_000, 6))])
    count = CORPUS_BYTES // (PAGE_LINES * LINE_WORDS * 7) // len(CODES)
    entries = {}
    for code in CODES:
        drawn = words[rng.integers(len(words), size=(count, PAGE_LINES, LINE_WORDS))]
        texts = ["\n".join(" ".join(line) for line in page) for page in drawn.tolist()]
        held_out = count // 20
        for split, some in (("validation", texts[:held_out]), ("train", texts[held_out:])):
            path = directory / f"pages/{code}/{split}-00000-of-00001.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.table({"text": some}), path)
        characters = sum(map(len, texts))
        entries[code] = {"kept": count, "held_out": held_out, "characters": characters}
    artifacts.finish(directory, "clean", {}, {}, {"languages": entries})
    return directory


def write_tokens(directory: Path, corpus: Path) -> Path:
    """Manifest of tokens made from the corpus, as a report requires it, without tokens."""
    made_of = {"corpus_0": artifacts.digest_of_manifest(corpus)}
    body = {"token_dtype": "<u2", "vocabulary": VOCABULARY, "languages": {}}
    artifacts.finish(directory, "tokenize", {}, made_of, body)
    return directory


def measure(directory: Path, pages: int, corpus: Path, tokens: Path) -> dict[str, float]:
    sides = {
        side: [write_run(directory / f"{side}{n}", pages, experts, n, tokens) for n in (0, 1)]
        for side, experts in (("baseline", None), ("candidate", EXPERTS))
    }
    text = f"--corpus={corpus}", f"--tokens={tokens}"
    command = [sys.executable, "-m", "pipeline.cli", "report", *text]
    for side, runs in sides.items():
        command += [f"--{side}", *map(str, runs)]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([*command, f"--out={directory / 'out'}"], check=True)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - started
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "held_out_pages": pages,
        "wall_seconds": wall,
        "cpu_seconds": cpu,
        "cpu_over_limit": cpu / LIMIT_SECONDS,
        "peak_bytes_of_largest_so_far": after.ru_maxrss * 1024,
        "html_bytes": (directory / "out/index.html").stat().st_size,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pages", type=int, nargs="+", default=[2_000, 20_000, 206_000])
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        corpus = write_corpus(Path(name) / "corpus")
        tokens = write_tokens(Path(name) / "tokens", corpus)
        results = []
        for pages in asked.pages:
            results.append(measure(Path(name) / str(pages), pages, corpus, tokens))
            print(json.dumps(results[-1], indent=2), flush=True)
    RESULT.write_text(
        json.dumps({"runs": 4, "evaluations": EVALUATIONS, "sizes": results}, indent=2) + "\n"
    )


if __name__ == "__main__":
    main()
