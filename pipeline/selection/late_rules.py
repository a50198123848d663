"""The rules that decide after cleaning: functions of a page's address and of its scores.

A page has one reason, that of the first rule that removes it:

1. owners           `opted_out`, `robots_txt`: the text of these pages is not kept
2. other lists      `blocked_domain`, `blocked_url`
3. language         `not_a_language`, `other_language`, `mixed_languages`
4. benchmarks       `benchmark_text`
5. quality          `gopher_...`, `fineweb_...`

Rules only remove pages. What a removed page had won from others (one page per line, per address and
per near-duplicate) is not given back, as the others are no longer there.
"""

import functools
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from data.curation import quality_rules
from data.curation.block_lists import (
    BLOCKED,
    OPTED_OUT,
    ROBOTS_TXT,
    BlockList,
    entries_in,
    first_reasons,
)
from data.curation.block_lists import Reasons as ListReasons
from data.curation.thresholds import Thresholds
from data.files.paths import join_path
from data.languages import NO_LANGUAGE, UNDETERMINED
from pipeline.corpus.all_files import CorpusFile
from pipeline.corpus.pages import page_urls

Reasons = list[str | None]
MOST_ENTRIES, SAMPLES = 20, 3  # entries with pages that are printed, the largest; and without


@dataclass(frozen=True, kw_only=True)
class LateRules:
    """What `select` applies.

    Attributes:
        blocked: files of blocked domains and addresses.
        opted_out: files of domains and addresses whose owners opted out.
        languages: whether a page whose combined language is another one leaves.
        least_share: least share of a page's characters in its language; 0 for none.
        benchmarks: whether pages that share text with a benchmark leave.
        quality: thresholds of each language; None if quality does not decide.
        masked: kinds of personal data that are masked.
        unique_lines: whether cleaning left each line in one page.
    """

    blocked: tuple[str, ...]
    opted_out: tuple[str, ...]
    languages: bool
    least_share: float
    benchmarks: bool
    quality: Mapping[str, Thresholds] | None
    masked: tuple[str, ...]
    unique_lines: bool


def reasons(
    urls: Sequence[str],
    scores: pa.Table,
    language: str,
    rules: LateRules,
    disallowed: Iterable[bool],
) -> Reasons:
    """Returns each page's reason to leave, or None.

    Args:
        urls: addresses of the pages of one file.
        scores: their scores, row by row.
        language: language of the file.
        rules: rules to apply.
        disallowed: whether robots.txt disallows each page.
    """
    found: list[Reasons] = [
        listed(rules.opted_out, OPTED_OUT).refused(urls),
        [ROBOTS_TXT if one else None for one in disallowed],
        listed(rules.blocked, BLOCKED).refused(urls),
        language_reasons(scores, language, rules),
    ]
    if rules.benchmarks:
        found.append(
            ["benchmark_text" if one else None for one in scores["benchmarks"].to_pylist()]
        )
    if rules.quality is not None and language in rules.quality:
        (batch,) = scores.combine_chunks().to_batches() or [None]
        found.append(quality_rules.reasons(batch, rules.quality[language]) if batch else [])
    return first_reasons(*found)


@functools.lru_cache(maxsize=4)
def listed(paths: tuple[str, ...], reasons: ListReasons) -> BlockList:
    """Returns the entries of lists, read once per worker.

    Raises:
        DataError: if a list does not exist, is damaged, or has no entry.
    """
    return BlockList.read(paths, reasons)


def set_aside(paths: tuple[str, ...], names: Sequence[str]) -> Iterator[str]:
    """Yields a sentence about the lines of lists that are not entries, if there are any."""
    lists = listed(paths, BLOCKED)
    if lists.set_aside:
        yield (
            f"{lists.set_aside:,} lines of {', '.join(names)} are neither domains nor addresses "
            f"and were set aside, such as {', '.join(map(repr, lists.samples))}."
        )


def matches(
    paths: tuple[str, ...], pages: Mapping[str, int], names: Sequence[str]
) -> Iterator[str]:
    """Yields which entries of lists name pages of a corpus, and which do not.

    Args:
        paths: the lists.
        pages: number of pages by entry, of those that name any.
        names: the lists as the user named them.
    """
    if not paths:
        return
    most = Counter(pages).most_common(MOST_ENTRIES)
    of_each = ", ".join(f"{entry} ({number:,})" for entry, number in most)
    more = f" and {len(pages) - len(most):,} more" if len(pages) > len(most) else ""
    if pages:
        yield f"entries of {', '.join(names)} that name pages: {of_each}{more}"
    lists = listed(paths, BLOCKED)
    if without := len(lists.domains) + len(lists.urls) - len(pages):
        others = (entry for path in paths for entry in entries_in(path) if entry not in pages)
        samples = ", ".join(dict.fromkeys(itertools.islice(others, SAMPLES)))
        yield f"entries of {', '.join(names)} that name no page: {without:,}, such as {samples}"


def pages_of_entries(
    corpus: str, files: Iterable[CorpusFile], paths: tuple[str, ...]
) -> Counter[str]:
    """Returns how many pages of a corpus each entry of lists names; reads addresses alone."""
    counts: Counter[str] = Counter()
    for file in files if paths else ():
        counts.update(listed(paths, BLOCKED).entries_of(page_urls(join_path(corpus, file.name))))
    return counts


def language_reasons(scores: pa.Table, language: str, rules: LateRules) -> Reasons:
    """Returns why pages leave by their language, which the combined identifiers decided."""
    if not rules.languages or language == UNDETERMINED:
        return [None] * len(scores)
    combined = scores["combined_language"].to_pylist()
    shares = scores["language_share"].to_pylist()
    return [
        _language_reason(one, share, language, rules.least_share)
        for one, share in zip(combined, shares, strict=True)
    ]


def _language_reason(combined: str, share: float | None, language: str, least: float) -> str | None:
    if combined == NO_LANGUAGE:
        return "not_a_language"
    if combined != language:
        return "other_language"
    # The least share is rounded as shares are, so that equal ones pass.
    return "mixed_languages" if share is not None and share < np.float32(least) else None
