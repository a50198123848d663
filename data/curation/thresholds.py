"""Thresholds per language of Gopher's and FineWeb's rules: FineWeb2's, or derived from a corpus.

**FineWeb2's own** are read from its files, whose names of parameters are datatrove's. Files are
named by ISO 639-3 and script (`kat_Geor.yml`). Where mC4's code is a macrolanguage, the file is
that of its standard language: Standard Arabic, Mandarin, Iranian Persian. FineWeb2 has no file for
English, whose thresholds are those of the rules' authors. Stop words that are parts of words are
left out, which turns their rule off.

**Derived** ones follow from the counts of a corpus as FineWeb2 derived its own. FineWeb2 (Penedo et
al. 2025) kept the rules that were made for English and moved their thresholds for each language.
Two methods are used here, each for the rules whose values in FineWeb2's 1,929 files show it:

*   **Deviations**: repeated lines and n-grams, word lengths. A language's threshold is as many
    standard deviations from its mean as the English threshold is from the English mean. The English
    pages are the corpus's own, or else those that `ENGLISH` was measured on.
*   **Tail**: end marks, newlines, alphabetic words. The English threshold is loosened until at most
    a tenth of the language's pages fall. FineWeb2 takes the tenth itself, of other text. Here it is
    of the corpus that is filtered, and a rule that no page fails should remove none.

Stop words are the words that are more than 0.8 % of all. If those are fewer than eight, the share
falls in steps to 0.3 %, and then the eight most frequent ones count.

A language with fewer than 200 pages uses the pages of all languages in its script. If those are
also too few, the English thresholds of repetition and length apply, and the rules that depend on
how a script is written are off: under English thresholds no page in Thai, which has no end marks,
and none of eight in Khmer was kept. The language's stop words come from its own pages, or from
FineWeb2 if fewer than 10,000 words were counted. Scripts without spaces have no bounds on word
lengths, as their words are counted by their characters.

**Counts.** Each signal is counted in steps, a language's counts are summed over files in any order,
and nothing but integers is stored. A share is counted to the nearest 1/500 and a mean word length
to the nearest 1/20 of a character, so that a mean, a deviation or a quantile is off by at most half
a step (0.001 and 0.025). Words are counted where they are among the 32 most frequent of their page.
Words above 0.3 % of all, which alone may become stop words, are hardly ever elsewhere.
"""

