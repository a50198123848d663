"""Synthetic fine-tuned runs with predictions, and losses of parallel sentences."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from synthetic_runs import recipe_in_json
from task_predictions import CLASSIFICATION, QUESTIONS, answered, classified

from data.files.json_files import write_json
from eval.experts import Usage, routing_columns
from eval.tasks.comparison import SENTENCES_SCHEMA
from pipeline import artifacts
from pipeline.runs.directory import record_score
from pipeline.runs.tasks import SENTENCES, predictions_file, write_predictions

CODES = ("en", "ru-Latn", "sw", "yo")
STEP = 200


def write_finetuned(
    directory: Path,
    *,
    experts: int | None,
    start: str = "",
    seed: int = 0,
    languages: Sequence[str] = (),
    codes: Sequence[str] = CODES,
    split: str = "test",
    sentences: int = 30,
    questions: bool = False,
) -> Path:
    """Writes a run that was fine-tuned on topics, and on questions too; its numbers are noise.

    It began as the run whose manifest has the digest `start`, by default as one named for its kind.
    """
    start = start or kind(experts)
    draw = 1000 * seed + 10 * (experts or 0) + len(languages)
    tables = [(CLASSIFICATION, classified(draw, tuple(codes), sentences))]
    if questions:
        tables.append((QUESTIONS, answered(draw)))
    learned = {"tasks": [task.name for task, _ in tables], "languages": list(languages)}
    recipe = recipe_in_json(
        experts, name="synthetic-topics", steps=400, seed=seed, finetuning=learned
    )
    directory.mkdir(parents=True)
    write_json(directory / "recipe.json", {"recipe": recipe, "inputs": {"start": start}})
    for task, table in tables:
        for step in (STEP, 400):  # the later one is not the best
            made = table.slice(0, 5) if step > STEP else table
            at = table.schema.get_field_index("split")
            made = made.set_column(at, "split", pa.array([split] * made.num_rows))
            path = predictions_file(directory, task.name, split, step)
            routing = None if experts is None else routing_of(made, experts)
            write_predictions(path, replace(task, files="{language}.jsonl"), made, routing)
    record_score(directory, STEP, 60.0)
    record_score(directory, 400, 50.0)
    artifacts.finish(directory, "finetune", {}, {}, {})
    return directory


def routing_of(table: pa.Table, experts: int) -> dict[str, list]:
    """Returns columns of a routing file in which each language has a favourite expert."""
    codes = sorted(set(table["language"].to_pylist()))
    load = np.full((2, len(codes), experts), 10)
    load[:, np.arange(len(codes)), np.arange(len(codes))] += 90
    tokens = load.sum(axis=-1)
    return routing_columns(
        Usage(load, 0 * tokens, 0.5 * tokens, tokens, 0.5 * load), codes, every=2
    )


def kind(experts: int | None) -> str:
    """Returns what a run is, in a word."""
    return "dense" if experts is None else "switch"


def write_both_sides(
    root: Path, starts: tuple[Path, Path]
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Writes two seeds per side, trained on all languages, on English, and on each alone.

    They began as the runs `starts`, which become finished.
    """
    sides = []
    for start, experts in zip(starts, (None, 8), strict=True):
        name, runs = kind(experts), []
        artifacts.finish(start, "pretrain", {}, {}, {"side": name})
        for seed in (0, 1):
            of = {"experts": experts, "seed": seed, "start": artifacts.digest_of_manifest(start)}
            runs.append(write_finetuned(root / f"{name}-{seed}", questions=True, **of))
            runs.append(write_finetuned(root / f"{name}-en-{seed}", languages=("en",), **of))
            runs += [
                write_finetuned(
                    root / f"{name}-{seed}-{code}", languages=(code,), codes=(code,), **of
                )
                for code in CODES
            ]
        sides.append(tuple(runs))
    return sides[0], sides[1]


def write_sentences(run: Path, step: int, *, seed: int, level: float, cut: Sequence[int] = ()):
    """Writes losses of ten sentences in three languages, shuffled."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "language": code,
            "identity": f"s{number}",
            "loss_nats": level + number + rng.normal(),
            "tokens": 20,
            "text_bytes": 90,
            "cut": number in cut,
        }
        for code in ("en", "sw", "ru-Latn")
        for number in range(10)
    ]
    path = predictions_file(run, "verses", SENTENCES, step)
    path.parent.mkdir(parents=True)
    table = pa.Table.from_pylist(rows, SENTENCES_SCHEMA)
    pq.write_table(table.take(rng.permutation(table.num_rows)), path)
