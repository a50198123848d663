"""The report as data: `report.json`, and tables as CSV.

`report.json` has every number of the charts and tables; its field names carry their units. The
tables of the page are data addresses, downloads without a request.
"""

import base64
import csv
import io
import re
from dataclasses import asdict
from typing import Any

from eval import sides
from eval.experts import ExpertSharing, LayerSharing
from eval.further_models import FurtherModel
from eval.losses import Unit
from eval.null_comparison import NullComparison
from eval.report.contents import ReportContents, shared_total
from eval.sides import Side
from eval.tasks.comparison import MetricScores, TaskComparison
from eval.verdict import cautions, sentences, verdict

_FORMULA = re.compile(r"[=@]|[+-](?![\d.]+$)")  # a number may have a sign


def experts_to_json(sharing: ExpertSharing) -> dict[str, Any]:
    """Returns the `experts` of `report.json`."""
    return {
        "run": sharing.run,
        "step": sharing.step,
        "layers": [_layer(layer, sharing.languages) for layer in sharing.layers],
    }


def _layer(layer: LayerSharing, languages: tuple[str, ...]) -> dict[str, Any]:
    return {
        "stack": layer.stack,
        "layer": layer.layer,
        "experts": layer.experts,
        "load_share": layer.load_of_all.round(5).tolist(),
        "dropped_share": layer.dropped_of_all,
        "entropy_nats": layer.entropy_of_all,
        "languages": {
            code: {
                "tokens": int(layer.tokens[at]),
                "load_share": layer.load_share[at].round(5).tolist(),
                "dropped_share": float(layer.dropped_share[at]),
                "entropy_nats": float(layer.entropy_nats[at]),
                "distance_from_all_languages": float(layer.distance[at]),
            }
            for at, code in enumerate(languages)
        },
    }


def task_to_json(task: TaskComparison) -> dict[str, Any]:
    """Returns a task."""
    modes = [
        asdict(mode) | {"scores": [scores_to_json(scores) for scores in mode.scores]}
        for mode in task.modes
    ]
    experts = None if task.experts is None else experts_to_json(task.experts)
    return asdict(task) | {"modes": modes, "experts": experts}


def scores_to_json(scores: MetricScores) -> dict[str, Any]:
    """Returns scores with the counts of languages."""
    return asdict(scores) | scores.counts


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
        "differences": [difference._asdict() for difference in report.differences],
        "intervals_over": report.intervals_over,
        "points": report.candidate.points.value,
        "summary": asdict(report.summary),
        **({} if report.runs is None else {"runs": asdict(report.runs)}),
        **({"lengths": [asdict(length) for length in report.lengths]} if report.lengths else {}),
        "nulls": [_null(null) for null in report.nulls],
        "scripts": [asdict(script) for script in report.scripts],
        "languages": {code: asdict(gain) for code, gain in report.gains.items()},
        "baseline": asdict(report.facts[0]),
        "candidate": asdict(report.facts[1]),
        "training_tokens_are": report.training_tokens_are,
        "curves": {model.name: _curves(model, report.unit) for model in report.models},
        "held_out": None
        if shared is None
        else shared_total(shared)._asdict()
        | {"languages": {code: lines._asdict() for code, lines in shared.items()}},
        "experts": None if experts is None else experts_to_json(experts),
        "students": [asdict(student) for student in report.students],
        "further": [_further(model) for model in report.further],
        "pruned": [model._asdict() for model in report.pruned],
        "losses": _losses(report) if report.further else {},
        "tasks": [task_to_json(task) for task in report.tasks],
        "sentences": [
            asdict(text) | {"scores": scores_to_json(text.scores)} for text in report.sentences
        ],
        "corpus": None if report.funnel is None else asdict(report.funnel),
        "written": report.written._asdict(),
    }


def _further(model: FurtherModel) -> dict[str, Any]:
    """Returns a further model: its facts, and its gains over the baseline."""
    return {
        **asdict(model.facts),
        "unit": model.unit.value,
        "summary": asdict(model.summary),
        "languages": {code: asdict(gain) for code, gain in model.gains.items()},
        "differences": [difference._asdict() for difference in model.differences],
        "directories": list(model.directories),
        "bill": None if model.bill is None else asdict(model.bill),
    }


def _losses(report: ReportContents) -> dict[str, Any]:
    """Returns each model's final losses by language, with the ends of their intervals."""
    return {
        model: {
            code: _with_ends("loss_nats", *nats) | _with_ends("bits_per_byte", *bits)
            for code, (nats, bits) in losses.items()
        }
        for model, losses in report.losses.items()
    }


