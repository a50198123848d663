"""Signals: the numbers of a page that Gopher's and FineWeb's rules compare with thresholds.

Nothing here depends on a threshold or on a list of stop words, so that both may change later
(`quality_rules`). A list of stop words asks which of them a page holds. Each page therefore keeps
32 words that may be stop words, with their counts (`common_words`): first those that FineWeb2 lists
for the language (`stop_words.tsv`), then the most frequent ones. So FineWeb2's lists miss no word
of a page, and a list of words that are frequent in the corpus hardly any.

In scripts without spaces a word here is as many characters in a row as have half the content of a
word: one in Chinese and Japanese, three in Thai, Lao, Khmer and Burmese. They have no such lists.

Sources: Rae et al. 2021 (Gopher), section A.1.1 and table A1; Penedo et al. 2024 (FineWeb); as
datatrove 0.10.1 computes them.
"""

import functools
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import Int64, Num, UInt64

from data.curation.repetition import (
    REPEATED,
    TOP,
    character_sums,
    hash_of,
    line_signals,
    order_by_frequency,
    repetition,
    salted_by_page,
    share,
)
from data.curation.words import CONTENT, UNSPACED, Pages, Words, cut_words, joined_pages
from data.dedup.hashed_words import characters_per_word, hashes_between, span_hashes, text_chunks
from data.languages import table_rows
from data.numbers import Equal, equal, is_among, lengths_of, splitmix64

MOST_WORDS = 32  # per page
# Korean and Maltese: FineWeb2 lists parts of words ("는", "tal-"), as other tokenizers cut them.
LISTED_AS_PARTS = ("ko", "mt")
LONGEST_WORD = 30  # characters
SHARES = (
    "dup_line_frac",
    "dup_para_frac",
    "dup_line_char_frac",
    "dup_para_char_frac",
    *(f"top_{n}_gram" for n in TOP),
    *(f"duplicated_{n}_n_grams" for n in REPEATED),
    "bullet_lines",
    "ellipsis_lines",
    "hashes_per_word",
    "ellipses_per_word",
    "alphabetic_words",
    "line_punct_ratio",
    "short_line_ratio",
    "char_dup_ratio",
    "list_ratio",
)
SIGNALS = pa.schema(
    [
        pa.field("characters", pa.int32(), nullable=False),
        pa.field("words", pa.int32(), nullable=False),  # without those of symbols alone
        pa.field("mean_word_length", pa.float32(), nullable=False),
        *(pa.field(name, pa.float32(), nullable=False) for name in SHARES),
        pa.field("common_words", pa.list_(pa.string()), nullable=False),
        pa.field("common_word_counts", pa.list_(pa.int32()), nullable=False),
    ]
)
Hashes = UInt64[np.ndarray, " words"]
Places = Int64[np.ndarray, " places"]


def signals(texts: Sequence[str], language: str) -> pa.RecordBatch:
    """Returns the numbers of each page.

    Args:
        texts: text of each page.
        language: code of the pages' language, which decides how words are cut (`words`).
    """
    parts = [_signals_of_chunk(chunk, language) for chunk in text_chunks(texts)]
    if not parts:
        return pa.RecordBatch.from_pylist([], SIGNALS)
    return pa.Table.from_batches(parts, SIGNALS).combine_chunks().to_batches()[0]


def _signals_of_chunk(texts: list[str], language: str) -> pa.RecordBatch:
    pages = joined_pages(texts)
    words = cut_words(pages, language)
    hashes = hashes_between(character_sums(words.codes), words.begins[:-1], words.begins[1:])
    salted = salted_by_page(words, hashes)
    repeated = equal(salted)
    columns = {
        **_word_signals(pages, words),
        **line_signals(pages, words),
        **repetition(words, salted, repeated, pages.lengths, language),
        **common_words(words, hashes, salted, repeated, language),
    }
    arrays = [pa.array(columns[name]) for name in SIGNALS.names]
    return pa.RecordBatch.from_arrays(arrays, schema=SIGNALS)


def _word_signals(pages: Pages, words: Words) -> dict[str, Num[np.ndarray, " pages"]]:
    """Returns counts and shares of words.

    The ratios per word (newlines, hashes, ellipses) divide by all words, symbols included.
    """
    lengths, content = np.diff(words.begins), (words.kinds & CONTENT) != 0

    def page_sums(values: Num[np.ndarray, " words"]) -> Num[np.ndarray, " pages"]:
        return np.bincount(words.pages, values, minlength=len(pages.texts))

    everything, content_words = page_sums(words.weights), page_sums(words.weights * content)
    number_signs, ellipses = _symbols(pages, words)
    newlines = np.array([text.count("\n") for text in pages.texts])
    return {
        "characters": pages.lengths.astype(np.int32),
        "words": np.rint(content_words).astype(np.int32),
        "mean_word_length": share(page_sums(lengths * content), content_words),
        "alphabetic_words": share(page_sums(words.weights * words.has_letters), everything),
        "hashes_per_word": share(number_signs, everything),
        "ellipses_per_word": share(ellipses, everything),
        "list_ratio": share(newlines, everything),
    }


