"""A Switch that begins as a dense run: its weights, moments, schedule and examples go on.

The parent is a run of ours, finished or not, or an imported one. The first state is made by
`model/conversions/upcycling.py`, in a program that `plan` compiles too. Where the two recipes read
the same examples, the Switch continues at the parent's step: the rate follows its recipe's schedule
from there, and no page is repeated before its epoch ends. So its `steps` count the dense ones, and
a dense run of as many steps has cost as many FLOPs. Otherwise it begins at step 0. Source:
Komatsuzaki et al. 2022 (Sparse Upcycling), who continue the schedule and keep the optimizer's
state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax

from data.files.digests import digest_of_value
from data.files.paths import Place, exists
from data.tokens.blocks import TokenBlocks
from model.config import ConfigurationError, ModelConfig
from model.conversions.upcycling import first_arrays, first_moments
from model.step import TrainState
from model.trainer import Trainer
from pipeline.artifacts import is_finished, json_differences
from pipeline.errors import ArtifactError
from pipeline.hardware.hosts import on_first_host
from pipeline.recipe.recipe import Recipe, recipe_to_json, step_flops
from pipeline.recipe.trainer import trainer_on
from pipeline.runs.directory import (
    RECIPE,
    UPCYCLED,
    RunRecord,
    check_same_vocabulary,
    checkpoint_read,
    find_run,
    requested_step,
    saved_steps,
)
from pipeline.runs.opened_run import recipe_of, restore_state, wait_until_seen
from pipeline.stage import Reading
from pipeline.training.begin import PreparedRun, check_disk
from pipeline.training.changes import later_inputs
from pipeline.training.origins import Check, Origin, write_first_checkpoint

NOISE = 2**32 - 2  # key of the experts' noise within the seed's; FIRST_WEIGHTS is another


class Beginning(NamedTuple):
    """How a Switch begins as a dense run.

    Attributes:
        step: first step of the Switch.
        seed: seed of its routers and of the noise.
        logits: standard deviation of the first router logits.
        noise: noise on the experts' copies, relative to each matrix.
        carries_moments: whether the dense run's optimizer state is carried.
    """

    step: int
    seed: int
    logits: float
    noise: float
    carries_moments: bool


def first_state(dense: Trainer, switch: Trainer, beginning: Beginning) -> jax.stages.Wrapped:
    """Returns the function from a dense run's state to the first state of a Switch.

    The Switch's random state is drawn inside, so that the compiler leaves out all of it that is
    replaced: only routers are drawn, and no second state of the Switch is in memory.
    """

    def first(state: TrainState) -> TrainState:
        drawn = switch.init()
        arrays = first_arrays(
            state.arrays,
            drawn.arrays,
            logits=beginning.logits,
            noise=beginning.noise,
            key=jax.random.fold_in(jax.random.key(beginning.seed), NOISE),
        )
        carries = beginning.carries_moments
        moments = first_moments(state, drawn) if carries else drawn.optimizer
        return TrainState(arrays, moments, drawn.step + beginning.step)

    return jax.jit(first, in_shardings=(dense.shardings,), out_shardings=switch.shardings)


# What decides an upcycled network's arrays and function, besides its switch layers.
SHAPE = (
    *("vocabulary_rows", "embed", "heads", "head", "mlp", "layers"),
    *("feed_forward", "tied_logits", "distance_slope"),
)
# What decides example i: inputs and settings.
TEXT, SETTINGS = ("tokens", "vocabulary", "weights"), ("seed", "rows", "inputs", "mixture")


@dataclass(frozen=True)
class Upcycling(Origin):
    """The dense run that a Switch begins as.

    Attributes:
        parent: directory of the dense run.
        at: step of its checkpoint.
        logits: standard deviation of the first router logits.
        noise: noise on the experts' copies, relative to each matrix.
        about: the parent's recipe.json.
    """

    parent: Place
    at: int
    logits: float
    noise: float
    about: RunRecord

    @cached_property
    def dense(self) -> Recipe:
        """The parent's recipe."""
        return recipe_of(self.about, self.parent)

    @property
    def imported(self) -> bool:
        """Whether the parent has never been trained here, so that it has no moments."""
        return self.at == 0

    @property
    def known_step(self) -> int:
        """The parent's step; where examples begin anew, `with_inputs` checks the disk from 0 on."""
        return self.at

    def checks(self, begun: bool) -> Sequence[Check]:
        """Returns the comparison with the dense run, which resumed runs need too."""
        return [self.check]

    def with_inputs(self, prepared: PreparedRun, begun: bool) -> PreparedRun:
        """Returns the run with what identifies its first state among its inputs."""
        check_disk(prepared.recipe, prepared.out, self.first_step(prepared))  # or refuses
        return prepared.with_input(UPCYCLED, self.identity())

    def reads(self) -> Sequence[Reading]:
        """Returns the dense run's checkpoint."""
        return [checkpoint_read("dense run", self.parent, self.at)]

    def begin(self, prepared: PreparedRun, trainer: Trainer) -> dict[str, Any]:
        """Writes the Switch's first state, unless there is one; returns what is recorded of it.

        The record goes into recipe.json and the manifest; its `flops` are those of training.

        Raises:
            ArtifactError: if the parent's checkpoint cannot be read, or ours not written.
        """
        recipe, begins_at = self.dense, self.first_step(prepared)

        def first() -> TrainState:
            carries = not self.imported and carries_moments(recipe, prepared.recipe)
            moments = "its moments" if carries else "new moments"
            why = "; ".join(self.why_anew(prepared))
            text = f"examples and schedule begin at step 0 ({why})" if why else "its examples go on"
            prepared.announce(
                f"each expert is a copy of step {self.at:,} of {self.parent}, with {moments}; "
                f"{text}."
            )
            beginning = Beginning(begins_at, prepared.recipe.seed, self.logits, self.noise, carries)
            dense = trainer_on(recipe, trainer.mesh)
            state, _ = restore_state(self.parent, dense, self.at)
            return first_state(dense, trainer, beginning)(state)

        write_first_checkpoint(prepared.out, first, begins_at)
        record = {
            "run": str(self.parent),
            "recipe": recipe.name,
            "seed": recipe.seed,
            "step": self.at,
            "begins_at": begins_at,
            "parameters": self.about.parameters,
            "flops": None if self.imported else step_flops(recipe) * self.at,
            "logits": self.logits,
            "noise": self.noise,
        }
        return {UPCYCLED: record}

    def check(self, recipe: Recipe, blocks: TokenBlocks) -> None:
        """Checks that a recipe on these tokens can begin as the parent.

        Raises:
            ArtifactError: if the recipe is dense, the parent is sparse, or their vocabularies
                differ.
            ConfigurationError: if the recipe has what no dense run has, or another shape.
        """
        if recipe.model.switch is None:
            raise ArtifactError(
                f"--upcycle {self.parent} was asked of recipe {recipe.name}, which is dense; name "
                "a Switch of the same widths."
            )
        if self.dense.model.switch is not None:
            raise ArtifactError(
                f"--upcycle needs a dense run, and {self.parent} has "
                f"{self.dense.model.switch.experts} experts; begin with its weights: --start."
            )
        check_one_shape(self.dense, recipe, self.parent)
        check_same_vocabulary(self.parent, blocks)

    def why_anew(self, run: PreparedRun) -> list[str]:
        """Returns the reasons why a run cannot continue the parent's examples; none if it can."""
        ours, theirs = run.recipe, self.dense
        if self.imported:
            return ["an imported run"]
        if theirs.stage != "pretrain":
            return [f"a run of `mswitch {theirs.stage}`"]
        read = [self._read(of) for of in ((theirs, self.about.inputs), (ours, run.inputs))]
        return json_differences(read[0], read[1])

    def _read(self, of: tuple[Recipe, Mapping[str, str]]) -> dict[str, Any]:
        """Returns the inputs and settings of a run's examples before the parent's step."""
        recipe, inputs = of
        later = [mixture for mixture in recipe.mixture_from if mixture.step < self.at]
        names = (*TEXT, *(name for mixture in later for name in later_inputs(mixture.step)))
        settings = {name: getattr(recipe, name) for name in SETTINGS}
        # Not where their tokens lie, of which the digests are compared.
        mixtures = {"mixture_from": [(mixture.step, mixture.mixture) for mixture in later]}
        return {name: inputs.get(name) for name in names} | settings | mixtures

    def first_step(self, prepared: PreparedRun) -> int:
        """Returns the first step of a run: the parent's if its examples go on, otherwise 0.

        Raises:
            ArtifactError: if the run has no more steps than the parent.
        """
        if self.why_anew(prepared):
            return 0
        if prepared.recipe.steps <= self.at:
            raise ArtifactError(
                f"{prepared.recipe.steps:,} steps were asked for, which include the {self.at:,} "
                f"steps of {self.parent}; set a larger total with --set steps=NUMBER."
            )
        return self.at

    def identity(self) -> str:
        """Returns the identity of a run's first state; a resumed run must have the same.

        The parent's number of steps is not part of it.
        """
        recipe = self.dense
        read = {name: self.about.inputs.get(name) for name in TEXT}
        origin = digest_of_value([recipe_to_json(recipe)["model"], read])
        drawn = f"logits {self.logits}, noise {self.noise}"
        return f"{recipe.name}, seed {recipe.seed}, step {self.at}, {drawn}, {origin}"


