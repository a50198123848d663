"""Shares of a page's characters in repeated n-grams of words, by Gopher's rules.

A page counts once for its most frequent n-gram of 2, 3 and 4 words, and for all repeated ones of 5
to 10. As in datatrove, the latter are found from left to right: an n-gram that was read before
counts, and reading goes on behind it.

Few n-grams are repeated, and only those are looked at closely. An n-gram of n + 1 words can be
repeated only where its first n words are, so each length searches what the previous one left over.

In scripts without spaces an n-gram is as many characters as have the content of n words.
"""

import numpy as np
from jaxtyping import Float32, Int64, UInt64

from data.dedup.hashed_words import characters_per_word, of_spans, prefix_sums
from data.quality.equal import Equal, equal
from data.quality.lines import share
from data.quality.words import Words
from data.sorted_numbers import is_first, lengths_of
from data.splitmix64 import splitmix64

TOP, REPEATED = (2, 3, 4), (5, 6, 7, 8, 9, 10)
Keys = UInt64[np.ndarray, " keys"]


def per_page(words: Words, hashes: UInt64[np.ndarray, " words"]) -> UInt64[np.ndarray, " words"]:
    """Returns hashes of words that differ between pages, as n-grams of two pages never match."""
    return splitmix64(hashes + words.pages.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))


def repetition(
    words: Words,
    hashes: Keys,
    repeated: Equal,
    lengths: Int64[np.ndarray, " pages"],
    language: str,
) -> dict[str, Float32[np.ndarray, " pages"]]:
    """Returns a share of characters per page for each length of n-grams.

    Args:
        words: words of the pages.
        hashes: a hash per word that differs between pages.
        repeated: words that their page repeats.
        lengths: number of characters of each page.
        language: code of the language, which decides how long n words are in unspaced scripts.
    """
    scale = characters_per_word(language) or 1
    sums = prefix_sums(hashes)
    shares = {}
    for n in TOP + REPEATED:
        size = round(n * scale)
        repeated = _repeated_runs(words, sums, repeated, size)
        if n in TOP:
            shares[f"top_{n}_gram"] = share(_most_frequent(words, repeated, size), lengths)
        else:
            shares[f"duplicated_{n}_n_grams"] = share(
                _left_to_right(words, repeated, size), lengths
            )
    return shares


def _repeated_runs(words: Words, sums: Keys, shorter: Equal, n: int) -> Equal:
    """Returns the n-grams that their page repeats, among those that begin as repeated ones do."""
    occurs = np.zeros(len(words.pages) + n, bool)
    occurs[shorter.places] = True
    places = np.flatnonzero(occurs[: max(len(words.pages) - n + 1, 0)])
    places = places[words.pages[places] == words.pages[places + n - 1]]
    found = equal(splitmix64(of_spans(sums, places, places + n)))
    return Equal(places[found.places], found.groups)


def _characters(
    words: Words, positions: Int64[np.ndarray, " some"], n: int
) -> Int64[np.ndarray, " some"]:
    """Returns the number of characters of the n-grams at these places, without spaces."""
    return words.begins[positions + n] - words.begins[positions]


def most_frequent(
    words: Words,
    first: Int64[np.ndarray, " some"],
    counts: Int64[np.ndarray, " some"],
    lengths: Int64[np.ndarray, " some"] | int = 0,
) -> Int64[np.ndarray, " some"]:
    """Returns the order by page, then by falling count, rising length and rising position.

    All four are packed into one 64-bit number per word, which sorts in a third of the time of
    `np.lexsort`. The latter is used where 64 bits are too few, for pages of millions of words.

    Args:
        words: words of the pages.
        first: first place of each word or n-gram.
        counts: how often each occurs in its page.
        lengths: length of each, at most 63.
    """
    rarest = int(counts.max(initial=0)) - counts
    pages, most = words.pages[first], int(rarest.max(initial=0)) + 1
    if (int(pages.max(initial=0)) + 1) * most * 64 * (len(words.pages) + 1) >= 2**63:
        return np.lexsort((first, np.broadcast_to(lengths, first.shape), rarest, pages))
    keys = (pages * most + rarest) * 64 + lengths
    return np.argsort(keys * len(words.pages) + first)


def _most_frequent(words: Words, found: Equal, n: int) -> Int64[np.ndarray, " pages"]:
    """Returns the characters of each page's most frequent n-gram, with one space between words.

    Of equally frequent ones the first counts. In a page without repetition it is the first of all.
    """
    pages = len(words.offsets) - 1
    result = np.zeros(pages, np.int64)
    long_enough = np.flatnonzero(np.diff(words.offsets) >= n)
    result[long_enough] = _characters(words, words.offsets[long_enough], n) + n - 1
    first, counts = found.places[found.is_first], lengths_of(found.is_first)
    best = most_frequent(words, first, counts)
    best = best[is_first(words.pages[first[best]])]
    result[words.pages[first[best]]] = counts[best] * (_characters(words, first[best], n) + n - 1)
    return result


def _left_to_right(words: Words, found: Equal, n: int) -> Int64[np.ndarray, " pages"]:
    """Returns the characters of each page in n-grams that were read before, without spaces.

    An n-gram was read before if its first place was read, or a later one. Places inside of an
    n-gram that counts are not read.
    """
    first = found.places[found.is_first][found.groups]
    order = np.argsort(found.places)
    order = order[~found.is_first[order]]
    taken, later, free = [], set(), 0
    passed = bytearray(len(words.begins))
    inside = b"\1" * (n - 1)
    for place, begin in zip(found.places[order].tolist(), first[order].tolist(), strict=True):
        if place < free:
            continue
        if passed[begin] and begin not in later:
            later.add(begin)
            continue
        taken.append(place)
        free = place + n
        passed[place + 1 : free] = inside
    places = np.array(taken, np.int64)
    pages = len(words.offsets) - 1
    characters = _characters(words, places, n)
    return np.bincount(words.pages[places], characters, minlength=pages).astype(np.int64)
