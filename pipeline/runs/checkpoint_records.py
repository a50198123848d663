"""Which checkpoints of a run are whole: folders here, records in an object store.

    checkpoints/200/             here: Orbax renames it to its name when it is whole
    checkpoints/200.json         in a store: the record, written when all arrays are there
    checkpoints/200-1f0c.../     its arrays, by number

A store cannot rename a folder. So a save writes below a name that no other start of the run uses,
and the record comes last, in one upload. A folder without a record is the rest of a killed save.
JAX is not imported.
"""

import re

from msgspec import Struct

from data.errors import DataError
from data.files.json_files import read_json
from data.files.paths import Address, Place, directories_in, names_in, remove

DAMAGED = "damaged"
_RECORD = re.compile(r"(0|[1-9][0-9]*)\.json")
_ANY_RECORD = re.compile(rf"(?:{DAMAGED}-)?(0|[1-9][0-9]*)(?:-[0-9]+)?\.json")
_FOLDER = re.compile(r"(0|[1-9][0-9]*)")


class CheckpointRecord(Struct, frozen=True):
    """What a store holds of a whole checkpoint beside its arrays.

    Attributes:
        folder: name of the folder of its arrays, beside the record.
        arrays: names of the arrays, in the order of their numbers.
    """

    folder: str
    arrays: list[str]


def steps_in(checkpoints: Place) -> list[int]:
    """Returns the steps of all whole checkpoints, in order; none if there is no directory."""
    form = _RECORD if isinstance(checkpoints, Address) else _FOLDER
    return sorted(int(of[1]) for name in names_in(checkpoints) if (of := form.fullmatch(name)))


def record_path(checkpoints: Address, step: int) -> Address:
    """Returns the address of a checkpoint's record."""
    return checkpoints / f"{step}.json"


def read_record(checkpoints: Address, step: int) -> CheckpointRecord:
    """Returns a checkpoint's record.

    Raises:
        DataError: if it is damaged or cannot be read.
    """
    return read_json(record_path(checkpoints, step), CheckpointRecord)


def remove_unfinished(checkpoints: Address) -> None:
    """Removes the folders that no record names.

    That of a damaged checkpoint has a record and stays; so do all of a step whose record cannot be
    read.
    """
    named, unreadable = set[str](), set[str]()
    for name in names_in(checkpoints):
        if found := _ANY_RECORD.fullmatch(name):
            try:
                named.add(read_json(checkpoints / name, CheckpointRecord).folder)
            except DataError:
                unreadable.add(found[1])
    for folder in directories_in(checkpoints):
        if folder not in named and folder.partition("-")[0] not in unreadable:
            remove(checkpoints / folder)


def set_aside_path(checkpoints: Address, step: int) -> Address:
    """Returns a free address for the record of a damaged checkpoint, whose folder is kept."""
    there = names_in(checkpoints)
    number = 0
    while (name := f"{DAMAGED}-{step}-{number}.json") in there:
        number += 1
    return checkpoints / name
