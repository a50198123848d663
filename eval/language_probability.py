"""How sure the language identifier was of the pages that a corpus kept, language by language.

The histogram of a language counts its kept pages by steps of 0.05 of the identifier's probability
for that language, as the cleaning job wrote it: step i runs from i / 20 up to (i + 1) / 20, and a
probability of 1 lies in the last. Where rules take a language from the archive's declaration, a
page of which the identifier says otherwise stands in step 0. The job keeps no finer numbers; so a
median is known by its step only, and for the last step that is all one needs: below it or not.
"""

from collections.abc import Sequence

from data.languages import UNDETERMINED, all_languages
from eval.funnel import PROBABILITY_BINS, Funnel, FunnelRow

NAMED = 12  # languages in the sentence; the picture and its table have all
LAST_BIN = (PROBABILITY_BINS - 1) / PROBABILITY_BINS


def rows(funnel: Funnel) -> tuple[FunnelRow, ...]:
    """Returns languages with a recorded histogram, least certain first."""
    return tuple(sorted((row for row in funnel.rows if sum(row.confidence)), key=_certainty))


def certain_share(row: FunnelRow) -> float:
    """Returns the share of the language's kept pages in the last step (0.95 and above)."""
    return row.confidence[-1] / sum(row.confidence)


def is_uncertain(row: FunnelRow) -> bool:
    """True where the median (of an even number of pages the lower one) lies below 0.95."""
    return 2 * row.confidence[-1] <= sum(row.confidence)


def bins_with_pages(some: Sequence[FunnelRow]) -> list[int]:
    """Returns the steps in which any of the languages has pages, and always the last."""
    last = PROBABILITY_BINS - 1
    return [s for s in range(PROBABILITY_BINS) if s == last or any(r.confidence[s] for r in some)]


def sentence(funnel: Funnel) -> str:
    """Says in how many languages the median kept page lies below 0.95, and in which.

    Languages with most kept pages are named first: a median of one page says little. Script
    variants are named beside the languages and are in no count; pages of no certain language are
    in neither.
    """
    known = [row for row in rows(funnel) if row.code != UNDETERMINED]
    variants, languages = _split(known)
    uncertain = [row for row in languages if is_uncertain(row)]
    beside = [row for row in variants if is_uncertain(row)]
    said = (
        f"In {len(uncertain)} of {len(languages)} languages the identifier gives the median kept "
        f"page a probability below {LAST_BIN:.2f}{': ' if uncertain else ''}{_listed(uncertain)}."
    )
    return f"{said} So it does in the script variants {_listed(beside)}." if beside else said


def _certainty(row: FunnelRow) -> tuple[float, float, int, str]:
    pages = sum(row.confidence)
    mean_step = sum(step * count for step, count in enumerate(row.confidence)) / pages
    return certain_share(row), mean_step, -pages, row.code


def _split(known: Sequence[FunnelRow]) -> tuple[list[FunnelRow], list[FunnelRow]]:
    variants = {one.code for one in all_languages() if one.is_script_variant}
    return (
        [row for row in known if row.code in variants],
        [row for row in known if row.code not in variants],
    )


def _listed(some: Sequence[FunnelRow]) -> str:
    """Returns `A (40 pages), B (9) and C (3)`, or so many of them and how many more."""
    ranked = sorted(some, key=lambda row: (-sum(row.confidence), row.name))
    names = []
    for row in ranked[:NAMED]:
        pages = sum(row.confidence)
        unit = "" if names else " page" if pages == 1 else " pages"
        names.append(f"{row.name} ({pages:,}{unit})")
    if len(ranked) > NAMED:
        names.append(f"{len(ranked) - NAMED} more")
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