def _null(null: NullComparison) -> dict[str, Any]:
    """Returns a null comparison: its summary, and gain and speed-up per language."""
    return {
        "name": null.name,
        "baseline_seeds": list(null.baseline_seeds),
        "candidate_seeds": list(null.candidate_seeds),
        "summary": asdict(null.summary),
        "languages": {
            code: {"gain": gain.gain, "step_speedup": gain.step_speedup}
            for code, gain in null.gains.items()
        },
    }


def _curves(side: Side, unit: Unit) -> dict[str, Any]:
    """Returns a side's curves, mean over its runs; over all pages also one curve per run."""
    units = {"loss_nats": Unit.NATS_PER_TOKEN}
    if unit is Unit.BITS_PER_BYTE:
        units["bits_per_byte"] = unit
    runs = [sides.total_curve(run, Unit.NATS_PER_TOKEN).tolist() for run in side.runs]
    return {
        "steps": list(side.steps),
        **{
            name: {
                "all": sides.total_curve(side.losses, unit).tolist(),
                **dict(zip(side.languages, side.curves(unit).T.tolist(), strict=True)),
            }
            for name, unit in units.items()
        },
        "loss_nats_all_by_run": runs,
    }


def csv_files(report: ReportContents) -> dict[str, str]:
    """Returns the tables that have rows, as CSV, by the names of their files."""
    tables = {
        "languages.csv": [
            {"code": code, **asdict(gain), "verdict": gain.verdict}
            for code, gain in report.gains.items()
        ],
        "models.csv": _model_rows(report) if report.further else [],
        "tasks.csv": [row for task in report.tasks for row in _task_rows(task)],
    } | {f"{task.name}-experts.csv": _expert_rows(task.experts) for task in report.tasks}
    return {name: _csv(rows) for name, rows in tables.items() if rows}


def _model_rows(report: ReportContents) -> list[dict[str, Any]]:
    """Returns one row per model and language.

    `unit` is that of the gain, which has bits per byte where a vocabulary is not the baseline's.
    """
    gains = {report.candidate.name: report.gains} | {m.name: m.gains for m in report.further}
    units = {report.candidate.name: report.unit} | {m.name: m.unit for m in report.further}
    rows = []
    for model, losses in report.losses.items():
        for code, (nats, bits) in losses.items():
            gain = gains.get(model, {}).get(code)
            rows.append(
                {"model": model, "code": code, "language": report.gains[code].name}
                | _with_ends("nats_per_token", *nats)
                | _with_ends("bits_per_byte", *bits)
                | _with_ends("gain", *((gain.gain, gain.low, gain.high) if gain else (None,) * 3))
                | {"unit": units[model].value if gain else ""}
                | {"verdict": gain.verdict if gain else ""}
            )
    return rows


def _task_rows(task: TaskComparison) -> list[dict[str, Any]]:
    """Returns one row per mode, metric and language."""
    return [
        {"task": task.name, "trained_on": mode.name, "metric": scores.metric}
        | {"without_overlaps": scores.without_overlaps, "code": code}
        | _with_ends("baseline", *compared.baseline.ends)
        | _with_ends("candidate", *compared.candidate.ends)
        | _with_ends("gain", *compared.gain.ends)
        | {"examples": compared.gain.examples, "verdict": compared.verdict}
        | {"overlapping": (mode.overlapping_by_language or {}).get(code)}
        for mode in task.modes
        for scores in mode.scores
        for code, compared in scores.languages.items()
    ]


def _expert_rows(sharing: ExpertSharing | None) -> list[dict[str, Any]]:
    """Returns one row per switch layer and language, with a column per expert."""
    if sharing is None:
        return []
    return [
        {"run": sharing.run, "step": sharing.step, "stack": layer.stack, "layer": layer.layer}
        | {"code": code, "tokens": int(layer.tokens[at])}
        | {f"share_of_expert_{number}": share for number, share in enumerate(shares)}
        for layer in sharing.layers
        for at, (code, shares) in enumerate(
            zip(sharing.languages, layer.load_share.round(5).tolist(), strict=True)
        )
    ]


def _with_ends(
    name: str, value: float | None, low: float | None, high: float | None
) -> dict[str, Any]:
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\r\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def as_address(table: str) -> str:
    """Returns an address that is the table itself, for a link of the page."""
    encoded = base64.b64encode(table.encode()).decode()
    return f"data:text/csv;charset=utf-8;base64,{encoded}"


def _cell(value: Any) -> Any:
    """Returns a cell of CSV: no text is a formula of a spreadsheet, as in `csvCell` of the page."""
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value
