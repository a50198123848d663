"""A sample of the lines of a corpus, with a number of characters per language."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from data.files.parquet_files import row_count
from data.files.paths import local_copy
from pipeline.corpus.pages import PageFile, page_texts
from pipeline.errors import ArtifactError

LONGEST_SENTENCE_BYTES = 16_384  # SentencePiece skips longer ones, so they are cut


def sample(
    files: Mapping[str, Sequence[PageFile]],
    quotas: Mapping[str, int],
    counted: Mapping[str, int] | None = None,
) -> Iterator[str]:
    """Yields lines of the pages of files, per language as many characters as its quota.

    Every file contributes in proportion to its pages, from its first page on: within a file pages
    are ordered by the hash of their address, so the first ones are a random sample.

    Args:
        files: files of training pages by language.
        quotas: characters to sample by language.
        counted: pages that the files should hold, by language; not checked if left out.

    Raises:
        ArtifactError: if they hold more or fewer.
    """
    for language, quota in quotas.items():
        paths = [file.path for file in files[language]]
        pages = np.cumsum([0, *map(row_count, paths)])
        if counted is not None and pages[-1] != counted[language]:
            raise ArtifactError(
                f"The corpus should hold {counted[language]:,} training pages of {language} by its "
                f"manifest, and its files hold {pages[-1]:,}; restore the files below pages/, and "
                "run the same command again."
            )
        parts = np.diff(quota * pages // pages[-1])
        for path, part in zip(paths, parts.tolist(), strict=True):
            yield from _sample_of_file(path, part)


def _sample_of_file(path: str, characters: int) -> Iterator[str]:
    """Yields lines up to a number of characters; a short file is read repeatedly.

    Of a store's file the first lines are read where they are. One that is read again is fetched.
    """
    left = characters
    if left > 0:
        left = yield from _first_lines(path, left)
    if 0 < left < characters:  # not of a file without any character
        with local_copy(path) as here:
            while left > 0:
                left = yield from _first_lines(here, left)


def _first_lines(path: str | Path, characters: int) -> Generator[str, None, int]:
    """Yields lines up to a number of characters; returns how many of these the file lacks."""
    left = characters
    for line in _lines(path):
        left -= len(line)
        yield line
        if left <= 0:
            break
    return left


def _lines(path: str | Path) -> Iterator[str]:
    characters = LONGEST_SENTENCE_BYTES // 4  # UTF-8 has at most 4 bytes per character
    for text in page_texts(path):
        for line in text.split("\n"):
            yield from (line[i : i + characters] for i in range(0, len(line), characters))
