"""What a run begins with: one of four, each with its checks, its inputs and its first state.

    Random()              random weights at step 0
    Weights(run)          weights of a finished run, and new moments, at step 0
    State(run, step)      the whole state of a trunk at a step; the run is its branch
    Upcycled(run, step)   the state of a dense run at a step, made that of a Switch

What was taken becomes the new run's checkpoint; the run resumes from its own checkpoints as any
other.

A branch ends with a decay of the learning rate, as losses of runs compare only at the end of their
decay. A trunk whose rate does not depend on its length serves runs of many lengths: each branch
continues the trunk's whole state at one checkpoint, reads the batches that follow, and lowers the
rate linearly to 0. Up to that step the trunk has done exactly what a run of the branch's recipe
does, so a branch ends with the same numbers as a run of its recipe from the first step on. Once it
has a checkpoint it is compared with its own claim, and no longer depends on its trunk. Source: the
warm-up, stable, decay schedule (Hu et al. 2024, MiniCPM, section 4).

A Switch is upcycled from a run of ours, finished or not, or an imported one. Where the two recipes
read the same examples, it continues at that run's step: the rate follows its recipe's schedule from
there, and no page is repeated before its epoch ends. So its `steps` count the dense ones, and a
dense run of as many steps has cost as many FLOPs. Otherwise it begins at step 0. Source:
Komatsuzaki et al. 2022 (Sparse Upcycling), who continue the schedule and keep the optimizer's
state.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import msgspec

from data.files.digests import digest_of_value
from data.files.paths import Place, exists
from data.tokens.blocks import TokenBlocks
from model import NUMERICS_VERSION
from model.conversions.upcycling import Beginning, first_state
from model.step import TrainState
from model.trainer import Trainer
from pipeline.artifacts import digest_of_manifest, head_in, is_finished, json_differences
from pipeline.errors import ArtifactError
from pipeline.hardware.hosts import on_first_host
from pipeline.recipe.recipe import Differs, Recipe, fixed_settings, recipe_to_json, step_flops
from pipeline.recipe.trainer import trainer_on
from pipeline.runs.checkpoints import write_first_checkpoint
from pipeline.runs.directory import (
    RECIPE,
    UPCYCLED,
    RunRecord,
    check_same_vocabulary,
    checkpoint_read,
    find_finished_run,
    find_run,
    requested_step,
    saved_steps,
)
from pipeline.runs.opened_run import recipe_of, restore, restore_state, wait_until_seen
from pipeline.stage import Reading
from pipeline.training.changes import later_inputs, settings_before
from pipeline.training.prepare import PreparedRun, check_disk, input_digests
from pipeline.training.shapes import carries_moments, check_network, check_one_shape


class Start:
    """What a run begins with.

    Attributes:
        step: step of the state that is taken of another run; 0 if only weights are, or nothing.
    """

    step: int

    def adapt(self, recipe: Recipe) -> Recipe:
        """Returns the recipe of a run that begins like this."""
        return recipe

    def checks(self, begun: bool) -> Sequence[Callable[[Recipe, TokenBlocks], None]]:
        """Returns the checks of a run that has a checkpoint or none."""
        return [self.check]

    def check(self, recipe: Recipe, blocks: TokenBlocks) -> None:
        """Checks that a run of a recipe on these tokens can begin like this."""

    def with_inputs(self, prepared: PreparedRun, begun: bool) -> PreparedRun:
        """Returns the run with the digests of what it begins with among its inputs."""
        return prepared

    def first_step(self, prepared: PreparedRun) -> int:
        """Returns the step of the run's first state."""
        return self.step

    def reads(self) -> Sequence[Reading]:
        """Returns the checkpoint that a run begins with, if it is another run's."""
        return ()

    def begin(self, prepared: PreparedRun, trainer: Trainer) -> dict[str, Any]:
        """Writes the first checkpoint, unless there is one; returns what recipe.json records."""
        return {}


class Random(Start):
    """Random weights at step 0, which are not written: the training loop draws them."""

    step = 0


@dataclass(frozen=True)
class Weights(Start):
    """Weights of a finished run, and new moments.

    Attributes:
        run: directory of the run.
    """

    step = 0
    run: Place

    def check(self, recipe: Recipe, blocks: TokenBlocks) -> None:
        """Checks that a recipe on these tokens can start with the run's weights.

        Raises:
            ArtifactError: if the run is not finished, or its array shapes, slope or vocabulary
                differ.
        """
        check_network(self.run, recipe_of(find_finished_run(self.run), self.run), recipe)
        check_same_vocabulary(self.run, blocks)

    def with_inputs(self, prepared: PreparedRun, begun: bool) -> PreparedRun:
        """Returns the run with the digest of the other run among its inputs."""
        return prepared.with_input("start", digest_of_manifest(self.run))

    def reads(self) -> Sequence[Reading]:
        """Returns the other run's best or last checkpoint."""
        return [checkpoint_read("first weights", self.run, None)]

    def begin(self, prepared: PreparedRun, trainer: Trainer) -> dict[str, Any]:
        """Writes checkpoint 0 with the best or last weights, unless there is a checkpoint.

        They are not recorded.

        Raises:
            ArtifactError: if checkpoint 0 cannot be written, or the weights cannot be read.
        """

        def first() -> TrainState:
            # The other checkpoint has the state of its own optimizer.
            theirs = recipe_of(find_finished_run(self.run), self.run).optimizer
            reader = trainer_on(replace(prepared.recipe, optimizer=theirs), trainer.mesh)
            return trainer.begin_with(restore(self.run, reader, None)[0])

        write_first_checkpoint(prepared.out, first)
        return {}


