"""Runs tensorflow-datasets' own C4 functions on WET files, in the order of its pipeline.

Only the order is written here, after `_get_pages_pcollection` of version 3.1.0, and the names by
which its counters are compared with our reasons. Functions of one page are called directly; line
deduplication runs as the reference's Beam transform.
"""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import apache_beam as beam
import gcld3  # noqa: F401  before TensorFlow, or the process dies
from fastwarc.warc import ArchiveIterator, WarcRecordType

from data.rules.bad_words import BadWordPolicy

# The reference asks NLTK for its English model; this package carries it.
PUNKT = "llama_index/core/_static/nltk_cache"
os.environ.setdefault(
    "NLTK_DATA", str(metadata.distribution("llama-index-core").locate_file(PUNKT))
)

from tensorflow_datasets.text import c4_utils
from tensorflow_datasets.text.c4 import MC4_LANGUAGES

CLEAN_PAGE = {
    "filtered:loremipsum": "lorem_ipsum",
    "filtered:squigglybracket": "curly_bracket",
    "filtered:too_few_sentences": "too_few_sentences",
}
LINES = {
    "line-filtered:too_long_word": "line_with_long_word",
    "line-filtered:no_endmark": "line_without_end_mark",
    "line-filtered:too_short": "line_of_few_words",
    "line-filtered:javascript": "line_about_javascript",
    "line-filtered:policy": "line_about_policy",
}
LOST = {"filtered:no_url": "no_url", "filtered:no_content": "no_text",
        "filtered:no_timestamp": "no_timestamp"}  # fmt: skip

ENGLISH = {
    "filtered:langdetect_exception": "language_unidentifiable",
    "filtered:no_predictions": "language_unidentifiable",
    "filtered:low_confidence": "language_uncertain",
    "filtered:ignored_language": "language_not_english",
}
COLLECTED: list[Any] = []  # what a Beam job in this process left


class Outcome(NamedTuple):
    """The outcome for each page.

    Attributes:
        kept: (url, text, language, split).
        rejected: (url, timestamp, reason).
        lines: lines removed by C4's line rules on all pages, by rule.
        lost: records that are not pages, by reason.
    """

    kept: Counter[tuple[str, str, str, str]]
    rejected: Counter[tuple[str, str, str]]
    lines: Counter[str]
    lost: Counter[str]


class Run:
    """One pass over the pages; every step drops some and records the reason."""

    def __init__(self) -> None:
        self.rejected: Counter[tuple[str, str, str]] = Counter()
        self.lines: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()

    def reject(self, page: Any, reason: str) -> None:
        self.rejected[page.url, page.timestamp, reason] += 1

    def keep_if(self, pages: Iterable[Any], test: Any, reason: str) -> list[Any]:
        kept = []
        for page in pages:
            if test(page):
                kept.append(page)
            else:
                self.reject(page, reason)
        return kept

    def read(self, paths: Iterable[Path]) -> list[Any]:
        counted: Counter[str] = Counter()

        def count(name: str, amount: int = 1) -> None:
            counted[name] += amount

        pages = [
            page for path in paths
            for page in c4_utils.split_wet_file(str(path), counter_inc_fn=count)
        ]  # fmt: skip
        counted["filtered:no_url"] -= sum(map(_file_descriptions, paths))
        self.lost.update({LOST[name]: n for name, n in counted.items() if name in LOST})
        return pages

    def newest(self, pages: Iterable[Any]) -> list[Any]:
        groups: dict[str, list[Any]] = {}
        for page in pages:
            groups.setdefault(page.normalized_url, []).append(page)
        chosen = [(group, c4_utils.select_newest_page(group)) for group in groups.values()]
        for group, newest in chosen:
            for page in group:
                if page is not newest:
                    self.reject(page, "duplicate_url")
        return [newest for _, newest in chosen]

    def clean_pages(self, pages: Iterable[Any]) -> list[Any]:
        clean, kept = c4_utils.get_clean_page_fn(), []
        for page in pages:
            counted: Counter[str] = Counter()
            kept += clean(page, counter_inc_fn=lambda name, counted=counted: counted.update([name]))
            self.lines.update({LINES[name]: n for name, n in counted.items() if name in LINES})
            for name in counted.keys() & CLEAN_PAGE.keys():
                self.reject(page, CLEAN_PAGE[name])
        return kept

    def deduplicate(self, pages: list[Any], sentences: int) -> list[Any]:
        any_left = _deduplicated(pages, 0)
        left = _deduplicated(pages, sentences) if sentences else any_left
        for page in pages:
            if page.url not in any_left:
                self.reject(page, "only_duplicate_lines")
            elif page.url not in left:
                self.reject(page, "too_few_sentences_left")
        return list(left.values())

    def languages(self, pages: Iterable[Any], probability: float) -> list[Any]:
        step = c4_utils.detect_languages(_Caught(), valid_languages=MC4_LANGUAGES).fn
        step._min_probability = probability
        step.start_bundle()
        kept = []
        for page in pages:
            found = list(step.process(page))
            kept += found
            if not found:
                self.reject(page, "language_not_in_mc4")
        return kept

    def english(self, pages: Iterable[Any]) -> list[Any]:
        kept = []
        for page in pages:
            counted: Counter[str] = Counter()
            with mock.patch.object(c4_utils, "get_counter_inc_fn", _counting_in(counted)):
                kept += c4_utils.detect_english(page)
            for name in counted.keys() & ENGLISH.keys():
                self.reject(page, ENGLISH[name])
        return kept

    def outcome(self, pages: Iterable[Any]) -> Outcome:
        held_out = c4_utils.get_hashed_url_filter_fn(lambda number: number % 1000 == 0)
        kept = Counter(
            (page.url, page.text, page.language, "validation" if held_out(page) else "train")
            for page in pages
        )
        return Outcome(kept, self.rejected, self.lines, self.lost)


