"""Thresholds of Gopher's and FineWeb's rules for a language: FineWeb2's own, or derived.

`thresholds` has the methods that derive them from a corpus. The names of the rules' parameters are
datatrove's, as FineWeb2's files use them.
"""

from pathlib import Path

import msgspec

from data.errors import DataError
from data.stores.yaml_files import read_yaml

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