@dataclass(frozen=True)
class State(Start):
    """The whole state of a trunk at a step, where a run branches off.

    Attributes:
        run: directory of the trunk, which may still be running.
        step: step of the trunk's checkpoint.
    """

    run: Place
    step: int

    def adapt(self, recipe: Recipe) -> Recipe:
        """Returns the recipe of the branch: its rate falls from `step` to its last one.

        Raises:
            ArtifactError: if the recipe ends at `step` or before, or its rate changes at a step.
        """
        if recipe.optimizer.rate_from:
            raise ArtifactError(
                f"A branch off {self.run} was asked with a rate that changes at a step, which "
                "would replace the branch's decay; train on in the run itself with --rate-from."
            )
        if not 0 < self.step < recipe.steps:
            raise ArtifactError(
                f"--branch-at {self.step} was asked of a run of {recipe.steps} steps; name a step "
                "between, or the length of the branch with --set steps=NUMBER."
            )
        decay_from = self.step / recipe.steps
        return replace(recipe, optimizer=replace(recipe.optimizer, decay_from=decay_from))

    def checks(self, begun: bool) -> Sequence[Callable[[Recipe, TokenBlocks], None]]:
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
        return [checkpoint_read("trunk", self.run, self.step)]

    def begin(self, prepared: PreparedRun, trainer: Trainer) -> dict[str, Any]:
        """Writes the trunk's state as first checkpoint, unless there is one; returns the record."""
        write_first_checkpoint(
            prepared.out, lambda: restore_state(self.run, trainer, self.step)[0], self.step
        )
        described = exists(prepared.out / RECIPE)  # then the trunk may be gone
        upcycled = find_run(prepared.out if described else self.run).upcycled
        more = {} if upcycled is None else {UPCYCLED: msgspec.structs.asdict(upcycled)}
        return {"branch": {"trunk": str(self.run), "at": self.step}, **more}

    def check(self, recipe: Recipe, blocks: TokenBlocks) -> None:
        """Checks that a run of `recipe` on these tokens would have had the trunk's state.

        Raises:
            ArtifactError: if the trunk has no such checkpoint, has begun to decay before it, or
                differs in another setting, input or version of the numerics.
        """
        about = find_run(self.run)
        if about.pruned is not None:
            raise ArtifactError(
                f"A branch off {self.run} was asked, which was pruned and has no optimizer state "
                f"of its own; begin a new run with --start {self.run}."
            )
        theirs = recipe_of(about, self.run)
        changed = [rate.step for rate in theirs.optimizer.rate_from if rate.step < self.step]
        if changed:
            raise ArtifactError(
                f"A branch off {self.run} was asked at step {self.step}, and the rate of that run "
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
                f"A branch off {self.run} was asked with other settings ({'; '.join(lines)}); "
                "repeat the trunk's recipe and settings, with another number of steps."
            )
        falls_from = round(theirs.optimizer.decay_from * theirs.steps)
        if falls_from < self.step:
            raise ArtifactError(
                f"A branch off {self.run} was asked at step {self.step}, and the rate of that run "
                f"falls from step {falls_from} on; train the trunk with optimizer.decay_from=1."
            )
        wait_until_seen(self.run)
        steps = saved_steps(self.run)
        if self.step not in steps:
            raise ArtifactError(
                f"Checkpoint {self.step} of {self.run} was asked for, which has {steps}; name one "
                "of these, or train the trunk with --set keep_every=NUMBER."
            )

    def inputs(self, own: Mapping[str, str]) -> dict[str, str]:
        """Returns the digests of the inputs of the branch, and of its trunk up to the branch.

        Raises:
            ArtifactError: if one that both read has changed since the trunk read it.
        """
        about = find_run(self.run)
        changes = recipe_of(about, self.run).mixture_from
        later = {
            name
            for mixture in changes
            if mixture.step >= self.step
            for name in later_inputs(mixture.step)
        }
        theirs = {name: digest for name, digest in about.inputs.items() if name not in later}
        changed = sorted(k for k in own.keys() & theirs.keys() if own[k] != theirs[k])
        if changed:
            raise ArtifactError(
                f"A branch off {self.run} was asked with other contents of {', '.join(changed)} "
                "than the trunk read; restore them, or train a trunk on what is there now."
            )
        return {**own, **theirs}

    def _shared_settings(self, recipe: Recipe) -> dict[str, Any]:
        """Returns the settings that a branch and its trunk have in common."""
        settings = settings_before(recipe_to_json(recipe), self.step)
        del settings["optimizer"]["decay_from"]  # which `check` compares with the trunk's
        return fixed_settings(settings, Differs.BRANCH)


