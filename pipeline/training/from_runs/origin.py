"""What a run begins with: random weights here, what another run has learned in the subclasses.

`first_weights.Start` takes weights alone, `branch.Branch` the whole state of a trunk, and
`upcycle.Upcycling` makes a Switch of a dense run.
"""

from collections.abc import Callable, Sequence
from typing import Any

from data.tokens.blocks import TokenBlocks
from model.trainer import Trainer
from pipeline.artifacts.intent import Reading
from pipeline.recipe.recipe import Recipe
from pipeline.training.prepared import PreparedRun

Check = Callable[[Recipe, TokenBlocks], None]


class Origin:
    """Random first weights at step 0."""

    @property
    def known_step(self) -> int:
        """The first step as far as it is known before a run is prepared; 0 where it is not."""
        return 0

    def adapted(self, recipe: Recipe) -> Recipe:
        """Returns the recipe of a run that begins like this."""
        return recipe

    def checks(self, begun: bool) -> Sequence[Check]:
        """Returns checks of the recipe and the tokens, for a run that has a checkpoint or none."""
        return ()

    def with_inputs(self, prepared: PreparedRun, begun: bool) -> PreparedRun:
        """Returns the run with the digests of what it begins with among its inputs."""
        return prepared

    def first_step(self, prepared: PreparedRun) -> int:
        """Returns the step of the run's first state."""
        return self.known_step

    def reads(self) -> Sequence[Reading]:
        """Returns the checkpoint that a run begins with, if it is another run's."""
        return ()

    def begin(self, prepared: PreparedRun, trainer: Trainer) -> dict[str, Any]:
        """Writes the first checkpoint, unless there is one; returns what recipe.json records.

        Random weights are not written: the training loop makes them.
        """
        return {}
