"""The input files that the user named: on this machine, in an object store, or in a crawl.

A file of published mC4 has the language in its name. So where declared languages count, a file in a
language that was not requested is not even opened.

A crawl's list of paths (`wet.paths.gz`) is replaced by its files; each worker fetches them when it
processes them.
"""

import glob
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from data.errors import DataError
from data.files.paths import absolute, files_below, is_remote, local_copy
from data.reading import crawl
from data.reading.crawl import COMMON_CRAWL, SCHEMES
from data.reading.records import published_as
from pipeline.cleaning.read import READERS, is_readable
from pipeline.cleaning.shards import InputFile

# Lists hold no sizes; this is the size of a WET file of Common Crawl, for cutting into shards.
LISTED_FILE_BYTES = 120_000_000
GLOB = re.compile(r"[*?\[]")


def is_listed(file: InputFile) -> bool:
    """Returns whether a file was named by a crawl's list, which does not tell its size."""
    return file.path.startswith(SCHEMES)


def input_files(patterns: Collection[str], base: str = COMMON_CRAWL) -> list[InputFile]:
    """Returns the files that the paths and globs name, each once, ordered by name.

    Args:
        patterns: paths and globs; `*.paths` and `*.paths.gz` are lists of a crawl's files.
        base: address that the paths of such lists are relative to.

    Raises:
        DataError: if a pattern matches no file, or a file of unknown format.
    """
    _check_base(base)
    if web := next((one for one in patterns if one.startswith(SCHEMES)), None):
        raise DataError(
            f"Input {web!r} is an address of a web server; download the file, or write its path "
            "into a list, LIST.paths, and name the server with --crawl-base."
        )
    files: dict[str, InputFile] = {}
    for pattern in patterns:
        found = list(_matched(pattern, base))
        if not found:
            what = "is a directory" if os.path.isdir(pattern) else "names no file"
            raise DataError(
                f"Input {pattern!r} {what}; "
                "give existing files, or a quoted glob such as 'crawl/*.warc.wet.gz'."
            )
        unreadable = next((file for file in found if not is_readable(file.path)), None)
        if unreadable is not None:
            raise DataError(
                f"Input {unreadable.path!r} has an unknown format; "
                f"files must end in {', '.join(READERS)}."
            )
        files.update((identity(file.path), file) for file in found)
    return sorted(files.values())


def names_of(pattern: str) -> list[str]:
    """Returns the names of the files that a glob matches; a path, or a glob without any, itself."""
    if not GLOB.search(pattern) or os.path.isfile(pattern):  # as a[1].jsonl, named by a shell
        return [pattern]
    if is_remote(pattern):
        names = [file.path for file in _matched_in_store(pattern)]
    else:
        names = sorted(filter(os.path.isfile, glob.glob(pattern, recursive=True)))
    return names or [pattern]


def from_crawl(files: Iterable[InputFile]) -> list[str]:
    """Returns the addresses of the files that a crawl's server has, in their order."""
    return [file.path for file in files if file.path.startswith(SCHEMES)]


def of_languages(
    files: Sequence[InputFile], requested: Collection[str]
) -> tuple[list[InputFile], Counter[str]]:
    """Returns the files that may hold pages of these languages, and counts the others by language.

    Raises:
        DataError: if no file can hold such pages.
    """
    names = [published_as(file.path.rpartition("/")[2]).language for file in files]
    others = Counter(name for name in names if name is not None and name not in requested)
    found = [file for file, name in zip(files, names, strict=True) if name not in others]
    if not found:
        raise DataError(
            f"Pages in {', '.join(requested)} were requested, and by their names all {len(files)} "
            f"files of the input are in {', '.join(others)}; name other files, or other languages."
        )
    return found, others


def files_named(patterns: Iterable[str]) -> list[str]:
    """Returns the patterns that workers read themselves: all but lists of a crawl's files."""
    return [one for one in patterns if not one.endswith(crawl.SUFFIXES)]


def _check_base(base: str) -> None:
    server = urlsplit(base).netloc
    if not base.startswith(SCHEMES) or not server.strip(".") or "@" in server:
        raise DataError(
            f"{base.rpartition('@')[2]!r} was given as the base of a crawl's paths; give an "
            "address that begins with https:// or http:// and a server's name. A password belongs "
            "in ~/.netrc."
        )


def identity(path: str) -> str:
    """Returns the same path for all names of a file, so that no file is read twice."""
    if not is_remote(path):
        return os.path.realpath(path)
    return path


def _matched(pattern: str, base: str) -> Iterator[InputFile]:
    for file in _globbed(pattern):
        if file.path.endswith(crawl.SUFFIXES):
            with local_copy(file.path) as listing:
                for name in crawl.read_paths(listing):
                    yield InputFile(f"{base.rstrip('/')}/{name}", LISTED_FILE_BYTES)
        else:
            yield file


def _globbed(pattern: str) -> Iterator[InputFile]:
    if not is_remote(pattern):
        is_file = os.path.isfile(pattern)  # as a[1].jsonl, which as a glob is another file
        for name in [pattern] if is_file else glob.glob(pattern, recursive=True):
            if Path(name).is_file():
                path = absolute(_in_unicode(name))  # workers may run in another directory
                status = Path(name).stat()
                yield InputFile(path, status.st_size, str(status.st_mtime_ns))
    else:
        yield from _matched_in_store(pattern)


def _matched_in_store(pattern: str) -> Iterator[InputFile]:
    """Yields the files of a store that match a glob, by Beam's rules."""
    from apache_beam.io.filesystem import FileSystem  # imported here: it takes a second to load

    fixed = GLOB.split(pattern)[0]
    matching = re.compile(FileSystem.translate_pattern(pattern))
    directory = fixed if fixed == pattern else fixed.rpartition("/")[0]
    for file in files_below(directory, pattern):
        if matching.fullmatch(file.path):
            yield InputFile(*file)


def _in_unicode(name: str) -> str:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"The name of the input {name!r} is not UTF-8, and could not be passed to workers; "
            "rename the file."
        ) from error
    return name
