"""What a run begins with: random weights, the weights of another run, or a trunk's whole state.

`Start` takes weights alone, `Branch` the state of a trunk at a step; `upcycling.py` makes a Switch
of a dense run. What was taken becomes the new run's checkpoint; the run resumes from its own
checkpoints as any other.

A start has a fresh optimizer state, at step 0. The two recipes must agree in the shapes of their
arrays, in the slope of their position biases and in the vocabulary only.

A branch ends with a decay of the learning rate, as losses of runs compare only at the end of their
decay. A trunk whose rate does not depend on its length serves runs of many lengths: each branch
continues the trunk's whole state at one checkpoint, reads the batches that follow, and lowers the
rate linearly to 0. Up to that step the trunk has done exactly what a run of the branch's recipe
does, so a branch ends with the same numbers as a run of its recipe from the first step on. Once it
has a checkpoint it is compared with its own claim, and no longer depends on its trunk.
Source: the warm-up, stable, decay schedule (Hu et al. 2024, MiniCPM, section 4).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import jax
import msgspec

from data.files.paths import Place, exists
from data.tokens.blocks import TokenBlocks
from model import NUMERICS_VERSION
from model.config import ModelConfig
from model.step import TrainState
from model.trainer import Trainer
from model.transformer import transformer_shapes
from pipeline.artifacts import digest_of_manifest, head_in, json_differences
from pipeline.errors import ArtifactError
from pipeline.hardware.hosts import on_first_host
from pipeline.recipe.recipe import FREE, Recipe, recipe_to_json
from pipeline.recipe.trainer import trainer_on
from pipeline.runs.checkpoints import Checkpoints, explain_save_errors
from pipeline.runs.directory import (
    RECIPE,
    UPCYCLED,
    check_same_vocabulary,
    checkpoint_read,
    find_finished_run,
    find_run,
    saved_steps,
)
from pipeline.runs.opened_run import recipe_of, restore, restore_state, wait_until_seen
from pipeline.stage import Reading
from pipeline.training.begin import PreparedRun, input_digests
from pipeline.training.changes import later_inputs, settings_before

Check = Callable[[Recipe, TokenBlocks], None]


class Origin:
    """Random first weights at step 0."""

    @property
    def known_step(self) -> int:
        """The first step as far as it is known before a run is prepared; 0 where it is not."""
        return 0

    def adapt(self, recipe: Recipe) -> Recipe:
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


@dataclass(frozen=True)
class RunWeights(Origin):
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
        checkpoints = Checkpoints(out / "checkpoints")
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
    """Returns the shapes of a network's arrays, in the order of the leaves, and its biases' slope.

    Networks that agree in them fit each other's weights.
    """
    shapes = jax.tree.leaves(transformer_shapes(config))
    return [leaf.shape for leaf in shapes], config.distance_slope


@dataclass(frozen=True)
class Branch(Origin):
    """Where a run branches off.

    Attributes:
        trunk: directory of the trunk, which may still be running.
        at: step of the trunk's checkpoint.
    """

    trunk: Place
    at: int

    @property
    def known_step(self) -> int:
        """The step of the trunk's checkpoint."""
        return self.at

    def adapt(self, recipe: Recipe) -> Recipe:
        """Returns the recipe of the branch: its rate falls from `at` to its last step.

        Raises:
            ArtifactError: if the recipe ends at `at` or before, or its rate changes at a step.
        """
        if recipe.optimizer.rate_from:
            raise ArtifactError(
                f"A branch off {self.trunk} was asked with a rate that changes at a step, which "
                "would replace the branch's decay; train on in the run itself with --rate-from."
            )
        if not 0 < self.at < recipe.steps:
            raise ArtifactError(
                f"--branch-at {self.at} was asked of a run of {recipe.steps} steps; name a step "
                "between, or the length of the branch with --set steps=NUMBER."
            )
        decay_from = self.at / recipe.steps
        return replace(recipe, optimizer=replace(recipe.optimizer, decay_from=decay_from))

    def checks(self, begun: bool) -> Sequence[Check]:
        """Returns the comparison with the trunk; none for a run that has its own checkpoint."""
        return [] if begun else [self.check]

    def with_inputs(self, prepared: PreparedRun, begun: bool) -> PreparedRun:
        """Returns the run with the inputs of its trunk, or with those that it was begun with."""
        if not begun:
            return replace(prepared, inputs=self.inputs(prepared.inputs))
        claimed = head_in(prepared.out)
        return replace(prepared, inputs={**(claimed.inputs if claimed else {}), **prepared.inputs})

    def reads(self) -> Sequence[Reading]:
        """Returns the trunk's checkpoint."""
        return [checkpoint_read("trunk", self.trunk, self.at)]

    def begin(self, prepared: PreparedRun, trainer: Trainer) -> dict[str, Any]:
        """Writes the trunk's state as first checkpoint, unless there is one; returns the record."""
        write_first_checkpoint(
            prepared.out, lambda: restore_state(self.trunk, trainer, self.at)[0], self.at
        )
        described = exists(prepared.out / RECIPE)  # then the trunk may be gone
        upcycled = find_run(prepared.out if described else self.trunk).upcycled
        more = {} if upcycled is None else {UPCYCLED: msgspec.structs.asdict(upcycled)}
        return {"branch": {"trunk": str(self.trunk), "at": self.at}, **more}

    def check(self, recipe: Recipe, blocks: TokenBlocks) -> None:
        """Checks that a run of `recipe` on these tokens would have had the trunk's state.

        Raises:
            ArtifactError: if the trunk has no such checkpoint, has begun to decay before it, or
                differs in another setting, input or version of the numerics.
        """
        about = find_run(self.trunk)
        if about.pruned is not None:
            raise ArtifactError(
                f"A branch off {self.trunk} was asked, which was pruned and has no optimizer state "
                f"of its own; begin a new run with --start {self.trunk}."
            )
        theirs = recipe_of(about, self.trunk)
        changed = [rate.step for rate in theirs.optimizer.rate_from if rate.step < self.at]
        if changed:
            raise ArtifactError(
                f"A branch off {self.trunk} was asked at step {self.at}, and the rate of that run "
                f"was changed at step {changed[0]}; branch there or before."
            )
        inputs = input_digests(recipe, blocks)
        lines = json_differences(
            self._shared_settings(theirs)
            | {"inputs": {name: about.inputs.get(name) for name in inputs}},
            self._shared_settings(recipe) | {"inputs": inputs},
        )
        if (version := about.numerics_version) != NUMERICS_VERSION:
            lines = [*lines, f"numerics version {NUMERICS_VERSION} asked, {version} found"]
        if lines:
            raise ArtifactError(
                f"A branch off {self.trunk} was asked with other settings ({'; '.join(lines)}); "
                "repeat the trunk's recipe and settings, with another number of steps."
            )
        falls_from = round(theirs.optimizer.decay_from * theirs.steps)
        if falls_from < self.at:
            raise ArtifactError(
                f"A branch off {self.trunk} was asked at step {self.at}, and the rate of that run "
                f"falls from step {falls_from} on; train the trunk with optimizer.decay_from=1."
            )
        self._check_checkpoint()

    def _check_checkpoint(self) -> None:
        wait_until_seen(self.trunk)
        steps = saved_steps(self.trunk)
        if self.at not in steps:
            raise ArtifactError(
                f"Checkpoint {self.at} of {self.trunk} was asked for, which has {steps}; name one "
                "of these, or train the trunk with --set keep_every=NUMBER."
            )

    def inputs(self, own: Mapping[str, str]) -> dict[str, str]:
        """Returns the digests of the inputs of the branch, and of its trunk up to the branch.

        Raises:
            ArtifactError: if one that both read has changed since the trunk read it.
        """
        about = find_run(self.trunk)
        changes = recipe_of(about, self.trunk).mixture_from
        later = {
            name
            for mixture in changes
            if mixture.step >= self.at
            for name in later_inputs(mixture.step)
        }
        theirs = {name: digest for name, digest in about.inputs.items() if name not in later}
        changed = sorted(k for k in own.keys() & theirs.keys() if own[k] != theirs[k])
        if changed:
            raise ArtifactError(
                f"A branch off {self.trunk} was asked with other contents of {', '.join(changed)} "
                "than the trunk read; restore them, or train a trunk on what is there now."
            )
        return {**own, **theirs}

    def _shared_settings(self, recipe: Recipe) -> dict[str, Any]:
        """Returns the settings that a branch and its trunk have in common."""
        settings = settings_before(recipe_to_json(recipe), self.at)
        del settings["optimizer"]["decay_from"]  # which `check` compares with the trunk's
        return {name: value for name, value in settings.items() if name not in {*FREE, "name"}}
