"""The numbers of a page that Gopher's and FineWeb's rules compare with thresholds.

Sources: Rae et al. 2021 (Gopher), section A.1.1 and table A1; Penedo et al. 2024 (FineWeb); as
datatrove 0.10.1 computes them. Nothing here depends on a threshold or on a list of stop words, so
that both may change later (`decisions`).

A list of stop words asks which of them a page holds. Each page therefore keeps 32 words that may
be stop words, with their counts (`common_words`).
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import Num

from data.dedup.hashed_words import chunks_of, of_spans
from data.quality import characters as kind
from data.quality import hashes
from data.quality.common_words import common_words
from data.quality.equal import equal
from data.quality.lines import line_signals, share
from data.quality.pages import Pages, joined
from data.quality.repetition import REPEATED, TOP, per_page, repetition
from data.quality.words import Words, words
from data.sorted_numbers import lengths_of

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


def signals(texts: Sequence[str], language: str) -> pa.RecordBatch:
    """Returns the numbers of each page.

    Args:
        texts: text of each page.
        language: code of the pages' language, which decides how words are cut (`words`).
    """
    parts = [_of_chunk(chunk, language) for chunk in chunks_of(texts)]
    if not parts:
        return pa.RecordBatch.from_pylist([], SIGNALS)
    return pa.Table.from_batches(parts, SIGNALS).combine_chunks().to_batches()[0]


def _of_chunk(texts: list[str], language: str) -> pa.RecordBatch:
    pages = joined(texts)
    found = words(pages, language)
    sums = hashes.sums(found.codes)
    plain = of_spans(sums, found.begins[:-1], found.begins[1:])
    salted = per_page(found, plain)
    repeated = equal(salted)
    columns = {
        **_word_signals(pages, found),
        **line_signals(pages, found),
        **repetition(found, salted, repeated, pages.lengths, language),
        **common_words(found, plain, salted, repeated, language),
    }
    arrays = [pa.array(columns[name]) for name in SIGNALS.names]
    return pa.RecordBatch.from_arrays(arrays, schema=SIGNALS)


def _word_signals(pages: Pages, words: Words) -> dict[str, Num[np.ndarray, " pages"]]:
    """Returns counts and shares of words.

    The ratios per word (newlines, hashes, ellipses) divide by all words, symbols included.
    """
    lengths, content = np.diff(words.begins), (words.kinds & kind.CONTENT) != 0

    def summed(values: Num[np.ndarray, " words"]) -> Num[np.ndarray, " pages"]:
        return np.bincount(words.pages, values, minlength=len(pages.texts))

    everything, content_words = summed(words.weights), summed(words.weights * content)
    number_signs, ellipses = _symbols(pages, words)
    newlines = np.array([text.count("\n") for text in pages.texts])
    return {
        "characters": pages.lengths.astype(np.int32),
        "words": np.rint(content_words).astype(np.int32),
        "mean_word_length": share(summed(lengths * content), content_words),
        "alphabetic_words": share(summed(words.weights * words.has_letters), everything),
        "hashes_per_word": share(number_signs, everything),
        "ellipses_per_word": share(ellipses, everything),
        "list_ratio": share(newlines, everything),
    }


def _symbols(
    pages: Pages, words: Words
) -> tuple[Num[np.ndarray, " pages"], Num[np.ndarray, " pages"]]:
    """Returns the number of hashes and of ellipses of each page; three dots are one."""
    codes, positions = words.codes[words.marks], words.positions[words.marks]

    def per_page(at: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        numbers = np.searchsorted(pages.offsets, at, side="right") - 1
        return np.bincount(numbers, weights, minlength=len(pages.texts))

    dots = positions[codes == ord(".")]
    begins = np.diff(dots, prepend=-2) != 1
    ellipses = per_page(positions[codes == ord("…")])
    return per_page(positions[codes == ord("#")]), ellipses + per_page(
        dots[begins], lengths_of(begins) // 3
    )
