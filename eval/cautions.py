"""Cautions: what weakens a report's sentence.

They stand on the first screen, in Markdown, in JSON and in the terminal.
"""

from eval.language_loss import Unit
from eval.report import ReportContents, shared_total
from eval.side import Points

FEWEST_EVALUATIONS = 30  # per run: between fewer, an interpolated step is a guess
FEWEST_RUNS = 4  # per side: with fewer, false findings come in crowds (docs/decisions/report.md)
THREEFOLD_WITHIN_A_DECAY = "1.65"  # tests/eval/statistics/test_step_speedup.py
MOST_SPREAD = 1.25  # of step times: on an idle machine tenths of a run differ by a few percent
FIELDS_NAMED = 6  # differing settings that the caution names


def cautions(report: ReportContents) -> list[str]:
    """Returns what a reader of the sentence has to keep in mind, gravest first."""
    of_runs = (
        _demonstration(report),
        _differing(report),
        _decaying(report),
        _undecayed(report),
        _other_seeds(report),
        _other_unit(report),
    )
    of_text = _lines_shared(report)
    of_scores = (
        *(_few_evaluations(report), _few_lengths(report), _few_runs(report), _missing(report)),
        *(_unscored(report), _disturbed(report)),
    )
    return [one for one in (*of_runs, of_text, *of_scores) if one]


def is_demonstration(report: ReportContents) -> bool:
    """Returns whether a recipe of `mswitch demo` was trained."""
    return any(one.recipe.endswith("-demo") for one in report.facts)


def _demonstration(report: ReportContents) -> str:
    if not is_demonstration(report):
        return ""
    recipes = " and ".join(dict.fromkeys(one.recipe for one in report.facts))
    return (
        f"This is a demonstration: {recipes} are tiny networks, trained for "
        f"{report.facts[1].steps:,} steps. It shows how the commands work, not what sparsity gains."
    )


def _differing(report: ReportContents) -> str:
    fields = [one.field for one in report.differences]
    if not fields:
        return ""
    more = f" and {len(fields) - FIELDS_NAMED} more" if len(fields) > FIELDS_NAMED else ""
    return (
        f"The runs differ beyond the feed-forward, which was allowed: "
        f"{', '.join(fields[:FIELDS_NAMED])}{more}. What they gain is not sparsity’s alone."
    )


def _decaying(report: ReportContents) -> str:
    sides = report.baseline, report.candidate
    names = [one.name for one in sides if one.points is Points.DECAYING]
    if report.summary.mean_step_speedup is None or not names:
        return ""
    whose = "each run" if len(names) == 2 else f"the runs of {names[0]}"
    return (
        f"The learning rate falls to 0 within {whose}, and step speed-ups are read within one run, "
        "where a loss before the end of the decay does not compare with a final one. They are too "
        "near to 1: in a toy model of such a schedule a threefold speed-up measures "
        f"{THREEFOLD_WITHIN_A_DECAY}. Decayed runs of several lengths measure them "
        "(docs/commands.md)."
    )


def _undecayed(report: ReportContents) -> str:
    sides = report.baseline, report.candidate
    names = [one.name for one in sides if one.points is Points.STEADY and one.steps[-1] > 0]
    if not names:
        return ""
    return (
        f"The learning rate of {' and '.join(names)} does not fall to 0 at the end of the run. "
        "Losses compare after a decay: set optimizer.decay_from, or branch decays off a trunk "
        "(docs/commands.md)."
    )


def _other_unit(report: ReportContents) -> str:
    if report.unit is Unit.NATS_PER_TOKEN:
        return ""
    return (
        "The sides have different vocabularies, so gains are in bits per byte of hidden text: the "
        "same pages, in which each vocabulary hides its own spans."
    )


