"""Thresholds derived from the counts of a corpus, per language, as FineWeb2 derived its own.

FineWeb2 (Penedo et al. 2025) kept the rules that were made for English and moved their thresholds
for each language. Two methods are used here, each for the rules whose values in FineWeb2's 1,929
files show it:

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
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from data import languages
from data.dedup.hashed_words import characters_per_word
from data.quality.common_words import listed_stop_words
from data.quality.histograms import WORD_LENGTH, Histograms, histograms, steps_of, summed
from data.quality.parameters import ENGLISH_THRESHOLDS, Thresholds, fineweb2

__all__ = ["Histograms", "Thresholds", "derived", "fineweb2", "histograms", "summed"]

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


def derived(counts: Mapping[str, Histograms]) -> dict[str, Thresholds]:
    """Returns the thresholds of each language, from the counts of a corpus per language."""
    scripts = {code: _script(code) for code in counts}
    pools = {
        script: summed(each for code, each in counts.items() if scripts[code] == script)
        for script in set(scripts.values())
    }
    english = counts.get("en")
    enough = english is not None and english.pages >= FEWEST_PAGES
    reference = moments(english) if enough and english is not None else ENGLISH
    return {
        code: _derived(code, each, pools[scripts[code]], reference)
        for code, each in sorted(counts.items())
    }


def stop_words(counts: Histograms) -> tuple[str, ...]:
    """Returns the words that are more than a share of all, most frequent first; without symbols."""
    letters = [
        (-count, word) for word, count in counts.word_counts.items() if any(map(str.isalpha, word))
    ]
    ordered = sorted(letters)
    for share in STOP_WORD_SHARES:
        found = tuple(word for count, word in ordered if -count > share * counts.words)
        if len(found) >= FEWEST_STOP_WORDS:
            return found
    return tuple(word for _, word in ordered[:FEWEST_STOP_WORDS])


def _script(code: str) -> str:
    language = languages.find(code)
    return "" if language is None else language.script


def moments(counts: Histograms) -> Moments:
    """Returns mean and deviation of each signal, within half a step."""
    found = {}
    for name, pages in counts.signals.items():
        values = np.array(list(pages), float) / steps_of(name)
        mean, square = np.average(
            np.stack((values, values**2)), axis=1, weights=list(pages.values())
        )
        found[name] = (float(mean), float(np.sqrt(max(square - mean**2, 0))))
    return found


def _derived(code: str, own: Histograms, script: Histograms, english: Moments) -> Thresholds:
    moved, source = UNKNOWN_WRITING, "english"
    for counts, name in ((script, "script"), (own, "language")):
        if counts.pages >= FEWEST_PAGES:
            moved, source = _by_deviations(moments(counts), english) | _by_tail(counts), name
    enough = own.words >= FEWEST_WORDS
    words = stop_words(own) if enough else listed_stop_words().get(code, ())
    if characters_per_word(code) is not None:
        moved = moved | NO_LENGTHS
    fewest = min(ENGLISH_THRESHOLDS.min_stop_words, len(words))  # else no page could pass
    return msgspec.structs.replace(
        ENGLISH_THRESHOLDS, stop_words=words, min_stop_words=fewest, pages_of=source, **moved
    )


def _by_deviations(own: Moments, english: Moments) -> dict[str, Any]:
    """Returns thresholds that are as far from the mean as the English ones."""

    def moved(signal: str, threshold: float) -> float:
        mean, deviation = english[signal]
        if deviation == 0:  # English pages that are all the same give no scale
            return threshold
        return own[signal][0] + (threshold - mean) / deviation * own[signal][1]

    def ratio(signal: str, threshold: float) -> float:
        return round(max(moved(signal, threshold), 0), 3)

    gopher = ENGLISH_THRESHOLDS
    return {
        "dup_line_frac": ratio("dup_line_frac", 0.3),
        "top_n_grams": tuple((n, ratio(f"top_{n}_gram", most)) for n, most in gopher.top_n_grams),
        "dup_n_grams": tuple(
            (n, ratio(f"duplicated_{n}_n_grams", most)) for n, most in gopher.dup_n_grams
        ),
        "min_avg_word_length": max(round(moved(WORD_LENGTH, 3.0)), 0),
        "max_avg_word_length": max(round(moved(WORD_LENGTH, 10.0)), 1),
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
    return round(max(step / steps_of(signal), 0.0), 3)
