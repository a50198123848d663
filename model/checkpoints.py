"""Checkpoints as tables: arrays by name, a fingerprint of each, and what may go wrong with them.

`pipeline/runs/checkpoints.py` stores and reads the tables. Each failure to write or read one is a
sentence here.

A fingerprint mixes each element's bits with its position, and adds the results modulo 2^32. A sum
does not depend on the order of adding, so every device adds its own part and the fingerprint is the
same on any mesh. The mixing is the finalizer of MurmurHash3 (fmix32; Appleby 2011), a permutation
of 32-bit numbers in which every bit depends on every bit. Two sums of unrelated mixings are 64
bits: a damage of any kind is missed with a probability of about 2^-64.
"""

import errno
import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array, PyTree, Shaped, UInt32

from model.sharding.layouts import by_path, replicated

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
NO_MORE_FILES = (errno.EMFILE, errno.ENFILE)


class CheckpointError(ValueError):
    """A checkpoint cannot be written or read; the message has the remedy.

    Args:
        message: the sentence.
        why: its cause alone; "" if not stated.
    """

    def __init__(self, message: str, why: str = ""):
        super().__init__(message)
        self.why = why


class NoRoomError(CheckpointError):
    """A machine lacks the memory or the open files to read a checkpoint, which may be whole."""


def not_written(
    directory: object, whole: Sequence[int], why: str, what_to_do: str
) -> CheckpointError:
    """Returns the error of a save that failed.

    Args:
        directory: directory or address of the checkpoints.
        whole: steps of the checkpoints that are there.
        why: cause, in words.
        what_to_do: remedy, in words.
    """
    return CheckpointError(
        f"A checkpoint could not be written to {directory} ({why}); "
        f"{f'{max(whole)} is whole' if whole else 'there is no earlier one'}. "
        f"{what_to_do}; the same command then goes on from there."
    )


def damaged(directory: object, step: int, why: str) -> CheckpointError:
    """Returns the error of a checkpoint that cannot be read back as it was saved."""
    return CheckpointError(
        f"Checkpoint {step} in {directory} is damaged ({why}); restore its files, or "
        "remove it if the run has another, which the same command then takes.",
        why,
    )


def not_read(
    directory: object, step: int, failure: Exception | None, *, has_room: bool
) -> CheckpointError:
    """Returns the error of a checkpoint that could not be read.

    Args:
        directory: directory or address of the checkpoints.
        step: step of the checkpoint.
        failure: what this host met; None if another host could not read it.
        has_room: whether no host lacked the memory or the open files (`lacks_room`).
    """
    why = "another host could not read it" if failure is None else beginning(failure)
    if has_room:
        return damaged(directory, step, why)
    return NoRoomError(
        f"Checkpoint {step} in {directory} could not be read because a host lacks memory or open "
        f"files ({why}); it may be whole. Free memory, allow more open files, or use more devices, "
        "and run the same command again.",
        why,
    )


def lacks_room(failure: Exception | None) -> bool:
    """Returns whether a failure is this machine's lack of memory or of open files."""
    if isinstance(failure, OSError):
        return failure.errno in NO_MORE_FILES
    return isinstance(failure, MemoryError) or "RESOURCE_EXHAUSTED" in str(failure)


def none_readable(
    directory: object, steps: Sequence[int], last: CheckpointError
) -> CheckpointError:
    """Returns the error of a run that cannot go on, because all its checkpoints are damaged.

    Args:
        directory: directory or address of the checkpoints.
        steps: steps of the checkpoints.
        last: error of the last one.
    """
    return CheckpointError(
        f"No checkpoint in {directory} can be read, of steps {', '.join(map(str, steps))} (the "
        f"last: {last.why}); restore the files of one, or name another --out. Without any, the "
        "same command would begin at step 0 and drop the log.",
        last.why,
    )


def reason(error: BaseException) -> str:
    """Returns the cause of a failed write: that the disk is full, or the message's beginning."""
    text = str(error)
    if getattr(error, "errno", None) in DISK_FULL or "No space left" in text or "quota" in text:
        return "the disk is full"
    return beginning(error)


def beginning(error: BaseException) -> str:
    """Returns the beginning of an error's message; TensorStore's fill pages."""
    text = " ".join(str(error).split())
    return text[:160] + "..." if len(text) > 160 else text or type(error).__name__


# The fraction of pi. Far apart, so that no number of a row is mixed as that of a column.
SEEDS = ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344))
# Smaller arrays are stacked by shape. With a kernel for each of the 271 arrays
# in a small Switch's state, the program took 3.1 CPU-seconds to compile; now it takes 0.6.
SMALL = 4096


def mesh_replicated(tree: PyTree) -> NamedSharding:
    """Returns the sharding that puts a whole array on each device of a tree's mesh."""
    return replicated(jax.tree.leaves(tree)[0].sharding.mesh)


def fingerprint(tree: PyTree) -> str:
    """Returns a fingerprint of a model's arrays, 64 hexadecimal digits."""
    return _digest(fingerprints(jax.tree.leaves(tree), mesh_replicated(tree)))