# What decides example i: inputs and settings.
TEXT, SETTINGS = ("tokens", "vocabulary", "weights"), ("seed", "rows", "inputs", "mixture")


@dataclass(frozen=True)
class Upcycled(Start):
    """The state of a dense run at a step, as which a Switch begins.

    Attributes:
        run: directory of the dense run.
        step: step of its checkpoint; where examples begin anew, the Switch begins at 0.
        logits: standard deviation of the first router logits.
        noise: noise on the experts' copies, relative to each matrix.
        about: the dense run's recipe.json.
    """

    run: Place
    step: int
    logits: float
    noise: float
    about: RunRecord

    @cached_property
    def dense(self) -> Recipe:
        """The parent's recipe."""
        return recipe_of(self.about, self.run)

    @property
    def imported(self) -> bool:
        """Whether the parent has never been trained here, so that it has no moments."""
        return self.step == 0

    def with_inputs(self, prepared: PreparedRun, begun: bool) -> PreparedRun:
        """Returns the run with what identifies its first state among its inputs."""
        check_disk(prepared.recipe, prepared.out, self.first_step(prepared))  # perhaps from 0 on
        return prepared.with_input(UPCYCLED, self.identity())

    def reads(self) -> Sequence[Reading]:
        """Returns the dense run's checkpoint."""
        return [checkpoint_read("dense run", self.run, self.step)]

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
                f"each expert is a copy of step {self.step:,} of {self.run}, with {moments}; "
                f"{text}."
            )
            beginning = Beginning(begins_at, prepared.recipe.seed, self.logits, self.noise, carries)
            dense = trainer_on(recipe, trainer.mesh)
            state, _ = restore_state(self.run, dense, self.step)
            return first_state(dense, trainer, beginning)(state)

        write_first_checkpoint(prepared.out, first, begins_at)
        record = {
            "run": str(self.run),
            "recipe": recipe.name,
            "seed": recipe.seed,
            "step": self.step,
            "begins_at": begins_at,
            "parameters": self.about.parameters,
            "flops": None if self.imported else step_flops(recipe) * self.step,
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
                f"--upcycle {self.run} was asked of recipe {recipe.name}, which is dense; name "
                "a Switch of the same widths."
            )
        if self.dense.model.switch is not None:
            raise ArtifactError(
                f"--upcycle needs a dense run, and {self.run} has "
                f"{self.dense.model.switch.experts} experts; begin with its weights: --start."
            )
        check_one_shape(self.dense, recipe, self.run)
        check_same_vocabulary(self.run, blocks)

    def why_anew(self, prepared: PreparedRun) -> list[str]:
        """Returns the reasons why a run cannot continue the parent's examples; none if it can."""
        ours, theirs = prepared.recipe, self.dense
        if self.imported:
            return ["an imported run"]
        if theirs.stage != "pretrain":
            return [f"a run of `mswitch {theirs.stage}`"]
        read = [self._read(of) for of in ((theirs, self.about.inputs), (ours, prepared.inputs))]
        return json_differences(read[0], read[1])

    def _read(self, of: tuple[Recipe, Mapping[str, str]]) -> dict[str, Any]:
        """Returns the inputs and settings of a run's examples before the parent's step."""
        recipe, inputs = of
        later = [mixture for mixture in recipe.mixture_from if mixture.step < self.step]
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
        if prepared.recipe.steps <= self.step:
            raise ArtifactError(
                f"{prepared.recipe.steps:,} steps were asked for, which include the {self.step:,} "
                f"steps of {self.run}; set a larger total with --set steps=NUMBER."
            )
        return self.step

    def identity(self) -> str:
        """Returns the identity of a run's first state; a resumed run must have the same.

        The parent's number of steps is not part of it.
        """
        recipe = self.dense
        read = {name: self.about.inputs.get(name) for name in TEXT}
        network_and_text = digest_of_value([recipe_to_json(recipe)["model"], read])
        drawn = f"logits {self.logits}, noise {self.noise}"
        return f"{recipe.name}, seed {recipe.seed}, step {self.step}, {drawn}, {network_and_text}"


def upcycled_run(
    parent: Place, asked: int | None, logits: float, noise: float, out: Place
) -> Upcycled:
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
    return Upcycled(parent, at, logits, noise, about)


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
