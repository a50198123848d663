"""The report as one HTML file that makes no network request, charts included.

The page contains Altair's JavaScript (Vega, Vega-Lite, Vega-Embed) once, and the charts as data:
Altair writes their Vega-Lite specifications, and the bundle inside the page draws them. Colours are
CSS variables (`var(--candidate)`), which SVG resolves when it is drawn, so the browser's light or
dark setting reaches the charts without a second specification. Blue and orange (Okabe and Ito) stay
apart for colour-blind readers, and no chart relies on colour alone. Every value axis states which
direction is better.

Text from the web is escaped: by Jinja in HTML, and by `tojson` in JSON (`<`, `>`, `&` and quotes).
As a second defence, the page's Content-Security-Policy forbids every request, and every script but
two that it names by digest. Markup that escaped both would not run.
"""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from data.languages import UNDETERMINED, all_languages
from eval import distillation, funnel, speed_up, verdict
from eval.charts import corpus, experts, gains, speed_ups
from eval.charts.parts import Picture, interval_limits
from eval.charts.speed_ups import sides
from eval.experts import by_stack
from eval.funnel import late_costs, uneven
from eval.losses import LanguageLosses, Unit
from eval.report import contents, tables
from eval.report.contents import ReportContents
from eval.sides import Side, curves_of, total_curve
from eval.tasks import comparison
from eval.tasks.comparison import language_codes
from eval.verdict import FEWEST_EVALUATIONS, cautions, is_demonstration


