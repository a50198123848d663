"""The sentences of a report: the verdict, what follows from it, and the cautions that weaken it.

The verdict rests on the interval of the mean gain over languages. Where that includes zero, no
difference can be told, in however many languages one side is ahead: of two equal sides each is
ahead in about half of them. With one seed per side nothing can be told either, as a second seed may
turn the gain. The first sentence is this, before any number: a gain whose interval leaves seeds out
makes no headline. The sentences that follow must be as reliable when the candidate loses. They
count better and worse languages alike, and those that do not reach the baseline's final quality.

Cautions stand on the first screen, in Markdown, in JSON and in the terminal.
"""

from eval.frontier import in_words
from eval.gains import Comparison, Summary
from eval.losses import Unit, signed_number
from eval.report.contents import ReportContents, shared_total
from eval.sides import Points, Side
from eval.speed_up import MOST_AT_BOUND, interval_in_words

FIELDS_NAMED = 2  # in a verdict, of those in which runs differ
FEWEST_EVALUATIONS = 30  # per run: between fewer, an interpolated step is a guess
FEWEST_RUNS = 4  # per side: with fewer, false findings come in crowds (docs/decisions/report.md)
THREEFOLD_WITHIN_A_DECAY = "1.65"  # tests/eval/test_speed_up.py
MOST_SPREAD = 1.25  # of step times: on an idle machine tenths of a run differ by a few percent
MC4 = 101  # languages
DIFFERENCES_NAMED = 6  # differing settings that the caution names


def sentences(report: ReportContents) -> str:
    """Returns the verdict, the mean gain, the languages and the speed-up, as one paragraph."""
    parts = first_sentence, mean_sentence, better_sentence, speed_sentence
    return " ".join(filter(None, (part(report) for part in parts)))


def first_sentence(report: ReportContents) -> str:
    """Returns the verdict after what is equal on both sides."""
    return ": ".join(filter(None, (in_words(report.equal[0]), verdict(report))))


def verdict(report: ReportContents) -> str:
    """Returns which side is better, or why that cannot be told."""
    baseline, candidate, summary = report.baseline.name, report.candidate.name, report.summary
    mean, low, high = summary.mean_gain, summary.mean_gain_low, summary.mean_gain_high
    if mean is None or low is None or high is None:
        return "Nothing can be told: no language has two held-out pages."
    if single := report.compared.of_single_runs:
        of = f" of {single[0]}" if len(single) == 1 else " per side"
        differ = _differing_fields(report, ", in runs that")
        opening = f"Whether {candidate} is better than {baseline} cannot be told"
        return f"{opening} from one seed{of}{differ}."
    if low <= 0 <= high:
        return f"No difference between {baseline} and {candidate} was detected."
    word = "better" if low > 0 else "worse"
    differ = _differing_fields(report, " in these runs, which")
    return f"{candidate} is {word} than {baseline}{differ}."


def is_better(report: ReportContents) -> bool:
    """Returns whether the verdict is that the candidate is better."""
    low = report.summary.mean_gain_low
    return low is not None and low > 0 and not report.one_seed


def _differing_fields(report: ReportContents, opening: str) -> str:
    """Returns in what else the runs differ, which weakens a verdict; empty where in nothing."""
    fields = [difference.field for difference in report.differences]
    more = " and more" if len(fields) > FIELDS_NAMED else ""
    return f"{opening} differ in {', '.join(fields[:FIELDS_NAMED])}{more} too" if fields else ""


def mean_sentence(report: ReportContents) -> str:
    """Returns the mean gain with its interval; empty where there is none."""
    summary = report.summary
    mean, low, high = summary.mean_gain, summary.mean_gain_low, summary.mean_gain_high
    if mean is None or low is None or high is None:
        return ""
    ends = (
        f"95% interval {signed_number(low)} to {signed_number(high)}, over {report.intervals_over}"
    )
    return f"The mean gain{_over(summary)} is {signed_number(mean)} {report.unit.value} ({ends})."


def _over(summary: Summary) -> str:
    """Returns the languages of the mean, where they are not all."""
    if summary.mean_gain_languages == summary.languages:
        return ""
    return f" over the {summary.mean_gain_languages} languages with two held-out pages or more"