import functools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from data.curation.repetition import REPEATED, TOP
from data.curation.signals import LISTED_AS_PARTS, listed_stop_words
from data.dedup.hashed_words import characters_per_word
from data.errors import DataError
from data.files.json_files import Count, read_yaml
from data.languages import find, table_rows

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
FEWEST_PAGES, FEWEST_WORDS = 200, 10_000
TAIL = 0.1
STOP_WORD_SHARES = (0.008, 0.007, 0.006, 0.005, 0.004, 0.003)
FEWEST_STOP_WORDS = 8
NO_LENGTHS = {"min_avg_word_length": None, "max_avg_word_length": None}
UNKNOWN_WRITING = NO_LENGTHS | {
    "line_punct_thr": None,
    "max_non_alpha_words_ratio": None,
    "new_line_ratio": None,
}
Moments = dict[str, tuple[float, float]]
"""Mean and standard deviation of each signal."""
# Mean and deviation of 1,267 English pages: web pages, help pages, guides, stories, news.
ENGLISH: Moments = {
    "dup_line_frac": (0.0198, 0.0584),
    "top_2_gram": (0.0452, 0.0479),
    "top_3_gram": (0.0446, 0.0616),
    "top_4_gram": (0.0454, 0.0731),
    "duplicated_5_n_grams": (0.0299, 0.0514),
    "duplicated_6_n_grams": (0.0212, 0.0450),
    "duplicated_7_n_grams": (0.0162, 0.0403),
    "duplicated_8_n_grams": (0.0134, 0.0370),
    "duplicated_9_n_grams": (0.0109, 0.0335),
    "duplicated_10_n_grams": (0.0092, 0.0308),
    "mean_word_length": (4.5599, 0.6144),
}
Pairs = tuple[tuple[int, float], ...]


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """Thresholds of a language, named as datatrove names them; None turns a rule off.

    The defaults are Gopher's, with FineWeb2's changes for all languages: no rules on paragraphs,
    characters of repeated lines (0.2) and short lines (0.67), and 0.1 instead of 0.01 for
    `char_duplicates_ratio`.

    Attributes:
        dup_line_frac: largest share of lines that occurred before.
        dup_para_frac: largest share of paragraphs that occurred before.
        dup_line_char_frac: largest share of characters in such lines.
        dup_para_char_frac: largest share of characters in such paragraphs.
        top_n_grams: n, and the largest share of characters in the most frequent n-gram.
        dup_n_grams: n, and the largest share of characters in repeated n-grams.
        line_punct_thr: smallest share of lines with an end mark.
        short_line_thr: largest share of lines of at most 30 characters.
        char_duplicates_ratio: largest share of characters in lines that occurred before.
        new_line_ratio: largest number of newlines per word.
        min_doc_words: smallest number of words.
        max_doc_words: largest number of words.
        min_avg_word_length: smallest mean length of words, in characters.
        max_avg_word_length: largest mean length of words, in characters.
        max_symbol_word_ratio: largest number of hashes, and of ellipses, per word.
        max_bullet_lines_ratio: largest share of lines that begin with a bullet.
        max_ellipsis_lines_ratio: largest share of lines that end with an ellipsis.
        max_non_alpha_words_ratio: smallest share of words with a letter.
        min_stop_words: smallest number of stop words that a page holds.
        stop_words: stop words; without any, their rule is off.
        pages_of: what the thresholds come from: "language", "script", "english" or "file".
    """

    dup_line_frac: float | None = 0.3
    dup_para_frac: float | None = None
    dup_line_char_frac: float | None = None
    dup_para_char_frac: float | None = None
    top_n_grams: Pairs = ((2, 0.2), (3, 0.18), (4, 0.16))
    dup_n_grams: Pairs = ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.1))
    line_punct_thr: float | None = 0.12
    short_line_thr: float | None = None
    char_duplicates_ratio: float | None = 0.1
    new_line_ratio: float | None = 0.3
    min_doc_words: int | None = 50
    max_doc_words: int | None = 100_000
    min_avg_word_length: float | None = 3
    max_avg_word_length: float | None = 10
    max_symbol_word_ratio: float | None = 0.1
    max_bullet_lines_ratio: float | None = 0.9
    max_ellipsis_lines_ratio: float | None = 0.3
    max_non_alpha_words_ratio: float | None = 0.8
    min_stop_words: int = 2
    stop_words: tuple[str, ...] = ()
    pages_of: str = "english"


ENGLISH_THRESHOLDS = Thresholds()


class FineWeb2File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of FineWeb2's files, `configs/swh_Latn.yml`.

    Attributes:
        dup_line_frac, top_n_grams, dup_n_grams, line_punct_thr, new_line_ratio: as in `Thresholds`.
        min_avg_word_length, max_avg_word_length, max_non_alpha_words_ratio: as in `Thresholds`.
        stopwords: stop words.
        language_score: smallest probability of the language, which is not a rule here.
    """

    dup_line_frac: float
    top_n_grams: Pairs
    dup_n_grams: Pairs
    line_punct_thr: float
    new_line_ratio: float
    min_avg_word_length: float
    max_avg_word_length: float
    max_non_alpha_words_ratio: float
    stopwords: tuple[str, ...]
    language_score: float


def thresholds_of_directory(directory: Path, codes: Iterable[str]) -> dict[str, Thresholds]:
    """Returns the thresholds of each language that has a file; English has the authors' own.

    Raises:
        DataError: if a file holds something else.
    """
    thresholds = {"en": ENGLISH_THRESHOLDS}
    for code in codes:
        path = directory / f"{file_name(code)}.yml"
        if path.exists():
            thresholds[code] = fineweb2(path)
            if find(code) in map(find, LISTED_AS_PARTS):
                thresholds[code] = msgspec.structs.replace(thresholds[code], stop_words=())
    return thresholds


def file_name(code: str) -> str | None:
    """Returns the name of a language's file, without its ending; None for codes like "und"."""
    language = find(code)
    if language is None:
        return None
    return _exceptional_names().get(language.code, f"{language.iso639_3}_{language.script}")


@functools.cache
def _exceptional_names() -> Mapping[str, str]:
    rows = table_rows("data.curation", "fineweb2_files.tsv")
    return {row["code"]: row["file"] for row in rows}


