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
from dataclasses import asdict
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from data.languages import UNDETERMINED, all_languages
from eval import distillation, speed_up, verdict
from eval.charts import corpus, experts, frontier, gains, speed_ups
from eval.charts.parts import Picture, interval_limits
from eval.charts.speed_ups import sides
from eval.columns import FORMS
from eval.frontier import COSTS
from eval.funnel import (
    bins_with_pages,
    certain_share,
    certainty_sentence,
    late_costs,
    rows_by_certainty,
    uneven_rules,
)
from eval.gains import FEWEST_RANKED
from eval.losses import LanguageLosses, Unit
from eval.null_comparison import with_most_languages
from eval.report import contents, data, tables
from eval.report.contents import ReportContents
from eval.sides import Side, curves_of, total_curve
from eval.tasks import comparison
from eval.verdict import FEWEST_EVALUATIONS, cautions, is_demonstration

Spec = dict[str, Any]

# Vega measures text on a canvas, without CSS variables: so the fonts are named here too.
_FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif'


def specs(report: ReportContents) -> dict[str, Spec]:
    """Returns every chart by name."""
    languages = report.compared.counted
    pictures: dict[str, Picture] = {
        "gains-wide": gains.wide(report, languages),
        "gains-tall": gains.tall(report, languages),
        "curves": speed_ups.curves_chart(report),
    }
    if any(each.mean for each, _ in report.lengths):
        pictures["lengths"] = gains.by_length(report)
    if report.summary.mean_step_speedup is not None:
        pictures["speedups"] = speed_ups.speed_up_chart(languages, report.nulls)
    if any(gain.text.tokens for gain in languages.values()):
        pictures["tokens"] = gains.by_tokens(report, languages)
    if any(gain.text.bytes_per_token for gain in languages.values()):
        pictures["fertility"] = corpus.fertility_chart(languages)
    pictures |= corpus.probability_pictures(report.funnel)
    pictures |= experts.pictures(report)
    pictures |= speed_ups.distillation_picture(report.students)
    pictures |= gains.pictures_of_models(report)
    pictures |= gains.pictures_of_tasks(report)
    pictures |= frontier.pictures(report)
    return {name: _with_style(chart) for name, chart in pictures.items()}


def _with_style(chart: Picture) -> Spec:
    """Returns the specification with the fonts and colours of the page."""
    axis = {
        "labelColor": "var(--ink-soft)", "titleColor": "var(--ink-soft)", "domain": False,
        "gridColor": "var(--line)", "tickColor": "var(--line)", "labelFontSize": 11,
        "titleFontSize": 12, "titleFontWeight": "normal", "titlePadding": 10,
    }  # fmt: skip
    # Labels neither touch each other nor reach beyond the picture.
    values = {"labelOverlap": "greedy", "labelSeparation": 6, "labelFlush": 18}
    legend = {
        "orient": "top", "labelColor": "var(--ink-soft)", "labelFontSize": 12, "symbolSize": 70,
        "symbolOpacity": 1, "columnPadding": 24,
    }  # fmt: skip
    config = {"font": _FONT, "axis": axis, "axisXQuantitative": values, "legend": legend}
    config |= {"view": {"stroke": None}}
    spec = chart.to_dict()
    return spec | {
        "config": config,
        "background": None,
        # The height is that of the rows or marks; labels and legend stand above and below them.
        "autosize": {"type": "fit-x", "contains": "padding"},
    }


def context(report: ReportContents) -> dict[str, Any]:
    """Returns the values and functions of the templates of `index.html` and `report.md`."""
    return {
        **_everywhere(report),
        **_languages(report),
        "pictured": gains.models(report),
        **_tasks(report),
        **_experts(report),
        **_corpus(report),
    }


def _everywhere(report: ReportContents) -> dict[str, Any]:
    """Returns the variables of the first screen and several sections."""
    languages = {language.code: language for language in all_languages()}
    names = {code: language.name for code, language in languages.items()}
    return dict(
        report=report,
        asdict=asdict,
        verdict=verdict,
        cautions=cautions(report),
        is_demonstration=is_demonstration(report),
        facts=[asdict(group.facts) for group in report.groups],
        tables=tables,
        with_most_languages=with_most_languages,
        costs=COSTS,
        about_trade=_about_trade(report),
        in_nats=report.unit is Unit.NATS_PER_TOKEN,
        languages_by_code=languages,
        language_names=names | {UNDETERMINED: "undetermined"},
        paper=speed_up,
        distillation=distillation,
        fewest_evaluations=FEWEST_EVALUATIONS,
    )


