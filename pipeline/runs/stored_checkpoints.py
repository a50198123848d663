"""Checkpoints in an object store, with the operations of `Checkpoints` (model/checkpoints).

Orbax 0.12 cannot write to S3, and reaches Google by other clients than the rest of a run. So arrays
go through JAX's own serialization (`model/checkpoints/stored_arrays.py`), and what makes a
checkpoint whole is a small object that the first host uploads last (`checkpoint_records`).
docs/decisions/object-stores.md.
"""

import secrets
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

import jax
from jaxtyping import PyTree
from msgspec.structs import asdict

from data.errors import DataError
from data.files.atomic import write_bytes
from data.files.json_files import MOST_BYTES, decode_json, write_json
from data.files.locks import check_held
from data.files.paths import Address, Place, read_at_most, read_bytes, remove
from data.files.stores import kvstore
from model.checkpoints import stored_arrays
from model.checkpoints.errors import CheckpointError, beginning, lacks_room, not_read, not_written
from model.checkpoints.local import Checkpoints
from model.checkpoints.retention import Kept
from model.checkpoints.stored_arrays import StoredArrays
from model.checkpoints.table import (
    FINGERPRINTS,
    check_unaltered,
    requested_table,
    table_of,
    verified,
)
from pipeline.hardware.coordination import agreed, on_first_host
from pipeline.runs import checkpoint_records
from pipeline.runs.checkpoint_records import (
    CheckpointRecord,
    read_record,
    record_path,
    remove_unfinished,
    steps_in,
)

State = TypeVar("State", bound=PyTree)
LARGEST_TOKEN = 2**31
# How TensorStore's errors begin if the store gives no answer, or none to this user.
AWAY = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "PERMISSION_DENIED", "UNAUTHENTICATED")


