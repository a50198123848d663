"""The most frequent words of each page, with their counts, which lists of stop words choose from.

In scripts without spaces a word here is as many characters in a row as have half the content of a
word: one in Chinese and Japanese, three in Thai, Lao, Khmer and Burmese.
"""

import numpy as np
import pyarrow as pa
from jaxtyping import Int64, UInt64

from data.dedup.hashed_words import span_hashes
from data.quality import characters as kind
from data.quality.equal import Equal, equal
from data.quality.repetition import most_frequent
from data.quality.words import Words, characters_per_word
from data.splitmix64 import splitmix64

MOST_WORDS = 32  # per page
LONGEST_WORD = 30  # characters

Places = Int64[np.ndarray, " places"]


def common_words(
    words: Words, hashes: UInt64[np.ndarray, " words"], repeated: Equal, language: str
) -> dict[str, pa.ListArray]:
    """Returns the words of each page that occur most often, and how often.

    Of equally frequent words the shortest count, of those the first: stop words are short.

    Args:
        words: words of the pages.
        hashes: a hash per word that differs between pages.
        repeated: words that their page repeats.
        language: code of the language.
    """
    size = max(1, int((characters_per_word(language) or 2) / 2))
    if size > 1:
        places = _runs(words, size)
        found = equal(splitmix64(span_hashes(hashes, places, places + size)))
        first, counts = _counted(found, len(places))
        first = places[first]
    else:
        first, counts = _counted(repeated, len(hashes))
        short = words.begins[first + 1] - words.begins[first] <= LONGEST_WORD
        first, counts = first[short], counts[short]
    lengths = words.begins[first + size] - words.begins[first]
    order = most_frequent(words, first, counts, lengths)
    pages = words.pages[first[order]]
    begins = np.searchsorted(pages, np.arange(len(words.offsets)))
    order = order[np.arange(len(order)) - begins[pages] < MOST_WORDS]
    offsets = np.minimum(np.diff(begins), MOST_WORDS).cumsum()
    offsets = pa.array(np.append(0, offsets), pa.int32())
    texts = pa.array(_texts(words, first[order], size), pa.string())
    kept = pa.array(counts[order], pa.int32())
    return {
        "common_words": pa.ListArray.from_arrays(offsets, texts),
        "common_word_counts": pa.ListArray.from_arrays(offsets, kept),
    }


def _runs(words: Words, size: int) -> Places:
    """Returns where runs of unspaced characters begin."""
    unspaced = (words.flags[words.begins[:-1]] & kind.UNSPACED) != 0
    count = np.append(0, np.cumsum(unspaced))
    places = np.arange(max(len(unspaced) - size + 1, 0))
    together = count[places + size] - count[places] == size
    last = words.begins[places + size] - 1
    together &= words.positions[last] - words.positions[words.begins[places]] == size - 1
    return np.flatnonzero(together)


def _counted(found: Equal, hashes: int) -> tuple[Places, Places]:
    """Returns the first place of each of so many hashes, and how often the hash occurs."""
    begins = np.flatnonzero(found.is_first)
    once = np.ones(hashes, bool)
    once[found.places] = False
    first = np.concatenate((found.places[begins], np.flatnonzero(once)))
    counts = np.ones(len(first), np.int64)
    counts[: len(begins)] = np.diff(np.append(begins, len(found.places)))
    return first, counts


def _texts(words: Words, first: Places, size: int) -> list[str]:
    text = words.codes.tobytes().decode("utf-32-le", "surrogatepass")
    begins, ends = words.begins[first].tolist(), words.begins[first + size].tolist()
    return [text[begin:end] for begin, end in zip(begins, ends, strict=True)]
