"""The corpus funnel: how many pages were read and kept, and why the others were rejected.

Every count is of pages. A rejected page has exactly one reason, the first rule that rejected it, so
kept + rejected = pages of the language. Samples are text from the web and must be escaped wherever
they are rendered.

What late rules cost a language is counted in tokens that the vocabulary would need: bytes of the
rejected pages divided by the language's bytes per token. They are not known where no tokens were
made.

The cleaning job also writes one histogram per language: kept pages by the identifier's probability
for that language, in 20 bins of 0.05. Bin i holds probabilities from i / 20 up to (i + 1) / 20; the
last bin includes 1. Some rules take the language from the archive's declaration: a page for which
the identifier disagrees then counts in bin 0. The job keeps no finer numbers, so only the bin of a
median is known. That is enough to decide whether the median lies below the last bin.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa

from data.corpus_manifest import CorpusManifest, LanguagePages
from data.languages import UNDETERMINED, all_languages, find
from data.rules.rule_sets import UNTOUCHED

SAMPLES_PER_REASON = 6
SAMPLE_CHARACTERS = 320
PROBABILITY_BINS = 20  # bins of 0.05, as in the manifest
LAST_BIN = (PROBABILITY_BINS - 1) / PROBABILITY_BINS
NAMED = 12  # languages that the sentence names; the picture and its table hold all
# A rule is uneven where it takes this much of a language.
FEWEST_PAGES = 20  # of the language
LEAST_SHARE = 0.1  # of the language's pages
LEAST_RATIO = 5.0  # of this share and that in other languages
MOST_SENTENCES = 5
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
    rows = pages.select(["language", "url", "text"]).to_pylist()
    return tuple(
        Sample(
            language=page["language"] or "und",
            url=page["url"] or "",
            text=_beginning(page["text"] or ""),
        )
        for page in in_turn(rows, lambda page: page["language"])[:SAMPLES_PER_REASON]
    )


def _beginning(text: str) -> str:
    return text if len(text) <= SAMPLE_CHARACTERS else text[: SAMPLE_CHARACTERS - 1] + "…"


def in_turn(items: Iterable[Item], group: Callable[[Item], Hashable]) -> list[Item]:
    """Returns the first item of every group, then the second of every group, and so on."""
    seen: Counter[Hashable] = Counter()
    ranked = []
    for item in items:
        ranked.append((seen[group(item)], item))
        seen[group(item)] += 1
    return [item for _, item in sorted(ranked, key=lambda pair: pair[0])]


@dataclass(frozen=True, kw_only=True)
class LateCost:
    """What late rules took from one language.

    Attributes:
        row: its row of the funnel.
        pages: share of its pages that late rules rejected.
        characters: share of its characters.
        tokens: number of tokens that are gone; None if not known.
        by_reason: share of its characters that each reason took.
    """

    row: FunnelRow
    pages: float
    characters: float
    tokens: float | None
    by_reason: Mapping[str, float]


def late_costs(
    funnel: Funnel | None, bytes_per_token: Mapping[str, float | None]
) -> tuple[LateCost, ...]:
    """Returns the cost per language, the dearest first; none where no late rule applied."""
    rows = () if funnel is None else funnel.rows
    costs = [
        _late_cost(row, bytes_per_token.get(row.code)) for row in rows if row.rejected_characters
    ]
    return tuple(sorted(costs, key=lambda cost: (-cost.characters, cost.row.code)))


def _late_cost(row: FunnelRow, bytes_per_token: float | None) -> LateCost:
    whole = row.characters + sum(row.rejected_characters.values())
    return LateCost(
        row=row,
        pages=sum(row.rejected.values()) / max(row.pages, 1),
        characters=1 - row.characters / max(whole, 1),
        tokens=sum(row.rejected_bytes.values()) / bytes_per_token if bytes_per_token else None,
        by_reason={
            reason: lost / max(whole, 1) for reason, lost in row.rejected_characters.items()
        },
    )


def uneven_rules(funnel: Funnel) -> Iterator[str]:
    """Yields a sentence per rule that hits one language far more than all, the worst first.

    A language needs 20 pages, a share of a tenth, and five times the share in other languages, of
    which there must be some.
    """
    uneven = []
    for reason in funnel.reasons:
        for row in funnel.rows:
            if row.pages == funnel.pages:
                continue
            here = row.rejected.get(reason.name, 0)
            share = here / max(row.pages, 1)
            elsewhere = (reason.pages - here) / max(funnel.pages - row.pages, 1)
            if row.pages >= FEWEST_PAGES and share >= max(LEAST_SHARE, LEAST_RATIO * elsewhere):
                uneven.append((share, elsewhere, reason, row))
    worst_first = sorted(uneven, key=lambda shares: -shares[0])
    for share, elsewhere, reason, row in worst_first[:MOST_SENTENCES]:
        yield (
            f"{reason.name} takes {share:.0%} of the pages in {row.name} and {elsewhere:.1%} "
            "of those in other languages; look at its samples before training."
        )


def rows_by_certainty(funnel: Funnel) -> tuple[FunnelRow, ...]:
    """Returns the languages with a recorded histogram, least certain first."""
    return tuple(sorted((row for row in funnel.rows if sum(row.confidence)), key=_certainty))


def _certainty(row: FunnelRow) -> tuple[float, float, int, str]:
    pages = sum(row.confidence)
    mean_bin = sum(number * count for number, count in enumerate(row.confidence)) / pages
    return certain_share(row), mean_bin, -pages, row.code


def certain_share(row: FunnelRow) -> float:
    """Returns the share of the language's kept pages in the last bin (0.95 and above)."""
    return row.confidence[-1] / sum(row.confidence)


