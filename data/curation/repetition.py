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
from data.dedup.hashed_words import characters_per_word, hashes_between, prefix_sums, span_hashes
from data.numbers import Equal, equal, is_first, lengths_of, splitmix64

TOP, REPEATED = (2, 3, 4), (5, 6, 7, 8, 9, 10)  # words of an n-gram
SHORT_LINE = 30  # characters of the longest short line (FineWeb)
PARAGRAPHS = re.compile(r"\n{2,}")
Shares = dict[str, Float32[np.ndarray, " pages"]]
Keys = UInt64[np.ndarray, " keys"]


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

    def chosen(self, mask: Bool[np.ndarray, " lines"]) -> "Lines":
        """Returns the lines of a mask."""
        return Lines(*(column[mask] for column in self))

    @property
    def lengths(self) -> Int64[np.ndarray, " lines"]:
        """Number of characters of each line."""
        return self.ends - self.begins


def line_signals(pages: Pages, words: Words) -> Shares:
    """Returns a share per page for each rule."""
    ends = np.flatnonzero(pages.codes == ord("\n"))
    lines = _lines(np.append(0, ends[:-1] + 1), ends, pages, words)
    breaks = np.flatnonzero(pages.flags & BREAK)
    broken = _lines_between_any_breaks(breaks, ends, pages, words) if len(breaks) else lines
    repeats = lines.chosen(_are_repeats(pages, lines))
    return (
        _repeated_line_shares(pages, lines, repeats)
        | _bullet_and_ellipsis_shares(pages, broken, words)
        | _fineweb_shares(pages, lines, repeats)
    )


def _lines(begins: np.ndarray, ends: np.ndarray, pages: Pages, words: Words) -> Lines:
    numbers = np.searchsorted(pages.offsets, begins, side="right") - 1
    first, last = (np.searchsorted(words.positions, places) for places in (begins, ends))
    return Lines(begins, ends, numbers, first, last)


def _lines_between_any_breaks(
    breaks: np.ndarray, newlines: np.ndarray, pages: Pages, words: Words
) -> Lines:
    """Returns the lines as str.splitlines; a carriage return and a newline are one break."""
    returned = breaks[pages.codes[breaks] == ord("\r")] + 1
    second = np.intersect1d(np.setdiff1d(newlines, pages.offsets[1:] - 1), returned)
    ends = np.setdiff1d(np.union1d(breaks, newlines), second)
    begins = np.append(0, ends[:-1] + 1 + np.isin(ends[:-1] + 1, second))
    return _lines(begins, ends, pages, words)


def _are_repeats(pages: Pages, lines: Lines) -> Bool[np.ndarray, " lines"]:
    """Returns which lines their page had before.

    Python's hash of a text takes a third of the time of one in arrays. It differs between
    processes, and the result does not.
    """
    hashes = [value for text in pages.texts for value in map(hash, text.split("\n"))]
    salts = splitmix64(lines.pages.astype(np.uint64))
    repeated = equal(splitmix64(np.array(hashes, np.int64).view(np.uint64) ^ salts))
    mask = np.zeros(len(hashes), bool)
    mask[repeated.places[~repeated.is_first]] = True
    return mask


def _repeated_line_shares(pages: Pages, lines: Lines, repeats: Lines) -> Shares:
    lines = lines.chosen(lines.lengths > 0)
    repeats = repeats.chosen(repeats.lengths > 0)
    begin = np.array([text.startswith("\n") for text in pages.texts], bool)  # an empty first line
    end = np.array([text.endswith("\n") for text in pages.texts], bool)
    number, repeated = counts(lines, pages) + begin + end, counts(repeats, pages) + (begin & end)
    paragraphs = np.array([_repeated_paragraphs(text) for text in pages.texts]).reshape(-1, 2)
    return {
        "dup_line_frac": share(repeated, number),
        "dup_line_char_frac": share(counts(repeats, pages, repeats.lengths), pages.lengths),
        "dup_para_frac": paragraphs[:, 0].astype(np.float32),
        "dup_para_char_frac": share(paragraphs[:, 1], pages.lengths),
    }


def _repeated_paragraphs(text: str) -> tuple[float, int]:
    """Returns the share of paragraphs that occurred before, and the characters in them."""
    if "\n\n" not in text:
        return 0.0, 0
    paragraphs = PARAGRAPHS.split(text.strip())
    seen, repeats, characters = set(), 0, 0
    for paragraph in paragraphs:
        if paragraph in seen:
            repeats, characters = repeats + 1, characters + len(paragraph)
        seen.add(paragraph)
    return repeats / len(paragraphs), characters


def _bullet_and_ellipsis_shares(pages: Pages, lines: Lines, words: Words) -> Shares:
    closing = np.isin(lines.ends, pages.offsets[1:] - 1) & (lines.lengths <= 0)
    lines = lines.chosen(~closing)
    visible = lines.chosen(lines.first < lines.last)
    bullets = visible.chosen(are("•-")[words.codes[visible.first]])
    last, dot = visible.last, ord(".")
    three = (words.codes[last - 1] == dot) & (last - 3 >= visible.first)
    third = np.maximum(last - 3, 0)
    three &= (words.codes[last - 2] == dot) & (words.codes[third] == dot)
    three &= words.positions[last - 1] - words.positions[third] == 2
    ellipses = visible.chosen(three | (words.codes[last - 1] == ord("…")))
    number = counts(lines, pages)
    return {
        "bullet_lines": share(counts(bullets, pages), number),
        "ellipsis_lines": share(counts(ellipses, pages), number),
    }


