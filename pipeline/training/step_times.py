"""Step times of two finished runs, measured in turns in one process.

A run's own log has the seconds of its steps too, but beside whatever else the machine did. Here
both runs are restored and take turns. Each round measures some steps of both sides, one side after
the other, and every second round reverses the order. So what slows the machine for longer than a
round slows both alike. A step is the run's own: the program that training compiles, on the state of
its last checkpoint, on the batches that would come next. Batches lie on the devices before a clock
starts. As in training, one step is in flight while the next is dispatched.
docs/decisions/step-times.md.

`step_times.json` has the seconds of every round. `mswitch report --step-times` makes a time
speed-up of them. The runs are only read. Several hosts cannot be timed: one machine holds all
devices of both meshes.
"""

import os
import platform
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from itertools import islice
from statistics import median
from typing import Any, NamedTuple

import jax
import msgspec

from data.examples.loader import ExampleSource
from data.files.digests import digest_of_contents
from data.files.json_files import write_json
from data.files.paths import Place
from data.tokens.blocks import TokenBlocks
from model import NUMERICS_VERSION
from model.batch import Batch
from model.sharding.mesh import make_mesh
from model.step import StepMetrics, TrainState
from pipeline.artifacts import (
    STEP_TIMES,
    code_version,
    digest_of_manifest,
    read_head,
    source_commit,
)
from pipeline.errors import ArtifactError
from pipeline.fields import CacheOptions
from pipeline.following import corpus_of, new_beside, option
from pipeline.hardware.compile_cache import keep_compiled_programs
from pipeline.recipe.recipe import Recipe
from pipeline.recipe.trainer import trainer_on
from pipeline.runs.directory import RECIPE, checkpoint_read, find_finished_run, requested_step
from pipeline.runs.finished import (
    TIME_FILE,
    MeasuredRun,
    Round,
    StepTimesRecord,
    read_metrics,
)
from pipeline.runs.opened_run import recipe_of, restore_state
from pipeline.stage import UNKNOWN, Identity, Intent, Job, Outcome, staged_job
from pipeline.tokens.opened_blocks import open_blocks
from pipeline.training.changes import later_digests, open_later
from pipeline.training.log.live_view import duration
from pipeline.training.loop import global_batches
from pipeline.training.prepare import input_digests
from pipeline.training.run import make_examples, tokens_read

ROUNDS = 20  # an even number, so that each side goes first equally often
WARM_UP = 1  # rounds before these, which are not counted


class RunToLoad(NamedTuple):
    """A finished run that passed all checks.

    Attributes:
        directory: directory of the run.
        recipe: its recipe.
        examples: its training examples.
    """

    directory: Place
    recipe: Recipe
    examples: ExampleSource


def timing(
    sides: Mapping[str, Place],
    tokens: str,
    out: Place,
    steps: int,
    deterministic: bool,
    cache: CacheOptions,
) -> Job:
    """Returns the job that times the steps of two runs.

    Args:
        sides: directories of the runs, `baseline` and `candidate`.
        tokens: directory or address of the tokens that both were trained on.
        out: directory for the record.
        steps: number of steps per round and side.
        deterministic: whether sums have a fixed order on GPUs.
        cache: cache for blocks of an object store.

    Raises:
        ArtifactError: if a run is not a finished one of `pretrain` on these tokens and on as many
            devices as are here, or the two runs do not compare.
    """
    recipes = {side: recipe_to_time(run) for side, run in sides.items()}
    check_same_batches(sides, recipes)
    blocks = open_blocks(tokens, cache)
    runs = {
        side: run_to_load(run, recipes[side], blocks, tokens, cache) for side, run in sides.items()
    }
    measured = {side: measured_run(run) for side, run in runs.items()}
    digests = {side: run.recipe_sha256 for side, run in measured.items()}
    at = {f"{side}_step": run.step for side, run in measured.items()}
    intent = Intent(
        stage=STEP_TIMES.stages[0],
        reads=[
            *(checkpoint_read(side, run, None) for side, run in sides.items()),
            tokens_read(blocks, tokens),
        ],
        writes=TIME_FILE,
        out=out,
        identity=Identity(
            {"steps": steps, "deterministic": deterministic, **at},
            {**digests, "tokens": digest_of_manifest(blocks.directory)},
        ),
        work=f"{WARM_UP + ROUNDS} rounds of {steps} steps of each run, in turns; both in memory "
        "together",
        time=expected_time(sides.values(), steps),
    )
    return staged_job(intent, partial(time_steps, runs, measured, tokens, out, steps))