def _symbols(
    pages: Pages, words: Words
) -> tuple[Num[np.ndarray, " pages"], Num[np.ndarray, " pages"]]:
    """Returns the number of hashes and of ellipses of each page; three dots are one."""
    codes, positions = words.codes[words.marks], words.positions[words.marks]

    def page_counts(places: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        numbers = np.searchsorted(pages.offsets, places, side="right") - 1
        return np.bincount(numbers, weights, minlength=len(pages.texts))

    dots = positions[codes == ord(".")]
    begins = np.diff(dots, prepend=-2) != 1
    ellipses = page_counts(positions[codes == ord("…")])
    ellipses = ellipses + page_counts(dots[begins], lengths_of(begins) // 3)
    return page_counts(positions[codes == ord("#")]), ellipses


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
        places = _unspaced_runs(words, size)
        runs = equal(splitmix64(span_hashes(salted, places, places + size)))
        first, counts = _first_places(runs, len(places))
        first = places[first]
    else:
        first, counts = _first_places(repeated, len(salted))
        short = words.begins[first + 1] - words.begins[first] <= LONGEST_WORD
        short &= words.has_letters[first]
        first, counts = first[short], counts[short]
    lengths = words.begins[first + size] - words.begins[first]
    listed = is_among(hashes[first], _listed_hashes(language))
    # No word occurs as often as a page has words, so a listed one comes first.
    order = order_by_frequency(words, first, counts + listed * len(hashes), lengths)
    pages = words.pages[first[order]]
    begins = np.searchsorted(pages, np.arange(len(words.offsets)))
    order = order[np.arange(len(order)) - begins[pages] < MOST_WORDS]
    offsets = np.minimum(np.diff(begins), MOST_WORDS).cumsum()
    offsets = pa.array(np.append(0, offsets), pa.int32())
    texts = pa.array(_texts(words, first[order], size), pa.string())
    return {
        "common_words": pa.ListArray.from_arrays(offsets, texts),
        "common_word_counts": pa.ListArray.from_arrays(
            offsets, pa.array(counts[order], pa.int32())
        ),
    }


def _unspaced_runs(words: Words, size: int) -> Places:
    """Returns the first places of runs of unspaced characters."""
    unspaced = (words.flags[words.begins[:-1]] & UNSPACED) != 0
    count = np.append(0, np.cumsum(unspaced))
    places = np.arange(max(len(unspaced) - size + 1, 0))
    together = count[places + size] - count[places] == size
    last = words.begins[places + size] - 1
    together &= words.positions[last] - words.positions[words.begins[places]] == size - 1
    return np.flatnonzero(together)


def _first_places(repeated: Equal, hashes: int) -> tuple[Places, Places]:
    """Returns the first place of each hash, and how often the hash occurs."""
    once = np.ones(hashes, bool)
    once[repeated.places] = False
    first = np.concatenate((repeated.places[repeated.is_first], np.flatnonzero(once)))
    lengths = lengths_of(repeated.is_first)
    return first, np.concatenate((lengths, np.ones(len(first) - len(lengths), np.int64)))


@functools.cache
def _listed_hashes(language: str) -> Hashes:
    listed = listed_stop_words().get(language, ())
    return np.sort(np.array([hash_of(word) for word in listed], np.uint64))


@functools.cache
def listed_stop_words() -> dict[str, tuple[str, ...]]:
    """Returns FineWeb2's stop words per language; those of English are Gopher's.

    Source: huggingface/fineweb-2, configs/, Apache-2.0; without marks. Those of
    `LISTED_AS_PARTS` are left out.
    """
    rows = table_rows("data.curation", "stop_words.tsv")
    return {row["code"]: tuple(row["words"].split(" ")) for row in rows}


def _texts(words: Words, first: Places, size: int) -> list[str]:
    text = words.codes.tobytes().decode("utf-32-le", "surrogatepass")
    begins, ends = words.begins[first].tolist(), words.begins[first + size].tolist()
    return [text[begin:end] for begin, end in zip(begins, ends, strict=True)]
