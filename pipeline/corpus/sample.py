"""The text that a vocabulary is trained on: lines per language, and what they need of its size.

The sample has a number of characters per language, in lines.
"""

import math
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
from jaxtyping import Int64

from data.errors import DataError
from data.examples.mixture import TextSizes, parse
from data.files.json_files import DISK_READS, STORE_READS
from data.files.parquet_files import row_count
from data.files.paths import is_remote, local_copy
from data.languages import UNDETERMINED
from data.tokens.tokenizer import LEAST_IDS
from pipeline.corpus.pages import PageFile, page_files, page_texts, training_pages
from pipeline.errors import ArtifactError
from pipeline.fields import CHARACTER_COVERAGE, MIXTURE, SAMPLE_CHARACTERS
from pipeline.following import new_beside

LONGEST_SENTENCE_BYTES = 16_384  # SentencePiece skips longer ones, so they are cut
MOST_COUNTED = 4_000_000  # characters that are counted beforehand, in some tenths of a second
FILES_COUNTED = 4  # of a language, where a part is counted
ROOM = 1.1  # ids of a first training per id that the characters alone need
ROOM_OF_PART = 1.5  # the same if more than MOST_COUNTED are trained on: 101 languages need 1.39
ADVISED, ADVISED_OF_LITTLE = 4096, 2048  # least number of ids for a first training
LITTLE = 1_000_000  # characters of a corpus that may have fewer pieces than ADVISED
LINES_NORMALIZED = 1_000  # at once
FILE_CHARACTERS = 5_000  # of a file in a sample, at least: the lines of some pages


def sample(
    files: Mapping[str, Sequence[PageFile]],
    quotas: Mapping[str, int],
    counted: Mapping[str, int] | None = None,
) -> Iterator[str]:
    """Yields lines of the pages of files, per language as many characters as its quota.

    Files contribute in proportion to their pages, from their first page on: within a file pages are
    ordered by the hash of their address, so the first ones are a random sample. Of very many files
    some are read, spread evenly, so that each contributes pages and not just a first line, which is
    a title more often than others are. What a whole line exceeds a part by, the next file has less.

    Args:
        files: files of training pages by language.
        quotas: characters to sample by language.
        counted: pages that the files should hold, by language; not checked if left out.

    Raises:
        ArtifactError: if they hold more or fewer.
    """
    for language, quota in quotas.items():
        paths = [file.path for file in files[language]]
        pages = np.cumsum([0, *_row_counts(paths)])
        if counted is not None and pages[-1] != counted[language]:
            raise ArtifactError(
                f"The corpus should hold {counted[language]:,} training pages of {language} by its "
                f"manifest, and its files hold {pages[-1]:,}; restore the files below pages/, and "
                "run the same command again."
            )
        drawn = 0
        for file, end in _ends_in_sample(pages, quota):
            drawn += yield from _sample_of_file(paths[file], end - drawn)


