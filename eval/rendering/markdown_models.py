"""The part of `report.md` on more than two models: one row per model, and one per language."""

from data.languages import get
from eval.further import Further
from eval.loss_intervals import LossInterval, losses_of
from eval.rendering.markdown_text import paragraph, table
from eval.report import ReportContents


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
        _languages(report),
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


def _languages(report: ReportContents) -> str:
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
