"""The report as one HTML file that makes no network request.

The page contains Altair's JavaScript (Vega, Vega-Lite, Vega-Embed) once, and the charts as data.
Text from the web is escaped: by Jinja in HTML, and by `tojson` in JSON (`<`, `>`, `&` and quotes).
As a second defence, the page's Content-Security-Policy forbids every request, and every script but
two that it names by digest. Markup that escaped both would not run.
"""

import base64
import csv
import hashlib
import io
import re
from dataclasses import asdict
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from data.languages import UNDETERMINED, all_languages
from eval import distillation, language_probability, report, verdict
from eval.cautions import FEWEST_EVALUATIONS, cautions, is_demonstration
from eval.charts import curves as drawn_curves
from eval.charts import expert, gains, models, tasks
from eval.charts.specs import specs
from eval.experts.rows import experts_to_rows
from eval.experts.sharing import by_stack
from eval.further import losses_of
from eval.language_loss import LanguageLosses, Unit
from eval.late_costs import late_costs, uneven
from eval.side import Side, curves_of, total_curve
from eval.statistics import step_speedup
from eval.tasks import words
from eval.tasks.compared import codes_of

_TEMPLATE = "index.html.j2"
_ENDS = ("", "_low", "_high")
_FORMULA = re.compile(r"[=@]|[+-](?![\d.]+$)")  # a number may have a sign


def to_html(one: report.ReportContents) -> str:
    """Returns the whole page."""
    environment = _environment()
    assert environment.loader is not None
    style, script = (
        environment.loader.get_source(environment, name)[0] for name in ("report.css", "report.js")
    )
    bundle = vl_convert.javascript_bundle()  # pyright: ignore[reportCallIssue]
    return environment.get_template(_TEMPLATE).render(
        **_context(one),
        style=Markup(style),
        script=Markup(script),
        bundle=Markup(bundle),
        script_digests=[_digest(script), _digest(bundle)],
    )


def _environment() -> jinja2.Environment:
    """Returns the templates, with the filters that write numbers."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("eval.rendering"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": _count, "number": _number, "signed": _signed, "share": _share, "percent": _percent
    }  # fmt: skip
    return environment


def _context(one: report.ReportContents) -> dict[str, Any]:
    """Returns what the templates show, and the functions that they call."""
    late = late_costs(one.funnel, {code: gain.bytes_per_token for code, gain in one.gains.items()})
    languages = {language.code: language for language in all_languages()}
    return dict(
        report=one,
        verdict=verdict,
        is_demonstration=is_demonstration(one),
        speedup_text=report.speedup_text,
        speedup_meaning=report.speedup_meaning,
        csv=_csv(_language_rows(one)),
        verdicts=gains.VERDICTS,
        models_csv=_csv(_model_rows(one)) if one.further else "",
        losses={each.name: losses_of(each) for each in one.models} if one.further else {},
        pictured=models.models(one),
        tasks_csv=_csv([row for task in one.tasks for row in task.rows]) if one.tasks else "",
        codes_of=codes_of,
        most_drawn=len(tasks.COLOURS),
        task_words=words,
        specs=specs(one),
        curves=_curves(one),
        cautions=cautions(one),
        late=late,
        uneven=[] if one.funnel is None or not late else list(uneven(one.funnel)),
        in_nats=one.unit is Unit.NATS_PER_TOKEN,
        experts=one.experts,
        expert_shares={
            key: expert.shares(sharing) for key, sharing in expert.sharings(one).items()
        },
        expert_csvs={
            task.name: _csv(experts_to_rows(task.experts)) for task in one.tasks if task.experts
        },
        by_stack=by_stack,
        darkest=expert.DARKEST,
        shared_total=(None if one.shared_lines is None else report.shared_total(one.shared_lines)),
        language_probability=language_probability,
        distillation=distillation,
        facts=[asdict(facts) for facts in (*one.facts, *(each.facts for each in one.further))],
        languages_by_code=languages,
        language_names={code: language.name for code, language in languages.items()}
        | {UNDETERMINED: "undetermined"},
        intervals_cut=_intervals_cut(one),
        interval_limits=gains.interval_limits(one.gains),
        scripts=sorted({gain.script for gain in one.gains.values()}),
        families=sorted({gain.family for gain in one.gains.values()}),
        paper=step_speedup,
        fewest_evaluations=FEWEST_EVALUATIONS,
    )


def _intervals_cut(one: report.ReportContents) -> bool:
    """Returns whether an interval is longer than what is drawn of it."""
    drawn = {code: gain for code, gain in one.gains.items() if not gain.script_variant}
    low, high = gains.interval_limits(drawn)
    known = [(g.low, g.high) for g in drawn.values() if g.low is not None and g.high is not None]
    return any(ends[0] < low or ends[1] > high for ends in known)


def _language_rows(one: report.ReportContents) -> list[dict[str, Any]]:
    return [
        {"code": code, **asdict(gain), "verdict": gain.verdict} for code, gain in one.gains.items()
    ]


def _model_rows(one: report.ReportContents) -> list[dict[str, Any]]:
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
    """Returns rows as CSV in a data address: a download without a request."""
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


def _curves(one: report.ReportContents) -> dict[str, Any]:
    """Returns held-out losses per language; six digits suffice to interpolate the steps."""
    return {"sides": [_side(each, one.unit) for each in drawn_curves.sides(one)]}


def _side(side: Side, unit: Unit) -> dict[str, Any]:
    """Returns the mean losses of a side, and those of each run where there are several."""
    runs = side.runs if len(side.runs) > 1 else ()
    return {
        "name": side.name,
        "steps": list(side.steps),
        "losses": _losses(side.losses, unit),
        "runs": [_losses(run, unit) for run in runs],
    }


def _losses(losses: tuple[LanguageLosses, ...], unit: Unit) -> dict[str, list[float]]:
    by_language = zip(losses[-1].languages, curves_of(losses, unit).T, strict=True)
    rounded = {code: curve.round(6).tolist() for code, curve in by_language}
    return {"all": total_curve(losses, unit).round(6).tolist()} | rounded


def _digest(script: str) -> str:
    """Returns the digest of an inline script, as Content-Security-Policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _count(value: int | float | None) -> str:
    return "–" if value is None else f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _number(value: int | float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _signed(value: int | float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _share(value: int | float | None) -> str:
    if value is None:
        return "–"
    return "< 0.1%" if 0 < value < 0.001 else f"{value:.1%}"


def _percent(value: int | float | None) -> str:
    return "–" if value is None else f"{value:.0%}".replace("-", "\N{MINUS SIGN}")
