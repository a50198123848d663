"""Late rules: which pages of a corpus leave after cleaning, by address and scores, and why.

A page has one reason, that of the first rule that removes it:

1. owners           `opted_out`, `robots_txt`: the text of these pages is not kept
2. other lists      `blocked_domain`, `blocked_url`
3. language         `not_a_language`, `other_language`, `mixed_languages`
4. benchmarks       `benchmark_text`
5. quality          `gopher_...`, `fineweb_...`

No text is read, so another threshold or another list takes minutes instead of a new cleaning.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from data.curation import quality_rules
from data.curation.block_lists import BLOCKED, OPTED_OUT, ROBOTS_TXT, first_reasons
from data.curation.thresholds import Thresholds
from data.languages import NO_LANGUAGE, UNDETERMINED
from pipeline.curation.lists import read_lists

Reasons = list[str | None]
REFUSED = (OPTED_OUT.domain, ROBOTS_TXT)  # reasons of owners, whose text is not kept


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
    by_rule: list[Reasons] = [
        read_lists(rules.opted_out, OPTED_OUT).reasons_of(urls),
        [ROBOTS_TXT if leaves else None for leaves in disallowed],
        read_lists(rules.blocked, BLOCKED).reasons_of(urls),
        language_reasons(scores, language, rules),
    ]
    if rules.benchmarks:
        by_rule.append(
            ["benchmark_text" if leaves else None for leaves in scores["benchmarks"].to_pylist()]
        )
    if rules.quality is not None and language in rules.quality:
        (batch,) = scores.combine_chunks().to_batches() or [None]
        by_rule.append(quality_rules.reasons(batch, rules.quality[language]) if batch else [])
    return first_reasons(*by_rule)


def language_reasons(scores: pa.Table, language: str, rules: LateRules) -> Reasons:
    """Returns why pages leave by their language, which the combined identifiers decided."""
    if not rules.languages or language == UNDETERMINED:
        return [None] * len(scores)
    combined = scores["combined_language"].to_pylist()
    shares = scores["language_share"].to_pylist()
    return [
        _language_reason(code, share, language, rules.least_share)
        for code, share in zip(combined, shares, strict=True)
    ]


def _language_reason(combined: str, share: float | None, language: str, least: float) -> str | None:
    if combined == NO_LANGUAGE:
        return "not_a_language"
    if combined != language:
        return "other_language"
    # The least share is rounded as shares are, so that equal ones pass.
    return "mixed_languages" if share is not None and share < np.float32(least) else None
