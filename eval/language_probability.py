"""The language identifier's probabilities for the pages that a corpus kept, per language.

The cleaning job writes one histogram per language: kept pages by the identifier's probability for
that language, in 20 bins of 0.05. Bin i holds probabilities from i / 20 up to (i + 1) / 20; the
last bin includes 1. Some rules take the language from the archive's declaration: a page for which
the identifier disagrees then counts in bin 0. The job keeps no finer numbers, so only the bin of a
median is known. That is enough to decide whether the median lies below the last bin.
"""

from collections.abc import Sequence

from data.languages import UNDETERMINED, all_languages
from eval.funnel import PROBABILITY_BINS, Funnel, FunnelRow

NAMED = 12  # languages that the sentence names; the picture and its table hold all
LAST_BIN = (PROBABILITY_BINS - 1) / PROBABILITY_BINS


def rows(funnel: Funnel) -> tuple[FunnelRow, ...]:
    """Returns the languages with a recorded histogram, least certain first."""
    return tuple(sorted((row for row in funnel.rows if sum(row.confidence)), key=_certainty))


def certain_share(row: FunnelRow) -> float:
    """Returns the share of the language's kept pages in the last bin (0.95 and above)."""
    return row.confidence[-1] / sum(row.confidence)


def is_uncertain(row: FunnelRow) -> bool:
    """Returns whether the median page lies below 0.95; of two middle pages the lower one counts."""
    return 2 * row.confidence[-1] <= sum(row.confidence)


def bins_with_pages(some: Sequence[FunnelRow]) -> list[int]:
    """Returns the bins in which any of the languages has pages, and always the last bin."""
    last = PROBABILITY_BINS - 1
    return [b for b in range(PROBABILITY_BINS) if b == last or any(r.confidence[b] for r in some)]


def sentence(funnel: Funnel) -> str:
    """Returns the sentence on languages whose median kept page lies below 0.95.

    Languages with the most kept pages are named first, because a median of one page means little.
    Script variants are named beside the languages and are not counted. Pages of undetermined
    language are left out.
    """
    if not funnel.identified:
        return "Languages are as declared; no identifier was asked."
    known = [row for row in rows(funnel) if row.code != UNDETERMINED]
    if not known:
        return "The identifier is sure of no kept page's language."
    variants, languages = _split(known)
    uncertain = [row for row in languages if is_uncertain(row)]
    beside = [row for row in variants if is_uncertain(row)]
    summary = (
        f"In {len(uncertain)} of {len(languages)} languages the identifier gives the median kept "
        f"page a probability below {LAST_BIN:.2f}{': ' if uncertain else ''}{_listed(uncertain)}."
    )
    return f"{summary} So it does in the script variants {_listed(beside)}." if beside else summary


def _certainty(row: FunnelRow) -> tuple[float, float, int, str]:
    pages = sum(row.confidence)
    mean_bin = sum(at * count for at, count in enumerate(row.confidence)) / pages
    return certain_share(row), mean_bin, -pages, row.code


def _split(known: Sequence[FunnelRow]) -> tuple[list[FunnelRow], list[FunnelRow]]:
    variants = {one.code for one in all_languages() if one.is_script_variant}
    return (
        [row for row in known if row.code in variants],
        [row for row in known if row.code not in variants],
    )


def _listed(some: Sequence[FunnelRow]) -> str:
    """Returns `A (40 pages), B (9) and C (3)`; above `NAMED` languages it ends with `n more`."""
    ranked = sorted(some, key=lambda row: (-sum(row.confidence), row.name))
    names = []
    for row in ranked[:NAMED]:
        pages = sum(row.confidence)
        unit = "" if names else " page" if pages == 1 else " pages"
        names.append(f"{row.name} ({pages:,}{unit})")
    if len(ranked) > NAMED:
        names.append(f"{len(ranked) - NAMED} more")
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
