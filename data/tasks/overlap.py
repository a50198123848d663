"""Which examples of a task stand in the pretraining corpus: a shared run of 13 words.

Runs of 13 words are the measure of GPT-3 (Brown et al. 2020, appendix C). Words are those of
`data.dedup.hashed_words`: without case, punctuation and the values of numbers. Where spaces do not
separate words, a run is the number of characters with the content of 13 English words: 23 in
Chinese (13 × 1.8), 39 in Japanese, 78 in Thai, Lao, Khmer and Burmese. 13 characters of Thai are
two words, which many unrelated pages share.

The texts of an example are `TaskExample.texts`. An example without a text of 13 words counts as a
whole: its longest text must stand in a page. Pages of other languages are not compared.

Memory grows with the examples and not with the pages, which are read once. Runs are compared by
hashes of 64 bits: for 20,000 runs of examples and 10^12 words of pages, 0.001 runs are expected to
be equal by chance.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt64

from data.dedup.hashed_words import Words, chunks_of, hashed_words, length_of, span_hashes
from data.tasks.examples import TaskExample

RUN_WORDS = 13


class Runs(NamedTuple):
    """Runs of one length that are looked for.

    Attributes:
        length: number of words.
        hashes: hash of each run.
        examples: position of each run's example.
    """

    length: int
    hashes: UInt64[np.ndarray, " runs"]
    examples: Int[np.ndarray, " runs"]


class Beginnings(NamedTuple):
    """Beginnings of runs, so that a page is compared with few lengths instead of all.

    Attributes:
        length: number of words, a power of two.
        hashes: hashes of the beginnings, sorted, each once.
        runs: runs with these beginnings, of less than twice the length.
    """

    length: int
    hashes: UInt64[np.ndarray, " beginnings"]
    runs: list[Runs]


def overlapping(examples: Sequence[TaskExample], pages: Iterable[tuple[str, str]]) -> set[int]:
    """Returns the positions of the examples that share a run of 13 words with a page.

    Args:
        examples: examples of any languages.
        pages: language and text of each page, best with pages of one language in a row.
    """
    of_language: dict[str, list[int]] = defaultdict(list)
    for position, example in enumerate(examples):
        of_language[example.language].append(position)
    sought = {code: _beginnings(examples, some, code) for code, some in of_language.items()}
    found: set[int] = set()
    for code, some in itertools.groupby(pages, key=lambda page: page[0]):
        if code in sought:
            for texts in chunks_of(text for _, text in some):
                found.update(_found(sought[code], hashed_words(texts)))
    return found


def _beginnings(
    examples: Sequence[TaskExample], positions: list[int], language: str
) -> list[Beginnings]:
    """Returns what is looked for in the pages of a language."""
    texts = [text for position in positions for text in examples[position].texts]
    owners = np.repeat(positions, [len(examples[position].texts) for position in positions])
    lengths = _run_lengths(_word_counts(texts), owners, length_of(RUN_WORDS, language))
    groups: dict[int, tuple[list[np.ndarray], list[Runs]]] = defaultdict(lambda: ([], []))
    for length in np.unique(lengths[lengths > 0]).tolist():
        chosen = np.flatnonzero(lengths == length)
        beginning = 1 << (length.bit_length() - 1)
        hashes, of_runs = groups[beginning]
        for first, runs in _runs([texts[at] for at in chosen], owners[chosen], length, beginning):
            hashes.append(first)
            of_runs.append(runs)
    return [
        Beginnings(length, np.unique(np.concatenate(hashes)), runs)
        for length, (hashes, runs) in groups.items()
    ]


def _word_counts(texts: list[str]) -> Int[np.ndarray, " texts"]:
    counts = [np.diff(hashed_words(some).offsets) for some in chunks_of(texts)]
    return np.concatenate([np.empty(0, np.int64), *counts])


def _run_lengths(
    counts: Int[np.ndarray, " texts"], owners: Int[np.ndarray, " texts"], longest: int
) -> Int[np.ndarray, " texts"]:
    """Returns the length of each text's runs; 0 for texts that are not looked for."""
    lengths = np.where(counts >= longest, longest, 0)
    by_length = np.lexsort((-counts, owners))
    longest_texts = by_length[np.unique(owners[by_length], return_index=True)[1]]
    whole = longest_texts[counts[longest_texts] < longest]
    lengths[whole] = counts[whole]
    return lengths


def _runs(
    texts: list[str], owners: Int[np.ndarray, " texts"], length: int, beginning: int
) -> Iterator[tuple[UInt64[np.ndarray, " runs"], Runs]]:
    """Yields the runs of texts and the hashes of their beginnings, chunk by chunk."""
    done = 0
    for some in chunks_of(texts):
        words = hashed_words(some)
        starts = np.flatnonzero(_room(words) >= length)
        of_text = np.searchsorted(words.offsets, starts, side="right") - 1
        first, whole = (span_hashes(words.hashes, starts, starts + n) for n in (beginning, length))
        yield first, Runs(length, whole, owners[done + of_text])
        done += len(some)


def _found(sought: list[Beginnings], words: Words) -> Iterator[int]:
    """Yields the positions of examples with a run in these pages."""
    room = _room(words)
    for beginnings in sought:
        starts = np.flatnonzero(room >= beginnings.length)
        hashes = span_hashes(words.hashes, starts, starts + beginnings.length)
        starts = starts[_among(hashes, beginnings.hashes)]
        for runs in beginnings.runs:
            long_enough = starts[room[starts] >= runs.length]
            if long_enough.size:
                hashes = span_hashes(words.hashes, long_enough, long_enough + runs.length)
                yield from runs.examples[np.isin(runs.hashes, hashes)].tolist()


def _room(words: Words) -> Int[np.ndarray, " words"]:
    """Returns the number of words from each word to the end of its page, itself included."""
    ends = np.repeat(words.offsets[1:], np.diff(words.offsets))
    return ends - np.arange(len(ends))


def _among(
    values: UInt64[np.ndarray, " values"], known: UInt64[np.ndarray, " known"]
) -> Bool[np.ndarray, " values"]:
    """Returns which values are among sorted ones, without sorting the values."""
    places = np.searchsorted(known, values)
    return known[np.minimum(places, len(known) - 1)] == values