def _formatted(value: int | float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _plain(value: object) -> str:
    """Returns a value of any type, numbers with four digits or, from a thousand on, commas."""
    if value is None:
        return "–"
    if isinstance(value, tuple):
        return ", ".join(_plain(part) if isinstance(part, float) else str(part) for part in value)
    if isinstance(value, int | float) and abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _count(value: int | float | None) -> str:
    return _formatted(value, ",.0f").replace(",", "\N{NARROW NO-BREAK SPACE}")


def _number(value: int | float | None, digits: int = 3) -> str:
    return _formatted(value, f".{digits}f")


def _signed(value: int | float | None, digits: int = 3) -> str:
    return _formatted(value, f"+.{digits}f").replace("-", "\N{MINUS SIGN}")


def _share(value: int | float | None) -> str:
    return "< 0.1%" if value is not None and 0 < value < 0.001 else _formatted(value, ".1%")


def _percent(value: int | float | None) -> str:
    return _formatted(value, ".0%").replace("-", "\N{MINUS SIGN}")


FILTERS: dict[str, Callable[..., str]] = {
    "count": _count,
    "formatted": _formatted,
    "number": _number,
    "percent": _percent,
    "plain": _plain,
    "share": _share,
    "signed": _signed,
}


Spec = dict[str, Any]

# Vega measures text on a canvas, without CSS variables: so the fonts are named here too.
_FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif'


def specs(report: ReportContents) -> dict[str, Spec]:
    """Returns every chart by name."""
    languages = {code: gain for code, gain in report.gains.items() if not gain.script_variant}
    pictures: dict[str, Picture] = {
        "gains-wide": gains.wide(report, languages),
        "gains-tall": gains.tall(report, languages),
        "curves": speed_ups.curves_chart(report),
    }
    if report.summary.mean_step_speedup is not None:
        pictures["speedups"] = speed_ups.speed_up_chart(languages, report.nulls)
    if any(gain.training_tokens for gain in languages.values()):
        pictures["tokens"] = gains.by_tokens(report, languages)
    if any(gain.bytes_per_token for gain in languages.values()):
        pictures["fertility"] = corpus.fertility_chart(languages)
    pictures |= corpus.probability_pictures(report.funnel)
    pictures |= experts.pictures(report)
    pictures |= speed_ups.distillation_picture(report.students)
    pictures |= gains.pictures_of_models(report)
    pictures |= gains.pictures_of_tasks(report)
    return {name: _finished(chart) for name, chart in pictures.items()}


def _finished(chart: Picture) -> Spec:
    """Returns the specification with the fonts and colours of the page."""
    axis = {
        "labelColor": "var(--ink-soft)", "titleColor": "var(--ink-soft)", "domain": False,
        "gridColor": "var(--line)", "tickColor": "var(--line)", "labelFontSize": 11,
        "titleFontSize": 12, "titleFontWeight": "normal", "titlePadding": 10,
    }  # fmt: skip
    legend = {
        "orient": "top", "labelColor": "var(--ink-soft)", "labelFontSize": 12, "symbolSize": 70,
        "symbolOpacity": 1, "columnPadding": 24,
    }  # fmt: skip
    config = {"font": _FONT, "axis": axis, "legend": legend, "view": {"stroke": None}}
    spec = chart.to_dict()
    return spec | {
        "config": config,
        "background": None,
        "autosize": {"type": "fit", "contains": "padding"},
    }


def context(one: ReportContents) -> dict[str, Any]:
    """Returns the values and functions of the templates of `index.html` and `report.md`."""
    return {
        **_everywhere(one),
        **_languages(one),
        **_models(one),
        **_tasks(one),
        **_experts(one),
        **_corpus(one),
    }


def _everywhere(one: ReportContents) -> dict[str, Any]:
    """Returns what the first screen and several sections show."""
    languages = {language.code: language for language in all_languages()}
    names = {code: language.name for code, language in languages.items()}
    return dict(
        report=one,
        asdict=asdict,
        verdict=verdict,
        cautions=cautions(one),
        is_demonstration=is_demonstration(one),
        facts=[asdict(facts) for facts in (*one.facts, *(each.facts for each in one.further))],
        in_nats=one.unit is Unit.NATS_PER_TOKEN,
        languages_by_code=languages,
        language_names=names | {UNDETERMINED: "undetermined"},
        paper=speed_up,
        distillation=distillation,
        fewest_evaluations=FEWEST_EVALUATIONS,
    )


def _pictures(one: ReportContents) -> dict[str, Any]:
    return dict(specs=specs(one), curves=_curves(one), intervals_cut=_intervals_cut(one))


def _languages(one: ReportContents) -> dict[str, Any]:
    return dict(
        languages_csv=tables.languages_csv(one),
        verdicts=gains.VERDICTS,
        speedup_text=contents.speedup_text,
        speedup_meaning=contents.speedup_meaning,
        interval_limits=interval_limits(gains.estimates(one.gains)),
        scripts=sorted({gain.script for gain in one.gains.values()}),
        families=sorted({gain.family for gain in one.gains.values()}),
    )


def _models(one: ReportContents) -> dict[str, Any]:
    return dict(
        models_csv=tables.models_csv(one),
        pictured=gains.models(one),
    )


def _tasks(one: ReportContents) -> dict[str, Any]:
    return dict(
        tasks_csv=tables.tasks_csv(one),
        task_words=comparison,
        language_codes=language_codes,
        most_drawn=len(gains.COLOURS),
    )


def _experts(one: ReportContents) -> dict[str, Any]:
    shares = {key: experts.shares(sharing) for key, sharing in experts.sharings(one).items()}
    return dict(
        experts=one.experts,
        expert_shares=shares,
        expert_csvs=tables.expert_csvs(one),
        by_stack=by_stack,
        darkest=experts.DARKEST,
    )


def _corpus(one: ReportContents) -> dict[str, Any]:
    late = late_costs(one.funnel, {code: gain.bytes_per_token for code, gain in one.gains.items()})
    return dict(
        late=late,
        uneven=[] if one.funnel is None or not late else list(uneven(one.funnel)),
        language_probability=funnel,
        shared_total=None if one.shared_lines is None else contents.shared_total(one.shared_lines),
    )


def _intervals_cut(one: ReportContents) -> bool:
    """Returns whether an interval is longer than what is drawn of it."""
    drawn = {code: gain for code, gain in one.gains.items() if not gain.script_variant}
    low, high = interval_limits(gains.estimates(drawn))
    known = [(g.low, g.high) for g in drawn.values() if g.low is not None and g.high is not None]
    return any(ends[0] < low or ends[1] > high for ends in known)


def _curves(one: ReportContents) -> dict[str, Any]:
    """Returns held-out losses per language; six digits suffice to interpolate the steps."""
    return {"sides": [_side(each, one.unit) for each in sides(one)]}


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


_TEMPLATE = "index.html.j2"


def to_html(one: ReportContents) -> str:
    """Returns the whole page."""
    templates = environment()
    assert templates.loader is not None
    style, script = (
        templates.loader.get_source(templates, name)[0] for name in ("report.css", "report.js")
    )
    bundle = vl_convert.javascript_bundle()  # pyright: ignore[reportCallIssue]
    return templates.get_template(_TEMPLATE).render(
        **context(one),
        **_pictures(one),
        style=Markup(style),
        script=Markup(script),
        bundle=Markup(bundle),
        script_digests=[_digest(script), _digest(bundle)],
    )


def environment() -> jinja2.Environment:
    """Returns the templates, with the filters that write numbers."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("eval.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= FILTERS
    return templates


def _digest(script: str) -> str:
    """Returns the digest of an inline script, as Content-Security-Policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
