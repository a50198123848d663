"""`report.json`: every number of the charts and tables; field names carry their units."""

from dataclasses import asdict
from typing import Any

from eval import side
from eval.cautions import cautions
from eval.experts.rows import experts_to_json
from eval.further import Further
from eval.language_loss import Unit
from eval.loss_intervals import losses_of
from eval.report import ReportContents, shared_total
from eval.side import Side
from eval.statistics.null_comparison import NullComparison
from eval.tasks.section_json import sentences_to_json, task_to_json
from eval.verdict import sentences, verdict


def to_json(report: ReportContents) -> dict[str, Any]:
    """Returns `report.json`."""
    shared, experts = report.shared_lines, report.experts
    return {
        "verdict": verdict(report),
        "sentence": sentences(report),
        "null_sentence": report.null_sentence,
        "bill_sentence": report.bill_sentence,
        "bill": None if report.bill is None else asdict(report.bill),
        "time_sentence": report.time_sentence,
        "step_times": None if report.step_times is None else asdict(report.step_times),
        "cautions": cautions(report),
        "unit": report.unit.value,
        "differences": [one._asdict() for one in report.differences],
        "intervals_over": report.intervals_over,
        "points": report.candidate.points.value,
        "summary": asdict(report.summary),
        "nulls": [_null(one) for one in report.nulls],
        "scripts": [asdict(one) for one in report.scripts],
        "languages": {code: asdict(gain) for code, gain in report.gains.items()},
        "baseline": asdict(report.facts[0]),
        "candidate": asdict(report.facts[1]),
        "training_tokens_are": report.training_tokens_are,
        "curves": {one.name: _curves(one, report.unit) for one in report.models},
        "held_out": None
        if shared is None
        else shared_total(shared)._asdict()
        | {"languages": {code: one._asdict() for code, one in shared.items()}},
        "experts": None if experts is None else experts_to_json(experts),
        "students": [asdict(one) for one in report.students],
        "further": [_further(one) for one in report.further],
        "pruned": [one._asdict() for one in report.pruned],
        "losses": {one.name: _losses(one) for one in report.models} if report.further else {},
        "tasks": [task_to_json(one) for one in report.tasks],
        "sentences": [sentences_to_json(one) for one in report.sentences],
        "corpus": None if report.funnel is None else asdict(report.funnel),
        "written": report.written._asdict(),
    }


def _further(one: Further) -> dict[str, Any]:
    """Returns a further model: its facts, and its gains over the baseline."""
    return {
        **asdict(one.facts),
        "unit": one.unit.value,
        "summary": asdict(one.summary),
        "languages": {code: asdict(gain) for code, gain in one.gains.items()},
        "differences": [difference._asdict() for difference in one.differences],
        "directories": list(one.directories),
    }


def _losses(one: Side) -> dict[str, Any]:
    """Returns a model's final losses by language, with the ends of their intervals."""
    units = {"nats_per_token": "loss_nats", "bits_per_byte": "bits_per_byte"}
    return {
        code: {
            f"{units[unit]}{end}": value
            for unit, interval in loss._asdict().items()
            for end, value in zip(("", "_low", "_high"), interval, strict=True)
        }
        for code, loss in losses_of(one).items()
    }


def _null(one: NullComparison) -> dict[str, Any]:
    """Returns a null comparison: its summary, and gain and speed-up per language."""
    return {
        "name": one.name,
        "baseline_seeds": list(one.baseline_seeds),
        "candidate_seeds": list(one.candidate_seeds),
        "summary": asdict(one.summary),
        "languages": {
            code: {"gain": gain.gain, "step_speedup": gain.step_speedup}
            for code, gain in one.gains.items()
        },
    }


def _curves(one: Side, unit: Unit) -> dict[str, Any]:
    """Returns a side's curves, mean over its runs; over all pages also one curve per run."""
    units = {"loss_nats": Unit.NATS_PER_TOKEN}
    if unit is Unit.BITS_PER_BYTE:
        units["bits_per_byte"] = unit
    runs = [side.total_curve(run, Unit.NATS_PER_TOKEN).tolist() for run in one.runs]
    return {
        "steps": list(one.steps),
        **{name: _curves_in(one, each) for name, each in units.items()},
        "loss_nats_all_by_run": runs,
    }


def _curves_in(one: Side, unit: Unit) -> dict[str, list[float]]:
    by_language = zip(one.languages, one.curves(unit).T.tolist(), strict=True)
    return {"all": side.total_curve(one.losses, unit).tolist(), **dict(by_language)}
