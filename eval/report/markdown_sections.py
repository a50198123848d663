"""Sections of `report.md`: expert use, more than two models, tasks; and words safe in Markdown.

Names of languages, runs and recipes come from strangers. Every word of the document passes through
`escape` here, so no word is a heading, a table, a link, HTML or a formula; a renderer shows it as
it was written. The rules are CommonMark's and GitHub's.
"""

from collections.abc import Iterable, Sequence

import regex

from data.errors import escape_controls
from data.languages import get
from eval.experts import ExpertSharing
from eval.further_models import Further
from eval.report.contents import ReportContents
from eval.sides import LossInterval, losses_of
from eval.tasks import comparison
from eval.tasks.comparison import Scores, SentenceComparison, TaskComparison, codes_of

# Markup anywhere; what GitHub takes for an address; what begins a list or a rule on its line.
MARKUP = regex.compile(
    r"[\\`*\[\]<>#|&~$]|(?<![^\W_])_|_(?![^\W_])"
    r"|(?<=https?|ftp):(?=//)|(?<=www)\."
    r"|^[-+](?=\s|-|$)|(?<=^\d{1,9})[.)](?=\s|$)",
    regex.IGNORECASE,
)


def escape(text: str) -> str:
    """Returns Markdown on one line that is shown as this text, spaces at its ends aside."""
    return MARKUP.sub(r"\\\g<0>", escape_controls(" ".join(text.split())))


def heading(text: str) -> str:
    """Returns the title of a document."""
    return f"# {escape(text)}"


def paragraph(text: str) -> str:
    """Returns a paragraph; empty for an empty text."""
    return escape(text)


