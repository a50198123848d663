"""Which settings of a run may change when it is resumed, and which change its past.

Safe are the number of steps, the intervals, and what begins at a step that is not made yet, if the
learning rates of the steps already made stay what they were. They are recorded (`runs/changes.py`)
and the directory's claim is renewed. Everything else the claim refuses, with the difference.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data.stores.addresses import Place
from data.stores.files import exists
from data.stores.json_files import of_shape
from model.optimizer import OptimizerConfig, learning_rate
from pipeline.artifacts.claims import MANIFEST, Head, renew
from pipeline.artifacts.differences import json_differences
from pipeline.artifacts.intent import Identity
from pipeline.errors import ArtifactError
from pipeline.runs.changes import ChangedSetting, record_changes
from pipeline.runs.directory import saved_steps
from pipeline.training.changes.later_settings import head_of
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

        A run that was killed may have evaluated steps after its last checkpoint, which are made
        again with other settings. A run that is made longer may have been evaluated at its former
        end, where one planned that long would not be.
        """
        every = identity.settings["evaluate_every"]
        former = [one.before for one in self.changes if one.setting == "steps"]
        ends = [step for step in former if every and step % every]
        forget_evaluations(out, lambda step: step > self.made)
        record_changes(out, self.changes)
        renew(out, stage, *identity)
        forget_evaluations(out, lambda step: step in ends)  # a finished run no more


def agreement_of(out: Place, stage: str, identity: Identity) -> Agreement | None:
    """Returns what a command may change in its directory; None where nothing is to be agreed.

    That is so if there is no such run, if nothing changes, or if more changes than is safe, which
    the claim then refuses.

    Raises:
        ArtifactError: if the steps already made would have been others.
    """
    head = head_of(out)
    settings = json.loads(json.dumps(identity.settings))
    if head is None or head.stage != stage or stage == "finetune":
        return None
    if not _only_safe(head, Identity(settings, identity.inputs)) or head.settings == settings:
        return None
    made, finished = max(saved_steps(out), default=0), exists(out / MANIFEST)
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
    """Checks that a run has made no more steps than asked, and those with the same settings.

    Raises:
        ArtifactError: if it has.
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
            f"{out} has made {made:,} of {steps[0]:,} steps and {steps[1]:,} were asked, with "
            f"which step {step + 1:,} would have had the learning rate {rates[1][step]:.4g} and "
            f"not {rates[0][step]:.4g}, because the share decay_from of another length begins "
            f"elsewhere; to train on from its weights add --start {out} and name another --out, "
            "or keep the number of steps."
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
