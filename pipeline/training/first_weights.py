"""Starting a run with another run's weights: an imported one, or one trained on other text.

The weights become the new run's checkpoint 0, with an optimizer that has seen nothing; from there
it is a run as any other, resumed from its own checkpoints. Recipes may differ in all but the shapes
of their arrays and the vocabulary.
"""

from collections.abc import Callable
from pathlib import Path

import equinox as eqx
import jax

from data.tokens.blocks import TokenBlocks
from model.checkpoint import Checkpoints
from model.config import ModelConfig
from model.train_step import Trainer, TrainState
from model.transformer import Transformer
from pipeline.errors import ArtifactError
from pipeline.recipe.recipe import Recipe, recipe_from_json
from pipeline.runs.directory import check_same_vocabulary, find_finished_run
from pipeline.runs.open import restore
from pipeline.training.save_errors import explain_save_errors


def start_from(start: Path, out: Path, trainer: Trainer) -> None:
    """Writes checkpoint 0 with the last weights of `start`, unless there is a checkpoint.

    Raises:
        ArtifactError: it cannot be written, or the weights not read.
    """

    def first() -> TrainState:
        return trainer.init()._replace(arrays=restore(start, trainer, None)[0])

    write_first_checkpoint(out, first)


def write_first_checkpoint(out: Path, first: Callable[[], TrainState]) -> None:
    """Writes checkpoint 0 of a run, unless there is a checkpoint.

    Args:
        out: the run's directory.
        first: makes what is written; asked only where it is needed.

    Raises:
        ArtifactError: it cannot be written.
    """
    with explain_save_errors(out):
        checkpoints = Checkpoints(out / "checkpoints")
        if not checkpoints.steps():
            checkpoints.save(0, first())
        checkpoints.close()


def check_weights(start: Path, recipe: Recipe, blocks: TokenBlocks) -> None:
    """Checks that a run's weights can be the start of a recipe's on these tokens.

    Raises:
        ArtifactError: no finished run, other shapes, or another vocabulary than the tokens'.
    """
    theirs = recipe_from_json(find_finished_run(start)["recipe"])
    if array_shapes(theirs.model) != array_shapes(recipe.model):
        raise ArtifactError(
            f"{start} has other arrays than recipe {recipe.name} ({theirs.model} against "
            f"{recipe.model}); name a recipe of its shape, or set its fields."
        )
    check_same_vocabulary(start, blocks)


def array_shapes(config: ModelConfig) -> list[tuple[int, ...]]:
    """Returns the shapes of a network's arrays, in its order."""
    shapes = eqx.filter_eval_shape(Transformer.init, config, key=jax.random.key(0))
    return [leaf.shape for leaf in jax.tree.leaves(shapes)]
