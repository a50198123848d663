"""Which benchmarks a page shares text with: an n-gram of 13 words (`data.leakage.ngrams`).

How long a text's n-grams are depends on its own script: 13 words, or the characters with their
content where most of its letters stand without spaces. A page is compared with all n-grams that are
no longer than those of its language, so with n-grams of words in every language: pages quote other
languages.

Texts of fewer than 13 words are not looked for: a one-word answer stands in millions of pages.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from data import scripts
from data.dedup.hashed_words import Words, chunks_of, hashed_words, length_of
from data.errors import DataError
from data.leakage.benchmark_texts import name_of, texts_of
from data.leakage.ngrams import NGRAM_WORDS, Beginnings, hits_of, sought_ngrams, word_counts

KANA_SHARE = 10  # a text is Japanese if a tenth of its characters is kana


@dataclass(frozen=True)
class Benchmarks:
    """The n-grams of benchmarks, of which the owners are positions in `names`.

    Attributes:
        names: names of the benchmarks, as files or tasks.
        too_short: number of texts of fewer than 13 words, per benchmark.
        ngrams: number of different n-grams that are looked for, per benchmark.
        sought: their n-grams.
    """

    names: tuple[str, ...]
    too_short: tuple[int, ...]
    ngrams: tuple[int, ...]
    sought: list[Beginnings]

    @classmethod
    def read(cls, paths: Iterable[str]) -> "Benchmarks":
        """Returns the benchmarks of files and descriptions of tasks (`benchmark_texts`).

        Raises:
            DataError: if one cannot be read or has no text of 13 words.
        """
        return cls.of({name: list(texts_of(path)) for name, path in _named(paths).items()})

    @classmethod
    def of(cls, benchmarks: Mapping[str, Sequence[str]]) -> "Benchmarks":
        """Returns benchmarks of texts, by name.

        Raises:
            DataError: if one has no text of 13 words.
        """
        names = tuple(benchmarks)
        texts = [text for name in names for text in benchmarks[name]]
        owners = np.repeat(np.arange(len(names)), [len(benchmarks[name]) for name in names])
        lengths = np.array([ngram_length(text) for text in texts], np.int64)
        is_sought = word_counts(texts) >= lengths
        sought = sought_ngrams(texts, owners, np.where(is_sought, lengths, 0))
        of_ngrams = [some.owners for beginnings in sought for some in beginnings.ngrams]
        ngrams = np.bincount(np.concatenate([owners[:0], *of_ngrams]), minlength=len(names))
        for name, count in zip(names, ngrams, strict=True):
            if not count:
                raise DataError(
                    f"The benchmark {name} should have a text of {NGRAM_WORDS} words and has none, "
                    "so no page can share one; leave it out."
                )
        too_short = np.bincount(owners[~is_sought], minlength=len(names))
        return cls(names, tuple(too_short.tolist()), tuple(ngrams.tolist()), sought)

    def overlaps(self, texts: Sequence[str], language: str) -> list[list[str]]:
        """Returns for each page the benchmarks that it shares an n-gram with, by name, in order.

        Args:
            texts: the pages.
            language: code of their language.
        """
        sought = _no_longer_than(length_of(NGRAM_WORDS, language), self.sought)
        found: list[list[str]] = []
        for some in chunks_of(texts):
            begin = len(found)
            found += [[] for _ in some]
            for page, owner in _pairs(sought, hashed_words(some)):
                found[begin + page].append(self.names[owner])
        return found


def ngram_length(text: str) -> int:
    """Returns the number of units in the n-grams of a benchmark's text, by its script."""
    spaced, han, kana, other = np.bincount(_script()[scripts.code_points(text)], minlength=5)[1:5]
    if spaced >= han + kana + other:
        return NGRAM_WORDS
    if other > han + kana:
        return length_of(NGRAM_WORDS, "th")
    return length_of(NGRAM_WORDS, "ja" if KANA_SHARE * kana > han + kana else "zh")


def _no_longer_than(length: int, sought: list[Beginnings]) -> list[Beginnings]:
    kept = ((one, [some for some in one.ngrams if some.length <= length]) for one in sought)
    return [one._replace(ngrams=some) for one, some in kept if some]


def _pairs(sought: list[Beginnings], words: Words) -> list[tuple[int, int]]:
    """Returns pages and the benchmarks that they share an n-gram with, in order, each pair once."""
    pairs: set[tuple[int, int]] = set()
    for ngrams, starts, hashes in hits_of(sought, words):
        pages = np.searchsorted(words.offsets, starts, side="right") - 1
        first, last = (np.searchsorted(ngrams.hashes, hashes, side) for side in ("left", "right"))
        counts = last - first
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        owners = ngrams.owners[np.repeat(first, counts) + within]
        pairs.update(zip(np.repeat(pages, counts).tolist(), owners.tolist(), strict=True))
    return sorted(pairs)


def _named(paths: Iterable[str]) -> dict[str, str]:
    """Returns the path of each benchmark by its name, with as many folders as tell them apart."""
    paths = tuple(dict.fromkeys(paths))
    for parts in range(1, 2 + max((path.count("/") for path in paths), default=0)):
        named = {name_of(path, parts): path for path in paths}
        if len(named) == len(paths):
            return named
    raise DataError(
        f"The benchmarks {', '.join(paths)} should have different names and two have the "
        "same; leave one out, or score with each by itself."
    )


@functools.cache
def _script() -> UInt8[np.ndarray, "1114112"]:
    """Returns the kind of each character: 1 in spaced words, 2 Han, 3 kana, 4 other unspaced."""
    table = (scripts.kinds() == scripts.IN_A_WORD).astype(np.uint8)
    table[scripts.kinds() == scripts.UNSPACED] = 4
    table[scripts.characters_with(r"[\p{Han}\p{Bopo}\p{Yi}]")] = 2
    table[scripts.characters_with(r"[\p{Hira}\p{Kana}]")] = 3
    return table
