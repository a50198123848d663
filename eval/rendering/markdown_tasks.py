"""The part of `report.md` on tasks and parallel texts: means by mode, then languages."""

from data.languages import get
from eval.rendering.markdown_experts import layers
from eval.rendering.markdown_text import paragraph, table
from eval.report import ReportContents
from eval.tasks import words
from eval.tasks.compared import Scores, TaskComparison, codes_of
from eval.tasks.sentences import SentenceComparison


def tasks(report: ReportContents) -> list[str]:
    """Returns the parts; none without fine-tuned runs and parallel texts."""
    sides = report.baseline.name, report.candidate.name
    return [
        *(part for one in report.tasks for part in _task(one, sides)),
        *(part for one in report.sentences for part in _sentences(one, sides)),
    ]


def _task(task: TaskComparison, sides: tuple[str, str]) -> list[str]:
    parts = [paragraph(words.about(task)), paragraph(words.overlaps(task)), _means(task, sides)]
    for label in task.labels:
        parts += [paragraph(f"{task.name}, {label}, by language:"), _languages(task, label, sides)]
    if task.experts is not None:
        about = f"Which experts {task.name} uses. {words.about_experts(task)}"
        parts += [paragraph(about), layers(task.experts)]
    return parts


def _means(task: TaskComparison, sides: tuple[str, str]) -> str:
    head = ("trained on", "score", *sides, "gain", "better", "worse", "seed numbers")
    rows = [
        (mode.name, one.label, *words.three(one.mean), *_counts(one), words.seeds(mode))
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


def _languages(task: TaskComparison, label: str, sides: tuple[str, str]) -> str:
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
    one: Scores, code: str, digits: int = 1, most: float | None = words.MOST
) -> tuple[str, str, str]:
    found = one.languages.get(code)
    baseline, candidate, gain = words.three(found, digits, most)
    beyond = found is not None and found.verdict != "unclear"
    return baseline, candidate, gain + (" ●" if beyond else "")


def _sentences(text: SentenceComparison, sides: tuple[str, str]) -> list[str]:
    rows = [("all languages, mean", "", *words.three(text.scores.mean, 2, None), "")]
    rows += [
        (get(code).name, code, *_cells(text.scores, code, 2, None), f"{one.gain.examples:,}")
        for code, one in text.scores.languages.items()
    ]
    head = ("language", "code", *sides, "gain", "sentences")
    return [paragraph(words.about_sentences(text)), table(head, rows)]
