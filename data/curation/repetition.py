"""Repetition: the repeated lines, paragraphs and n-grams of pages, by Gopher's and FineWeb's rules.

Each is a share of a page's lines, paragraphs or characters. The lines of three rules differ, and so
they do here, as in datatrove:

    repeated lines (Gopher)                   what runs of newlines separate
    bullets and ellipses (Gopher)             what any line breaks separate (str.splitlines)
    end marks, short and repeated (FineWeb)   what newlines separate, without blank lines

Each page counts once for its most frequent n-gram of 2, 3 and 4 words, and for all repeated ones of
5 to 10. As in datatrove, the latter are found from left to right: an n-gram that was read before
counts, and reading goes on behind it. In scripts without spaces an n-gram is as many characters as
have the content of n words.

All pages are counted at once: hashes of words and lines come from prefix sums over all characters.
Few n-grams are repeated, and only those are looked at closely. An n-gram of n + 1 words can be
repeated only where its first n words are, so each length searches what the previous one left over.
"""

import functools
import re
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int64, Num, UInt32, UInt64

from data import scripts
from data.curation.words import BREAK, END_MARK, Pages, Words, are
from data.dedup.hashed_words import characters_per_word, of_spans, prefix_sums, span_hashes
from data.numbers import Equal, equal, is_first, lengths_of, splitmix64


def sums(codes: UInt32[np.ndarray, " characters"]) -> UInt64[np.ndarray, " characters_and_1"]:
    """Returns prefix sums, of which `hashed_words.of_spans` makes the hash of any span."""
    return prefix_sums(_values()[codes])


def hash_of(word: str) -> int:
    """Returns the hash that `of_spans` gives a word, wherever it stands."""
    values = _values()[scripts.code_points(word)]
    return int(span_hashes(values, np.array([0]), np.array([len(values)]))[0])


@functools.cache
def _values() -> UInt64[np.ndarray, "1114112"]:
    """Returns a number per character, all different."""
    return splitmix64(np.arange(1, scripts.CODE_POINTS + 1, dtype=np.uint64))


SHORT_LINE = 30  # characters of the longest short line (FineWeb)
PARAGRAPHS = re.compile(r"\n{2,}")

Shares = dict[str, Float32[np.ndarray, " pages"]]


class Lines(NamedTuple):
    """Lines of pages.

    Attributes:
        begins: index of each line's first character.
        ends: index of the line break behind each line.
        pages: number of each line's page.
        first: index of each line's first character among those that are not white space.
        last: index behind its last one.
    """

    begins: Int64[np.ndarray, " lines"]
    ends: Int64[np.ndarray, " lines"]
    pages: Int64[np.ndarray, " lines"]
    first: Int64[np.ndarray, " lines"]
    last: Int64[np.ndarray, " lines"]

    def those(self, which: Bool[np.ndarray, " lines"]) -> "Lines":
        """Returns some of the lines."""
        return Lines(*(each[which] for each in self))

    @property
    def lengths(self) -> Int64[np.ndarray, " lines"]:
        """Number of characters of each line."""
        return self.ends - self.begins


def line_signals(pages: Pages, words: Words) -> Shares:
    """Returns a share per page for each rule."""
    ends = np.flatnonzero(pages.codes == ord("\n"))
    lines = _lines(np.append(0, ends[:-1] + 1), ends, pages, words)
    breaks = np.flatnonzero(pages.flags & BREAK)
    broken = _between_any_breaks(breaks, ends, pages, words) if len(breaks) else lines
    again = lines.those(_again(pages, lines))
    return (
        _gopher(pages, lines, again) | _marked(pages, broken, words) | _fineweb(pages, lines, again)
    )


