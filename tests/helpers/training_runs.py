"""Small training runs: their settings, and what two equal runs have in common."""

import contextlib
import functools
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import forked
import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.files.paths import Place, local_copy, names_in, read_bytes
from model.sharding.layouts import by_path
from model.trainer import Trainer, make_trainer
from pipeline import cli
from pipeline.recipe import trainer as recipe_trainer
from pipeline.runs.directory import saved_steps
from pipeline.runs.opened_run import load_run, restore

ROOT = Path(__file__).parents[2]
STEPS, EVERY = 12, 3
SIZES = [
    *("log_every=1", "rows=8", "inputs=64", "model.vocabulary_rows=384", "model.embed=16"),
    *("model.heads=2", "model.head=8", "model.mlp=16"),
]
MESH = ["mesh.data=2", "mesh.expert=4"]
EXPERTS = [
    f"model.switch.{setting}"
    for setting in ("experts=4", "encoder_group_tokens=64", "decoder_group_tokens=14")
]
# The settings of the run that test_pretrain.py repeats and that teaches in test_distill.py.
SETTINGS = (
    *(f"steps={STEPS}", f"checkpoint_every={EVERY}", "evaluate_every=6"),
    *(*SIZES, *EXPERTS, *MESH),
)
UNTIMED = ("seconds", "tokens_per_second")
LAUNCHER = str(Path(__file__).parents[1] / "pipeline/commands/training/mswitch_killed.py")


def start(
    command: list[str], *, launcher: tuple[str, ...] = ("-m", "pipeline.cli"), **environment: str
) -> subprocess.Popen[str]:
    """Starts `mswitch` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, *launcher, *command],
        cwd=ROOT,
        env=os.environ | environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def killed(command: list[str], moment: str, step: int) -> tuple[int, str]:
    """Runs `mswitch` until it is killed or stopped at a moment that `mswitch_killed.py` defines.

    Returns:
        The exit status and standard error.
    """
    process = forked.start(LAUNCHER, [moment, str(step), "--", *command])
    _, printed = process.communicate()
    return process.returncode, printed


def ran(*words: object) -> int:
    """Runs a command in this process; returns its exit status."""
    return cli.run(list(map(str, words)))


def refused(capsys: Any, *words: object) -> str:
    """Runs a command that must end with status 2; returns its message in one line."""
    capsys.readouterr()
    assert ran(*words) == 2
    return " ".join(capsys.readouterr().err.split())


def arrays_of(run: Place) -> tuple[dict[str, np.ndarray], int]:
    """Returns the arrays of a run's last checkpoint by name, and its step."""
    _, trainer = load_run(run)
    arrays, step = restore(run, trainer, None)
    return {name: np.asarray(leaf) for name, leaf in by_path(arrays).items()}, step


def lines(run: Place) -> list[dict]:
    """Returns the lines of metrics.jsonl without the numbers that a clock decides."""
    found = [json.loads(line) for line in read_bytes(run / "metrics.jsonl").splitlines()]
    return [{k: v for k, v in line.items() if k not in UNTIMED} for line in found]


def parameters(run: Place, at: int) -> list[np.ndarray]:
    """Returns the arrays of the last checkpoint, which must be of step `at`."""
    _, trainer = load_run(run)
    assert saved_steps(run)[-1] == at
    arrays, _ = restore(run, trainer, at)
    return [np.asarray(leaf) for leaf in jax.tree.leaves(arrays)]


def assert_same_run(one: Place, other: Place, at: int) -> None:
    """Metrics, parameters and evaluations are equal to the bit."""
    assert lines(one) == lines(other)
    for left, right in zip(parameters(one, at), parameters(other, at), strict=True):
        np.testing.assert_array_equal(left, right)
    assert names_in(one / "evaluation") == names_in(other / "evaluation")
    for name in names_in(one / "evaluation"):
        here, there = (table(run / "evaluation" / name) for run in (one, other))
        assert here.equals(there)


def table(path: Place) -> pa.Table:
    """Returns a Parquet file, local or in a store."""
    with local_copy(str(path)) as copy:
        return pq.read_table(copy)


# Of as many recipes as a few files use; a trainer holds its compiled programs.
_remembered = functools.lru_cache(maxsize=8)(make_trainer)


@contextlib.contextmanager
def one_trainer_per_recipe() -> Iterator[None]:
    """Caches `make_trainer` within such blocks: runs of one recipe are traced once per process.

    A trainer is a function of its arguments, so no run can tell the difference.
    """
    signature = inspect.signature(make_trainer)

    def make(*given: Any, **named: Any) -> Trainer:
        bound = signature.bind(*given, **named)
        bound.apply_defaults()
        teaches = (
            bound.arguments["distillation"] is not None
        )  # a network is not a key of a dictionary
        return (make_trainer if teaches else _remembered)(*bound.args, **bound.kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe_trainer, "make_trainer", make)
        yield