def is_uncertain(row: FunnelRow) -> bool:
    """Returns whether the median page lies below 0.95; of two middle pages the lower one counts."""
    return 2 * row.confidence[-1] <= sum(row.confidence)


def bins_with_pages(rows: Sequence[FunnelRow]) -> list[int]:
    """Returns the bins in which any of the languages has pages, and always the last bin."""
    last = PROBABILITY_BINS - 1
    filled = {number for row in rows for number, pages in enumerate(row.confidence) if pages}
    return sorted(filled | {last})


def certainty_sentence(funnel: Funnel) -> str:
    """Returns the sentence on languages whose median kept page lies below 0.95.

    Languages with the most kept pages are named first, because a median of one page means little.
    Script variants are named beside the languages and are not counted. Pages of undetermined
    language are left out.
    """
    if not funnel.identified:
        return "Languages are as declared; no identifier was asked."
    known = [row for row in rows_by_certainty(funnel) if row.code != UNDETERMINED]
    if not known:
        return "The identifier is sure of no kept page's language."
    variant_codes = {language.code for language in all_languages() if language.is_script_variant}
    languages = [row for row in known if row.code not in variant_codes]
    uncertain = [row for row in languages if is_uncertain(row)]
    variants = [row for row in known if row.code in variant_codes and is_uncertain(row)]
    summary = (
        f"In {len(uncertain)} of {len(languages)} languages the identifier gives the median kept "
        f"page a probability below {LAST_BIN:.2f}{': ' if uncertain else ''}{_codes_of(uncertain)}."
    )
    if not variants:
        return summary
    return f"{summary} So it does in the script variants {_codes_of(variants)}."


def _codes_of(rows: Sequence[FunnelRow]) -> str:
    """Returns `A (40 pages), B (9) and C (3)`; above `NAMED` languages it ends with `n more`."""
    ranked = sorted(rows, key=lambda row: (-sum(row.confidence), row.name))
    names = []
    for row in ranked[:NAMED]:
        pages = sum(row.confidence)
        unit = "" if names else " page" if pages == 1 else " pages"
        names.append(f"{row.name} ({pages:,}{unit})")
    if len(ranked) > NAMED:
        names.append(f"{len(ranked) - NAMED} more")
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
