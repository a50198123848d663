"""The report as data: `report.json`, and tables as CSV.

`report.json` has every number of the charts and tables; its field names carry their units. The
tables of the page are data addresses, downloads without a request.
"""

import base64
from dataclasses import asdict
from typing import Any

from eval import sides
from eval.columns import fields, to_csv, with_ends
from eval.experts import ExpertSharing, LayerSharing
from eval.frontier import COSTS, Network
from eval.gains import Comparison
from eval.groups import Group
from eval.losses import Unit
from eval.paired_runs import RunComparison
from eval.report.contents import ReportContents, shared_total
from eval.report.tables import CODE, GAINS, VERDICT, script_columns
from eval.sides import Side
from eval.tasks.comparison import MetricScores, TaskComparison
from eval.verdict import cautions, sentences, verdict

# Of languages with scores on a task.
COUNTS = "counted", "better", "worse", "better_significantly", "worse_significantly"


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
    counts = scores.tally._asdict()
    counts["counted"] = counts.pop("languages")
    return asdict(scores) | {f"languages_{name}": counts[name] for name in COUNTS}


def to_json(report: ReportContents) -> dict[str, Any]:
    """Returns `report.json`."""
    shared, experts = report.shared_lines, report.experts
    return {
        "verdict": verdict(report),
        "sentence": sentences(report),
        "null_sentence": report.null_sentence,
        "bill_sentence": report.bills[0],
        "bill": _bill(report.groups[1]),
        "time_sentence": report.time_sentence,
        "step_times": None if report.step_times is None else asdict(report.step_times),
        "cautions": cautions(report),
        "unit": report.unit.value,
        "differences": [difference._asdict() for difference in report.differences],
        "intervals_over": report.intervals_over,
        "points": report.candidate.points.value,
        "summary": asdict(report.summary),
        **({} if report.runs is None else {"runs": asdict(report.runs)}),
        **({"lengths": [_length(*each) for each in report.lengths]} if report.lengths else {}),
        "nulls": [_null(null) for null in report.nulls],
        "scripts": [
            fields(script_columns(report.unit), script) for script in report.compared.scripts
        ],
        "languages": _languages(report.compared),
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
        "further": [_further(*each) for each in report.further],
        **({"trade": _trade(report)} if report.networks else {}),
        "pruned": [model._asdict() for model in report.pruned],
        "losses": _losses(report) if report.further else {},
        "tasks": [task_to_json(task) for task in report.tasks],
        "sentences": [
            asdict(text) | {"scores": scores_to_json(text.scores)} for text in report.sentences
        ],
        "corpus": None if report.funnel is None else asdict(report.funnel),
        "written": report.written._asdict(),
    }


def _languages(comparison: Comparison) -> dict[str, Any]:
    return {code: fields(GAINS, gain) for code, gain in comparison.gains.items()}


def _further(group: Group, comparison: Comparison) -> dict[str, Any]:
    """Returns a further model: its facts, and its gains over the baseline."""
    return {
        **asdict(group.facts),
        "unit": comparison.unit.value,
        "summary": asdict(comparison.summary),
        "languages": _languages(comparison),
        "differences": [difference._asdict() for difference in group.differences],
        "directories": list(group.directories),
        "bill": _bill(group),
    }


def _trade(report: ReportContents) -> dict[str, Any]:
    """Returns losses and costs of all networks, and the comparison with each of the baseline."""
    equal = zip(report.opponents, report.equal[1:], strict=True)
    means = [point.losses for point in report.points[:1]]
    return {
        "unit": report.trade_unit.value,
        "equal": report.equal[0],
        "opponents": [_further(*each) | {"equal": alike} for each, alike in equal],
        "networks": [_network(network) for side in report.networks for network in side],
        "points": [point._asdict() for point in report.points],
        "frontiers": [
            {
                "side": side[0].side,
                "cost": cost,
                "languages": name,
                "points": [
                    {
                        "network": point.network,
                        "steps": point.steps,
                        cost: point.cost(cost),
                        "loss": point.losses[name],
                    }
                    for point in report.frontier(side[0].side, cost, name)
                ],
            }
            for side in report.networks
            for cost in COSTS
            for losses in means
            for name in losses
        ],
    }


def _network(network: Network) -> dict[str, Any]:
    """Returns the costs of a network."""
    names = "name", "side", "width", "parameters", "flops_per_token", "step_device_seconds"
    return {name: getattr(network, name) for name in (*names, "devices")}


def _bill(group: Group) -> dict[str, Any] | None:
    return None if group.bill is None else asdict(group.bill)


def _length(comparison: Comparison, runs: RunComparison | None) -> dict[str, Any]:
    """Returns the comparison of the runs of one length."""
    return {
        "steps": comparison.candidate.steps[-1],
        **with_ends("mean_gain", comparison.mean),
        "languages_improved": comparison.tally.better,
        "runs": None if runs is None else asdict(runs),
    }


def _losses(report: ReportContents) -> dict[str, Any]:
    """Returns each model's final losses by language, with the ends of their intervals."""
    return {
        model: {
            code: with_ends("loss_nats", nats) | with_ends("bits_per_byte", bits)
            for code, (nats, bits) in losses.items()
        }
        for model, losses in report.losses.items()
    }


def _null(null: Comparison) -> dict[str, Any]:
    """Returns a null comparison: its summary, and gain and speed-up per language."""
    return {
        "name": null.baseline.name,
        "baseline_seeds": list(null.baseline.seeds),
        "candidate_seeds": list(null.candidate.seeds),
        "summary": asdict(null.summary),
        "languages": {
            code: {"gain": gain.gain.value, "step_speedup": gain.speedup and gain.speedup.ratio}
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
    by_language = (CODE, *GAINS, VERDICT)
    tables = {
        "languages.csv": [fields(by_language, gain) for gain in report.gains.values()],
        "models.csv": _model_rows(report) if report.further else [],
        "tasks.csv": [row for task in report.tasks for row in _task_rows(task)],
    } | {f"{task.name}-experts.csv": _expert_rows(task.experts) for task in report.tasks}
    return {name: to_csv(rows) for name, rows in tables.items() if rows}


def _model_rows(report: ReportContents) -> list[dict[str, Any]]:
    """Returns one row per model and language.

    `unit` is that of the gain, which has bits per byte where a vocabulary is not the baseline's.
    """
    rows = []
    for group, compared in zip(report.groups, (None, *report.comparisons), strict=True):
        for code, (nats, bits) in report.losses[group.name].items():
            gain = compared and compared.gains[code]
            rows.append(
                {"model": group.name, "code": code, "language": report.gains[code].name}
                | with_ends("nats_per_token", nats)
                | with_ends("bits_per_byte", bits)
                | with_ends("gain", gain and gain.gain)
                | {"unit": gain.unit.value if gain else "", "verdict": gain.verdict if gain else ""}
            )
    return rows


def _task_rows(task: TaskComparison) -> list[dict[str, Any]]:
    """Returns one row per mode, metric and language."""
    return [
        {"task": task.name, "trained_on": mode.name, "metric": scores.metric}
        | {"without_overlaps": scores.without_overlaps, "code": code}
        | with_ends("baseline", compared.baseline)
        | with_ends("candidate", compared.candidate)
        | with_ends("gain", compared.gain)
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


def as_address(table: str) -> str:
    """Returns an address that is the table itself, for a link of the page."""
    encoded = base64.b64encode(table.encode()).decode()
    return f"data:text/csv;charset=utf-8;base64,{encoded}"
