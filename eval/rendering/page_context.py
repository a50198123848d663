"""What the page's templates show, and the functions that they call, by section of the page."""

from dataclasses import asdict
from typing import Any

from data.languages import UNDETERMINED, all_languages
from eval import distillation, language_probability, report, verdict
from eval.cautions import FEWEST_EVALUATIONS, cautions, is_demonstration
from eval.charts import curves as drawn_curves
from eval.charts import expert, gains, models, tasks
from eval.charts.parts import interval_limits
from eval.charts.specs import specs
from eval.experts.sharing import by_stack
from eval.language_loss import LanguageLosses, Unit
from eval.late_costs import late_costs, uneven
from eval.loss_intervals import losses_of
from eval.rendering import csv_links
from eval.report import ReportContents
from eval.side import Side, curves_of, total_curve
from eval.statistics import step_speedup
from eval.tasks import words
from eval.tasks.compared import codes_of


def context(one: ReportContents) -> dict[str, Any]:
    """Returns all values and functions that the templates use."""
    return {
        **_everywhere(one),
        **_pictures(one),
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
        verdict=verdict,
        cautions=cautions(one),
        is_demonstration=is_demonstration(one),
        facts=[asdict(facts) for facts in (*one.facts, *(each.facts for each in one.further))],
        in_nats=one.unit is Unit.NATS_PER_TOKEN,
        languages_by_code=languages,
        language_names=names | {UNDETERMINED: "undetermined"},
        paper=step_speedup,
        distillation=distillation,
        fewest_evaluations=FEWEST_EVALUATIONS,
    )


def _pictures(one: ReportContents) -> dict[str, Any]:
    return dict(specs=specs(one), curves=_curves(one), intervals_cut=_intervals_cut(one))


def _languages(one: ReportContents) -> dict[str, Any]:
    return dict(
        languages_csv=csv_links.languages_csv(one),
        verdicts=gains.VERDICTS,
        speedup_text=report.speedup_text,
        speedup_meaning=report.speedup_meaning,
        interval_limits=interval_limits(gains.estimates(one.gains)),
        scripts=sorted({gain.script for gain in one.gains.values()}),
        families=sorted({gain.family for gain in one.gains.values()}),
    )


def _models(one: ReportContents) -> dict[str, Any]:
    return dict(
        models_csv=csv_links.models_csv(one),
        losses={each.name: losses_of(each) for each in one.models} if one.further else {},
        pictured=models.models(one),
    )


def _tasks(one: ReportContents) -> dict[str, Any]:
    return dict(
        tasks_csv=csv_links.tasks_csv(one),
        task_words=words,
        codes_of=codes_of,
        most_drawn=len(tasks.COLOURS),
    )


def _experts(one: ReportContents) -> dict[str, Any]:
    shares = {key: expert.shares(sharing) for key, sharing in expert.sharings(one).items()}
    return dict(
        experts=one.experts,
        expert_shares=shares,
        expert_csvs=csv_links.expert_csvs(one),
        by_stack=by_stack,
        darkest=expert.DARKEST,
    )


def _corpus(one: ReportContents) -> dict[str, Any]:
    late = late_costs(one.funnel, {code: gain.bytes_per_token for code, gain in one.gains.items()})
    return dict(
        late=late,
        uneven=[] if one.funnel is None or not late else list(uneven(one.funnel)),
        language_probability=language_probability,
        shared_total=None if one.shared_lines is None else report.shared_total(one.shared_lines),
    )


def _intervals_cut(one: ReportContents) -> bool:
    """Returns whether an interval is longer than what is drawn of it."""
    drawn = {code: gain for code, gain in one.gains.items() if not gain.script_variant}
    low, high = interval_limits(gains.estimates(drawn))
    known = [(g.low, g.high) for g in drawn.values() if g.low is not None and g.high is not None]
    return any(ends[0] < low or ends[1] > high for ends in known)


def _curves(one: ReportContents) -> dict[str, Any]:
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
