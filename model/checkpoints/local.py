"""Checkpoints by Orbax: written in the background, complete or absent, restored on any mesh.

A checkpoint is a flat table from a name such as `.arrays.encoder.blocks[0].self_attention.query` to
an array, so that it can be read without the classes that wrote it. Its number is the step, which is
also the loader's whole state. Orbax writes to a temporary folder, renames it, and only then deletes
older checkpoints: a kill at any time leaves the last finished one.

A fingerprint of each array is stored with it and compared on restore
(`model/checkpoints/fingerprints.py`). Orbax itself detects missing and short files, but restored an
array with a flipped byte without an error.
"""

import logging
import shutil
import time
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jaxtyping import PyTree

from model.checkpoints.errors import CheckpointError, lacks_room, not_read, not_written, reason
from model.checkpoints.late_errors import silence_late_errors
from model.checkpoints.orbax_clock import use_monotonic_clock
from model.checkpoints.retention import Kept
from model.checkpoints.table import (
    FINGERPRINTS,
    check_unaltered,
    requested_table,
    table_of,
    verified,
)

State = TypeVar("State", bound=PyTree)
VIEW_SECONDS = 90
UNFINISHED = "*.orbax-checkpoint-tmp*"
DAMAGED = "damaged"  # name under which damaged checkpoints are set aside; never deleted


class Checkpoints:
    """The checkpoints of one run: the last two, those of every `keep_every`-th step, and chosen."""

    def __init__(
        self,
        directory: Path,
        keep_every: int = 0,
        chosen: Callable[[], Collection[int]] = tuple,
    ):
        self.directory = directory.absolute()
        use_monotonic_clock()
        silence_late_errors()
        logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax logs tracebacks of our errors
        options = ocp.CheckpointManagerOptions(
            preservation_policy=Kept(keep_every, chosen), create=True
        )
        self._manager = ocp.CheckpointManager(
            self.directory, options=options, item_handlers=ocp.StandardCheckpointHandler()
        )

    def steps(self) -> list[int]:
        """Returns the steps of all checkpoints, in order."""
        return sorted(self._manager.all_steps())

    def forget_unfinished(self) -> None:
        """Deletes the files of killed saves; only for the process that writes the run."""
        for path in self.directory.glob(UNFINISHED):
            shutil.rmtree(path)

    def save(self, step: int, state: PyTree) -> None:
        """Starts to write a checkpoint; returns once the arrays are copied from the devices.

        Raises:
            CheckpointError: if the previous one could not be written, or this host sees one that is
                not older; older ones are untouched.
        """
        try:
            begun = self._manager.save(step, args=ocp.args.StandardSave(table_of(state)))
        except Exception as error:  # Orbax and TensorStore raise classes of many libraries
            raise self._not_written(error) from error
        if not begun:  # other hosts would wait for this one
            raise CheckpointError(
                f"Checkpoint {step} could not be written to {self.directory}, where this host "
                f"still sees checkpoint {max(self.steps(), default=step)}; wait a minute, and run "
                "the same command again."
            )

    def check(self) -> None:
        """Raises the error of a save that failed in the background.

        Raises:
            CheckpointError: if one failed.
        """
        try:
            self._manager.check_for_errors()
        except Exception as error:
            raise self._not_written(error) from error

    def restore(self, step: int, shapes: State) -> State:
        """Returns the state of a checkpoint.

        Args:
            step: one of `steps()`.
            shapes: structure of the state, of `jax.ShapeDtypeStruct` with shardings; the mesh may
                differ from the one that saved.

        Raises:
            CheckpointError: if files are missing or altered.
        """
        # Not through the manager, at whose barrier the others would wait for a failed host.
        reader = ocp.StandardCheckpointHandler()
        item = ocp.args.StandardRestore(requested_table(shapes))
        table = self._read(step, partial(reader.restore, args=item))
        return verified(self.directory, step, table, shapes)

    def restore_some(
        self, step: int, shapes: PyTree, names: Collection[str]
    ) -> dict[str, jax.Array]:
        """Returns some arrays of a checkpoint by name, so that it is never whole in memory.

        Args:
            step: one of `steps()`.
            shapes: structure of the whole state, as in `restore`.
            names: names of the arrays to read.

        Raises:
            CheckpointError: if files are missing or altered.
        """
        table = requested_table(shapes)
        some = {name: table[name] for name in (*names, FINGERPRINTS)}
        arguments = ocp.checkpoint_utils.construct_restore_args(some)
        item = ocp.args.PyTreeRestore(some, restore_args=arguments, partial_restore=True)
        reader = ocp.PyTreeCheckpointHandler()
        found = self._read(step, partial(reader.restore, args=item))
        check_unaltered(self.directory, step, found, shapes)
        return {name: found[name] for name in names}

    def _read(self, step: int, read: Callable[[Any], Any]) -> dict[str, jax.Array]:
        failure: Exception | None = None
        found = {}
        try:
            found = read(self.directory / str(step) / "default")
        except Exception as error:  # classes of many libraries, as in save
            failure = error
        # What follows waits for all hosts, so none may leave alone.
        if not _on_every_host(failure is None):
            has_room = _on_every_host(not lacks_room(failure))
            raise not_read(self.directory, step, failure, has_room=has_room) from failure
        return found

    def set_aside(self, step: int) -> Path:
        """Moves a damaged checkpoint away, so that its step can be saved again.

        Returns:
            The new path.
        """
        number = 0
        while (target := self.directory.parent / f"{DAMAGED}-{step}-{number}").exists():
            number += 1
        if jax.process_index() == 0:
            (self.directory / str(step)).rename(target)
        if jax.process_count() > 1:  # no host may list the folder before the rename
            multihost_utils.sync_global_devices(f"set aside {step}")
        self._manager.reload()
        # A network file system may show a host the old folder for up to a minute.
        for _ in range(VIEW_SECONDS):
            if _on_every_host(step not in self.steps()):
                break
            time.sleep(1)
            self._manager.reload()
        return target

    def close(self) -> None:
        """Waits for the last save.

        Raises:
            CheckpointError: if it could not be written.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._not_written(error) from error
        finally:
            self._manager.close()

    def _not_written(self, error: BaseException) -> CheckpointError:
        whole = [int(path.name) for path in self.directory.iterdir() if path.name.isdigit()]
        return not_written(self.directory, whole, reason(error), "Make room or repair the disk")


def _on_every_host(here: bool) -> bool:
    if jax.process_count() == 1:
        return here
    return bool(multihost_utils.process_allgather(np.bool_(here)).all())