def _fineweb_shares(pages: Pages, lines: Lines, repeats: Lines) -> Shares:
    visible = lines.chosen(lines.first < lines.last)
    number = counts(visible, pages)
    last = pages.flags[visible.ends - 1]
    ended = visible.chosen((last & END_MARK) != 0)
    repeated = repeats.chosen(repeats.first < repeats.last)
    short = visible.chosen(visible.lengths <= SHORT_LINE)
    characters = pages.lengths - (counts(lines, pages) - 1)  # without newlines
    return {
        "line_punct_ratio": share(counts(ended, pages), number),
        "short_line_ratio": share(counts(short, pages), number),
        "char_dup_ratio": share(counts(repeated, pages, repeated.lengths), characters),
    }


def counts(
    lines: Lines, pages: Pages, weights: Int64[np.ndarray, " lines"] | None = None
) -> Num[np.ndarray, " pages"]:
    """Returns the number of lines of each page, or the sum of their weights."""
    return np.bincount(lines.pages, weights, minlength=len(pages.texts))


def share(
    part: Num[np.ndarray, " pages"], whole: Num[np.ndarray, " pages"]
) -> Float32[np.ndarray, " pages"]:
    """Returns part / whole, and 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0).astype(np.float32)


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
            characters = _characters_of_most_frequent(words, repeated, size)
            shares[f"top_{n}_gram"] = share(characters, lengths)
        else:
            characters = _characters_read_before(words, repeated, size)
            shares[f"duplicated_{n}_n_grams"] = share(characters, lengths)
    return shares


def _repeated_runs(words: Words, sums: Keys, shorter: Equal, n: int) -> Equal:
    """Returns the n-grams that their page repeats, among those that begin as repeated ones do."""
    occurs = np.zeros(len(words.pages) + n, bool)
    occurs[shorter.places] = True
    places = np.flatnonzero(occurs[: max(len(words.pages) - n + 1, 0)])
    places = places[words.pages[places] == words.pages[places + n - 1]]
    repeated = equal(splitmix64(hashes_between(sums, places, places + n)))
    return Equal(places[repeated.places], repeated.groups)


def _characters_of_most_frequent(
    words: Words, repeated: Equal, n: int
) -> Int64[np.ndarray, " pages"]:
    """Returns the characters of each page's most frequent n-gram, with one space between words.

    Of equally frequent ones the first counts. In a page without repetition it is the first of all.
    """
    characters = np.zeros(len(words.offsets) - 1, np.int64)
    long_enough = np.flatnonzero(np.diff(words.offsets) >= n)
    characters[long_enough] = _characters(words, words.offsets[long_enough], n) + n - 1
    first, counts = repeated.places[repeated.is_first], lengths_of(repeated.is_first)
    best = order_by_frequency(words, first, counts)
    best = best[is_first(words.pages[first[best]])]
    lengths = _characters(words, first[best], n) + n - 1
    characters[words.pages[first[best]]] = counts[best] * lengths
    return characters


def order_by_frequency(
    words: Words,
    first: Int64[np.ndarray, " ngrams"],
    counts: Int64[np.ndarray, " ngrams"],
    lengths: Int64[np.ndarray, " ngrams"] | int = 0,
) -> Int64[np.ndarray, " ngrams"]:
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


def _characters_read_before(words: Words, repeated: Equal, n: int) -> Int64[np.ndarray, " pages"]:
    """Returns the characters of each page in n-grams that were read before, without spaces.

    An n-gram was read before if its first place was read, or a later one. Places inside of an
    n-gram that counts are not read.
    """
    first = repeated.places[repeated.is_first][repeated.groups]
    order = np.argsort(repeated.places)
    order = order[~repeated.is_first[order]]
    counted, read_later, free = [], set(), 0
    passed = bytearray(len(words.begins))
    inside = b"\1" * (n - 1)
    for place, begin in zip(repeated.places[order].tolist(), first[order].tolist(), strict=True):
        if place < free:
            continue
        if passed[begin] and begin not in read_later:
            read_later.add(begin)
            continue
        counted.append(place)
        free = place + n
        passed[place + 1 : free] = inside
    places, pages = np.array(counted, np.int64), len(words.offsets) - 1
    characters = _characters(words, places, n)
    return np.bincount(words.pages[places], characters, minlength=pages).astype(np.int64)


def _characters(
    words: Words, positions: Int64[np.ndarray, " ngrams"], n: int
) -> Int64[np.ndarray, " ngrams"]:
    """Returns the number of characters of the n-grams at these places, without spaces."""
    return words.begins[positions + n] - words.begins[positions]


def salted_by_page(
    words: Words, hashes: UInt64[np.ndarray, " words"]
) -> UInt64[np.ndarray, " words"]:
    """Returns hashes of words that differ between pages, as n-grams of two pages never match."""
    return splitmix64(hashes + words.pages.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))


def character_sums(
    codes: UInt32[np.ndarray, " characters"],
) -> UInt64[np.ndarray, " characters_and_1"]:
    """Returns prefix sums, from which `hashed_words.hashes_between` makes the hash of any span."""
    return prefix_sums(_values()[codes])


def hash_of(word: str) -> int:
    """Returns the hash that `hashes_between` gives a word, wherever it stands."""
    values = _values()[scripts.code_points(word)]
    return int(span_hashes(values, np.array([0]), np.array([len(values)]))[0])


@functools.cache
def _values() -> UInt64[np.ndarray, "1114112"]:
    """Returns a number per character, all different."""
    return splitmix64(np.arange(1, scripts.CODE_POINTS + 1, dtype=np.uint64))
