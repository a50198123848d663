"""The words of each page that lists of stop words choose from, with their counts: 32 per page.

The stop words that FineWeb2 lists for the language (`stop_words.tsv`) come first, then the most
frequent words. So FineWeb2's lists miss no word of a page, and a list of words that are frequent
in the corpus hardly any.

In scripts without spaces a word here is as many characters in a row as have half the content of a
word: one in Chinese and Japanese, three in Thai, Lao, Khmer and Burmese. They have no such lists.
"""

import csv
import functools
from importlib import resources

import numpy as np
import pyarrow as pa
from jaxtyping import Int64, UInt64

from data.dedup.hashed_words import characters_per_word, span_hashes
from data.quality import characters as kind
from data.quality.equal import Equal, equal
from data.quality.hashes import hash_of
from data.quality.repetition import most_frequent
from data.quality.words import Words
from data.sorted_numbers import is_among, lengths_of
from data.splitmix64 import splitmix64

MOST_WORDS = 32  # per page
# Korean and Maltese: FineWeb2 lists parts of words ("는", "tal-"), as other tokenizers cut them.
LISTED_AS_PARTS = ("ko", "mt")
LONGEST_WORD = 30  # characters

Hashes = UInt64[np.ndarray, " words"]
Places = Int64[np.ndarray, " places"]


def common_words(
    words: Words, hashes: Hashes, salted: Hashes, repeated: Equal, language: str
) -> dict[str, pa.ListArray]:
    """Returns the listed and the most frequent words of each page, and how often they occur.

    Of equally frequent words the shortest count, of those the first: stop words are short.

    Args:
        words: words of the pages.
        hashes: hash of each word's characters (`hash_of`).
        salted: a hash per word that differs between pages.
        repeated: words that their page repeats.
        language: code of the language.
    """
    size = max(1, int((characters_per_word(language) or 2) / 2))
    if size > 1:
        places = _runs(words, size)
        found = equal(splitmix64(span_hashes(salted, places, places + size)))
        first, counts = _counted(found, len(places))
        first = places[first]
    else:
        first, counts = _counted(repeated, len(salted))
        short = words.begins[first + 1] - words.begins[first] <= LONGEST_WORD
        short &= words.has_letters[first]
        first, counts = first[short], counts[short]
    lengths = words.begins[first + size] - words.begins[first]
    listed = is_among(hashes[first], _listed_hashes(language))
    # No word occurs as often as a page has words, so a listed one comes first.
    order = most_frequent(words, first, counts + listed * len(hashes), lengths)
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


@functools.cache
def listed_stop_words() -> dict[str, tuple[str, ...]]:
    """Returns FineWeb2's stop words per language; those of English are Gopher's.

    Source: huggingface/fineweb-2, configs/, Apache-2.0; without marks. Those of
    `LISTED_AS_PARTS` are left out.
    """
    text = resources.files("data.quality").joinpath("stop_words.tsv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines(), delimiter="\t")
    return {row["code"]: tuple(row["words"].split(" ")) for row in rows}


@functools.cache
def _listed_hashes(language: str) -> Hashes:
    listed = listed_stop_words().get(language, ())
    return np.sort(np.array([hash_of(word) for word in listed], np.uint64))


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
    """Returns the first place of each hash, and how often the hash occurs."""
    once = np.ones(hashes, bool)
    once[found.places] = False
    first = np.concatenate((found.places[found.is_first], np.flatnonzero(once)))
    lengths = lengths_of(found.is_first)
    return first, np.concatenate((lengths, np.ones(len(first) - len(lengths), np.int64)))


def _texts(words: Words, first: Places, size: int) -> list[str]:
    text = words.codes.tobytes().decode("utf-32-le", "surrogatepass")
    begins, ends = words.begins[first].tolist(), words.begins[first + size].tolist()
    return [text[begin:end] for begin, end in zip(begins, ends, strict=True)]