def fineweb2(path: Path) -> Thresholds:
    """Returns the thresholds of one of FineWeb2's files, with its settings for all languages.

    As in datatrove, a threshold of zero turns a rule off where that is not its strictest value.

    Raises:
        DataError: if the file does not hold such thresholds, or has n-grams that are not counted.
    """
    file = read_yaml(path, FineWeb2File)
    known = {n for n, _ in ENGLISH_THRESHOLDS.top_n_grams + ENGLISH_THRESHOLDS.dup_n_grams}
    unknown = {n for n, _ in file.top_n_grams + file.dup_n_grams} - known
    if unknown:
        raise DataError(
            f"{path} should have n-grams of 2 to 10 words and has {sorted(unknown)}; remove those."
        )
    return Thresholds(
        dup_line_frac=file.dup_line_frac or None,
        top_n_grams=file.top_n_grams,
        dup_n_grams=file.dup_n_grams,
        line_punct_thr=file.line_punct_thr,
        new_line_ratio=file.new_line_ratio,
        min_avg_word_length=file.min_avg_word_length or None,
        max_avg_word_length=file.max_avg_word_length or None,
        max_non_alpha_words_ratio=file.max_non_alpha_words_ratio or None,
        stop_words=file.stopwords,
        pages_of="file",
    )


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


def histograms(batch: pa.RecordBatch) -> Histograms:
    """Returns the counts of pages of one language, given their `signals`."""
    return Histograms(
        pages=batch.num_rows,
        signals={name: _step_counts(batch.column(name), steps_per_one(name)) for name in COUNTED},
        words=int(batch.column("words").to_numpy().sum(dtype=np.int64)),
        word_counts=_word_counts(batch),
    )