def _lines_shared(report: ReportContents) -> str:
    if report.shared_lines is None:
        why = "no corpus was named" if report.funnel is None else "the corpus is too large"
        return f"Nobody looked for held-out lines that stand on training pages, too: {why}."
    total = shared_total(report.shared_lines)
    if not total.shared_lines:
        return ""
    return (
        f"{total.shared_lines:,} of {total.lines:,} lines of held-out pages also stand on training "
        f"pages ({total.shared_lines / total.lines:.2%}; {total.pages_sharing:,} of "
        f"{total.pages:,} pages)."
    )


def _few_evaluations(report: ReportContents) -> str:
    if report.summary.mean_step_speedup is None:
        return ""
    both = report.baseline, report.candidate
    within_a_run = [one for one in both if one.trained and one.points is not Points.DECAYED]
    counts = [sum(step > 0 for step in one.steps) for one in within_a_run]
    fewest = min(counts, default=FEWEST_EVALUATIONS)
    if fewest >= FEWEST_EVALUATIONS:
        return ""
    return (
        f"Step speed-ups are interpolated between {fewest} evaluations; "
        f"{FEWEST_EVALUATIONS} or more make them reliable."
    )


def _few_lengths(report: ReportContents) -> str:
    bounds, one = report.summary.languages_speedup_is_bound, report.candidate
    if bounds is None or one.points is not Points.DECAYED:
        return ""
    first, second, *more = (step for step in one.steps if step > 0)
    if more and not bounds:
        return ""
    last = [second, *more][-1]
    only = f" In {bounds} languages it is a bound only, which the mean counts." if bounds else ""
    return (
        f"Step speed-ups are read between the ends of runs of {2 + len(more)} lengths. Beyond "
        f"{last / first:.3g} or 1/{last / first:.3g} they are extrapolated, and none beyond "
        f"{last / first * second / first:.3g} can be measured.{only}"
    )


def _few_runs(report: ReportContents) -> str:
    sides = report.baseline, report.candidate
    if single := [one.name for one in sides if len(one.runs) == 1]:
        return (
            f"One run of {' and of '.join(single)}: intervals are over {report.intervals_over} and "
            "do not include how another seed would have fallen."
        )
    fewest, *more = sorted({len(one.runs) for one in sides})
    if fewest >= FEWEST_RUNS:
        return ""
    runs = f"{fewest} and {more[0]} runs" if more else f"{fewest} runs per side"
    return (
        f"{runs} show little of other seeds. One seed moves many languages at once, so many "
        "findings beyond noise appear or disappear together."
    )


def _other_seeds(report: ReportContents) -> str:
    sides = report.baseline, report.candidate
    seeds = [sorted(one.seeds) for one in report.facts]
    if seeds[0] == seeds[1] or not all(one.trained for one in sides):
        return ""
    named = [
        f"{', '.join(map(str, of))} of {one.name}" for of, one in zip(seeds, sides, strict=True)
    ]
    return (
        f"The sides have other seeds ({'; '.join(named)}), so they did not read the same examples "
        "in the same order."
    )


def _disturbed(report: ReportContents) -> str:
    spreads = {one.name: one.step_seconds_spread or 1.0 for one in report.facts}
    disturbed = {name: spread for name, spread in spreads.items() if spread > MOST_SPREAD}
    if not disturbed:
        return ""
    named = " and ".join(f"{name} (by {spread:.1f} times)" for name, spread in disturbed.items())
    return (
        f"Step times changed within the runs of {named}, as they do beside other work: the seconds "
        "and tokens per second of their own logs do not compare."
    )


def _missing(report: ReportContents) -> str:
    missing = len(report.summary.languages_missing)
    return f"{missing} of mC4’s 101 languages were not evaluated." if missing else ""


def _unscored(report: ReportContents) -> str:
    unscored = sum(gain.held_out_pages_unscored for gain in report.gains.values())
    if not unscored:
        return ""
    return (
        f"Held-out pages that are too short to hide a token count in no gain: {unscored:,} of them."
    )
