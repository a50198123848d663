"""The sentences of a report, the verdict first.

The verdict rests on the interval of the mean gain over languages. Where that includes zero, no
difference can be told, in however many languages one side is ahead: of two equal sides each is
ahead in about half of them. The sentences that follow must be as reliable when the candidate loses.
They count better and worse languages alike, and those that do not reach the baseline's final
quality.
"""

from eval.further import Further
from eval.language_gain import Summary
from eval.report import ReportContents
from eval.side import Side
from eval.statistics.step_speedup import MOST_AT_BOUND

FIELDS_NAMED = 2  # in a verdict, of those in which runs differ


def sentences(report: ReportContents) -> str:
    """Returns the verdict, the mean gain, the languages and the speed-up, as one paragraph."""
    parts = verdict, mean_sentence, better_sentence, speed_sentence
    return " ".join(filter(None, (part(report) for part in parts)))


def verdict(report: ReportContents) -> str:
    """Returns which side is better, or that no difference was detected."""
    baseline, candidate = report.baseline.name, report.candidate.name
    low, high = report.summary.mean_gain_low, report.summary.mean_gain_high
    if low is None or high is None:
        return "Nothing can be told: no language has two held-out pages."
    if low <= 0 <= high:
        return f"No difference between {baseline} and {candidate} was detected."
    word = "better" if low > 0 else "worse"
    return f"{candidate} is {word} than {baseline}{_reservation(report)}."


def _reservation(report: ReportContents) -> str:
    """Returns what weakens a verdict: runs that differ in more, and the seeds of a single run."""
    fields = [one.field for one in report.differences]
    more = " and more" if len(fields) > FIELDS_NAMED else ""
    differ = f", which differ in {', '.join(fields[:FIELDS_NAMED])}{more} too" if fields else ""
    single = any(len(one.runs) == 1 for one in (report.baseline, report.candidate))
    seeds = "; other seeds may differ" if single else ""
    return f" in these runs{differ}{seeds}" if differ or seeds else ""


def mean_sentence(report: ReportContents) -> str:
    """Returns the mean gain with its interval; empty where there is none."""
    summary = report.summary
    mean, low, high = summary.mean_gain, summary.mean_gain_low, summary.mean_gain_high
    if mean is None or low is None or high is None:
        return ""
    ends = f"95% interval {_signed(low)} to {_signed(high)}, over {report.intervals_over}"
    return f"The mean gain{_over(summary)} is {_signed(mean)} {report.unit.value} ({ends})."


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
    if low is not None and high is not None:
        interval = f"95% interval {low:.2f} to {high:.2f}, over {report.intervals_over}"
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
    for names, what in (
        ([one.name for one in sides if not one.trained], "not trained here"),
        ([one.name for one in sides if not one.has_curve], "evaluated only once after step 0"),
    ):
        if names:
            return f"{' and '.join(names)} {'was' if len(names) == 1 else 'were'} {what}"
    return "only one side has runs of several lengths"


def further_sentences(report: ReportContents) -> list[str]:
    """Returns the mean gain of each further model and in how many languages it shows."""
    return [_further_sentence(report.baseline.name, one) for one in report.further]


def _further_sentence(baseline: str, one: Further) -> str:
    summary = one.summary
    mean, low, high = summary.mean_gain, summary.mean_gain_low, summary.mean_gain_high
    if mean is None or low is None or high is None:
        return f"{one.name}: no language has two held-out pages."
    return (
        f"{one.name}: mean gain over {baseline} {_signed(mean)} {one.unit.value} (95% interval "
        f"{_signed(low)} to {_signed(high)}); better beyond noise in "
        f"{summary.languages_improved_significantly} of {summary.languages} languages, worse in "
        f"{summary.languages_worse_significantly}."
    )


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")
