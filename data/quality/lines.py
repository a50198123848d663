"""Shares of a page's lines and paragraphs: repeated, short, bullets, ellipses, end marks.

The lines of three rules differ, and so they do here, as in datatrove:

    repeated lines (Gopher)                   what runs of newlines separate
    bullets and ellipses (Gopher)             what any line breaks separate (str.splitlines)
    end marks, short and repeated (FineWeb)   what newlines separate, without blank lines
"""

import re
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int64, Num

from data.quality import characters as kind
from data.quality.equal import equal
from data.quality.pages import Pages
from data.quality.words import Words
from data.splitmix64 import splitmix64

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
    breaks = np.flatnonzero(pages.flags & kind.BREAK)
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
    bullets = visible.those(kind.are("•-")[words.codes[visible.first]])
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
    ended = visible.those((last & kind.END_MARK) != 0)
    repeated = again.those(again.first < again.last)
    short = visible.those(visible.lengths <= SHORT_LINE)
    characters = pages.lengths - (counts(lines, pages) - 1)  # without newlines
    return {
        "line_punct_ratio": share(counts(ended, pages), number),
        "short_line_ratio": share(counts(short, pages), number),
        "char_dup_ratio": share(counts(repeated, pages, repeated.lengths), characters),
    }