def better_sentence(report: ReportContents) -> str:
    """Returns in how many languages the candidate is better and worse."""
    summary = report.summary
    better, worse = (
        summary.languages_improved_significantly,
        summary.languages_worse_significantly,
    )
    opening = (
        f"{report.candidate.name} is better than {report.baseline.name} in "
        f"{summary.languages_improved} of {summary.languages} languages"
    )
    if better == worse == 0:
        return f"{opening} and worse in {summary.languages_worse}, nowhere beyond noise."
    return (
        f"{opening} ({better} beyond noise) and worse in {summary.languages_worse} "
        f"({worse} beyond noise)."
    )


def speed_sentence(report: ReportContents) -> str:
    """Returns in how many languages the baseline's final quality is reached, and how soon."""
    summary = report.summary
    if summary.languages_not_reached is None or summary.mean_step_speedup is None:
        return f"No step speed-up is given: {_why_no_speedup(report.baseline, report.candidate)}."
    reached = summary.languages - summary.languages_not_reached
    low, high = summary.mean_step_speedup_low, summary.mean_step_speedup_high
    bounds = summary.languages_speedup_is_bound or 0
    bound = f"a bound in {bounds} language{'s' if bounds > 1 else ''}"
    if ends := interval_in_words(low, high):
        interval = f"95% interval {ends}, over {report.intervals_over}"
        interval += f"; {bound}" if bounds else ""
    elif bounds > MOST_AT_BOUND * summary.languages:
        interval = f"no interval: {bound}"
    else:
        interval = "no interval: a language has a single page"
    return (
        f"It reaches {report.baseline.name}’s final quality in {reached or 'none'} of "
        f"{summary.languages}; the mean step speed-up is {summary.mean_step_speedup:.2f} "
        f"({interval})."
    )


def _why_no_speedup(*sides: Side) -> str:
    for names, reason in (
        ([side.name for side in sides if not side.trained], "not trained here"),
        ([side.name for side in sides if not side.has_curve], "evaluated only once after step 0"),
    ):
        if names:
            return f"{' and '.join(names)} {'was' if len(names) == 1 else 'were'} {reason}"
    return "only one side has runs of several lengths"


def further_sentences(report: ReportContents) -> list[str]:
    """Returns the mean gain of each further model and in how many languages it shows."""
    return [_further_sentence(compared) for compared in report.comparisons[1:]]


def _further_sentence(compared: Comparison) -> str:
    return f"{compared.candidate.name}: {_gain_over_baseline(compared)}."


def opponent_sentences(report: ReportContents) -> list[str]:
    """Returns the mean gain over each further network of the baseline, and what is equal."""
    return [
        f"{in_words(equal) or 'Nothing of the costs is known'}: {_gain_over_baseline(compared)}."
        for (_, compared), equal in zip(report.opponents, report.equal[1:], strict=True)
    ]


def _gain_over_baseline(compared: Comparison) -> str:
    baseline, summary = compared.baseline.name, compared.summary
    mean, low, high = summary.mean_gain, summary.mean_gain_low, summary.mean_gain_high
    if mean is None or low is None or high is None:
        return "no language has two held-out pages"
    no_verdict = "; one run: no verdict" if compared.of_single_runs else ""
    return (
        f"mean gain over {baseline} {signed_number(mean)} {compared.unit.value} "
        f"(95% interval {signed_number(low)} to {signed_number(high)}); better beyond noise in "
        f"{summary.languages_improved_significantly} of {summary.languages} languages, worse in "
        f"{summary.languages_worse_significantly}{no_verdict}"
    )


def cautions(report: ReportContents) -> list[str]:
    """Returns the cautions for a reader of the sentence, gravest first."""
    of_runs = _demonstration, _differing, _decaying, _rates_not_decayed, _other_seeds, _other_unit
    of_scores = (
        _few_evaluations,
        _few_lengths,
        _few_runs,
        _missing,
        _pages_unscored,
        _step_times_disturbed,
    )
    candidates = (caution(report) for caution in (*of_runs, _lines_shared, *of_scores))
    return list(filter(None, candidates))


def is_demonstration(report: ReportContents) -> bool:
    """Returns whether a recipe of `mswitch demo` was trained."""
    return any(facts.recipe.endswith("-demo") for facts in report.facts)


