"""Everything that can be known to be wrong before the first compile, said at once.

A run that is started on a pod waits in a queue; one that is refused for its mesh, corrected, and
then refused for its disk has waited twice. So every check is made, and all sentences come together.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax

from data.errors import DataError
from data.examples.mixture import parse
from data.tokens.blocks import TokenBlocks
from model.checkpoint import KEPT
from model.config import ConfigurationError
from model.memory import checkpoint_bytes
from model.sharding import make_mesh
from pipeline.errors import ArtifactError
from pipeline.hardware.hosts import share_of
from pipeline.recipe.fits import check_sizes
from pipeline.recipe.recipe import Recipe
from pipeline.tokens.checks import check_blocks, check_vocabulary
from pipeline.tokens.open_blocks import training_sizes

GIB = 2**30
REFUSALS = (ArtifactError, ConfigurationError, DataError)


def check_start(
    recipe: Recipe, blocks: TokenBlocks, out: Path, also: Sequence[Callable[[], None]] = ()
) -> None:
    """Checks the recipe against tokens, devices, memory and disk; and what `also` checks.

    Raises:
        ArtifactError: one sentence, or a list of them.
    """
    checks: list[Callable[[], None]] = [
        lambda: check_vocabulary(recipe, blocks.manifest["vocabulary"]),
        lambda: check_blocks(blocks),
        lambda: check_mixture(recipe, blocks),
        lambda: check_devices(recipe),
        lambda: check_sizes(recipe),
        lambda: check_disk(recipe, out),
        *also,
    ]
    sentences = [sentence for check in checks for sentence in _refusals(check)]
    if len(sentences) == 1:
        raise ArtifactError(sentences[0])
    if sentences:
        listed = "".join(f"\n  {number}. {text}" for number, text in enumerate(sentences, 1))
        raise ArtifactError(f"{recipe.name} cannot start, for {len(sentences)} reasons:{listed}")


def check_mixture(recipe: Recipe, blocks: TokenBlocks) -> None:
    """Checks that the mixture can be drawn from these languages.

    Raises:
        DataError: an unknown mixture, or one that the blocks cannot serve.
    """
    parse(recipe.mixture, training_sizes(blocks))


def check_devices(recipe: Recipe) -> None:
    """Checks that the mesh uses the devices that there are, and shares rows evenly among hosts."""
    mesh = make_mesh(recipe.mesh)
    if recipe.rows % (recipe.mesh.data * recipe.mesh.expert) == 0:
        share_of(mesh, recipe.rows, jax.process_index())


def check_disk(recipe: Recipe, out: Path) -> None:
    """Checks that the checkpoints that are kept and the one being written fit on the disk.

    Raises:
        ArtifactError: they do not.
    """
    one = checkpoint_bytes(recipe.model, recipe.optimizer)
    there = sum(path.stat().st_size for path in _files(out / "checkpoints"))
    needs = max((KEPT + 1) * one - there, 0)
    existing = next(path for path in (out, *out.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if needs > free:
        raise ArtifactError(
            f"{KEPT + 1} checkpoints of {one / GIB:.2f} GiB are to go to {out}, which needs "
            f"{needs / GIB:.2f} GiB more; {free / GIB:.2f} GiB are free. Make room or name another "
            "--out."
        )


def _refusals(check: Callable[[], None]) -> Iterator[str]:
    try:
        check()
    except REFUSALS as error:
        yield str(error)


def _files(directory: Path) -> Iterator[Path]:
    return (path for path in directory.rglob("*") if path.is_file())
