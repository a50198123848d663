"""Tables of a report as CSV in data addresses: downloads without a request."""

import base64
import csv
import io
import re
from dataclasses import asdict
from typing import Any

from eval.experts.rows import experts_to_rows
from eval.loss_intervals import losses_of
from eval.report import ReportContents

_ENDS = ("", "_low", "_high")
_FORMULA = re.compile(r"[=@]|[+-](?![\d.]+$)")  # a number may have a sign


def languages_csv(one: ReportContents) -> str:
    """Returns the losses and gains of both sides by language."""
    return _csv(
        [
            {"code": code, **asdict(gain), "verdict": gain.verdict}
            for code, gain in one.gains.items()
        ]
    )


def models_csv(one: ReportContents) -> str:
    """Returns the losses and gains of all models by language; empty without further models."""
    return _csv(_model_rows(one)) if one.further else ""


def tasks_csv(one: ReportContents) -> str:
    """Returns the scores of all tasks; empty without tasks."""
    return _csv([row for task in one.tasks for row in task.rows]) if one.tasks else ""


def expert_csvs(one: ReportContents) -> dict[str, str]:
    """Returns the expert use of each task that has one."""
    return {task.name: _csv(experts_to_rows(task.experts)) for task in one.tasks if task.experts}


def _model_rows(one: ReportContents) -> list[dict[str, Any]]:
    """Returns one row per model and language: losses and gain, with the ends of intervals.

    `unit` is that of the gain, which has bits per byte where a vocabulary is not the baseline's.
    """
    of = {one.candidate.name: one.gains} | {each.name: each.gains for each in one.further}
    units = {one.candidate.name: one.unit} | {each.name: each.unit for each in one.further}
    rows = []
    for each in one.models:
        for code, (nats, bits) in losses_of(each).items():
            gain = of.get(each.name, {}).get(code)
            row = {"model": each.name, "code": code, "language": one.gains[code].name}
            row |= {f"nats_per_token{end}": x for end, x in zip(_ENDS, nats, strict=True)}
            row |= {f"bits_per_byte{end}": x for end, x in zip(_ENDS, bits, strict=True)}
            ends = (gain.gain, gain.low, gain.high) if gain else (None,) * 3
            row |= {f"gain{end}": x for end, x in zip(_ENDS, ends, strict=True)}
            row |= {"unit": units[each.name].value if gain else ""}
            rows.append(row | {"verdict": gain.verdict if gain else ""})
    return rows


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\r\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    encoded = base64.b64encode(text.getvalue().encode()).decode()
    return f"data:text/csv;charset=utf-8;base64,{encoded}"


def _cell(value: Any) -> Any:
    """Returns a cell of CSV: no text is a formula of a spreadsheet, as in `csvCell` of the page."""
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value