def recipe_to_time(directory: Place) -> Recipe:
    """Returns the recipe of a finished run whose step this machine can compile again.

    Raises:
        ArtifactError: if there is none.
    """
    about = find_finished_run(directory)
    if (stage := read_head(directory).stage) != "pretrain":
        raise ArtifactError(
            f"{directory} was written by {stage}, and only steps of `mswitch pretrain` are timed; "
            "name a run that it finished."
        )
    if not about.has_todays_steps:
        raise ArtifactError(
            f"{directory} was trained with numerics version {about.numerics_version}, and this "
            f"mswitch computes version {NUMERICS_VERSION}, whose step is another one; use the "
            "mswitch that trained it."
        )
    recipe = recipe_of(about, directory)
    shape, here = recipe.mesh, len(jax.devices())
    if (needs := shape.data * shape.expert * shape.model) != here:
        raise ArtifactError(
            f"{directory} was trained on a mesh of {needs} devices, and this machine has {here}; "
            "time it on a machine like that of the training, or compare plans (`mswitch plan`)."
        )
    return recipe


def check_same_batches(places: Mapping[str, Place], recipes: Mapping[str, Recipe]) -> None:
    """Checks that steps of both runs hold equally many tokens, which step speed-ups count.

    Raises:
        ArtifactError: if not.
    """
    (first, second), sizes = places.values(), [(r.rows, r.inputs) for r in recipes.values()]
    if sizes[0] != sizes[1]:
        (rows, inputs), (others, other_inputs) = sizes
        raise ArtifactError(
            f"A step of {first} has {rows} rows of {inputs} tokens and one of {second} has "
            f"{others} of {other_inputs}; name runs whose steps hold equally many."
        )


def run_to_load(
    directory: Place, recipe: Recipe, blocks: TokenBlocks, tokens: str, cache: CacheOptions
) -> RunToLoad:
    """Returns a run with its training examples.

    Raises:
        ArtifactError: if it was trained on other tokens.
    """
    later = open_later(recipe, blocks, cache)
    here = input_digests(recipe, blocks) | later_digests(recipe, later)
    trained_on = find_finished_run(directory).inputs
    if other := [name for name, digest in here.items() if trained_on.get(name) != digest]:
        raise ArtifactError(
            f"{directory} was trained on other tokens than {tokens} ({', '.join(other)} differ); "
            "name the directory that it was trained on."
        )
    return RunToLoad(directory, recipe, make_examples(recipe, blocks, later))


def measured_run(run: RunToLoad) -> MeasuredRun:
    """Returns the record of a run."""
    return MeasuredRun(
        run=str(run.directory),
        recipe=run.recipe.name,
        seed=run.recipe.seed,
        step=requested_step(run.directory, None),
        recipe_sha256=digest_of_contents(run.directory / RECIPE),
    )


def expected_time(runs: Iterable[Place], steps: int) -> str:
    """Returns the time of all rounds at the speed that the runs logged, in words."""
    logged = [
        [pace for line in read_metrics(run / "metrics.jsonl") if (pace := line.get("seconds"))]
        for run in runs
    ]
    if not all(logged):
        return UNKNOWN
    seconds = sum(map(median, logged)) * steps * (WARM_UP + ROUNDS)
    return f"{duration(seconds)} by the logs of the runs, after both steps are compiled"


