"""The settings that a resumed run may change: those that leave its past steps as they were.

The number of steps, the intervals, and mixtures and rates that begin at a later step may change,
provided that the learning rates of the steps already made stay the same. Such changes are recorded
(`runs/changes.py`) and the directory's claim is renewed. The claim refuses every other change and
prints the difference.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data.files.json_files import of_shape
from data.files.paths import Place
from model.config import OptimizerConfig
from model.optimizer import learning_rate
from pipeline.artifacts.claims import Head, head_in, is_finished, renew
from pipeline.artifacts.differences import json_differences
from pipeline.artifacts.intent import Identity
from pipeline.errors import ArtifactError
from pipeline.runs.changes import ChangedSetting, record_changes
from pipeline.runs.directory import saved_steps
from pipeline.training.evaluation.evaluation_file import forget_evaluations

NUMBERS = ("steps", "evaluate_every", "checkpoint_every", "log_every")
LISTS = ("mixture_from", "rate_from")


class Agreement(NamedTuple):
    """What a command may change in the run of its directory.

    Attributes:
        changes: settings that change; none if only a place of tokens is named otherwise.
        finished: whether the run is finished, and stays so.
        made: number of steps made, by the last checkpoint.
    """

    changes: tuple[ChangedSetting, ...]
    finished: bool
    made: int

    def record(self, out: Place, stage: str, identity: Identity) -> None:
        """Records the changes, and claims the directory for them.

        Two kinds of evaluations are removed. A killed run may have evaluated steps after its last
        checkpoint; these steps are repeated with the new settings. A lengthened run was evaluated
        at its former end, perhaps between two regular evaluations. Those at a former interval stay.
        """
        every = identity.settings["evaluate_every"]
        former = [one.before for one in self.changes if one.setting == "steps"]
        ends = [step for step in former if every and step % every]
        forget_evaluations(out, lambda step: step > self.made)
        record_changes(out, self.changes)
        renew(out, stage, *identity)
        forget_evaluations(out, lambda step: step in ends)  # a finished run no more


def agreement_of(out: Place, stage: str, identity: Identity) -> Agreement | None:
    """Returns what a command may change in its directory; None if the claim alone decides.

    The claim alone decides if the directory holds no run of this stage, if nothing changes, or if a
    setting changes that must not, which the claim refuses. It always decides for fine-tuned runs.

    Raises:
        ArtifactError: if the changes would alter steps already made.
    """
    head = head_in(out)
    settings = json.loads(json.dumps(identity.settings))
    if head is None or head.stage != stage or stage == "finetune":
        return None
    if not _only_safe(head, Identity(settings, identity.inputs)) or head.settings == settings:
        return None
    made, finished = max(saved_steps(out), default=0), is_finished(out)
    changes = changes_between(head.settings, settings, made)
    if finished and changes and settings["steps"] <= head.settings["steps"]:
        return None
    check_steps_made(out, head.settings, settings, made)
    return Agreement(changes, finished and not changes, made)


def _only_safe(head: Head, asked: Identity) -> bool:
    kept = {name: asked.inputs.get(name) for name in head.inputs}
    added = asked.inputs.keys() - head.inputs.keys()
    later = all(name.startswith(("tokens_from_", "weights_from_")) for name in added)
    return kept == head.inputs and later and _fixed(head.settings) == _fixed(asked.settings)


def _fixed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings that no resume changes."""
    found = {k: v for k, v in settings.items() if k not in (*NUMBERS, *LISTS)}
    optimizer = {k: v for k, v in settings["optimizer"].items() if k not in LISTS}
    return found | {"optimizer": optimizer}


def changes_between(
    before: Mapping[str, Any], after: Mapping[str, Any], made: int
) -> tuple[ChangedSetting, ...]:
    """Returns numbers that differ and new entries of lists; tokens that only moved are none."""
    numbers = [
        ChangedSetting(made, name, before[name], after[name])
        for name in NUMBERS
        if before[name] != after[name]
    ]
    lists = [
        ChangedSetting(made, name, None, entry)
        for name, old, new in (
            ("mixture_from", before, after),
            ("rate_from", before["optimizer"], after["optimizer"]),
        )
        for entry in new.get(name, [])
        if _placeless(entry) not in map(_placeless, old.get(name, []))
    ]
    return (*numbers, *lists)


def check_steps_made(
    out: Place, before: Mapping[str, Any], after: Mapping[str, Any], made: int
) -> None:
    """Checks that new settings keep all steps made, with their mixtures and learning rates.

    Raises:
        ArtifactError: if they ask for fewer steps, or would change the mixture or rate of one.
    """
    steps = before["steps"], after["steps"]
    if after["steps"] < made:
        raise ArtifactError(
            f"{out} has made {made:,} steps and {after['steps']:,} were asked; ask for as many or "
            "more, or name another --out."
        )
    if lines := json_differences(_mixtures(before, made), _mixtures(after, made)):
        raise ArtifactError(
            f"{out} has made {made:,} steps with other mixtures ({'; '.join(lines)}); repeat those "
            "that began before, or name another --out."
        )
    rates = [_rates(one, made, str(out)) for one in (before, after)]
    if len(other := np.flatnonzero(rates[0] != rates[1])):
        step = int(other[0])
        raise ArtifactError(
            f"{out} has made {made:,} of {steps[0]:,} steps and {steps[1]:,} were asked for; step "
            f"{step + 1:,} would then have had the learning rate {rates[1][step]:.4g} instead of "
            f"{rates[0][step]:.4g}, because decay_from is a share of the number of steps; keep "
            f"that number, or add --start {out} and name another --out to train on from its "
            "weights."
        )


def _mixtures(settings: Mapping[str, Any], made: int) -> dict[str, Any]:
    """Returns the later mixtures of the steps made."""
    return {
        f"mixture_from {one['step']}": _placeless(one)
        for one in settings.get("mixture_from", [])
        if one["step"] < made
    }


def _placeless(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a later mixture or rate without the place of its tokens: their digest is an input."""
    return {**entry, "tokens": bool(entry.get("tokens"))}


def _rates(settings: Mapping[str, Any], made: int, place: str) -> np.ndarray:
    config = of_shape(settings["optimizer"], OptimizerConfig, place)
    return np.asarray(jax.vmap(learning_rate(config, settings["steps"]))(jnp.arange(made)))
