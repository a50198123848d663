"""A run that branches off another one, the trunk, and ends with a decay of the learning rate.

Losses of runs compare only at the end of their decay. A trunk whose rate does not depend on its
length serves runs of many lengths: each branch continues the trunk's whole state at one checkpoint,
reads the batches that follow, and lowers the rate linearly to 0. Up to that step the trunk has done
exactly what a run of the branch's recipe does, so a branch ends with the same numbers as a run
of its recipe from the first step on. Once it has a checkpoint it is compared with its own claim,
and no longer depends on its trunk. Source: the warm-up, stable, decay schedule
(Hu et al. 2024, MiniCPM, section 4).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import msgspec

from data.files.paths import Place, exists
from data.tokens.blocks import TokenBlocks
from model import NUMERICS_VERSION
from model.config import RateFrom
from model.trainer import Trainer
from pipeline.artifacts.claims import head_in
from pipeline.artifacts.differences import json_differences
from pipeline.artifacts.intent import Reading
from pipeline.errors import ArtifactError
from pipeline.recipe.mixture_from import MixtureFrom
from pipeline.recipe.recipe import FREE, Recipe, recipe_to_json
from pipeline.runs.directory import RECIPE, checkpoint_read, find_run, saved_steps
from pipeline.runs.open import recipe_of, restore_state
from pipeline.runs.record import UPCYCLED
from pipeline.runs.seen_by_all import wait_until_seen
from pipeline.training.changes.later_tokens import later_inputs
from pipeline.training.from_runs.first_weights import write_first_checkpoint
from pipeline.training.from_runs.origin import Check, Origin
from pipeline.training.prepared import PreparedRun, input_digests

# What a branch may set otherwise than its trunk: nothing that acts before the branch.
OWN = {*FREE, "name", "steps", "evaluate_every", "checkpoint_every", "log_every"}


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

    def adapted(self, recipe: Recipe) -> Recipe:
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
        theirs = recipe_of(about, self.trunk)
        if changed := [one.step for one in theirs.optimizer.rate_from if one.step < self.at]:
            raise ArtifactError(
                f"A branch off {self.trunk} was asked at step {self.at}, and the rate of that run "
                f"changes at step {changed[0]}, which a branch cannot repeat; branch off before, "
                "or train on in the run itself with --rate-from."
            )
        inputs = input_digests(recipe, blocks)
        lines = json_differences(
            self._fixed(theirs) | {"inputs": {name: about.inputs.get(name) for name in inputs}},
            self._fixed(recipe) | {"inputs": inputs},
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
        later = {name for one in changes if one.step >= self.at for name in later_inputs(one.step)}
        theirs = {name: digest for name, digest in about.inputs.items() if name not in later}
        changed = sorted(k for k in own.keys() & theirs.keys() if own[k] != theirs[k])
        if changed:
            raise ArtifactError(
                f"A branch off {self.trunk} was asked with other contents of {', '.join(changed)} "
                "than the trunk read; restore them, or train a trunk on what is there now."
            )
        return {**own, **theirs}

    def _fixed(self, recipe: Recipe) -> dict[str, Any]:
        """Returns the settings that a branch and its trunk have in common."""
        value = {name: one for name, one in recipe_to_json(recipe).items() if name not in OWN}
        optimizer = {k: v for k, v in value["optimizer"].items() if k != "decay_from"}
        optimizer["rate_from"] = self._before(recipe.optimizer.rate_from)
        mixtures = self._before(recipe.mixture_from)
        return value | {"optimizer": optimizer, "mixture_from": mixtures}

    def _before(self, changes: Sequence[MixtureFrom | RateFrom]) -> list[dict[str, Any]]:
        """Returns what began before the branch; of tokens whether they changed, not where they lie.

        Digests of those that both name are compared.
        """
        before = [asdict(one) for one in changes if one.step < self.at]
        return [one | {"tokens": bool(one.get("tokens"))} for one in before]
