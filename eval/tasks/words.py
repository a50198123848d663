"""What the section on tasks says in words and figures, in the page and in Markdown alike."""

from dataclasses import replace

from eval.tasks.compared import Compared, Mode, TaskComparison
from eval.tasks.scores import Estimate
from eval.tasks.sentences import SentenceComparison

MOST = 100.0  # percent of a score, or percentage points of a gain in either direction


def shown(one: Compared, most: float | None = MOST) -> Compared:
    """Returns the numbers, their intervals clipped to the possible range unless `most` is None.

    Intervals are symmetric, and two runs leave one degree of freedom: a half width of 12.7 standard
    errors. So an interval can extend beyond 0 or 100 %. Only what is shown is clipped; report.json
    and the CSV keep the ends from which the standard error follows. On a logit scale no end would
    exceed the range, but a score of 0 or 100 % has no logit, nor has a gain.
    """
    if most is None:
        return one
    return replace(
        one,
        baseline=_between(one.baseline, 0.0, most),
        candidate=_between(one.candidate, 0.0, most),
        gain=_between(one.gain, -most, most),
    )


def _between(found: Estimate, least: float, most: float) -> Estimate:
    if found.low is None or found.high is None:
        return found
    return replace(found, low=max(found.low, least), high=min(found.high, most))


def with_interval(found: Estimate, digits: int = 1, sign: str = "") -> str:
    """Returns `61.3 [55.0, 67.6]`; the value alone where there is no interval."""
    if found.low is None or found.high is None:
        return f"{found.value:{sign}.{digits}f}"
    ends = f"{found.low:{sign}.{digits}f}, {found.high:{sign}.{digits}f}"
    return f"{found.value:{sign}.{digits}f} [{ends}]"


def three(one: Compared | None, digits: int = 1, most: float | None = MOST) -> tuple[str, str, str]:
    """Returns both sides' numbers and the gain, with intervals up to the largest number."""
    if one is None:
        return "–", "–", "–"
    one = shown(one, most)
    return (
        with_interval(one.baseline, digits),
        with_interval(one.candidate, digits),
        with_interval(one.gain, digits, "+"),
    )


def about(task: TaskComparison) -> str:
    """Returns what the numbers of a task are."""
    return (
        f"{task.name}, {task.split} data, {task.modes[0].examples:,} examples. Scores are in "
        "percent, means over languages and seeds; gains are in percentage points, candidate minus "
        "baseline, with 95% intervals in which all translations of a sentence are one draw. "
        "Intervals are shown up to 0 and 100; report.json has them whole. "
        "“Beyond noise” is corrected for the number of languages."
    )


def overlaps(task: TaskComparison) -> str:
    """Returns how many examples overlap with the pretraining corpus."""
    known = [one for one in task.modes if one.overlapping is not None]
    if not known:
        return (
            "Overlap of examples with the pretraining corpus was not looked for; --corpus of "
            "`mswitch finetune` and `mswitch evaluate` looks for it."
        )
    mode = next((one for one in known if one.overlapping), known[0])
    found = f"{mode.overlapping:,} of {mode.examples:,} examples share text with the pretraining "
    if not mode.overlapping:
        return f"{found}corpus."
    return f"{found}corpus; scores “without overlaps” leave them out on both sides."


def about_experts(task: TaskComparison) -> str:
    """Returns what the expert use of a task is; empty where there is none."""
    if task.experts is None:
        return ""
    return (
        f"One candidate run ({task.experts.run}, step {task.experts.step:,}): how the tokens of "
        f"the {task.split} inputs (encoder) and of their right targets (decoder) were routed, "
        "without capacity."
    )


def seeds(mode: Mode) -> str:
    """Returns the seeds of both sides, once where they are the same."""
    both = [", ".join(map(str, one)) for one in (mode.baseline_seeds, mode.candidate_seeds)]
    return both[0] if both[0] == both[1] else " against ".join(both)


def about_sentences(text: SentenceComparison) -> str:
    """Returns what nats per sentence are, and how many sentences are left out."""
    cut = (
        f" {text.cut:,} of {text.sentences:,} sentences are longer than a row of some run, and "
        "left out in their language: there, languages compare less well."
        if text.cut
        else ""
    )
    return (
        f"{text.name}: nats per sentence of the pretrained runs, every token hidden once. All "
        "languages say the same, so the numbers compare languages and vocabularies. Form is not "
        "meaning: a language may need more words. Gain is baseline minus candidate, above zero "
        f"where the candidate is better.{cut}"
    )