class StoredCheckpoints:
    """The checkpoints of one run: the last two, those of every `keep_every`-th step, and chosen."""

    def __init__(
        self,
        directory: Address,
        keep_every: int = 0,
        chosen: Callable[[], Collection[int]] = tuple,
    ):
        self.directory, self.kept = directory, Kept(keep_every, chosen)
        self._arrays = StoredArrays()
        self._last: int | None = None  # step of the last save

    def steps(self) -> list[int]:
        """Returns the steps of all checkpoints, in order."""
        return steps_in(self.directory)

    def forget_unfinished(self) -> None:
        """Deletes the arrays of killed saves; only for the process that writes the run."""
        remove_unfinished(self.directory)

    def save(self, step: int, state: PyTree) -> None:
        """Starts to write a checkpoint; returns once the arrays are copied from the devices.

        A step that this start of the run has saved is not saved again: its arrays may still be on
        their way, before its record makes it one of `steps()`.

        Raises:
            CheckpointError: if the previous one could not be written; older ones are untouched.
        """
        if step == self._last:
            return
        self._last, table = step, table_of(state)
        record = CheckpointRecord(f"{step}-{self._token}", list(table))
        folder = kvstore(self.directory / record.folder)
        try:
            self._arrays.save(folder, list(table.values()), partial(self._commit, step, record))
        except Exception as error:  # TensorStore, JAX and fsspec raise classes of many libraries
            raise self._not_written(error) from error

    def check(self) -> None:
        """Raises the error of a save that failed in the background.

        Raises:
            CheckpointError: if one failed.
        """
        try:
            self._arrays.check()
        except Exception as error:
            raise self._not_written(error) from error

    def restore(self, step: int, shapes: State) -> State:
        """Returns the state of a checkpoint, on the mesh of the shapes.

        Raises:
            CheckpointError: if objects are missing or altered.
            DataError: if the store does not answer.
        """
        return verified(self.directory, step, self._read(step, requested_table(shapes)), shapes)

    def restore_some(
        self, step: int, shapes: PyTree, names: Collection[str]
    ) -> dict[str, jax.Array]:
        """Returns some arrays of a checkpoint by name, as `Checkpoints.restore_some` does.

        Raises:
            CheckpointError: if objects are missing or altered.
            DataError: if the store does not answer.
        """
        table = requested_table(shapes)
        found = self._read(step, {name: table[name] for name in (*names, FINGERPRINTS)})
        check_unaltered(self.directory, step, found, shapes)
        return {name: found[name] for name in names}

    def _read(self, step: int, table: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, jax.Array]:
        path = record_path(self.directory, step)
        content = read_at_most(path, MOST_BYTES)
        failure: Exception | None = None
        arrays = []
        try:
            if content is None:
                raise DataError(f"{path} is larger than {MOST_BYTES:,} bytes")
            record = decode_json(content, CheckpointRecord, str(path))
            folder = kvstore(self.directory / record.folder)
            numbers = {record.arrays.index(name): shape for name, shape in table.items()}
            arrays = stored_arrays.read(folder, numbers)
        except Exception as error:  # TensorStore, JAX and fsspec raise classes of many libraries
            failure = error
        # What follows waits for all hosts, so none may leave alone.
        if not agreed(failure is None, all):
            raise self._unreadable(step, failure) from failure
        return dict(zip(table, arrays, strict=True))

    def set_aside(self, step: int) -> Address:
        """Renames the record of a damaged checkpoint, so that its step can be saved.

        Returns:
            The new address of the record.
        """
        target = checkpoint_records.set_aside_path(self.directory, step)
        on_first_host(lambda: self._move_record(step, target))
        return target

    def close(self) -> None:
        """Waits for the last save.

        Raises:
            CheckpointError: if it could not be written.
        """
        try:
            self._arrays.wait()
        except Exception as error:
            raise self._not_written(error) from error

    @cached_property
    def _token(self) -> str:
        """A name that no other start of the run has, the same on all hosts."""
        return f"{on_first_host(lambda: secrets.randbelow(LARGEST_TOKEN)):08x}"

    def _commit(self, step: int, record: CheckpointRecord) -> None:
        """Makes a checkpoint whole whose arrays are all written, and forgets old ones."""
        check_held(self.directory)
        write_json(record_path(self.directory, step), asdict(record))
        old: list[int] = []
        with suppress(DataError):  # the next save tries again
            steps = self.steps()
            old = [at for at, kept in zip(steps, self.kept.of(steps), strict=True) if not kept]
        for at in old:
            with suppress(DataError):  # one that cannot be read does not keep the others
                self._forget(at)

    def _forget(self, step: int) -> None:
        """Removes a checkpoint, its record first: what a kill leaves is an unfinished save."""
        folder = read_record(self.directory, step).folder
        remove(record_path(self.directory, step))
        remove(self.directory / folder)

    def _move_record(self, step: int, target: Address) -> int:
        write_bytes(target, read_bytes(record_path(self.directory, step)))
        remove(record_path(self.directory, step))
        return 0

    def _unreadable(self, step: int, error: Exception | None) -> Exception:
        """Returns the error of arrays that are damaged, or of a store that does not give them.

        Every host must call this; None is another host's failure.
        """
        has_room = agreed(not lacks_room(error), all)
        why = "" if error is None else beginning(error)
        if why.startswith(AWAY):
            return DataError(
                f"Checkpoint {step} in {self.directory} cannot be read ({why}); check the address "
                "and the credentials, and run the same command again."
            )
        return not_read(self.directory, step, error, has_room=has_room)

    def _not_written(self, error: BaseException) -> CheckpointError:
        remedy = "Check the store and the credentials"
        whole: list[int] = []
        with suppress(DataError):  # the store does not answer
            whole = self.steps()
        return not_written(self.directory, whole, beginning(error), remedy)


AnyCheckpoints = Checkpoints | StoredCheckpoints


def open_checkpoints(
    directory: Place, keep_every: int = 0, chosen: Callable[[], Collection[int]] = tuple
) -> AnyCheckpoints:
    """Returns the checkpoints in a directory, local or in a store."""
    if isinstance(directory, Path):
        return Checkpoints(directory, keep_every, chosen)
    return StoredCheckpoints(directory, keep_every, chosen)