def _counting_in(counted: Counter[str]) -> Any:
    return lambda namespace: lambda name: counted.update([name])


def _file_descriptions(path: Path) -> int:
    """Counts records about the file itself, to the reference pages of no address."""
    with path.open("rb") as file:
        records = ArchiveIterator(file, record_types=WarcRecordType.warcinfo, parse_http=False)
        return sum(1 for _ in records)


class _Caught:
    """Stands in for a collection; returns a transform instead of applying it."""

    def __or__(self, transform: Any) -> Any:
        return transform


def mc4(paths: Sequence[Path], probability: float, words: Any, policy: BadWordPolicy) -> Outcome:
    """Returns the outcome of the multilingual configuration."""
    run = Run()
    pages = run.keep_if(run.read(paths), c4_utils.is_valid_length, "too_long")
    pages = run.keep_if(run.newest(pages), c4_utils.paragraph_filter, "too_few_long_lines")
    pages = run.languages(run.deduplicate(pages, 0), probability)
    return run.outcome(run.keep_if(pages, _bad_words(words, policy), "bad_words"))


def c4_en(paths: Sequence[Path], words: Any, policy: BadWordPolicy) -> Outcome:
    """Returns the outcome of the English configuration."""
    run = Run()
    pages = run.keep_if(run.read(paths), c4_utils.is_valid_length, "too_long")
    pages = run.deduplicate(run.clean_pages(run.newest(pages)), c4_utils._MIN_NUM_SENTENCES)
    return run.outcome(run.keep_if(run.english(pages), _bad_words(words, policy), "bad_words"))


def _bad_words(words: dict[str, set[str]], policy: BadWordPolicy) -> Any:
    """The reference's filter; before 3.1.0 Japanese had the patterns of spaced languages."""
    counting = {code: listed - policy.allowed.get(code, set()) for code, listed in words.items()}
    japanese = {"spaced": counting.pop("ja")} if "ja" in words.keys() - policy.unspaced else {}
    rule = c4_utils.get_badwords_filter_fn(counting | japanese, policy.removed_share)
    patterns = rule.keywords["badwords_regex"]
    if japanese:
        patterns["ja"] = patterns.pop("spaced")
    return rule


def _deduplicated(pages: list[Any], sentences: int) -> dict[str, Any]:
    COLLECTED.clear()
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        left = c4_utils.remove_duplicate_text(pipeline | beam.Create(pages), sentences)
        _ = left | "Collect" >> beam.Map(_collect)
    return {page.url: page for page in COLLECTED}


def _collect(page: Any) -> None:
    COLLECTED.append(page)
