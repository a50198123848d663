"""Checkpoints: what is saved, where, how long it is kept and how it is read.

A checkpoint is a flat table from a name such as `.arrays.encoder.blocks[0].self_attention.query` to
an array, so that it can be read without the classes that wrote it. Its number is the step, which is
also the loader's whole state. It is written in the background, complete or absent, and restored on
any mesh. A fingerprint of each array is stored with it and compared on restore
(`model/fingerprints.py`).

On a disk and in an object store alike, arrays go through JAX's own serialization. It writes each
shard as one file through TensorStore, and calls a function on the first host once the files of all
hosts are there. What makes a checkpoint whole is a small record that the first host writes last, by
an atomic rename or one upload. Only then are older checkpoints deleted. A kill at any time leaves
the last whole one. Arrays are numbered, because their names hold characters that stores treat
differently. docs/decisions/exact-resume.md, docs/decisions/object-stores.md.
"""

import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import jax
from jax.experimental.array_serialization.serialization import GlobalAsyncCheckpointManager
from jaxtyping import PyTree
from msgspec.structs import asdict

from data.errors import DataError
from data.files.atomic import write_bytes
from data.files.json_files import write_json
from data.files.locks import check_held
from data.files.paths import Place, read_bytes, remove
from model.fingerprints import (
    altered_array,
    checkpoint_table,
    checkpoint_table_shapes,
    state_of_table,
)
from model.mixing import FINGERPRINTS
from model.step import TrainState
from pipeline.errors import ArtifactError
from pipeline.hardware.hosts import agree_on, on_first_host
from pipeline.runs.checkpoint_errors import (
    DISK_FULL,
    CheckpointError,
    damage_error,
    lacks_room,
    message_beginning,
    read_error,
    save_error,
    save_failure,
)
from pipeline.runs.directory import (
    CheckpointRecord,
    arrays_folder,
    free_name,
    record_path,
    remove_unfinished,
    steps_in,
)
from pipeline.runs.stored_arrays import WRITTEN, array_spec, array_specs

State = TypeVar("State", bound=PyTree)
KEPT = 2
LARGEST_TOKEN = 2**31
OTHER_HOSTS_SECONDS = 600  # that a host waits for the others after its own last file