def _demonstration(report: ReportContents) -> str:
    if not is_demonstration(report):
        return ""
    recipes = " and ".join(dict.fromkeys(facts.recipe for facts in report.facts))
    return (
        f"This is a demonstration: {recipes} are tiny networks, trained for "
        f"{report.facts[1].steps:,} steps. It shows how the commands work; "
        "what sparsity gains is in docs/results/README.md of mswitch’s repository."
    )


def _differing(report: ReportContents) -> str:
    fields = [difference.field for difference in report.differences]
    if not fields:
        return ""
    more = f" and {len(fields) - DIFFERENCES_NAMED} more" if len(fields) > DIFFERENCES_NAMED else ""
    return (
        f"The runs differ beyond the feed-forward, which was allowed: "
        f"{', '.join(fields[:DIFFERENCES_NAMED])}{more}. What they gain is not sparsity’s alone."
    )


def _decaying(report: ReportContents) -> str:
    sides = report.compared.sides
    names = [side.name for side in sides if side.points is Points.DECAYING]
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


def _rates_not_decayed(report: ReportContents) -> str:
    sides = report.compared.sides
    names = [side.name for side in sides if side.points is Points.STEADY and side.steps[-1] > 0]
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
    sides = report.compared.sides
    within_a_run = [side for side in sides if side.trained and side.points is not Points.DECAYED]
    counts = [sum(step > 0 for step in side.steps) for side in within_a_run]
    fewest = min(counts, default=FEWEST_EVALUATIONS)
    if fewest >= FEWEST_EVALUATIONS:
        return ""
    return (
        f"Step speed-ups are interpolated between {fewest} evaluations; "
        f"{FEWEST_EVALUATIONS} or more make them reliable."
    )


def _few_lengths(report: ReportContents) -> str:
    bounds, candidate = report.summary.languages_speedup_is_bound, report.candidate
    if bounds is None or candidate.points is not Points.DECAYED:
        return ""
    first, second, *more = (step for step in candidate.steps if step > 0)
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
    sides = report.compared.sides
    if single := [side.name for side in sides if len(side.runs) == 1]:
        return (
            f"One run of {' and of '.join(single)}: intervals are over {report.intervals_over} and "
            "do not include how another seed would have fallen."
        )
    fewest, *more = sorted({len(side.runs) for side in sides})
    if fewest >= FEWEST_RUNS:
        return ""
    runs = f"{fewest} and {more[0]} runs" if more else f"{fewest} runs per side"
    return (
        f"{runs} show little of other seeds. One seed moves many languages at once, so many "
        "findings beyond noise appear or disappear together."
    )


def _other_seeds(report: ReportContents) -> str:
    sides = report.compared.sides
    seeds = [sorted(side.seeds) for side in sides]
    if seeds[0] == seeds[1] or not all(side.trained for side in sides):
        return ""
    by_side = [
        f"{', '.join(map(str, numbers))} of {side.name}"
        for numbers, side in zip(seeds, sides, strict=True)
    ]
    return (
        f"The sides have other seeds ({'; '.join(by_side)}), so they did not read the same "
        "examples in the same order."
    )


def _step_times_disturbed(report: ReportContents) -> str:
    spreads = {facts.name: facts.step_seconds_spread or 1.0 for facts in report.facts}
    disturbed = {name: spread for name, spread in spreads.items() if spread > MOST_SPREAD}
    if not disturbed:
        return ""
    named = " and ".join(f"{name} (by {spread:.1f} times)" for name, spread in disturbed.items())
    return (
        f"Step times changed within the runs of {named}, as they do beside other work: the seconds "
        "and tokens per second of their own logs do not compare."
    )


def _missing(report: ReportContents) -> str:
    summary = report.summary
    if not summary.languages_missing:
        return ""
    table = summary.languages + len(summary.languages_missing)  # of mC4, and those of the user
    whose = "mC4’s 101" if table == MC4 else f"the table’s {table}"
    return f"These are {summary.languages} of {whose} languages; the claim is about all of them."


def _pages_unscored(report: ReportContents) -> str:
    unscored = sum(gain.pages_unscored for gain in report.gains.values())
    if not unscored:
        return ""
    return (
        f"Held-out pages that are too short to hide a token count in no gain: {unscored:,} of them."
    )