def bullets(texts: Iterable[str]) -> str:
    """Returns a list, one text per entry; empty without entries."""
    return "\n".join(f"- {escape(text)}" for text in texts)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table, whose first line is its head."""
    lines = [[escape(cell) for cell in line] for line in (head, *rows)]
    lines.insert(1, ["---"] * len(head))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def experts(sharing: ExpertSharing | None) -> list[str]:
    """Returns the part on held-out pages; none without a sparse run."""
    if sharing is None:
        return []
    caption = (
        f"Which experts serve which languages ({sharing.run}, step {sharing.step}): an expert’s "
        "share of all assignments, the router’s entropy, dropped assignments, and the language "
        "whose use of experts is farthest from that of all (0 is the same, 1 experts of its own)."
    )
    return [paragraph(caption), layers(sharing)]


def layers(sharing: ExpertSharing) -> str:
    """Returns a table with one row per switch layer."""
    rows = []
    for layer in sharing.layers:
        most = int(layer.distance.argmax())
        load = layer.load_of_all
        rows.append(
            (
                layer.name,
                str(layer.experts),
                f"{load.min():.1%} to {load.max():.1%}",
                f"{layer.entropy_of_all:.2f}",
                f"{layer.dropped_of_all:.2%}",
                f"{get(sharing.languages[most]).name} ({layer.distance[most]:.2f})",
            )
        )
    head = ("switch layer", "experts", "load", "entropy, nats", "dropped", "farthest from all")
    return table(head, rows)


def models(report: ReportContents) -> list[str]:
    """Returns the parts; none without further models."""
    if not report.further:
        return []
    return [
        paragraph(
            f"All models. Each is compared with {report.baseline.name} as {report.candidate.name} "
            "is: mean gain over languages with its 95% interval, and the languages in which it is "
            "better or worse beyond noise."
        ),
        _models(report),
        *(part for one in report.further for part in _differences(report, one)),
        *_pruned(report),
        *_pruned_from_others(report),
        paragraph(
            "Final loss by language, in nats per token and in bits per byte, with 95% intervals. "
            "These are wide, because pages differ more than models; gains pair the pages."
        ),
        _languages_of_models(report),
    ]


def _models(report: ReportContents) -> str:
    head = "model", "recipe", "parameters", "steps", "seed numbers", "mean gain", "better", "worse"
    sides = [
        (report.facts[0], None, ""),
        (report.facts[1], report.summary, report.unit.value),
        *((one.facts, one.summary, one.unit.value) for one in report.further),
    ]
    rows = []
    for facts, summary, unit in sides:
        seeds = ", ".join(map(str, facts.seeds))
        parameters = "–" if facts.parameters is None else f"{facts.parameters:,}"
        gain, better, worse = "–", "–", "–"
        if summary is not None:
            better = f"{summary.languages_improved_significantly} of {summary.languages}"
            worse = f"{summary.languages_worse_significantly} of {summary.languages}"
            ends = summary.mean_gain, summary.mean_gain_low, summary.mean_gain_high
            if None not in ends:
                gain = "{:+.3f} [{:+.3f}, {:+.3f}] ".format(*ends) + unit
        rows.append(
            (facts.name, facts.recipe, parameters, f"{facts.steps:,}", seeds, gain, better, worse)
        )
    return table(head, rows)


def _pruned(report: ReportContents) -> list[str]:
    if not report.pruned:
        return []
    head = (
        *("pruned model", "experts kept", "the others"),
        *("lost in its languages", "lost in all others", "its languages"),
    )
    rows = [
        (
            one.name,
            f"{one.experts} of {one.experts_before}",
            one.others or "–",
            *("–" if of is None else f"{of:+.3f}" for of in (one.lost_in_own, one.lost_in_others)),
            one.made_for,
        )
        for one in report.pruned
    ]
    said = (
        f"Loss by share of experts kept, against {report.candidate.name}: nats per token, mean "
        "over languages; a negative number is a gain. Pruned models are dropless, whatever their "
        "source is."
    )
    return [paragraph(said), table(head, rows)]


def _pruned_from_others(report: ReportContents) -> list[str]:
    names = [one.name for one in report.further if one.pruning and not one.pruning.of_candidate]
    return [
        paragraph(
            f"{name} was pruned from another run than {report.candidate.name}'s, so what it lost "
            "by that is not known."
        )
        for name in names
    ]


def _differences(report: ReportContents, one: Further) -> list[str]:
    if not one.differences:
        return []
    rows = [
        (each.field, *(", ".join(dict.fromkeys(values)) for values in each[1:]))
        for each in one.differences
    ]
    return [table((f"differs in {one.name}", report.baseline.name, one.name), rows)]


def _languages_of_models(report: ReportContents) -> str:
    found = [losses_of(one) for one in report.models]
    head = [f"{one.name}, {unit}" for one in report.models for unit in ("nats", "bits")]
    rows = [
        (
            get(code).name,
            code,
            *(_interval(interval) for losses in found for interval in losses[code]),
        )
        for code in report.gains
    ]
    return table(("language", "code", *head), rows)


def _interval(found: LossInterval) -> str:
    if found.low is None or found.high is None:
        return f"{found.loss:.3f}"
    return f"{found.loss:.3f} [{found.low:.3f}, {found.high:.3f}]"


def tasks(report: ReportContents) -> list[str]:
    """Returns the parts; none without fine-tuned runs and parallel texts."""
    sides = report.baseline.name, report.candidate.name
    return [
        *(part for one in report.tasks for part in _task(one, sides)),
        *(part for one in report.sentences for part in _sentences(one, sides)),
    ]


def _task(task: TaskComparison, sides: tuple[str, str]) -> list[str]:
    parts = [
        paragraph(comparison.about(task)),
        paragraph(comparison.overlaps(task)),
        _means(task, sides),
    ]
    for label in task.labels:
        parts += [
            paragraph(f"{task.name}, {label}, by language:"),
            _languages_of_task(task, label, sides),
        ]
    if task.experts is not None:
        about = f"Which experts {task.name} uses. {comparison.about_experts(task)}"
        parts += [paragraph(about), layers(task.experts)]
    return parts


def _means(task: TaskComparison, sides: tuple[str, str]) -> str:
    head = ("trained on", "score", *sides, "gain", "better", "worse", "seed numbers")
    rows = [
        (mode.name, one.label, *comparison.three(one.mean), *_counts(one), comparison.seeds(mode))
        for mode in task.modes
        for one in mode.scores
    ]
    return table(head, rows)


def _counts(one: Scores) -> tuple[str, str]:
    """Returns the numbers of better and of worse languages."""
    found = one.counts
    both = (
        f"{found[f'languages_{word}']} ({found[f'languages_{word}_significantly']} beyond noise)"
        for word in ("better", "worse")
    )
    better, worse = both
    return better, worse


def _languages_of_task(task: TaskComparison, label: str, sides: tuple[str, str]) -> str:
    by_mode = task.by(label)
    head = [f"{mode}: {column}" for mode in by_mode for column in (*sides, "gain")]
    overlaps = task.overlapping
    rows = [
        (
            get(code).name,
            code,
            *(cell for one in by_mode.values() for cell in _cells(one, code)),
            "–" if overlaps is None else str(overlaps.get(code, "–")),
        )
        for code in codes_of(by_mode)
    ]
    return table(("language", "code", *head, "overlaps"), rows)


def _cells(
    one: Scores, code: str, digits: int = 1, most: float | None = comparison.MOST
) -> tuple[str, str, str]:
    found = one.languages.get(code)
    baseline, candidate, gain = comparison.three(found, digits, most)
    beyond = found is not None and found.verdict != "unclear"
    return baseline, candidate, gain + (" ●" if beyond else "")


def _sentences(text: SentenceComparison, sides: tuple[str, str]) -> list[str]:
    rows = [("all languages, mean", "", *comparison.three(text.scores.mean, 2, None), "")]
    rows += [
        (get(code).name, code, *_cells(text.scores, code, 2, None), f"{one.gain.examples:,}")
        for code, one in text.scores.languages.items()
    ]
    head = ("language", "code", *sides, "gain", "sentences")
    return [paragraph(comparison.about_sentences(text)), table(head, rows)]
