"""Which files the user named: on this machine, or, by Beam's file systems, on an object store."""

import glob
from collections.abc import Iterable, Iterator
from pathlib import Path

from apache_beam.io.filesystems import FileSystems

from data.errors import DataError
from pipeline import storage
from pipeline.cleaning.read import READERS, is_readable
from pipeline.cleaning.shards import InputFile


def input_files(patterns: Iterable[str]) -> list[InputFile]:
    """Returns the files that the paths and globs name, each once, in order of name.

    Raises:
        DataError: a pattern names no file, or a file of unknown format.
    """
    files: dict[str, InputFile] = {}
    for pattern in patterns:
        found = list(_matched(pattern))
        if not found:
            raise DataError(
                f"Input {pattern!r} was asked for and names no file; "
                "give existing files, or a quoted glob such as 'crawl/*.warc.wet.gz'."
            )
        unreadable = next((file for file in found if not is_readable(file.path)), None)
        if unreadable is not None:
            raise DataError(
                f"Input {unreadable.path!r} has an unknown format; "
                f"files must end in {', '.join(READERS)}."
            )
        files.update((file.path, file) for file in found)
    return [files[path] for path in sorted(files)]


def _matched(pattern: str) -> Iterator[InputFile]:
    if storage.is_local(pattern):
        for name in glob.glob(pattern, recursive=True):
            if Path(name).is_file():
                yield InputFile(name, Path(name).stat().st_size)
    else:
        for found in FileSystems.match([pattern])[0].metadata_list:
            yield InputFile(found.path, found.size_in_bytes)
