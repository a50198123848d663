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

from data import languages as table

SAMPLES_A_REASON = 4
SAMPLE_CHARACTERS = 320


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
    """One language: pages by fate, and what CLD3 took its kept pages for."""

    code: str
    name: str
    pages: int
    kept: int
    held_out: int
    rejected: Mapping[str, int]
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
    rows: tuple[FunnelRow, ...]
    broken_records: Mapping[str, int]

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
        rows=tuple(sorted(rows, key=lambda row: (-row.pages, row.code))),
        broken_records={
            reason: record["count"] for reason, record in manifest.get("broken_records", {}).items()
        },
    )


def _row(code: str, counts: Mapping[str, Any]) -> FunnelRow:
    language = table.find(code)
    cld3 = counts.get("cld3") or {}
    rejected = counts.get("rejected", {})
    return FunnelRow(
        code=code,
        name=code if language is None else language.name,
        pages=counts["kept"] + sum(rejected.values()),
        kept=counts["kept"],
        held_out=counts.get("held_out", 0),
        rejected=rejected,
        cld3_disagrees=cld3.get("disagrees"),
        cld3_said=tuple(Counter(cld3.get("said", {})).most_common(4)),
    )


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
            text=(page["text"] or "")[:SAMPLE_CHARACTERS],
        )
        for _, page in ranked[:SAMPLES_A_REASON]
    )
