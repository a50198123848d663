"""Rules of quality: why a page is rejected, by its signals and its language's thresholds.

The order is FineWeb2's: repetition, FineWeb's rules, Gopher's rules. The first rule that a page
fails is its reason, by the name that datatrove gives it. The rule of stop words does not judge a
page in another script than theirs, such as a Serbian one in Latin script among Cyrillic ones.
"""

import functools
import unicodedata
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int64

from data.curation.thresholds import Thresholds


class Rule(NamedTuple):
    """A bound of one signal.

    Attributes:
        reason: name of the reason for which a page falls.
        signal: name of the signal's column.
        most: largest value that passes, or None.
        fewest: smallest value that passes, or None.
    """

    reason: str
    signal: str
    most: float | None = None
    fewest: float | None = None


def reasons(signals: pa.RecordBatch, thresholds: Thresholds) -> list[str | None]:
    """Returns the first reason for which each page falls, or None.

    Args:
        signals: columns of `signals.SIGNALS`, one row per page.
        thresholds: thresholds of the pages' language.
    """
    reasons = np.full(signals.num_rows, None, object)
    undecided = np.ones(signals.num_rows, bool)
    for rule in rules(thresholds):
        fails = undecided & _fails(rule, signals, thresholds)
        reasons[fails] = rule.reason
        undecided &= ~fails
    return reasons.tolist()


def rules(t: Thresholds) -> Iterator[Rule]:
    """Yields every rule with its bounds, in the order in which they count."""
    yield Rule("gopher_empty", "characters", fewest=1)
    yield Rule("gopher_dup_para_frac", "dup_para_frac", t.dup_para_frac)
    yield Rule("gopher_dup_para_char_frac", "dup_para_char_frac", t.dup_para_char_frac)
    yield Rule("gopher_dup_line_frac", "dup_line_frac", t.dup_line_frac)
    yield Rule("gopher_dup_line_char_frac", "dup_line_char_frac", t.dup_line_char_frac)
    for n, most in t.top_n_grams:
        yield Rule(f"gopher_top_{n}_gram", f"top_{n}_gram", most)
    for n, most in t.dup_n_grams:
        yield Rule(f"gopher_duplicated_{n}_n_grams", f"duplicated_{n}_n_grams", most)
    yield Rule("fineweb_line_punct_ratio", "line_punct_ratio", fewest=t.line_punct_thr)
    yield Rule("fineweb_short_line_ratio", "short_line_ratio", t.short_line_thr)
    yield Rule("fineweb_char_dup_ratio", "char_dup_ratio", t.char_duplicates_ratio)
    yield Rule("fineweb_list_ratio", "list_ratio", t.new_line_ratio)
    yield Rule("gopher_short_doc", "words", fewest=t.min_doc_words)
    yield Rule("gopher_long_doc", "words", t.max_doc_words)
    yield Rule("gopher_below_avg_threshold", "mean_word_length", fewest=t.min_avg_word_length)
    yield Rule("gopher_above_avg_threshold", "mean_word_length", t.max_avg_word_length)
    yield Rule("gopher_too_many_hashes", "hashes_per_word", t.max_symbol_word_ratio)
    yield Rule("gopher_too_many_ellipsis", "ellipses_per_word", t.max_symbol_word_ratio)
    yield Rule("gopher_too_many_bullets", "bullet_lines", t.max_bullet_lines_ratio)
    yield Rule("gopher_too_many_end_ellipsis", "ellipsis_lines", t.max_ellipsis_lines_ratio)
    yield Rule(
        "gopher_below_alpha_threshold", "alphabetic_words", fewest=t.max_non_alpha_words_ratio
    )
    stop_words = t.min_stop_words if t.stop_words else None
    yield Rule("gopher_enough_stop_words", "common_words", fewest=stop_words)


def _fails(
    rule: Rule, signals: pa.RecordBatch, thresholds: Thresholds
) -> Bool[np.ndarray, " pages"]:
    if rule.most is None and rule.fewest is None:
        return np.zeros(signals.num_rows, bool)
    if rule.signal == "common_words":
        values = _stop_words(signals, thresholds.stop_words)
    else:
        values = signals.column(rule.signal).to_numpy()
    # A threshold is rounded as its signal is, so that equal ones pass.
    most = values.dtype.type(rule.most) if rule.most is not None else np.inf
    fewest = values.dtype.type(rule.fewest) if rule.fewest is not None else -np.inf
    return (values > most) | (values < fewest)


def _stop_words(
    signals: pa.RecordBatch, stop_words: tuple[str, ...]
) -> Int64[np.ndarray, " pages"]:
    """Returns how many of the stop words each page holds, among its most frequent words.

    A page most of whose words are in another script counts as holding all of them.
    """
    column = signals.column("common_words")
    words = column.flatten().dictionary_encode()
    different = words.dictionary.to_pylist()
    [(script, _)] = Counter(map(_first_script, stop_words)).most_common(1)

    def count(is_counted: list[bool]) -> Int64[np.ndarray, " pages"]:
        counts = np.append(0, np.cumsum(np.array(is_counted, bool)[words.indices.to_numpy()]))
        offsets = column.offsets.to_numpy()
        return np.diff(counts[offsets - offsets[0]])

    held = count([word in stop_words for word in different])
    foreign = count([_first_script(word) != script for word in different])
    lengths = column.value_lengths().to_numpy()
    return np.where(2 * foreign > lengths, len(stop_words), held)


@functools.lru_cache(1 << 16)
def _first_script(word: str) -> str:
    """Returns the script of a word's first letter, as Unicode's names of letters begin with it."""
    letters = (unicodedata.name(letter, "") for letter in word if letter.isalpha())
    script = next(letters, "").partition(" ")[0]
    return "CJK" if script.startswith(("HIRAGANA", "KATAKANA")) else script