def share(
    part: Num[np.ndarray, " pages"], whole: Num[np.ndarray, " pages"]
) -> Float32[np.ndarray, " pages"]:
    """Returns part / whole, and 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0).astype(np.float32)


def counts(
    lines: Lines, pages: Pages, weights: Int64[np.ndarray, " lines"] | None = None
) -> Num[np.ndarray, " pages"]:
    """Returns the number of lines of each page, or the sum of their weights."""
    return np.bincount(lines.pages, weights, minlength=len(pages.texts))


def _lines(begins: np.ndarray, ends: np.ndarray, pages: Pages, words: Words) -> Lines:
    numbers = np.searchsorted(pages.offsets, begins, side="right") - 1
    first, last = (np.searchsorted(words.positions, each) for each in (begins, ends))
    return Lines(begins, ends, numbers, first, last)


def _between_any_breaks(
    breaks: np.ndarray, newlines: np.ndarray, pages: Pages, words: Words
) -> Lines:
    """Returns the lines as str.splitlines; a carriage return and a newline are one break."""
    returned = breaks[pages.codes[breaks] == ord("\r")] + 1
    second = np.intersect1d(np.setdiff1d(newlines, pages.offsets[1:] - 1), returned)
    ends = np.setdiff1d(np.union1d(breaks, newlines), second)
    begins = np.append(0, ends[:-1] + 1 + np.isin(ends[:-1] + 1, second))
    return _lines(begins, ends, pages, words)


def _again(pages: Pages, lines: Lines) -> Bool[np.ndarray, " lines"]:
    """Returns which lines their page had before.

    Python's hash of a text takes a third of the time of one in arrays. It differs between
    processes, and the result does not.
    """
    hashes = [value for text in pages.texts for value in map(hash, text.split("\n"))]
    salts = splitmix64(lines.pages.astype(np.uint64))
    found = equal(splitmix64(np.array(hashes, np.int64).view(np.uint64) ^ salts))
    again = np.zeros(len(hashes), bool)
    again[found.places[~found.is_first]] = True
    return again


def _gopher(pages: Pages, lines: Lines, again: Lines) -> Shares:
    some = lines.those(lines.lengths > 0)
    begin = np.array([text.startswith("\n") for text in pages.texts], bool)  # an empty first line
    end = np.array([text.endswith("\n") for text in pages.texts], bool)
    repeated = again.those(again.lengths > 0)
    characters = counts(repeated, pages, repeated.lengths)
    paragraphs = np.array([_repeated_paragraphs(text) for text in pages.texts]).reshape(-1, 2)
    return {
        "dup_line_frac": share(
            counts(repeated, pages) + (begin & end), counts(some, pages) + begin + end
        ),
        "dup_line_char_frac": share(characters, pages.lengths),
        "dup_para_frac": paragraphs[:, 0].astype(np.float32),
        "dup_para_char_frac": share(paragraphs[:, 1], pages.lengths),
    }


def _repeated_paragraphs(text: str) -> tuple[float, int]:
    """Returns the share of paragraphs that occurred before, and the characters in them."""
    if "\n\n" not in text:
        return 0.0, 0
    paragraphs = PARAGRAPHS.split(text.strip())
    seen, again, characters = set(), 0, 0
    for paragraph in paragraphs:
        if paragraph in seen:
            again, characters = again + 1, characters + len(paragraph)
        seen.add(paragraph)
    return again / len(paragraphs), characters


def _marked(pages: Pages, lines: Lines, words: Words) -> Shares:
    """Returns the shares of lines that begin with a bullet or end with an ellipsis."""
    closing = np.isin(lines.ends, pages.offsets[1:] - 1) & (lines.lengths <= 0)
    lines = lines.those(~closing)
    visible = lines.those(lines.first < lines.last)
    bullets = visible.those(are("•-")[words.codes[visible.first]])
    last, dot = visible.last, ord(".")
    three = (words.codes[last - 1] == dot) & (last - 3 >= visible.first)
    third = np.maximum(last - 3, 0)
    three &= (words.codes[last - 2] == dot) & (words.codes[third] == dot)
    three &= words.positions[last - 1] - words.positions[third] == 2
    ellipses = visible.those(three | (words.codes[last - 1] == ord("…")))
    number = counts(lines, pages)
    return {
        "bullet_lines": share(counts(bullets, pages), number),
        "ellipsis_lines": share(counts(ellipses, pages), number),
    }


def _fineweb(pages: Pages, lines: Lines, again: Lines) -> Shares:
    visible = lines.those(lines.first < lines.last)
    number = counts(visible, pages)
    last = pages.flags[visible.ends - 1]
    ended = visible.those((last & END_MARK) != 0)
    repeated = again.those(again.first < again.last)
    short = visible.those(visible.lengths <= SHORT_LINE)
    characters = pages.lengths - (counts(lines, pages) - 1)  # without newlines
    return {
        "line_punct_ratio": share(counts(ended, pages), number),
        "short_line_ratio": share(counts(short, pages), number),
        "char_dup_ratio": share(counts(repeated, pages, repeated.lengths), characters),
    }


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
