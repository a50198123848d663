"""A training command before it trains: its checks, its claim, and what the directory records.

Every check that needs no compilation is made before the first step, and all failures are reported
together. A run on a pod waits in a queue. If it failed one check at a time, each correction would
wait in the queue again.

Compiled programs are kept in a cache. Its keys are the program, the devices and the versions of JAX
and XLA. A hit returns the same binary, so a resumed run computes the same bits as an uninterrupted
one, unless the binary itself does not (on GPUs without `--deterministic`). An entry truncated by a
kill is detected on reading, and the program is compiled again.

Recorded is how often each language is read. One epoch is all training tokens of a language once.
Small languages repeat most: with temperature 0.3 and 10^12 tokens, the smallest of mC4 are read
more than 100 times.
"""

import functools
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.table import Column, Table

from data.examples.loader import ExampleSource
from data.examples.mixture import make_schedule, parse, weights_file
from data.examples.pretraining_examples import Examples, Exposure
from data.files.atomic import write_bytes
from data.files.digests import digest_of_contents
from data.files.growing_files import WorkingFolder
from data.files.json_files import read_json, write_json
from data.files.paths import Place, exists, read_bytes
from data.tokens.blocks import TokenBlocks
from data.tokens.tokenizer import MODEL_FILE
from model import NUMERICS_VERSION
from model.config import ConfigurationError
from model.flops import forward_flops
from model.memory import checkpoint_bytes
from model.sharding.mesh import make_mesh
from model.trainer import Trainer
from model.transformer import parameter_count
from pipeline.arguments import Distill, Finetune, Pretrain, TrackerName
from pipeline.artifacts import Claim, claim, digest_of_manifest, source_commit
from pipeline.errors import REFUSALS, ArtifactError
from pipeline.hardware.batches import share_of
from pipeline.hardware.hosts import held_by_first_host, is_first, on_first_host
from pipeline.recipe.fits import check_sizes
from pipeline.recipe.recipe import FREE, Recipe, recipe_to_json, with_rows
from pipeline.runs.checkpoints import KEPT
from pipeline.runs.directory import RECIPE, RunRecord
from pipeline.stage import Identity, nearest, output_lock
from pipeline.terminal import Terminal
from pipeline.tokens.opened_blocks import (
    check_blocks,
    check_held_out,
    check_vocabulary,
    open_blocks,
    training_sizes,
)
from pipeline.training.changes import agreement_of, check_later, later_digests, lines_of, open_later
from pipeline.training.log.time_account import TimeAccount
from pipeline.training.log.tracking import check_trackers


def keep_compiled_programs() -> Path:
    """Turns the cache on and returns its directory.

    The directory is JAX_COMPILATION_CACHE_DIR if set, else mswitch/compiled in the user's cache.
    """
    directory = jax.config.values["jax_compilation_cache_dir"]
    if directory is None:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        directory = str(caches / "mswitch" / "compiled")
        jax.config.update("jax_compilation_cache_dir", directory)
    return Path(directory)


SHOWN = 5  # number of languages at each end of the printed table


def print_exposure(languages: Mapping[str, Exposure], console: Console) -> None:
    """Prints the most and the least repeated languages."""
    ordered = sorted(languages, key=lambda code: languages[code].epochs, reverse=True)
    numbers = (Column(name, justify="right") for name in ("share %", "tokens seen", "epochs"))
    table = Table("language", *numbers, title="repeated most and least")
    for code in ordered[:SHOWN]:
        table.add_row(code, *_cells(languages[code]))
    table.add_section()
    for code in ordered[SHOWN:][-SHOWN:]:
        table.add_row(code, *_cells(languages[code]))
    console.print(table)


def _cells(row: Exposure) -> tuple[str, str, str]:
    return f"{100 * row.weight:.2f}", f"{row.tokens_seen:,}", f"{row.epochs:.3g}"


# What computes a run's numbers.
PACKAGES = "jax", "jaxlib", "equinox", "numpy"


def describe_run(
    out: Place,
    recipe: Recipe,
    trainer: Trainer,
    inputs: Mapping[str, str],
    more: Mapping[str, Any] = {},
) -> None:
    """Writes recipe.json: the resolved recipe, its inputs and what follows from them.

    Args:
        out: the run's directory.
        recipe: the resolved recipe.
        trainer: trainer of the recipe.
        inputs: digest of each input, by name.
        more: further fields.
    """
    lengths = recipe.lengths
    fields = {
        "recipe": recipe_to_json(recipe),
        "parameters": parameter_count(trainer.shapes),
        "flops_per_sequence": forward_flops(recipe.model, lengths.inputs, lengths.targets),
        "lengths": lengths._asdict(),
        "devices": [device.device_kind for device in trainer.mesh.devices.flat],
        "inputs": inputs,
        "numerics_version": _begun_with(out),
        "commits": _commits(out),
        "packages": {name: version(name) for name in PACKAGES},  # of the last start
    }
    write_json(out / RECIPE, fields | dict(more))


