"""What a network learns when its loss falls in a step: probes of a run's kept checkpoints.

    python experiments/falls.py --tokens TOKENS --runs RUN [RUN ...] --out falls.csv

The columns are in `probes.py`. Needs runs with `keep_every`, such as those of `decayed.py`.
Results: docs/results/falls.md.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from probes import NAMES, probes_of

from data.examples.held_out_batches import batches, held_out_pages
from model.batch import Batch, Call
from pipeline.arguments import CacheOptions
from pipeline.runs.directory import saved_steps
from pipeline.runs.opened_run import load_run, restore
from pipeline.tokens.opened_blocks import open_blocks


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What is probed, and on what."""

    tokens: str
    """Tokens that the runs were trained on."""
    runs: tuple[Path, ...]
    """Runs with kept checkpoints."""
    out: Path
    """Table, a row per run and checkpoint."""
    batches: int = 16
    """Number of held-out batches of the run's rows."""
    first: int = 0
    """First step to probe."""
    last: int | None = None
    """Last step to probe; all that were kept by default."""


def main(arguments: Arguments) -> None:
    """Writes the table, run by run."""
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with arguments.out.open("w", newline="", buffering=1) as file:
        writer = csv.DictWriter(file, ["run", "step", *NAMES], restval="")
        writer.writeheader()
        for run in arguments.runs:
            writer.writerows(rows_of(arguments, run))


def rows_of(arguments: Arguments, run: Path) -> Iterator[dict[str, Any]]:
    """Yields the row of each kept checkpoint of a run."""
    recipe, trainer = load_run(run)
    blocks = open_blocks(arguments.tokens, CacheOptions())
    sentinel = blocks.manifest.vocabulary.first_sentinel
    pages = held_out_pages(blocks)
    windows = batches(pages, recipe.lengths, first_sentinel=sentinel, rows=recipe.rows)
    held_out = [
        Batch(jnp.array(window.inputs), jnp.array(window.targets), jnp.array(window.page))
        for window in islice(windows, arguments.batches)
    ]
    probe = jax.jit(probes_of(trainer.model, Call(trainer.mesh), sentinel))
    last = max(saved_steps(run)) if arguments.last is None else arguments.last
    for step in (step for step in saved_steps(run) if arguments.first <= step <= last):
        arrays, _ = restore(run, trainer, step)
        probes = [probe(arrays, batch) for batch in held_out]
        means = {name: f"{np.mean([values[name] for values in probes]):.4f}" for name in probes[0]}
        row = {"run": f"{run.parent.name}/{run.name}", "step": step, **means}
        print(row, flush=True)
        yield row


if __name__ == "__main__":
    main(tyro.cli(Arguments))
