"""The tracked run at Weights & Biases: recorded in `RUN/wandb` alone unless WANDB_MODE is `online`.

`wandb sync RUN/wandb/offline-run-*` sends the records later. WANDB_PROJECT and WANDB_ENTITY name
another place. Only what is added is recorded: no code, no package list, nothing about the machine.
"""

import importlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.training.log.tracking import PROJECT, TrackedRun

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # nothing goes out unless asked for
wandb: Any = importlib.import_module("wandb")  # of an extra, so no type checker finds it

STEP = (
    "step"  # x axis of all curves; the library's own steps may not go back, as a resumed run's do
)
SETTINGS: dict[str, Any] = {
    "silent": True,
    "console": "off",
    "symlink": False,
    "save_code": False,
    "disable_git": True,
    "x_disable_stats": True,
    "x_disable_meta": True,
    "x_save_requirements": False,
    "init_timeout": 30,
    "login_timeout": 1,  # seconds for a person to type a key, which nobody is asked for
    "finish_timeout": 50,
    "finish_timeout_raises": True,  # so a caution says that the last numbers are missing
}


class WandbRun:
    """One tracked run.

    Args:
        run: the library's run.
        directory: directory of the training run, or a temporary one in its place.
        is_temporary: whether the directory goes with the run.
    """

    def __init__(self, run: Any, directory: Path, is_temporary: bool):
        self.run, self.identity, self.directory = run, str(run.id), directory
        self.is_temporary = is_temporary

    def add(self, numbers: Mapping[str, float], step: int) -> None:
        """Adds numbers of a step, by name."""
        self.run.log({STEP: step, **numbers})

    def end(self, state: str) -> None:
        """Ends the run, with its state in the summary."""
        self.run.summary["state"] = state
        self.run.finish(exit_code=int(state == "failed"))
        _remove_links(self.directory)
        if self.is_temporary:
            shutil.rmtree(self.directory)


def start(tracked: TrackedRun) -> WandbRun:
    """Begins the tracked run, or continues it; its files do not stay if the run is in a store."""
    here = tracked.directory
    directory = here if isinstance(here, Path) else Path(tempfile.mkdtemp(prefix="mswitch-"))
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        name=tracked.directory.name,
        id=tracked.identity or secrets.token_hex(4),
        resume="allow",
        dir=str(directory),
        mode=os.environ.get("WANDB_MODE", "offline"),
        config=dict(tracked.recipe),
        settings=wandb.Settings(**SETTINGS),
    )
    run.define_metric("*", step_metric=STEP)
    _remove_links(directory)
    return WandbRun(run, directory, is_temporary=not isinstance(here, Path))


def _remove_links(directory: Path) -> None:
    """Removes the library's link to a log of its own, as every command refuses a link in a run."""
    for path in (directory / "wandb").rglob("*"):
        if path.is_symlink():
            path.unlink()