class Checkpoints:
    """The checkpoints of one run: the last two, those of every `keep_every`-th step, and chosen.

    Args:
        directory: where they lie, on this machine or in a store.
        keep_every: interval of steps to keep; 0 for none.
        chosen: returns further steps to keep, such as the best one so far.
    """

    def __init__(
        self,
        directory: Place,
        keep_every: int = 0,
        chosen: Callable[[], Collection[int]] = tuple,
    ):
        self.directory = directory.absolute() if isinstance(directory, Path) else directory
        self._keep_every, self._chosen = keep_every, chosen
        self._preserved = frozenset[int]()
        self._manager = GlobalAsyncCheckpointManager(OTHER_HOSTS_SECONDS)
        self._last: int | None = None  # step of the last save

    def steps(self) -> list[int]:
        """Returns the steps of all checkpoints, in order."""
        return steps_in(self.directory)

    def forget_unfinished(self) -> None:
        """Deletes the arrays of killed saves; only for the process that writes the run.

        What an earlier start preserved stays, whatever `keep_every` is now.
        """
        remove_unfinished(self.directory)
        self._preserved = frozenset(self.steps()[:-KEPT]).difference(self._chosen())

    def save(self, step: int, state: PyTree) -> None:
        """Starts to write a checkpoint; returns once the arrays are copied from the devices.

        A step that this start of the run has saved is not saved again: its arrays may still be on
        their way, before its record makes it one of `steps()`.

        Raises:
            CheckpointError: if the previous one could not be written; older ones are untouched.
        """
        if step == self._last:
            return
        self._last, table = step, checkpoint_table(state)
        record = CheckpointRecord(f"{step}-{self._token}", list(table))
        folder = self.directory / record.folder
        specs = [array_spec(folder, number) | WRITTEN for number in range(len(table))]
        commit = partial(self._commit, step, record)
        try:
            self._manager.serialize(list(table.values()), specs, on_commit_callback=commit)
        except Exception as error:  # TensorStore, JAX and fsspec raise classes of many libraries
            raise self._not_written(error) from error

    @cached_property
    def _token(self) -> str:
        """A name that no other start of the run has, the same on all hosts."""
        return f"{on_first_host(lambda: secrets.randbelow(LARGEST_TOKEN)):08x}"

    def _commit(self, step: int, record: CheckpointRecord) -> None:
        """Makes a checkpoint whole whose arrays are all written, and forgets old ones.

        Called in a thread of the first host.
        """
        check_held(self.directory)
        write_json(record_path(self.directory, step), asdict(record))
        with suppress(DataError, OSError):  # the next save tries again
            steps = self.steps()
            kept = {*steps[-KEPT:], *self._chosen(), *self._preserved}
            for old in steps:
                if old not in kept and not (self._keep_every and old % self._keep_every == 0):
                    with suppress(DataError, OSError):  # one does not keep the others
                        self._forget(old)

    def _forget(self, step: int) -> None:
        """Removes a checkpoint, its record first: what a kill leaves is an unfinished save."""
        folder = arrays_folder(self.directory, step)
        remove(record_path(self.directory, step))
        remove(folder)

    def check(self) -> None:
        """Raises the error of a save that failed in the background.

        Raises:
            CheckpointError: if one failed.
        """
        try:
            self._manager.check_for_errors()
        except Exception as error:
            raise self._not_written(error) from error

    def close(self) -> None:
        """Waits for the last save.

        Raises:
            CheckpointError: if it could not be written.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._not_written(error) from error

    def _not_written(self, error: BaseException) -> CheckpointError:
        whole: list[int] = []
        with suppress(DataError):  # the store does not answer
            whole = self.steps()
        if isinstance(self.directory, Path):
            remedy = "Make room or repair the disk"
            return save_error(self.directory, whole, save_failure(error), remedy)
        remedy = "Check the store and the credentials"
        return save_error(self.directory, whole, message_beginning(error), remedy)

    def restore(self, step: int, shapes: State) -> State:
        """Returns the state of a checkpoint.

        Args:
            step: one of `steps()`.
            shapes: structure of the state, of `jax.ShapeDtypeStruct` with shardings; the mesh may
                differ from the one that saved.

        Raises:
            CheckpointError: if files are missing or altered.
            DataError: if the store does not answer.
        """
        table = self._read(step, checkpoint_table_shapes(shapes))
        check_unaltered(self.directory, step, table, shapes)
        return state_of_table(table, shapes)

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
            DataError: if the store does not answer.
        """
        table = checkpoint_table_shapes(shapes)
        arrays = self._read(step, {name: table[name] for name in (*names, FINGERPRINTS)})
        check_unaltered(self.directory, step, arrays, shapes)
        return {name: arrays[name] for name in names}

    def _read(self, step: int, table: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, jax.Array]:
        failure: Exception | None = None
        arrays = []
        try:
            specs = array_specs(self.directory, step, list(table))
            arrays = read_arrays(specs, list(table.values()))
        except DataError:  # the store does not answer
            raise
        except Exception as error:  # TensorStore, JAX and fsspec raise classes of many libraries
            failure = error
        # What follows waits for all hosts, so none may leave alone.
        if not agree_on(failure is None, all):
            raise self._unreadable(step, failure) from failure
        return dict(zip(table, arrays, strict=True))

    def _unreadable(self, step: int, error: Exception | None) -> Exception:
        """Returns the error of arrays that are damaged, or of a store that does not give them.

        Every host must call this; None is another host's failure.
        """
        has_room = agree_on(not lacks_room(error), all)
        return read_error(self.directory, step, error, has_room=has_room)

    def set_aside(self, step: int) -> Place:
        """Renames a damaged checkpoint, which is never deleted, so that its step can be saved.

        Returns:
            The new path or address of its record.
        """
        return self.directory / on_first_host(lambda: self._rename(step))

    def _rename(self, step: int) -> str:
        name = free_name(self.directory, step)
        record = record_path(self.directory, step)
        write_bytes(self.directory / f"{name}.json", read_bytes(record))
        remove(record)
        return f"{name}.json"


def read_arrays(specs: list[dict[str, Any]], shapes: list[jax.ShapeDtypeStruct]) -> list[jax.Array]:
    """Returns arrays with the shardings of their shapes.

    Raises:
        ValueError: if an array has another shape or type; TensorStore raises what else it meets.
    """
    manager = GlobalAsyncCheckpointManager()
    arrays = manager.deserialize([shape.sharding for shape in shapes], specs)
    for array, shape in zip(arrays, shapes, strict=True):
        if (array.shape, array.dtype) != (shape.shape, shape.dtype):
            raise ValueError(
                f"an array is {array.dtype}{list(array.shape)} there and should be "
                f"{shape.dtype}{list(shape.shape)}"
            )
    return arrays


def check_unaltered(
    directory: object, step: int, table: Mapping[str, jax.Array], shapes: PyTree
) -> None:
    """Checks that the arrays of a table, all of a state or some, have their fingerprints.

    Args:
        directory: directory or address of the checkpoints, for messages.
        step: step of the checkpoint.
        table: arrays by name, and the fingerprints of all arrays of the state.
        shapes: structure of the state.

    Raises:
        CheckpointError: if an array is not the one that was saved.
    """
    if name := altered_array(table, shapes):
        raise damage_error(directory, step, f"{name} is not what was saved")


@contextmanager
def explain_save_errors(out: Place) -> Iterator[None]:
    """Raises an `ArtifactError` in place of a checkpoint error or a full disk.

    Raises:
        ArtifactError: if a checkpoint is damaged or cannot be written, or the disk is full.
    """
    try:
        yield
    except CheckpointError as error:
        raise ArtifactError(str(error)) from error
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise ArtifactError(
            f"The disk of {out} is full ({error.strerror}); make room: the same "
            "command then resumes from the last whole checkpoint."
        ) from error


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
