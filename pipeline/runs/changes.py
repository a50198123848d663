"""`RUN/changes.json`: the settings of a run that were changed on a resume, in order.

Each entry has the step of the checkpoint that the run went on from. JAX is not imported.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct, to_builtins

from data.files.json_files import Count, read_json, write_json
from data.files.paths import Place, exists

CHANGES = "changes.json"


class ChangedSetting(Struct, frozen=True):
    """One setting that was changed on a resume.

    Attributes:
        step: number of steps made before.
        setting: name of the setting in the recipe.
        before: its value until then; None for what was added to a list.
        after: its value from then on.
    """

    step: Count
    setting: str
    before: Any
    after: Any

    def __str__(self) -> str:
        was = "" if self.before is None else f"{json.dumps(self.before)} -> "
        return f"after step {self.step:,}: {self.setting} {was}{json.dumps(self.after)}"


class Changes(Struct, frozen=True):
    """changes.json."""

    changes: tuple[ChangedSetting, ...] = ()


def recorded_changes(run: Place) -> tuple[ChangedSetting, ...]:
    """Returns the changes of a run, in order; none if it was never changed."""
    path = run / CHANGES
    return read_json(path, Changes).changes if exists(path) else ()


def record_changes(run: Place, changes: Sequence[ChangedSetting]) -> None:
    """Adds changes to a run's; those that a killed command has just recorded are not repeated."""
    there = recorded_changes(run)
    if changes and there[-len(changes) :] != tuple(changes):
        write_json(run / CHANGES, {"changes": changes_to_json((*there, *changes))})


def changes_to_json(changes: Sequence[ChangedSetting]) -> list[dict[str, Any]]:
    """Returns changes as JSON values."""
    return to_builtins(list(changes))


def lines_of(run: Place) -> Iterator[str]:
    """Yields each change in words."""
    yield from map(str, recorded_changes(run))