def upcycled(
    parent: Place, asked: int | None, logits: float, noise: float, out: Place
) -> Upcycling:
    """Returns the dense run that a Switch in `out` begins as, or began as.

    Every host must call this.

    Args:
        parent: directory of the dense run.
        asked: step of its checkpoint; None for that of a Switch that has begun, or of a finished
            run.
        logits: standard deviation of the first router logits.
        noise: noise on the experts' copies, relative to each matrix.
        out: directory of the Switch.

    Raises:
        ArtifactError: if there is no such run or checkpoint, or an unfinished run is named without
            a step.
    """
    wait_until_seen(parent)
    about = find_run(parent)
    at = on_first_host(lambda: _step_of_parent(parent, asked, out))
    return Upcycling(parent, at, logits, noise, about)


def _step_of_parent(parent: Place, asked: int | None, out: Place) -> int:
    """Returns the step of the dense run whose checkpoint the Switch begins with, or began with.

    Raises:
        ArtifactError: if there is no such checkpoint, or no step of an unfinished run is named.
    """
    if saved_steps(out):  # it has begun, and needs the dense run no more
        recorded = find_run(out).upcycled if exists(out / RECIPE) else None
        step = recorded.step if asked is None and recorded is not None else asked
        if step is not None:
            return step
    if asked is None and not is_finished(parent):
        raise ArtifactError(
            f"{parent} is still training; name one of its checkpoints with --upcycle-at "
            f"({', '.join(map(str, saved_steps(parent)))})."
        )
    return requested_step(parent, asked)


