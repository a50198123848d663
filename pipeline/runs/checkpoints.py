"""Checkpoints: what is saved, where, how long it is kept and how it is read.

A checkpoint is a flat table from a name such as `.arrays.encoder.blocks[0].self_attention.query` to
an array, so that it can be read without the classes that wrote it. Its number is the step, which is
also the loader's whole state. It is written in the background, complete or absent, and restored on
any mesh. A fingerprint of each array is stored with it and compared on restore
(`model/checkpoints.py`).

**On this machine** Orbax writes to a temporary folder, renames it, and only then deletes older
checkpoints: a kill at any time leaves the last finished one. Orbax itself detects missing and short
files, but restored an array with a flipped byte without an error. It counts the seconds of a save
by the wall clock, without an option for another. A clock set forward by five minutes within a save
made it fail, and one set back made it wait for that long. Here it has the monotonic clock. Dates in
checkpoints stay the wall clock's: Orbax takes them from `time.time_ns`.

**In an object store** arrays go through JAX's own serialization: Orbax 0.12 cannot write to S3, and
reaches Google by other clients than the rest of a run. It writes each shard as one object through
TensorStore, in the background, and calls a function on the first host once the objects of all hosts
are there. What makes a checkpoint whole is a small object that the first host uploads last. Arrays
are numbered, because their names hold characters that stores treat differently.
docs/decisions/object-stores.md.
"""

import functools
import logging
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jax.experimental.array_serialization.serialization import GlobalAsyncCheckpointManager
from jaxtyping import PyTree
from msgspec.structs import asdict

from data.errors import DataError
from data.files.atomic import write_bytes
from data.files.json_files import MOST_BYTES, decode_json, write_json
from data.files.locks import check_held
from data.files.paths import Address, Place, read_at_most, read_bytes, remove
from data.files.stores import kvstore
from model.checkpoints import (
    DISK_FULL,
    FINGERPRINTS,
    CheckpointError,
    beginning,
    check_unaltered,
    lacks_room,
    not_read,
    not_written,
    reason,
    requested_table,
    table_of,
    verified,
)
from pipeline.errors import ArtifactError
from pipeline.hardware.hosts import agreed, on_first_host
from pipeline.runs import directory
from pipeline.runs.directory import (
    CheckpointRecord,
    read_record,
    record_path,
    remove_unfinished,
    steps_in,
)

KEPT = 2


class Kept(NamedTuple):
    """Which checkpoints Orbax does not delete.

    Attributes:
        every: interval of steps to keep; 0 for none.
        chosen: returns further steps to keep, such as the best one so far.
    """

    every: int
    chosen: Callable[[], Collection[int]]

    def of(self, steps: Sequence[int]) -> list[bool]:
        """Returns which of these steps to keep: the last two, and those named above."""
        chosen, last = self.chosen(), steps[-KEPT:]
        return [
            step in last or step in chosen or bool(self.every and step % self.every == 0)
            for step in steps
        ]

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Returns what Orbax asks for: which of its checkpoints to keep."""
        return self.of([one.step for one in checkpoints])


def use_monotonic_clock() -> None:
    """Replaces `time.time` by the monotonic clock in every module of Orbax that is loaded."""
    clock = ModuleType(time.__name__, time.__doc__)
    vars(clock).update(vars(time) | {"time": time.monotonic})
    for name, module in list(sys.modules.items()):
        if name.startswith("orbax.checkpoint.") and vars(module).get("time") is time:
            vars(module)["time"] = clock


@functools.cache
def silence_late_errors() -> None:
    """Silences the errors that follow the first error of a checkpoint, which is raised.

    If one array cannot be read or written, Orbax raises and closes its event loop. Every other
    array (145 were counted) would then print its own traceback: that its error was never
    retrieved, or that the loop is closed.
    """
    logging.getLogger("asyncio").addFilter(
        lambda record: "exception was never retrieved" not in record.getMessage()
    )
    report = sys.unraisablehook

    def report_others(unraisable: "sys.UnraisableHookArgs") -> None:
        text = str(unraisable.exc_value)
        if "Event loop is closed" not in text and "while reading array" not in text:
            report(unraisable)

    sys.unraisablehook = report_others


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


KvStore = Mapping[str, Any]  # TensorStore's JSON of a folder; its path ends with a slash
# Objects of zeros are written too, so that one that is missing is an error and not zeros.
EXPLICIT = {"store_data_equal_to_fill_value": True, "fill_missing_data_reads": False}
UNCACHED = {"cache_pool": {"total_bytes_limit": 0}}  # JAX would keep 10 GB of what was read
OTHER_HOSTS_SECONDS = 600  # that a host waits for the others after its own last object


class StoredArrays:
    """Writes one table of arrays at a time."""

    def __init__(self):
        self._manager = GlobalAsyncCheckpointManager(OTHER_HOSTS_SECONDS)

    def save(
        self, folder: KvStore, arrays: Sequence[jax.Array], commit: Callable[[], None]
    ) -> None:
        """Starts to write arrays; returns once they are copied from the devices.

        Waits for the table before, and raises whatever that met.

        Args:
            folder: where to write; nothing is there.
            arrays: the arrays.
            commit: called in a thread of the first host when all arrays of all hosts are written.
        """
        specs = [_spec(folder, number) for number in range(len(arrays))]
        self._manager.serialize(list(arrays), specs, on_commit_callback=commit)

    def check(self) -> None:
        """Raises what a save met in the background."""
        self._manager.check_for_errors()

    def wait(self) -> None:
        """Waits for the last save, and raises what it met."""
        self._manager.wait_until_finished()


def read(folder: KvStore, shapes: Mapping[int, jax.ShapeDtypeStruct]) -> list[jax.Array]:
    """Returns arrays by number, with the shardings of their shapes.

    Raises:
        ValueError: if an array has another shape or type; TensorStore raises what else it meets.
    """
    arrays = GlobalAsyncCheckpointManager().deserialize(
        [shape.sharding for shape in shapes.values()],
        [_spec(folder, number) for number in shapes],
    )
    for array, shape in zip(arrays, shapes.values(), strict=True):
        if (array.shape, array.dtype) != (shape.shape, shape.dtype):
            raise ValueError(
                f"an array is {array.dtype}{list(array.shape)} there and should be "
                f"{shape.dtype}{list(shape.shape)}"
            )
    return arrays


def _spec(folder: KvStore, number: int) -> dict[str, Any]:
    kvstore = {**folder, "path": f"{folder['path']}{number}/"}
    return {"driver": "zarr3", "kvstore": kvstore, "context": UNCACHED, **EXPLICIT}


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
            arrays = read(folder, numbers)
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
        target = directory.set_aside_path(self.directory, step)
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