def check_numerics(out: Place) -> None:
    """Checks that this version of the code computes the steps of an unfinished run as it began.

    Raises:
        ArtifactError: if recipe.json records a numerics version with other steps.
    """
    path = out / RECIPE
    if exists(path) and not read_json(path, RunRecord).has_todays_steps:
        raise ArtifactError(
            f"{out} was to be resumed with numerics version {NUMERICS_VERSION} and was begun with "
            f"version {_begun_with(out)}, which computes other numbers; resume it with the mswitch "
            "that began it, or name another --out."
        )


def _commits(out: Place) -> list[str]:
    """Returns the commits that have trained a run so far, this one last; none if unknown."""
    path = out / RECIPE
    before = read_json(path, RunRecord).commits if exists(path) else ()
    now = source_commit()
    return [one for one in (*(one for one in before if one != now), now) if one is not None]


def _begun_with(out: Place) -> int:
    """Returns the numerics version that began a run; none recorded means 1."""
    path = out / RECIPE
    return read_json(path, RunRecord).numerics_version if exists(path) else NUMERICS_VERSION


def describe_data(out: Place, recipe: Recipe, examples: ExampleSource, console: Console) -> None:
    """Writes the vocabulary and mixture.json; prints the most and the least repeated languages."""
    write_bytes(out / MODEL_FILE, read_bytes(examples.vocabulary))
    languages = examples.exposure(recipe.steps * recipe.rows)
    named = {code: one._asdict() for code, one in languages.items()}
    later = {}
    if recipe.mixture_from and isinstance(examples, Examples):
        later = {"segments": segments_to_json(recipe, examples)}
        for line in lines_of(recipe, examples):
            console.print(f"{recipe.stage}: {line}", highlight=False)
    write_json(out / "mixture.json", {"languages": named, **later})
    print_exposure(languages, console)


def segments_to_json(recipe: Recipe, examples: Examples) -> list[dict[str, Any]]:
    """Returns each segment of the mixture: its first step, its tokens, its shares by language."""
    mixtures = (recipe.mixture, *(one.mixture for one in recipe.mixture_from))
    return [
        {
            "from_step": segment.first // recipe.rows,
            "mixture": mixture,
            "tokens": segment.blocks.address,
            "shares": {code: segment.schedule.share(code) for code in segment.schedule.languages},
            "begun_anew": list(segment.anew),
        }
        for mixture, segment in zip(mixtures, examples.segments, strict=True)
    ]


GIB = 2**30


def check_start(
    recipe: Recipe,
    blocks: TokenBlocks,
    out: Place,
    more: Sequence[Callable[[], object]] = (),
    first: int = 0,
) -> None:
    """Checks the recipe against tokens, devices, memory and disk; runs the further checks `more`.

    Args:
        recipe: recipe of the run.
        blocks: token blocks.
        out: the run's directory.
        more: further checks.
        first: step of the run's first state.

    Raises:
        ArtifactError: if any check fails; the message lists all failures.
    """
    checks: list[Callable[[], object]] = [
        lambda: check_vocabulary(recipe, blocks.manifest.vocabulary),
        lambda: check_blocks(blocks),
        lambda: check_mixture(recipe, blocks),
        lambda: check_evaluates(recipe, blocks),
        *machine_checks(recipe, out, first),
        *more,
    ]
    check_all(recipe.name, checks)


def machine_checks(recipe: Recipe, out: Place, first: int = 0) -> list[Callable[[], object]]:
    """Returns the checks of a recipe against devices, memory and disk."""
    return [
        lambda: check_devices(recipe),
        lambda: check_sizes(recipe),
        lambda: check_disk(recipe, out, first),
    ]


def check_all(name: str, checks: Sequence[Callable[[], object]]) -> None:
    """Makes checks and reports their failures together.

    Args:
        name: name of the recipe.
        checks: the checks.

    Raises:
        ArtifactError: if any check fails; the message lists all failures.
    """
    # Several checks read the mesh, and refuse it with the same sentence.
    sentences = list(dict.fromkeys(text for check in checks for text in _refusals(check)))
    if len(sentences) == 1:
        raise ArtifactError(sentences[0])
    if sentences:
        listed = " ".join(f"({number}) {text}" for number, text in enumerate(sentences, 1))
        raise ArtifactError(f"{name} cannot start, for {len(sentences)} reasons: {listed}")