def _pictures(report: ReportContents) -> dict[str, Any]:
    drawn = [gain.gain for gain in report.compared.counted.values()]
    low, high = interval_limits(drawn)
    known = [
        (gain.low, gain.high) for gain in drawn if gain.low is not None and gain.high is not None
    ]
    return dict(
        specs=specs(report),
        trade=frontier.rows(report) if report.points else {},
        curves={"sides": [_curves(side, report.unit) for side in sides(report)]},
        intervals_cut=any(ends[0] < low or ends[1] > high for ends in known),
    )


def _languages(report: ReportContents) -> dict[str, Any]:
    return dict(
        csv_files={name: data.as_address(text) for name, text in data.csv_files(report).items()},
        verdicts=_verdicts(report),
        fewest_ranked=FEWEST_RANKED,
        interval_in_words=speed_up.interval_in_words,
        speedup_text=contents.speedup_text,
        speedup_meaning=contents.speedup_meaning,
        interval_limits=interval_limits(gain.gain for gain in report.gains.values()),
        scripts=sorted({gain.language.script for gain in report.gains.values()}),
        families=sorted({gain.language.family for gain in report.gains.values()}),
    )


def _about_trade(report: ReportContents) -> str:
    """Returns what points and lines of the pictures of costs are, and which are missing."""
    networks = [network for side in report.networks for network in side]
    kinds = dict.fromkeys(kind for network in networks for kind in network.devices)
    of_devices = f" Devices: {', '.join(kinds)}." if kinds else ""
    missing = [
        f" Not recorded, so without points: {COSTS[cost]} of {', '.join(dict.fromkeys(names))}."
        for cost in COSTS
        if (names := [point.network for point in report.points if point.cost(cost) is None])
    ]
    return (
        "A small mark is a run: its loss after its last step, the mean over languages with two "
        "held-out pages or more. A line joins the lowest losses of a side for a cost or less; "
        "its marks are means over seeds. Device-seconds are steps times the median of the "
        "seconds per step in the run’s own log, times its devices: no compiling, checkpoints or "
        "evaluations, and other work on the machine disturbs them. FLOPs are matrix products of "
        f"the forward pass.{of_devices}{''.join(missing)}"
    )


def _verdicts(report: ReportContents) -> dict[str, str]:
    """Returns the words for each verdict; `uncorrected` only where a language has it."""
    given = {gain.verdict for gain in report.gains.values()}
    return {
        verdict: words
        for verdict, words in gains.VERDICTS.items()
        if verdict != "uncorrected" or verdict in given
    }


def _tasks(report: ReportContents) -> dict[str, Any]:
    return dict(
        task_words=comparison,
        most_drawn=len(gains.COLOURS),
    )


def _experts(report: ReportContents) -> dict[str, Any]:
    shares = {key: experts.shares(sharing) for key, sharing in experts.sharings(report).items()}
    return dict(
        experts=report.experts,
        expert_shares=shares,
        darkest=experts.DARKEST,
    )


def _corpus(report: ReportContents) -> dict[str, Any]:
    bytes_per_token = {code: gain.text.bytes_per_token for code, gain in report.gains.items()}
    late = late_costs(report.funnel, bytes_per_token)
    return dict(
        late=late,
        uneven=[] if report.funnel is None or not late else list(uneven_rules(report.funnel)),
        rows_by_certainty=rows_by_certainty,
        certainty_sentence=certainty_sentence,
        certain_share=certain_share,
        bins_with_pages=bins_with_pages,
        shared_total=None
        if report.shared_lines is None
        else contents.shared_total(report.shared_lines),
    )


def _curves(side: Side, unit: Unit) -> dict[str, Any]:
    """Returns held-out losses per language of a side, and of each run where there are several.

    Six digits suffice to interpolate the steps.
    """
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


def to_html(report: ReportContents) -> str:
    """Returns the whole page."""
    templates = environment()
    assert templates.loader is not None
    style, script = (
        templates.loader.get_source(templates, name)[0] for name in ("report.css", "report.js")
    )
    bundle = vl_convert.javascript_bundle()  # pyright: ignore[reportCallIssue]
    return templates.get_template("index.html.j2").render(
        **context(report),
        **_pictures(report),
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
    templates.filters |= FORMS
    return templates


def _digest(script: str) -> str:
    """Returns the digest of an inline script, as Content-Security-Policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