def check_one_shape(dense: Recipe, recipe: Recipe, parent: Place | str) -> None:
    """Checks that a Switch has the shape of a dense run, and nothing that no dense run has.

    Args:
        dense: recipe of the dense run.
        recipe: recipe of the Switch.
        parent: how the user named the dense run.

    Raises:
        ConfigurationError: if it has biases of experts, a shared expert or another shape.
    """
    switch = recipe.model.switch
    if switch is not None and (switch.has_biases or switch.shared_mlp):
        raise ConfigurationError(
            f"--upcycle {parent} was asked of recipe {recipe.name}, which has biases of experts or "
            "a shared expert; biases would outweigh routers near zero, and a shared expert is not "
            "a copy of the dense run, so leave bias_rate, quantile_rate and shared_mlp 0."
        )
    if different := json_differences(shape_of(dense.model), shape_of(recipe.model), "model"):
        raise ConfigurationError(
            f"{parent} has another shape than recipe {recipe.name} ({different[0]}); name a recipe "
            "of its shape, or set its fields."
        )


def shape_of(model: ModelConfig) -> dict[str, Any]:
    """Returns the settings of a network in which a dense run and its Switch must agree."""
    return {name: getattr(model, name) for name in SHAPE}


def carries_moments(dense: Recipe, switch: Recipe) -> bool:
    """Returns whether a Switch can go on with the optimizer state of a dense run."""
    return dense.optimizer.rule == switch.optimizer.rule