def check_mixture(recipe: Recipe, blocks: TokenBlocks) -> None:
    """Checks that the mixture can be drawn from the languages of the blocks.

    Raises:
        DataError: if the mixture is unknown or cannot be drawn from the blocks.
    """
    make_schedule(parse(recipe.mixture, training_sizes(blocks)), recipe.seed)


def check_evaluates(recipe: Recipe, blocks: TokenBlocks) -> None:
    """Checks that there are held-out pages, unless the recipe never evaluates.

    Raises:
        ArtifactError: if there are none.
    """
    if recipe.evaluate_every:
        check_held_out(blocks, ", or train without evaluation: --set evaluate_every=0")


def check_devices(recipe: Recipe) -> None:
    """Checks that the mesh uses all devices, and that every host reads equally many rows.

    Raises:
        ConfigurationError: if the mesh has another number of devices or splits rows unevenly.
    """
    mesh = make_mesh(recipe.mesh)
    if recipe.rows % (recipe.mesh.data * recipe.mesh.expert) == 0:
        share_of(mesh, recipe.rows, jax.process_index())


def check_disk(recipe: Recipe, out: Place, first: int = 0) -> None:
    """Checks that the retained checkpoints and the one being written fit on the disk.

    A store has no size. A run that goes on from another one's step `first` keeps none before it.

    Raises:
        ArtifactError: if they need more than the free space.
    """
    if not isinstance(out, Path):
        return
    one = checkpoint_bytes(recipe.model, recipe.optimizer)
    best = recipe.finetuning is not None  # and kept beside the last ones
    every = recipe.keep_every
    preserved = max(recipe.steps // every - first // every, 0) if every else 0
    count = KEPT + best + 1 + preserved
    there = sum(path.stat().st_size for path in _files(out / "checkpoints"))
    needs = max(count * one - there, 0)
    free = shutil.disk_usage(nearest(out)).free
    if needs > free:
        raise ArtifactError(
            f"{count} checkpoints of {one / GIB:.2f} GiB are to go to {out}, which needs "
            f"{needs / GIB:.2f} GiB more; {free / GIB:.2f} GiB are free. Make room or name another "
            "--out."
        )


def _refusals(check: Callable[[], object]) -> Iterator[str]:
    try:
        check()
    except REFUSALS as error:
        yield str(error)


def _files(directory: Path) -> Iterator[Path]:
    return (path for path in directory.rglob("*") if path.is_file())


def check_profile(steps: tuple[int, int] | None, of_run: int) -> None:
    """Checks that the steps to trace are steps of a run.

    Args:
        steps: first and last step to trace; None for no trace.
        of_run: number of steps of the run.

    Raises:
        ConfigurationError: if a step is not one of the run's, or the last precedes the first.
    """
    if steps is not None and not 1 <= steps[0] <= steps[1] <= of_run:
        raise ConfigurationError(
            f"--profile {steps[0]} {steps[1]} was asked of a run of {of_run} steps; name the first "
            "and the last step to trace, counted from 1."
        )


class Profile:
    """A trace of the steps first to last, counted from 1.

    Args:
        steps: first and last step to trace; None for no trace.
        directory: directory in which `plugins/profile/` is written.
    """

    def __init__(self, steps: tuple[int, int] | None, directory: Place):
        self.first, self.last = steps or (0, -1)
        self.directory = directory
        self.folder: WorkingFolder | None = None  # while a trace is taken

    def check_resumed(self, first: int, announce: Callable[[str], None]) -> None:
        """Announces that steps which an earlier start of the run made are not traced."""
        if 0 < self.first <= first:
            done = min(first, self.last)
            announce(f"steps {self.first} to {done} were made before; they are not traced.")

    @contextmanager
    def around(self, step: int) -> Iterator[None]:
        """Surrounds one step."""
        if self.folder is None and self.first <= step <= self.last:  # it may resume in between
            self.folder = WorkingFolder(self.directory)
            jax.profiler.start_trace(str(self.folder.here))
        with jax.profiler.StepTraceAnnotation("step", step_num=step):
            yield
        if step == self.last:
            self.stop()

    def stop(self) -> None:
        """Ends the trace after all dispatched work is done."""
        if self.folder is not None:
            jax.block_until_ready(jax.live_arrays())  # what a step returns is on its way
            jax.profiler.stop_trace()
            self.folder.publish()
            self.folder.close()
            self.folder = None


@dataclass(frozen=True, kw_only=True)
class PreparedRun:
    """A training command whose arguments passed all checks.

    Attributes:
        recipe: resolved recipe; its `stage` is the command.
        out: the run's directory.
        inputs: digest of each input, by name; other digests make another run.
        profile: first and last step to trace; None for no trace.
        track: trackers that also get the run's numbers.
        account: account of the run's time.
        console: console for messages.
        blocks: token blocks to train on; None for a run on tasks alone.
        later: token blocks of each later mixture.
    """

    recipe: Recipe
    out: Place
    inputs: Mapping[str, str]
    profile: tuple[int, int] | None
    track: tuple[TrackerName, ...]
    account: TimeAccount
    console: Console
    blocks: TokenBlocks | None = None
    later: tuple[TokenBlocks, ...] = ()

    def with_input(self, name: str, digest: str) -> "PreparedRun":
        """Returns the run with one more input."""
        return replace(self, inputs={**self.inputs, name: digest})

    @property
    def identity(self) -> Identity:
        """What the run's directory is claimed for."""
        return Identity(self.settings, self.inputs)

    def announce(self, text: str) -> None:
        """Prints a message of the run's command."""
        self.console.print(f"{self.recipe.stage}: {text}", highlight=False)

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting that changes the run, as JSON values."""
        return {k: value for k, value in recipe_to_json(self.recipe).items() if k not in FREE}


def prepare(
    arguments: Pretrain | Distill,
    recipe: Recipe,
    more_checks: Sequence[Callable[[Recipe, TokenBlocks], None]] = (),
    first: int = 0,
) -> PreparedRun:
    """Opens the tokens and makes every check that needs no compilation.

    Args:
        arguments: the command's arguments.
        recipe: recipe with its overrides; its vocabulary rows may be those of the tokens.
        more_checks: further checks, called with the resolved recipe and the opened token blocks.
        first: step of the run's first state.

    Raises:
        ArtifactError: if any check fails; the message lists all failures.
    """
    prepared = unchecked_run(arguments, recipe)
    blocks = open_blocks(arguments.tokens, arguments.cache)
    later = open_later(recipe, blocks, arguments.cache)
    recipe = with_rows(recipe, blocks.manifest.vocabulary.vocabulary_rows)
    more = [functools.partial(check, recipe, blocks) for check in more_checks]
    traced = functools.partial(check_profile, arguments.profile, recipe.steps)
    changed = functools.partial(check_later, recipe, blocks, later)
    check_start(recipe, blocks, arguments.out, [changed, traced, *more], first)
    inputs = input_digests(recipe, blocks) | later_digests(recipe, later)
    return replace(prepared, recipe=recipe, blocks=blocks, later=later, inputs=inputs)


def unchecked_run(arguments: Pretrain | Distill | Finetune, recipe: Recipe) -> PreparedRun:
    """Returns a run without inputs, of which nothing is checked yet but its trackers.

    Raises:
        ArtifactError: if a tracker is not installed.
    """
    account, console = TimeAccount(), Terminal(stderr=True)
    on_first_host(lambda: check_trackers(arguments.track, arguments.out))
    keep_compiled_programs()
    return PreparedRun(
        recipe=recipe,
        out=arguments.out,
        inputs={},
        profile=arguments.profile,
        track=arguments.track if is_first() else (),
        account=account,
        console=console,
    )


@contextmanager
def locked_by_first_host(prepared: PreparedRun) -> Iterator[None]:
    """Holds the lock on the run's directory, on the first host, which writes for all.

    Raises:
        LockHeld: if another command works on the directory.
    """
    with held_by_first_host(lambda: output_lock(prepared.out, prepared.recipe.stage)):
        yield


def claim_run(prepared: PreparedRun) -> Claim:
    """Claims the run's directory; returns what was there, and prints if that is finished.

    Raises:
        ArtifactError: if the directory holds something else, or a run with other settings or
            another numerics version.
    """
    found = Claim(on_first_host(lambda: _claim(prepared).value))
    if found is Claim.FINISHED:
        prepared.console.print(f"{prepared.recipe.stage}: {prepared.out} is finished.")
    return found


def _claim(prepared: PreparedRun) -> Claim:
    out, stage = prepared.out, prepared.recipe.stage
    agreement = agreement_of(out, stage, prepared.identity)
    if agreement is not None and agreement.finished:
        return Claim.FINISHED
    if agreement is not None:
        check_numerics(out)
        agreement.record(out, stage, prepared.identity)
        for change in agreement.changes:
            prepared.announce(str(change))
    found = claim(out, stage, *prepared.identity)
    if found is Claim.UNFINISHED:
        check_numerics(out)
    return found


def input_digests(recipe: Recipe, blocks: TokenBlocks) -> dict[str, str]:
    """Returns the digest of each input of a run: tokens, vocabulary, a file of mixture weights."""
    inputs = {
        "tokens": digest_of_manifest(blocks.directory),
        "vocabulary": blocks.manifest.vocabulary.sha256,
    }
    if weights := weights_file(recipe.mixture):
        inputs["weights"] = digest_of_contents(weights)
    return inputs
