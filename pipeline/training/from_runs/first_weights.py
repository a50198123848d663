"""First weights from another run: an imported run, or a run trained on other text.

The weights become the new run's checkpoint 0, with a fresh optimizer state; the run resumes from
its own checkpoints as any other. The two recipes must agree in the shapes of their arrays, in the
slope of their position biases and in the vocabulary only.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import jax

from data.files.paths import Place
from data.tokens.blocks import TokenBlocks
from model.config import ModelConfig
from model.step import TrainState
from model.trainer import Trainer
from model.transformer import transformer_shapes
from pipeline.artifacts.claims import digest_of_manifest
from pipeline.artifacts.differences import json_differences
from pipeline.artifacts.intent import Reading
from pipeline.errors import ArtifactError
from pipeline.hardware.coordination import on_first_host
from pipeline.recipe.recipe import Recipe
from pipeline.recipe.trainer import trainer_on
from pipeline.runs.directory import check_same_vocabulary, checkpoint_read, find_finished_run
from pipeline.runs.open import recipe_of, restore
from pipeline.runs.stored_checkpoints import open_checkpoints
from pipeline.training.from_runs.origin import Check, Origin
from pipeline.training.prepared import PreparedRun
from pipeline.training.save_errors import explain_save_errors


@dataclass(frozen=True)
class Start(Origin):
    """Weights of a finished run, and new moments.

    Attributes:
        run: directory of the run.
    """

    run: Place

    def checks(self, begun: bool) -> Sequence[Check]:
        """Returns the comparison with the other run's network and vocabulary."""
        return [partial(check_weights, self.run)]

    def with_inputs(self, prepared: PreparedRun, begun: bool) -> PreparedRun:
        """Returns the run with the digest of the other run among its inputs."""
        return prepared.with_input("start", digest_of_manifest(self.run))

    def reads(self) -> Sequence[Reading]:
        """Returns the other run's best or last checkpoint."""
        return [checkpoint_read("first weights", self.run, None)]

    def begin(self, prepared: PreparedRun, trainer: Trainer) -> dict[str, Any]:
        """Writes checkpoint 0 with these weights, unless there is one; they are not recorded."""
        start_from(self.run, prepared.out, trainer, prepared.recipe)
        return {}


def start_from(start: Place, out: Place, trainer: Trainer, recipe: Recipe) -> None:
    """Writes checkpoint 0 with the best or last weights of `start`, unless there is a checkpoint.

    Args:
        start: the run whose weights are read, with the state of its own optimizer.
        out: directory of the new run.
        trainer: the new run's.
        recipe: the new run's.

    Raises:
        ArtifactError: if checkpoint 0 cannot be written, or the weights cannot be read.
    """

    def first() -> TrainState:
        theirs = recipe_of(find_finished_run(start), start).optimizer
        reader = trainer_on(replace(recipe, optimizer=theirs), trainer.mesh)
        return trainer.begin_with(restore(start, reader, None)[0])

    write_first_checkpoint(out, first)


def write_first_checkpoint(out: Place, first: Callable[[], TrainState], step: int = 0) -> None:
    """Writes the first checkpoint of a run, unless the run has a checkpoint.

    Args:
        out: the run's directory.
        first: returns the state to write; called only if it is written.
        step: step of the state.

    Raises:
        ArtifactError: if the checkpoint cannot be written.
    """
    with explain_save_errors(out):
        checkpoints = open_checkpoints(out / "checkpoints")
        if not on_first_host(checkpoints.steps):
            checkpoints.save(step, first())
        checkpoints.close()


def check_weights(start: Place, recipe: Recipe, blocks: TokenBlocks) -> None:
    """Checks that a recipe on these tokens can start with a run's weights.

    Raises:
        ArtifactError: if the run is not finished, or its array shapes, slope or vocabulary differ.
    """
    check_network(start, recipe_of(find_finished_run(start), start), recipe)
    check_same_vocabulary(start, blocks)


def check_network(start: Place, theirs: Recipe, recipe: Recipe) -> None:
    """Checks that a run's weights fit a recipe's network: its arrays' shapes and its slope.

    Args:
        start: directory of the run, for the message.
        theirs: its recipe.
        recipe: recipe that begins with its weights.

    Raises:
        ArtifactError: if array shapes or the slope differ.
    """
    if weight_layout(theirs.model) != weight_layout(recipe.model):
        lines = "; ".join(json_differences(asdict(theirs.model), asdict(recipe.model), "model"))
        raise ArtifactError(
            f"{start} has another shape than recipe {recipe.name} ({lines}); name a recipe of its "
            "shape, or set its fields."
        )


def weight_layout(config: ModelConfig) -> tuple[list[tuple[int, ...]], float]:
    """Returns what two networks must share for the weights of one to fit the other.

    These are the shapes of the arrays, in the order of the leaves, and the position biases' slope.
    """
    shapes = jax.tree.leaves(transformer_shapes(config))
    return [leaf.shape for leaf in shapes], config.distance_slope
