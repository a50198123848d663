"""Starting a run with another run's weights: an imported one, or one trained on other text.

The weights become the new run's checkpoint 0, with an optimizer that has seen nothing; from there
it is a run as any other, resumed from its own checkpoints. Recipes may differ in all but the shapes
of their arrays and the vocabulary.
"""

from pathlib import Path

import equinox as eqx
import jax

from data.tokenizer import MODEL_FILE
from model.checkpoint import Checkpoints
from model.config import ModelConfig
from model.train_step import Trainer
from model.transformer import Transformer
from pipeline import evaluate, recipes
from pipeline.artifacts import ArtifactError, digest_of_contents, read_json
from pipeline.recipe import recipe_from_json


def start_from(start: Path, out: Path, trainer: Trainer) -> None:
    """Writes checkpoint 0 with the last weights of `start`, unless there is a checkpoint."""
    checkpoints = Checkpoints(out / "checkpoints")
    if not checkpoints.steps():
        arrays, _ = evaluate.restore(start, trainer, None)
        checkpoints.save(0, trainer.init()._replace(arrays=arrays))
    checkpoints.close()


def check_start(start: Path, recipe: recipes.Recipe, vocabulary: str) -> None:
    """Checks that a run's weights can be the start of a recipe's.

    Raises:
        ArtifactError: no run, other shapes, or another vocabulary than the tokens'.
    """
    if not (start / "recipe.json").exists():
        raise ArtifactError(
            f"A run was expected in {start}, which holds no recipe.json; pretrain or import one."
        )
    theirs = recipe_from_json(read_json(start / "recipe.json")["recipe"])
    if array_shapes(theirs.model) != array_shapes(recipe.model):
        raise ArtifactError(
            f"{start} has other arrays than recipe {recipe.name} ({theirs.model} against "
            f"{recipe.model}); name a recipe of its shape, or set its fields."
        )
    if digest_of_contents(start / MODEL_FILE) != vocabulary:
        raise ArtifactError(
            f"{start} has another vocabulary than the tokens; tokenize with "
            f"`mswitch vocabulary --model {start / MODEL_FILE} --out DIR` first."
        )


def array_shapes(config: ModelConfig) -> list[tuple[int, ...]]:
    """Returns the shapes of a network's arrays, in its order."""
    shapes = eqx.filter_eval_shape(Transformer.init, config, key=jax.random.key(0))
    return [leaf.shape for leaf in jax.tree.leaves(shapes)]
