"""Counts of a language's signals and words, from which thresholds are derived; they add up.

Each signal is counted in steps, a language's counts are summed over files in any order, and nothing
but integers is stored. A share is counted to the nearest 1/500 and a mean word length to the
nearest 1/20 of a character, so that a mean, a deviation or a quantile is off by at most half a step
(0.001 and 0.025).

Words are counted where they are among the 32 most frequent of their page. Words above 0.3 % of all,
which alone may become stop words, are hardly ever elsewhere.
"""

from collections import Counter
from collections.abc import Iterable

import msgspec
import numpy as np
import pyarrow as pa

from data.quality.repetition import REPEATED, TOP
from data.stores.json_shapes import Count

STEPS = 500  # per 1
STEPS_PER_CHARACTER = 20
WORD_LENGTH = "mean_word_length"
COUNTED = (
    "dup_line_frac",
    *(f"top_{n}_gram" for n in TOP),
    *(f"duplicated_{n}_n_grams" for n in REPEATED),
    "line_punct_ratio",
    "list_ratio",
    "alphabetic_words",
    WORD_LENGTH,
)
RARE = 0.0005  # share of a file's words below which a word is not counted


class Histograms(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of a language's pages and words.

    Attributes:
        pages: number of pages.
        signals: number of pages per signal and step.
        words: number of words.
        word_counts: number of times that each word occurs.
    """

    pages: Count
    signals: dict[str, dict[int, Count]]
    words: Count
    word_counts: dict[str, Count]

    def without_rare_words(self) -> "Histograms":
        """Returns the counts without words that are less than one in 2,000.

        Called once per file, it bounds the table: at most 2,000 words stay. A word's share of the
        corpus is then too small by at most 0.05 points.
        """
        fewest = RARE * self.words
        kept = {word: count for word, count in self.word_counts.items() if count >= fewest}
        return msgspec.structs.replace(self, word_counts=kept)


def steps_of(signal: str) -> int:
    """Returns the number of steps per 1 in which a signal is counted."""
    return STEPS_PER_CHARACTER if signal == WORD_LENGTH else STEPS


def histograms(batch: pa.RecordBatch) -> Histograms:
    """Returns the counts of pages of one language, given their `signals`."""
    return Histograms(
        pages=batch.num_rows,
        signals={name: _counts(batch.column(name), steps_of(name)) for name in COUNTED},
        words=int(batch.column("words").to_numpy().sum(dtype=np.int64)),
        word_counts=_word_counts(batch),
    )


class HistogramSum:
    """Sum of the counts of files, added one after another; it grows with distinct words only."""

    def __init__(self):
        self._signals: dict[str, Counter[int]] = {name: Counter() for name in COUNTED}
        self._word_counts: Counter[str] = Counter()
        self._pages = self._words = 0

    def add(self, one: Histograms) -> None:
        """Adds the counts of a file."""
        self._pages, self._words = self._pages + one.pages, self._words + one.words
        self._word_counts.update(one.word_counts)
        for name, counts in one.signals.items():
            self._signals[name].update(counts)

    def total(self) -> Histograms:
        """Returns the counts of all files so far together."""
        signals = {name: dict(sorted(counts.items())) for name, counts in self._signals.items()}
        return Histograms(
            pages=self._pages,
            signals=signals,
            words=self._words,
            word_counts=dict(sorted(self._word_counts.items())),
        )


def summed(many: Iterable[Histograms]) -> Histograms:
    """Returns the counts of several files together."""
    found = HistogramSum()
    for one in many:
        found.add(one)
    return found.total()


def _counts(column: pa.Array, steps: int) -> dict[int, int]:
    values, counts = np.unique(
        np.rint(column.to_numpy().astype(np.float64) * steps).astype(np.int64), return_counts=True
    )
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _word_counts(batch: pa.RecordBatch) -> dict[str, int]:
    flat = pa.table(
        {
            "word": batch.column("common_words").flatten(),
            "count": batch.column("common_word_counts").flatten(),
        }
    )
    table = flat.group_by("word").aggregate([("count", "sum")]).sort_by("word")
    return dict(zip(table["word"].to_pylist(), table["count_sum"].to_pylist(), strict=True))
