"""All checks that need no compilation; their failures are reported together.

A run on a pod waits in a queue. If it failed one check at a time, each correction would wait in the
queue again.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax

from data.examples.mixture import make_schedule, parse
from data.files.paths import Place
from data.tokens.blocks import TokenBlocks
from model.checkpoints.retention import KEPT
from model.memory import checkpoint_bytes
from model.sharding.mesh import make_mesh
from pipeline.artifacts.intent import nearest
from pipeline.errors import REFUSALS, ArtifactError
from pipeline.hardware.batch_rows import share_of
from pipeline.recipe.fits import check_sizes
from pipeline.recipe.recipe import Recipe
from pipeline.tokens.checks import check_blocks, check_held_out, check_vocabulary
from pipeline.tokens.open_blocks import training_sizes

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