def _ends_in_sample(
    pages: Int64[np.ndarray, " files_and_one"], quota: int
) -> Iterator[tuple[int, int]]:
    """Yields files to read, and how many characters the sample has after each.

    Of very many files these are the ones in the middle of equal numbers of pages.

    Args:
        pages: number of pages before each file, and of all.
        quota: number of characters of the sample.
    """
    files, total = len(pages) - 1, int(pages[-1])
    count = max(1, quota // FILE_CHARACTERS)
    if count >= files:
        yield from enumerate((quota * pages[1:] // max(total, 1)).tolist())
    elif total:
        middles = (2 * np.arange(count) + 1) * total // (2 * count)
        chosen, times = np.unique(np.searchsorted(pages, middles, "right"), return_counts=True)
        ends = quota * np.cumsum(times) // count
        yield from zip((chosen - 1).tolist(), ends.tolist(), strict=True)


def _row_counts(paths: Sequence[str]) -> list[int]:
    """Returns the number of rows of each file; a store, which answers slowly, is asked at once."""
    reads = STORE_READS if any(map(is_remote, paths)) else DISK_READS
    with ThreadPoolExecutor(reads) as pool:
        return list(pool.map(row_count, paths))


def _sample_of_file(path: str, characters: int) -> Generator[str, None, int]:
    """Yields lines up to a number of characters; those of a short file are repeated.

    Of a store's file the first lines are read where they are. One that is read again is fetched.
    Returned is how many characters there were.
    """
    left = characters
    if left > 0:
        left = yield from _first_lines(_lines(path), left)
    if 0 < left < characters:  # not of a file without any character
        with local_copy(path) as here:
            lines = list(_lines(here))
        while left > 0:
            left = yield from _first_lines(lines, left)
    return characters - left


def _first_lines(lines: Iterable[str], characters: int) -> Generator[str, None, int]:
    """Yields lines up to a number of characters; returns how many of these they lack."""
    left = characters
    for line in lines:
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


def least_size(lines: Iterable[str], character_coverage: float) -> int:
    """Returns the least number of ids for which SentencePiece trains on these lines.

    Each character has a piece of its own, the most frequent first, until `character_coverage` of
    the normalized text is reached (`trainer_interface.cc`).
    """
    normalizer: Any = sentencepiece.SentencePieceNormalizer(rule_name="nmt_nfkc")  # pyright: ignore[reportCallIssue]
    rest = iter(lines)
    chunks = iter(lambda: "\n".join(islice(rest, LINES_NORMALIZED)), "")
    text = "".join(f" {normalizer.normalize(chunk)}" for chunk in chunks)  # "\n" becomes a space
    code_points = np.frombuffer(text.replace(" ", "\u2581").encode("utf-32-le"), "<u4")
    counts = np.bincount(code_points)
    covered = np.cumsum([0, *np.sort(counts[counts > 0])[::-1]])
    shares = covered[:-1] / max(covered[-1], 1)  # which SentencePiece compares in 32 bits
    below = shares.astype(np.float32) < np.float32(character_coverage)
    return LEAST_IDS - 1 + int(below.sum())


def check_size(
    size: int,
    coverage: float,
    sampled: int,
    corpora: Sequence[str],
    files: Mapping[str, Sequence[PageFile]],
    weights: Mapping[str, float],
) -> None:
    """Checks that a size has room for the characters of the sample.

    Of a large sample a part is counted, and only a size that is clearly too small is refused; of
    one in an object store none, as a store answers slowly.

    Args:
        size: number of ids.
        coverage: share of characters that get a piece of their own.
        sampled: characters of the sample.
        corpora: directories of the corpora.
        files: files of training pages by language.
        weights: share of each language in the sample.

    Raises:
        ArtifactError: if files hold other pages than the manifest counts.
        DataError: if it has not.
    """
    if sampled <= MOST_COUNTED:
        lines = sample(files, quotas_of(weights, sampled), training_pages(corpora))
        least = refused_below = enough = least_size(lines, coverage)
    elif not any(map(is_remote, corpora)):
        least = least_of_part(files, weights, MOST_COUNTED, coverage)
        refused_below, enough = least / ROOM, math.ceil(least * ROOM_OF_PART)
    else:
        return
    if size < refused_below:
        raise DataError(
            f"A vocabulary of {size} ids at character coverage {coverage} was asked; "
            f"{too_small(least, enough)}."
        )


def least_of_part(
    files: Mapping[str, Sequence[PageFile]],
    weights: Mapping[str, float],
    characters: int,
    character_coverage: float,
) -> int:
    """Returns `least_size` of a sample of each language's first files.

    A crawl has thousands of files, and each is opened.
    """
    first = {code: files[code][:FILES_COUNTED] for code in weights}
    return least_size(sample(first, quotas_of(weights, characters)), character_coverage)


def quotas_of(weights: Mapping[str, float], characters: int) -> dict[str, int]:
    """Returns the characters of each language in a sample."""
    return {code: round(weight * characters) for code, weight in weights.items()}


def too_small(least: int, enough: int) -> str:
    """Returns advice on a size below the least one, without a full stop."""
    return (
        f"its characters alone need {least}: give --size {enough} or more, or lower "
        "--character-coverage (rare characters fall back to bytes)"
    )


def advised_command(corpus: str, languages: Mapping[str, Any]) -> Iterator[str]:
    """Yields the words of a first training on a corpus; none if it has no page to train on.

    The sample is the smallest one that has the whole text of every language, if this is less than
    usual: a larger one would only repeat it. The size has room for every character of the sample;
    where it is too large for its pieces, `vocabulary` names one within seconds.

    Args:
        corpus: directory of the corpus.
        languages: counts by language of its manifest.
    """
    trained = {
        code: counts
        for code, counts in languages.items()
        if counts["kept"] > counts["held_out"] and code != UNDETERMINED
    }
    if not trained:
        return
    sizes = TextSizes(
        {code: counts["kept"] - counts["held_out"] for code, counts in trained.items()},
        {code: counts["characters"] for code, counts in trained.items()},
    )
    weights = parse(MIXTURE, sizes)
    whole = math.ceil(max(sizes.characters[code] / weight for code, weight in weights.items()))
    sampled = min(whole, SAMPLE_CHARACTERS)
    counted = min(sampled, MOST_COUNTED)
    files = {code: page_files([str(corpus)], code, "train") for code in weights}
    least = least_of_part(files, weights, counted, CHARACTER_COVERAGE)
    size = ADVISED if sum(sizes.characters.values()) > LITTLE else ADVISED_OF_LITTLE
    while size < (ROOM if counted == sampled else ROOM_OF_PART) * least:
        size *= 2
    yield from ("vocabulary", "--corpus", corpus, "--size", str(size))
    if sampled < SAMPLE_CHARACTERS:
        yield from ("--sample-characters", str(sampled))
    yield from ("--out", str(new_beside(corpus, "vocabulary")))