def _digest(numbers: UInt32[Array, "..."]) -> str:
    return hashlib.sha256(np.asarray(numbers).astype("<u4").tobytes()).hexdigest()


@functools.partial(jax.jit, static_argnames="sharding")
def fingerprints(
    leaves: list[Shaped[Array, "..."]], sharding: NamedSharding
) -> UInt32[Array, "leaves 2"]:
    """Returns the fingerprint of each array, the same on any mesh."""
    alike: dict[object, list[int]] = {}
    for number, leaf in enumerate(leaves):
        key = (leaf.shape, leaf.dtype) if leaf.size <= SMALL else number
        alike.setdefault(key, []).append(number)
    sums = [_of_all([leaves[number] for number in numbers]) for numbers in alike.values()]
    in_order = np.argsort([number for numbers in alike.values() for number in numbers])
    return jax.lax.with_sharding_constraint(jnp.concatenate(sums)[in_order], sharding)


def _of_all(leaves: list[Shaped[Array, "..."]]) -> UInt32[Array, "leaves 2"]:
    """Returns the sums of arrays of one shape; those of one alone are not stacked."""
    return _sums(leaves[0])[None] if len(leaves) == 1 else jax.vmap(_sums)(jnp.stack(leaves))


def _words(leaf: Shaped[Array, "..."]) -> UInt32[Array, "..."]:
    """Returns each element's bits as a number; those of 64 bits as two numbers."""
    bits = min(8 * leaf.dtype.itemsize, 32)
    return jax.lax.bitcast_convert_type(leaf, jnp.dtype(f"uint{bits}")).astype(jnp.uint32)


@jax.jit  # traced and lowered once per shape: 271 arrays of a small Switch's state have 16
def _sums(leaf: Shaped[Array, "..."]) -> UInt32[Array, "2"]:
    words = jnp.atleast_1d(_words(leaf))
    row, column = _positions(words.shape)
    keys = [_mixed(row + jnp.uint32(r)) + _mixed(column + jnp.uint32(c)) for r, c in SEEDS]
    return jnp.stack([jnp.sum(_mixed(words ^ key), dtype=jnp.uint32) for key in keys])


def _positions(
    shape: tuple[int, ...],
) -> tuple[UInt32[Array, "..."], UInt32[Array, "..."]]:
    """Returns the number of each row and of each column, in shapes that broadcast together.

    An array may have more than 2^32 elements, but not as many rows or columns.
    """
    *leading, columns = shape
    row = jnp.zeros((*leading, 1), jnp.uint32)
    for dimension, size in enumerate(leading):
        index = jax.lax.broadcasted_iota(jnp.uint32, row.shape, dimension)
        row = row * jnp.uint32(size) + index
    last = (*(1 for _ in leading), columns)
    return row, jax.lax.broadcasted_iota(jnp.uint32, last, len(leading))


def _mixed(numbers: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    numbers = (numbers ^ (numbers >> 16)) * jnp.uint32(0x85EBCA6B)
    numbers = (numbers ^ (numbers >> 13)) * jnp.uint32(0xC2B2AE35)
    return numbers ^ (numbers >> 16)


State = TypeVar("State", bound=PyTree)
FINGERPRINTS = ".fingerprints_by_position"
ARRAYS = ".arrays"  # before the names of a network's weights, in the table of a training state


def table_of(state: PyTree) -> dict[str, jax.Array]:
    """Returns a state as a checkpoint holds it: arrays by name, with a fingerprint of each."""
    named = by_path(state)
    return named | {FINGERPRINTS: fingerprints(list(named.values()), mesh_replicated(state))}


def requested_table(shapes: PyTree) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the shapes of a checkpoint's table."""
    named, everywhere = by_path(shapes), mesh_replicated(shapes)
    sums = jax.ShapeDtypeStruct((len(named), 2), jnp.uint32, sharding=everywhere)
    return named | {FINGERPRINTS: sums}


def verified(
    directory: object,
    step: int,
    table: Mapping[str, jax.Array],
    shapes: State,
) -> State:
    """Returns the state in a table that was read; the arguments are those of `check_unaltered`.

    Raises:
        CheckpointError: if an array is not the one that was saved.
    """
    check_unaltered(directory, step, table, shapes)
    arrays = [table[name] for name in by_path(shapes)]
    return jax.tree.unflatten(jax.tree.structure(shapes), arrays)


def check_unaltered(
    directory: object,
    step: int,
    table: Mapping[str, jax.Array],
    shapes: PyTree,
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
    numbers = {name: at for at, name in enumerate(by_path(shapes)) if name in table}
    found = fingerprints([table[name] for name in numbers], mesh_replicated(shapes))
    saved = np.asarray(table[FINGERPRINTS])[list(numbers.values())]
    altered = np.argwhere(np.asarray(found) != saved)
    if altered.size:
        raise damaged(directory, step, f"{list(numbers)[altered[0][0]]} is not what was saved")


def with_shardings(shapes: State, shardings: PyTree) -> State:
    """Returns the shapes with their shardings."""
    return jax.tree.map(
        lambda shape, sharding: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding),
        shapes,
        shardings,
    )