def _step_counts(column: pa.Array, steps: int) -> dict[int, int]:
    nearest = np.rint(column.to_numpy().astype(np.float64) * steps).astype(np.int64)
    values, counts = np.unique(nearest, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _word_counts(batch: pa.RecordBatch) -> dict[str, int]:
    columns = (batch.column(name).flatten() for name in ("common_words", "common_word_counts"))
    table = pa.table(list(columns), ["word", "count"])
    table = table.group_by("word").aggregate([("count", "sum")]).sort_by("word")
    return dict(zip(table["word"].to_pylist(), table["count_sum"].to_pylist(), strict=True))


def steps_per_one(signal: str) -> int:
    """Returns the number of steps per 1 in which a signal is counted."""
    return STEPS_PER_CHARACTER if signal == WORD_LENGTH else STEPS


class HistogramSum:
    """Sum of the counts of files, added one after another; it grows with distinct words only."""

    def __init__(self):
        self._signals: dict[str, Counter[int]] = {name: Counter() for name in COUNTED}
        self._word_counts: Counter[str] = Counter()
        self._pages = self._words = 0

    def add(self, counts: Histograms) -> None:
        """Adds the counts of a file."""
        self._pages, self._words = self._pages + counts.pages, self._words + counts.words
        self._word_counts.update(counts.word_counts)
        for name, pages in counts.signals.items():
            self._signals[name].update(pages)

    def total(self) -> Histograms:
        """Returns the counts of all files so far together."""
        signals = {name: dict(sorted(counts.items())) for name, counts in self._signals.items()}
        return Histograms(
            pages=self._pages,
            signals=signals,
            words=self._words,
            word_counts=dict(sorted(self._word_counts.items())),
        )


def sum_histograms(files: Iterable[Histograms]) -> Histograms:
    """Returns the counts of several files together."""
    all_files = HistogramSum()
    for counts in files:
        all_files.add(counts)
    return all_files.total()


def derive(counts: Mapping[str, Histograms]) -> dict[str, Thresholds]:
    """Returns the thresholds of each language, from the counts of a corpus per language."""
    pools: dict[str, HistogramSum] = defaultdict(HistogramSum)
    for code, own in counts.items():
        pools[_script(code)].add(own)
    english = counts.get("en")
    reference = ENGLISH
    if english is not None and english.pages >= FEWEST_PAGES:
        reference = moments(english)
    return {
        code: _language_thresholds(code, own, pools[_script(code)].total(), reference)
        for code, own in sorted(counts.items())
    }


def _script(code: str) -> str:
    language = find(code)
    return "" if language is None else language.script


def _language_thresholds(
    code: str, own: Histograms, script: Histograms, english: Moments
) -> Thresholds:
    moved, source = UNKNOWN_WRITING, "english"
    for counts, name in ((script, "script"), (own, "language")):
        if counts.pages >= FEWEST_PAGES:
            moved, source = _by_deviations(moments(counts), english) | _by_tail(counts), name
    has_words = own.words >= FEWEST_WORDS
    words = stop_words(own) if has_words else listed_stop_words().get(code, ())
    if characters_per_word(code) is not None:
        moved = moved | NO_LENGTHS
    fewest = min(ENGLISH_THRESHOLDS.min_stop_words, len(words))  # else no page could pass
    return msgspec.structs.replace(
        ENGLISH_THRESHOLDS, stop_words=words, min_stop_words=fewest, pages_of=source, **moved
    )


def stop_words(counts: Histograms) -> tuple[str, ...]:
    """Returns the words that are more than a share of all, most frequent first; without symbols."""
    ordered = sorted(
        (-count, word) for word, count in counts.word_counts.items() if any(map(str.isalpha, word))
    )
    for share in STOP_WORD_SHARES:
        words = tuple(word for count, word in ordered if -count > share * counts.words)
        if len(words) >= FEWEST_STOP_WORDS:
            return words
    return tuple(word for _, word in ordered[:FEWEST_STOP_WORDS])


def moments(counts: Histograms) -> Moments:
    """Returns mean and deviation of each signal, within half a step."""
    by_signal = {}
    for name, pages in counts.signals.items():
        values, weights = np.array(list(pages), float) / steps_per_one(name), list(pages.values())
        mean, square = np.average(np.stack((values, values**2)), axis=1, weights=weights)
        by_signal[name] = (float(mean), float(np.sqrt(max(square - mean**2, 0))))
    return by_signal


def _by_deviations(own: Moments, english: Moments) -> dict[str, Any]:
    """Returns thresholds that are as far from the mean as the English ones."""

    def move(signal: str, threshold: float) -> float:
        mean, deviation = english[signal]
        if deviation == 0:  # English pages that are all the same give no scale
            return threshold
        return own[signal][0] + (threshold - mean) / deviation * own[signal][1]

    def ratio(signal: str, threshold: float) -> float:
        return round(max(move(signal, threshold), 0), 3)

    top, repeated = ENGLISH_THRESHOLDS.top_n_grams, ENGLISH_THRESHOLDS.dup_n_grams
    return {
        "dup_line_frac": ratio("dup_line_frac", 0.3),
        "top_n_grams": tuple((n, ratio(f"top_{n}_gram", most)) for n, most in top),
        "dup_n_grams": tuple((n, ratio(f"duplicated_{n}_n_grams", most)) for n, most in repeated),
        "min_avg_word_length": max(round(move(WORD_LENGTH, 3.0)), 0),
        "max_avg_word_length": max(round(move(WORD_LENGTH, 10.0)), 1),
    }


def _by_tail(own: Histograms) -> dict[str, Any]:
    """Returns the English thresholds, loosened until at most a tenth of the pages fall."""
    low = {name: _quantile(own, name, TAIL) for name in ("line_punct_ratio", "alphabetic_words")}
    return {
        "line_punct_thr": min(0.12, low["line_punct_ratio"]),
        "max_non_alpha_words_ratio": min(0.8, low["alphabetic_words"]),
        "new_line_ratio": max(0.3, _quantile(own, "list_ratio", 1 - TAIL)),
    }


def _quantile(counts: Histograms, signal: str, share: float) -> float:
    """Returns a bound beyond which at most so many pages lie: the outer edge of a step.

    Args:
        counts: counts of the language.
        signal: name of the signal.
        share: share of pages below the bound; of more than a half, those above it are the tail.
    """
    pages = sorted(counts.signals[signal].items())
    below = np.cumsum([count for _, count in pages])
    upper = share > 0.5
    at = np.searchsorted(below, share * counts.pages, side="left" if upper else "right")
    step = pages[min(int(at), len(pages) - 1)][0] + (0.5 if upper else -0.5)
    return round(max(step / steps_per_one(signal), 0.0), 3)
