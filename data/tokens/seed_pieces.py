"""Seed pieces: the strings of a text from which SentencePiece chooses a vocabulary, counted.

A unigram training begins with all characters and the most frequent substrings, and only removes
pieces from then on (at first 1,000,000 substrings, its `seed_sentencepiece_size`). These are the
internal nodes of the text's suffix tree: strings that stand before two different characters. They
have 2 to 16 characters and lie within a word, which begins with a space (`MakeSeedSentencePieces`
in `unigram_model_trainer.cc`, version 0.2.1). So their number bounds the size of a vocabulary.
SentencePiece reports one that is too large only after a suffix array of the whole sample and two
rounds of estimation. Those leave fewer pieces than are counted here.

    "ab ac": _ab, _ac -> _a (before b and c); a vocabulary has at most _, a, b, c and _a

Whatever a text repeats is counted once, so the time is that of reading it. A part of a text has no
more pieces than the whole, so parts that double are counted until one has enough. SentencePiece's
further conditions (one script per piece, rare characters) only lower the number.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import sentencepiece
from jaxtyping import Int64, UInt32

from data.tokens.tokenizer import MOST_SEEDS

LONGEST_PIECE = 16  # characters: SentencePiece's max_sentencepiece_length
LINES_AT_ONCE = 1_000
CHARACTERS_PER_PIECE = 8  # of the first part that is counted
BEGIN = "\u2581"  # what SentencePiece writes for a space
IN_LINE, AT_END = " ", "\n"  # what stands behind a word


def most_pieces(lines: Iterable[str], enough: int) -> int:
    """Returns the most pieces that a vocabulary of these lines can have, or a number from `enough`.

    Args:
        lines: lines of a text.
        enough: number of pieces beyond which it does not matter how many there are.
    """
    words, count = _distinct_words(lines), 0
    text, characters = "", CHARACTERS_PER_PIECE * enough
    while count < enough:
        parts, size = [text], len(text)
        for word in words:
            parts.append(word)
            size += len(word)
            if size >= characters:
                break
        else:
            return _count("".join(parts))
        text = "".join(parts)
        count, characters = _count(text), 2 * characters
    return count


def _distinct_words(lines: Iterable[str]) -> Iterator[str]:
    """Yields the words of normalized lines, each with its space and with what stands behind it."""
    normalizer: Any = sentencepiece.SentencePieceNormalizer(
        rule_name="nmt_nfkc",  # pyright: ignore[reportCallIssue]
        remove_extra_whitespaces=True,  # pyright: ignore[reportCallIssue]
    )
    rest = _distinct(lines)
    chunks = iter(lambda: [*itertools.islice(rest, LINES_AT_ONCE)], [])
    return _distinct(
        f"{BEGIN}{word}{IN_LINE if number else AT_END}"
        for chunk in chunks
        for line in normalizer.normalize(chunk)
        for number, word in enumerate(reversed(line.split(" ")))
    )


def _distinct(texts: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for text in texts:
        if text not in seen:
            seen.add(text)
            yield text


def _count(text: str) -> int:
    """Returns the number of characters, and of substrings before two different characters."""
    symbols = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    is_end = np.isin(symbols, [ord(IN_LINE), ord(AT_END)])
    characters = len(np.unique(symbols[~is_end]))
    return characters + min(_branching(symbols, np.flatnonzero(is_end)), MOST_SEEDS)


def _branching(
    symbols: UInt32[np.ndarray, " characters"], ends: Int64[np.ndarray, " words"]
) -> int:
    """Returns how many substrings of words stand before two different characters.

    They are numbered length by length: a number and the next character make a pair, and each pair
    has a number. Those that occur once are left out, as no longer one with them occurs twice.
    """
    if not len(ends):
        return 0
    values, symbols = np.unique(symbols, return_inverse=True)
    left = ends[np.searchsorted(ends, np.arange(len(symbols)))] - np.arange(len(symbols))
    starts, count = np.flatnonzero(left), 0
    numbers = symbols[starts]
    for length in range(1, LONGEST_PIECE + 1):
        pairs = numbers * len(values) + symbols[starts + length]
        longer, numbers, times = np.unique(pairs, return_inverse=True, return_counts=True)
        if length > 1:
            count += int((np.bincount(longer // len(values)) > 1).sum())
        stay = (times[numbers] > 1) & (left[starts] > length)
        starts, numbers = starts[stay], numbers[stay]
    return count