def time_steps(
    runs: Mapping[str, RunToLoad],
    measured: Mapping[str, MeasuredRun],
    tokens: str,
    out: Place,
    steps: int,
) -> Outcome:
    """Measures the step times and writes their record.

    Args:
        runs: the two runs by side.
        measured: what is recorded of each.
        tokens: the tokens as the user named them, for the next command.
        out: directory for the record.
        steps: number of steps per round and side.
    """
    keep_compiled_programs()
    record = StepTimesRecord(
        **measured,
        steps_per_round=steps,
        rounds=measure(runs, steps),
        devices=tuple(device.device_kind for device in jax.devices()),
        machine={"system": platform.platform(), "processors": len(os.sched_getaffinity(0))},
        versions=versions(),
    )
    path = out / TIME_FILE
    write_json(path, msgspec.to_builtins(record))
    is_comparison = record.baseline.recipe_sha256 != record.candidate.recipe_sha256
    return Outcome(
        {"sha256": digest_of_contents(path)},
        f"{record.in_words()}, in {path}",
        following=next_command(record, tokens, out) if is_comparison else (),
    )


def next_command(record: StepTimesRecord, tokens: str, times: Place) -> Iterator[object]:
    """Yields the words of a report with the times."""
    yield from ("report", "--baseline", record.baseline.run, "--candidate", record.candidate.run)
    yield from (*option("--corpus", [corpus_of(tokens)]), "--tokens", tokens)
    yield from ("--step-times", times, "--out", new_beside(times, "report"))


def measure(runs: Mapping[str, RunToLoad], steps: int) -> tuple[Round, ...]:
    """Returns the seconds of all rounds."""
    made = steps * (WARM_UP + ROUNDS)
    baseline, candidate = (load(runs[side], made) for side in ("baseline", "candidate"))
    return take_turns(baseline, candidate, steps)


class LoadedRun:
    """A run on the devices; its state moves on in memory alone.

    Args:
        step: compiled training step.
        state: state to go on from; it is donated to the first step.
        batches: batches on the devices, one per step.
    """

    def __init__(self, step: jax.stages.Compiled, state: TrainState, batches: Sequence[Batch]):
        self.step, self.state = step, state
        self._batches = iter(batches)
        self.metrics: StepMetrics | None = None

    def seconds(self, steps: int) -> float:
        """Makes steps; returns the wall time until the state and all metrics are there."""
        batches = list(islice(self._batches, steps))
        jax.block_until_ready((self.state, batches))
        started = time.perf_counter()
        for batch in batches:
            before = self.metrics
            self.state, self.metrics = self.step(self.state, batch)
            jax.block_until_ready(before)
        jax.block_until_ready((self.state, self.metrics))
        return time.perf_counter() - started


def load(run: RunToLoad, steps: int) -> LoadedRun:
    """Returns a run on the devices of its mesh, with its step compiled and its next batches.

    Args:
        run: the run.
        steps: number of steps that it will make.

    Raises:
        ArtifactError: if its checkpoint cannot be read.
    """
    mesh, rows = make_mesh(run.recipe.mesh), run.recipe.rows
    trainer = trainer_on(run.recipe, mesh)
    state, at = restore_state(run.directory, trainer, None)
    batches = list(islice(global_batches(run.examples, mesh, rows, at), steps))
    assert isinstance(trainer.step, jax.stages.Wrapped)  # nothing is compiled yet
    return LoadedRun(trainer.step.lower(state, batches[0]).compile(), state, batches)


def take_turns(baseline: LoadedRun, candidate: LoadedRun, steps: int) -> tuple[Round, ...]:
    """Returns the seconds of all rounds that count.

    Args:
        baseline, candidate: the two sides.
        steps: number of steps per round and side.
    """
    sides = {"baseline": baseline, "candidate": candidate}
    rounds = []
    for number in range(WARM_UP + ROUNDS):
        order = list(sides) if number % 2 else list(reversed(sides))
        seconds = {f"{name}_seconds": sides[name].seconds(steps) for name in order}
        rounds.append(Round(first=order[0], **seconds))  # pyright: ignore[reportArgumentType]
    return tuple(rounds[WARM_UP:])


def versions() -> dict[str, Any]:
    """Returns the versions of everything that made the steps."""
    return {
        "mswitch": code_version(),
        "commit": source_commit(),
        "numerics": NUMERICS_VERSION,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": version("jaxlib"),
    }
