"""A run before it is trained: its checks and its claim.

Every check that needs no compilation is made before the first step, and all failures are reported
together. A run on a pod waits in a queue. If it failed one check at a time, each correction would
wait in the queue again.
"""

import functools
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from data.examples.mixture import make_schedule, parse, weights_file
from data.files.digests import digest_of_contents
from data.files.paths import Place, exists
from data.tokens.blocks import TokenBlocks
from model.memory import checkpoint_bytes
from model.sharding.mesh import make_mesh
from pipeline.artifacts import Claim, claim, digest_of_manifest
from pipeline.errors import REFUSALS, ArtifactError
from pipeline.fields import CacheOptions, TrackerName
from pipeline.hardware.batches import share_of
from pipeline.hardware.compile_cache import keep_compiled_programs
from pipeline.hardware.hosts import held_by_first_host, is_first, on_first_host
from pipeline.recipe.fits import check_sizes
from pipeline.recipe.recipe import Differs, Recipe, fixed_settings, recipe_to_json, with_rows
from pipeline.runs.checkpoints import KEPT
from pipeline.runs.directory import RECIPE, find_run
from pipeline.stage import Identity, nearest, output_lock
from pipeline.terminal import Terminal
from pipeline.tokens.opened_blocks import (
    check_blocks,
    check_held_out,
    check_vocabulary,
    open_blocks,
    training_sizes,
)
from pipeline.training.changes import agreement_of, check_later, later_digests, open_later
from pipeline.training.description import check_numerics
from pipeline.training.log.time_account import TimeAccount
from pipeline.training.log.tracking import check_trackers
from pipeline.training.profile import check_profile

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class PreparedRun:
    """A run that passed all checks.

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
        return fixed_settings(recipe_to_json(self.recipe), Differs.UNCLAIMED)


def prepare(
    recipe: Recipe,
    tokens: str,
    out: Place,
    *,
    checks: Sequence[Callable[[Recipe, TokenBlocks], None]] = (),
    first: int = 0,
    profile: tuple[int, int] | None,
    track: tuple[TrackerName, ...],
    cache: CacheOptions,
) -> PreparedRun:
    """Opens the tokens and makes every check that needs no compilation.

    Args:
        recipe: recipe with its overrides; its vocabulary rows may be those of the tokens.
        tokens: directory or address of the tokens.
        out: the run's directory.
        checks: further checks, called with the resolved recipe and the opened token blocks.
        first: step of the run's first state.
        profile: first and last step to trace; None for no trace.
        track: trackers that also get the run's numbers.
        cache: cache for blocks of an object store.

    Raises:
        ArtifactError: if any check fails; the message lists all failures.
    """
    prepared = unchecked_run(recipe, out, profile, track)
    blocks = open_blocks(tokens, cache)
    later = open_later(recipe, blocks, cache)
    recipe = with_rows(recipe, blocks.manifest.vocabulary.vocabulary_rows)
    more = [functools.partial(check, recipe, blocks) for check in checks]
    traced = functools.partial(check_profile, profile, recipe.steps)
    changed = functools.partial(check_later, recipe, blocks, later)
    check_start(recipe, blocks, out, [changed, traced, *more], first)
    inputs = input_digests(recipe, blocks) | later_digests(recipe, later)
    return replace(prepared, recipe=recipe, blocks=blocks, later=later, inputs=inputs)


def unchecked_run(
    recipe: Recipe,
    out: Place,
    profile: tuple[int, int] | None,
    track: tuple[TrackerName, ...],
) -> PreparedRun:
    """Returns a run without inputs, of which only trackers and the recipe there are checked yet.

    Raises:
        ArtifactError: if a tracker is not installed, or the recipe of the directory's run was
            changed by another program.
    """
    account, console = TimeAccount(), Terminal(stderr=True)
    on_first_host(lambda: exists(out / RECIPE) and bool(find_run(out)))
    on_first_host(lambda: check_trackers(track, out))
    keep_compiled_programs()
    return PreparedRun(
        recipe=recipe,
        out=out,
        inputs={},
        profile=profile,
        track=track if is_first() else (),
        account=account,
        console=console,
    )


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
    sentences: dict[str, None] = {}  # once each: several checks read the mesh
    for check in checks:
        try:
            check()
        except REFUSALS as error:
            sentences[str(error)] = None
    if len(sentences) == 1:
        raise ArtifactError(*sentences)
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
    size = checkpoint_bytes(recipe.model, recipe.optimizer)
    best = recipe.finetuning is not None  # and kept beside the last ones
    every = recipe.keep_every
    preserved = max(recipe.steps // every - first // every, 0) if every else 0
    count = KEPT + best + 1 + preserved
    files = (path for path in (out / "checkpoints").rglob("*") if path.is_file())
    written = sum(path.stat().st_size for path in files)
    needs = max(count * size - written, 0)
    free = shutil.disk_usage(nearest(out)).free
    if needs > free:
        raise ArtifactError(
            f"{count} checkpoints of {size / GIB:.2f} GiB are to go to {out}, which needs "
            f"{needs / GIB:.2f} GiB more; {free / GIB:.2f} GiB are free. Make room or name another "
            "--out."
        )


@contextmanager
def claimed_run(prepared: PreparedRun) -> Iterator[Claim]:
    """Holds the lock on the run's directory and claims it; prints if it is finished.

    The first host does both for all. It is `pipeline.stage.claimed` for a run, whose settings may
    have changed.

    Raises:
        LockHeld: if another command works on the directory.
        ArtifactError: if the directory holds something else, or a run with other settings or
            another numerics version.
    """
    with held_by_first_host(lambda: output_lock(prepared.out, prepared.recipe.stage)):
        there = Claim(on_first_host(lambda: _claim(prepared)))
        if there is Claim.FINISHED:
            prepared.console.print(f"{prepared.recipe.stage}: {prepared.out} is finished.")
        yield there


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
    state = claim(out, stage, *prepared.identity)
    if state is Claim.UNFINISHED:
        check_numerics(out)
    return state


def input_digests(recipe: Recipe, blocks: TokenBlocks) -> dict[str, str]:
    """Returns the digest of each input of a run: tokens, vocabulary, a file of mixture weights."""
    inputs = {
        "tokens": digest_of_manifest(blocks.directory),
        "vocabulary": blocks.manifest.vocabulary.sha256,
    }
    if weights := weights_file(recipe.mixture):
        inputs["weights"] = digest_of_contents(weights)
    return inputs
