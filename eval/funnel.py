"""The corpus funnel: of the pages that came in, how many stayed, and why the others did not.

Every count is of pages. A page that was rejected has exactly one reason (the first rule that said
no), so kept + rejected = pages of the language. Samples are text from the web: whoever renders them
must escape them.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from data.languages import UNDETERMINED, find

SAMPLES_PER_REASON = 6
SAMPLE_CHARACTERS = 320
PROBABILITY_BINS = 20  # of 0.05, as the manifest counts them
NAMES_BESIDE = {UNDETERMINED: "undetermined"}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The beginning of one rejected page."""

    language: str
    url: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Reason:
    """One reason over all languages."""

    name: str
    pages: int
    share: float
    samples: tuple[Sample, ...]


@dataclass(frozen=True, kw_only=True)
class FunnelRow:
    """One language: pages by fate, and what CLD3 took its kept pages for.

    Attributes:
        code: mC4's code, or "und".
        name: English name.
        pages: that came in.
        kept: of them.
        held_out: of the kept ones.
        characters: of the kept ones' text.
        rejected: pages by the first rule that said no.
        removed_lines: lines that were taken out of pages, by rule.
        confidence: kept pages by step of the identifier's probability; () where not recorded.
        cld3_disagrees: kept pages whose declared language CLD3 contradicted; None where rules do
            not believe declarations.
        cld3_said: what it said instead, most frequent first.
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


@dataclass(frozen=True, kw_only=True)
class Funnel:
    """The whole corpus; reasons most frequent first, languages with most pages first."""

    rules: str
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
        """True where pages count under the language that their archive declares."""
        return any(row.cld3_disagrees is not None for row in self.rows)

    @property
    def cld3_rows(self) -> tuple[FunnelRow, ...]:
        """Languages whose declared code CLD3 contradicted, most contradicted first."""
        rows = [row for row in self.rows if row.cld3_disagrees]
        return tuple(sorted(rows, key=lambda row: -(row.cld3_disagrees or 0) / max(row.kept, 1)))


def funnel(manifest: Mapping[str, Any], samples: Mapping[str, pa.Table]) -> Funnel:
    """Returns the funnel.

    Args:
        manifest: what `mswitch clean` wrote.
        samples: for each reason, some rejected pages (`text`, `url`, `language`).
    """
    rows = [_row(code, counts) for code, counts in manifest["languages"].items()]
    pages = sum(row.pages for row in rows)
    totals = sum((Counter(row.rejected) for row in rows), Counter())
    removed_lines = sum((Counter(row.removed_lines) for row in rows), Counter())
    rules = manifest.get("rules", {})
    return Funnel(
        rules=rules.get("name", "not recorded"),
        differences_from_mc4=tuple(rules.get("differences_from_mc4", ())),
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
        broken_records={
            reason: record["count"] for reason, record in manifest.get("broken_records", {}).items()
        },
    )


def _row(code: str, counts: Mapping[str, Any]) -> FunnelRow:
    language = find(code)
    cld3 = counts.get("cld3") or {}
    rejected = counts.get("rejected", {})
    return FunnelRow(
        code=code,
        name=NAMES_BESIDE.get(code, code) if language is None else language.name,
        pages=counts["kept"] + sum(rejected.values()),
        kept=counts["kept"],
        held_out=counts.get("held_out", 0),
        characters=counts.get("characters", 0),
        rejected=rejected,
        removed_lines=counts.get("removed_lines_by_rule", {}),
        confidence=_histogram(counts.get("confidence", {})),
        cld3_disagrees=cld3.get("disagrees"),
        cld3_said=tuple(Counter(cld3.get("said", {})).most_common(4)),
    )


def _histogram(confidence: Mapping[str, int]) -> tuple[int, ...]:
    """Returns pages by step from `{"0.95": pages}`; nothing where nothing is recorded."""
    counts = [0] * PROBABILITY_BINS if confidence else []
    for lower_end, pages in confidence.items():
        counts[round(float(lower_end) * PROBABILITY_BINS)] += pages
    return tuple(counts)


def _samples(pages: pa.Table) -> tuple[Sample, ...]:
    """Returns beginnings of pages, as many languages as there are before one comes again."""
    seen: Counter[str] = Counter()
    ranked = []
    for page in pages.select(["language", "url", "text"]).to_pylist():
        ranked.append((seen[page["language"]], page))
        seen[page["language"]] += 1
    ranked.sort(key=lambda pair: pair[0])
    return tuple(
        Sample(
            language=page["language"] or "und",
            url=page["url"] or "",
            text=_beginning(page["text"] or ""),
        )
        for _, page in ranked[:SAMPLES_PER_REASON]
    )


def _beginning(text: str) -> str:
    return text if len(text) <= SAMPLE_CHARACTERS else text[: SAMPLE_CHARACTERS - 1] + "…"
