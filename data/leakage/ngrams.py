"""N-grams of 13 words that texts share with pages, found by their hashes.

They are the measure of GPT-3 (Brown et al. 2020, appendix C). Words are those of
`data.dedup.hashed_words`: without case, punctuation and the values of numbers. Where spaces do not
separate words, an n-gram is the number of characters with the content of 13 English words: 23 in
Chinese (13 × 1.8), 39 in Japanese, 78 in Thai, Lao, Khmer and Burmese. 13 characters of Thai are
two words, which many unrelated pages share.

Memory grows with the texts and not with the pages, which are read once. N-grams are compared by
hashes of 64 bits: for 20,000 n-grams of texts and 10^12 words of pages, 0.001 are expected to be
equal by chance.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Int64, UInt64

from data.dedup.hashed_words import (
    Words,
    chunks_of,
    hashed_words,
    of_spans,
    prefix_sums,
    span_hashes,
)
from data.sorted_numbers import distinct, distinct_pairs, is_among

NGRAM_WORDS = 13
# A look-up in a table of bytes excludes most words of pages before a binary search.
SLOTS_PER_HASH, FEWEST_SLOTS = 16, 1 << 16


class NGrams(NamedTuple):
    """N-grams of one length that are looked for, in ascending order of their hashes.

    Attributes:
        length: number of words.
        hashes: hash of each n-gram.
        owners: owner of each n-gram's text.
    """

    length: int
    hashes: UInt64[np.ndarray, " ngrams"]
    owners: Int[np.ndarray, " ngrams"]


class Beginnings(NamedTuple):
    """Beginnings of n-grams, so that a page is compared with few lengths instead of all.

    Attributes:
        length: number of words, a power of two.
        hashes: hashes of the beginnings, sorted, each once.
        slots: whether a hash begins with the bits of the slot's number; a power of two of them.
        ngrams: n-grams with these beginnings, of less than twice the length.
    """

    length: int
    hashes: UInt64[np.ndarray, " beginnings"]
    slots: Bool[np.ndarray, " slots"]
    ngrams: list[NGrams]


class Hits(NamedTuple):
    """N-grams of pages that are among those looked for.

    Attributes:
        ngrams: the n-grams of one length that are looked for.
        starts: index of each found n-gram's first word.
        hashes: hash of each found n-gram.
    """

    ngrams: NGrams
    starts: Int[np.ndarray, " hits"]
    hashes: UInt64[np.ndarray, " hits"]


def word_counts(texts: Sequence[str]) -> Int[np.ndarray, " texts"]:
    """Returns the number of words in each text."""
    counts = [np.diff(hashed_words(some).offsets) for some in chunks_of(texts)]
    return np.concatenate([np.empty(0, np.int64), *counts])


def sought_ngrams(
    texts: Sequence[str], owners: Int[np.ndarray, " texts"], lengths: Int[np.ndarray, " texts"]
) -> list[Beginnings]:
    """Returns the n-grams of texts, arranged for `hits_of`.

    Args:
        texts: the texts.
        owners: number by which each text's n-grams are known; several texts may have the same.
        lengths: number of words in each text's n-grams; 0 for texts that are not looked for.
    """
    groups: dict[int, tuple[list[np.ndarray], list[NGrams]]] = defaultdict(lambda: ([], []))
    for length in distinct(lengths[lengths > 0]).tolist():
        chosen = np.flatnonzero(lengths == length).tolist()
        beginning = 1 << (length.bit_length() - 1)
        first, ngrams = _ngrams([texts[at] for at in chosen], owners[chosen], length, beginning)
        groups[beginning][0].append(first)
        groups[beginning][1].append(ngrams)
    return [
        _beginnings(length, distinct(np.concatenate(hashes)), ngrams)
        for length, (hashes, ngrams) in groups.items()
    ]


def hits_of(sought: Sequence[Beginnings], words: Words) -> Iterator[Hits]:
    """Yields the n-grams of pages that are among those looked for."""
    room, sums = _room(words), prefix_sums(words.hashes)
    for beginnings in sought:
        starts = np.flatnonzero(room >= beginnings.length)
        hashes = of_spans(sums, starts, starts + beginnings.length)
        likely = np.flatnonzero(beginnings.slots[_slots(hashes, len(beginnings.slots))])
        starts = starts[likely[is_among(hashes[likely], beginnings.hashes)]]
        for ngrams in beginnings.ngrams:
            long_enough = starts[room[starts] >= ngrams.length]
            if long_enough.size:
                hashes = of_spans(sums, long_enough, long_enough + ngrams.length)
                found = is_among(hashes, ngrams.hashes)
                yield Hits(ngrams, long_enough[found], hashes[found])


def _beginnings(
    length: int, hashes: UInt64[np.ndarray, " beginnings"], ngrams: list[NGrams]
) -> Beginnings:
    slots = np.zeros(max(1 << (SLOTS_PER_HASH * len(hashes)).bit_length(), FEWEST_SLOTS), bool)
    slots[_slots(hashes, len(slots))] = True
    return Beginnings(length, hashes, slots, ngrams)


def _slots(hashes: UInt64[np.ndarray, " hashes"], count: int) -> Int64[np.ndarray, " hashes"]:
    """Returns the slot of each hash: the number that its first bits are."""
    return (hashes >> np.uint64(65 - count.bit_length())).astype(np.int64)


def _ngrams(
    texts: list[str], owners: Int[np.ndarray, " texts"], length: int, beginning: int
) -> tuple[UInt64[np.ndarray, " ngrams"], NGrams]:
    """Returns the hashes of the beginnings, and the n-grams, each once per owner."""
    firsts, hashes, of_ngrams, done = [], [], [], 0
    for some in chunks_of(texts):
        words = hashed_words(some)
        starts = np.flatnonzero(_room(words) >= length)
        of_text = np.searchsorted(words.offsets, starts, side="right") - 1
        firsts.append(distinct(span_hashes(words.hashes, starts, starts + beginning)))
        hashes.append(span_hashes(words.hashes, starts, starts + length))
        of_ngrams.append(owners[done + of_text])
        done += len(some)
    pairs = distinct_pairs(np.concatenate(hashes), np.concatenate(of_ngrams))
    return np.concatenate(firsts), NGrams(length, *pairs)


def _room(words: Words) -> Int[np.ndarray, " words"]:
    """Returns the number of words from each word to the end of its page, itself included."""
    ends = np.repeat(words.offsets[1:], np.diff(words.offsets))
    return ends - np.arange(len(ends))
