"""The corpus funnel: how many pages were read and kept, and why the others were rejected.

Every count is of pages. A rejected page has exactly one reason, the first rule that rejected it, so
kept + rejected = pages of the language. Samples are text from the web and must be escaped wherever
they are rendered.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa

from data.corpus_manifest import CorpusManifest, LanguagePages
from data.languages import UNDETERMINED, find
from data.rules.rule_sets import UNTOUCHED

SAMPLES_PER_REASON = 6
SAMPLE_CHARACTERS = 320
PROBABILITY_BINS = 20  # bins of 0.05, as in the manifest
NAMES_BESIDE = {UNDETERMINED: "undetermined"}
Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The beginning of a rejected page."""

    language: str
    url: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Reason:
    """A reason, counted over all languages."""

    name: str
    pages: int
    share: float
    samples: tuple[Sample, ...]


@dataclass(frozen=True, kw_only=True)
class FunnelRow:
    """One language: pages kept and rejected, and CLD3's labels for the kept ones.

    Attributes:
        code: mC4's code, or "und".
        name: English name.
        pages: number of pages read.
        kept: number of pages kept.
        held_out: number of kept pages that are held out.
        characters: number of characters in the kept pages.
        rejected: number of rejected pages by reason.
        removed_lines: number of lines removed from pages, by rule.
        confidence: kept pages per bin of the identifier's probability; () where not recorded, and
            where no identifier was asked.
        cld3_disagrees: number of kept pages whose declared language CLD3 contradicts; None where
            the rules do not use declared languages.
        cld3_said: CLD3's labels for those pages with their numbers, most frequent first.
        rejected_characters: characters of rejected pages by reason; empty where not counted.
        rejected_bytes: UTF-8 bytes of rejected pages by reason; empty where not counted.
        masked: number of masked passages in kept pages, by kind.
        lines_gone: number of lines that left with pages which `select` rejected.
        copies_gone: number of near-duplicates that these pages had represented.
    """

    code: str
    name: str
    pages: int
    kept: int
    held_out: int
    characters: int
    rejected: Mapping[str, int]
    removed_lines: Mapping[str, int]
    confidence: tuple[int, ...]
    cld3_disagrees: int | None
    cld3_said: tuple[tuple[str, int], ...]
    rejected_characters: Mapping[str, int]
    rejected_bytes: Mapping[str, int]
    masked: Mapping[str, int]
    lines_gone: int
    copies_gone: int


@dataclass(frozen=True, kw_only=True)
class Funnel:
    """The funnel of a corpus; the most frequent reasons and the largest languages come first.

    `identified` is whether an identifier was asked; without rules languages are as declared.
    """

    rules: str
    identified: bool
    differences_from_mc4: tuple[str, ...]
    pages: int
    kept: int
    held_out: int
    reasons: tuple[Reason, ...]
    removed_lines: Mapping[str, int]
    rows: tuple[FunnelRow, ...]
    broken_records: Mapping[str, int]

    @property
    def declared(self) -> bool:
        """Whether pages count under the language that their archive declares."""
        return any(row.cld3_disagrees is not None for row in self.rows)

    @property
    def cld3_rows(self) -> tuple[FunnelRow, ...]:
        """Languages with pages whose declared code CLD3 contradicts, largest share first."""
        rows = [row for row in self.rows if row.cld3_disagrees]
        return tuple(sorted(rows, key=lambda row: -(row.cld3_disagrees or 0) / max(row.kept, 1)))


def funnel(manifest: CorpusManifest, samples: Mapping[str, pa.Table]) -> Funnel:
    """Returns the funnel.

    Args:
        manifest: manifest of a corpus.
        samples: some rejected pages per reason (`text`, `url`, `language`).
    """
    identified = manifest.rules.name != UNTOUCHED
    rows = [_row(code, counts, identified) for code, counts in manifest.languages.items()]
    pages = sum(row.pages for row in rows)
    totals = sum((Counter(row.rejected) for row in rows), Counter())
    removed_lines = sum((Counter(row.removed_lines) for row in rows), Counter())
    return Funnel(
        rules=manifest.rules.described,
        identified=identified,
        differences_from_mc4=manifest.rules.differences_from_mc4,
        pages=pages,
        kept=sum(row.kept for row in rows),
        held_out=sum(row.held_out for row in rows),
        reasons=tuple(
            Reason(
                name=name,
                pages=count,
                share=count / max(pages, 1),
                samples=_samples(samples[name]) if name in samples else (),
            )
            for name, count in totals.most_common()
        ),
        removed_lines=dict(removed_lines.most_common()),
        rows=tuple(sorted(rows, key=lambda row: (-row.pages, row.code))),
        broken_records={reason: record.count for reason, record in manifest.broken_records.items()},
    )


def _row(code: str, counts: LanguagePages, identified: bool) -> FunnelRow:
    language, cld3 = find(code), counts.cld3
    return FunnelRow(
        code=code,
        name=NAMES_BESIDE.get(code, code) if language is None else language.name,
        pages=counts.kept + sum(counts.rejected.values()),
        kept=counts.kept,
        held_out=counts.held_out,
        characters=counts.characters,
        rejected=counts.rejected,
        removed_lines=counts.removed_lines_by_rule,
        confidence=_histogram(counts.confidence) if identified else (),
        cld3_disagrees=None if cld3 is None else cld3.disagrees,
        cld3_said=() if cld3 is None else tuple(Counter(cld3.said).most_common(4)),
        rejected_characters=counts.rejected_characters,
        rejected_bytes=counts.rejected_bytes,
        masked=counts.masked,
        lines_gone=counts.lines_gone,
        copies_gone=counts.copies_gone,
    )


def _histogram(confidence: Mapping[str, int]) -> tuple[int, ...]:
    """Returns pages per bin from `{"0.95": pages}`; () where nothing is recorded."""
    counts = [0] * PROBABILITY_BINS if confidence else []
    for lower_end, pages in confidence.items():
        counts[round(float(lower_end) * PROBABILITY_BINS)] += pages
    return tuple(counts)


def _samples(pages: pa.Table) -> tuple[Sample, ...]:
    """Returns beginnings of pages: one of every language before a second one of any."""
    found = pages.select(["language", "url", "text"]).to_pylist()
    return tuple(
        Sample(
            language=page["language"] or "und",
            url=page["url"] or "",
            text=_beginning(page["text"] or ""),
        )
        for page in in_turn(found, lambda page: page["language"])[:SAMPLES_PER_REASON]
    )


def in_turn(items: Iterable[Item], group: Callable[[Item], Hashable]) -> list[Item]:
    """Returns the first item of every group, then the second of every group, and so on."""
    seen: Counter[Hashable] = Counter()
    ranked = []
    for item in items:
        ranked.append((seen[group(item)], item))
        seen[group(item)] += 1
    return [item for _, item in sorted(ranked, key=lambda pair: pair[0])]


def _beginning(text: str) -> str:
    return text if len(text) <= SAMPLE_CHARACTERS else text[: SAMPLE_CHARACTERS - 1] + "…"
