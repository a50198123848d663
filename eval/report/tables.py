"""The tables of a report, each defined once for all that shows or holds it.

The page has a table with units and ends of intervals in small print, Markdown has one line per row.
The gains by language are the fields of `report.json` and `languages.csv` as well. Tables of the
corpus, which only the page has, stand in its templates.
"""

from collections.abc import Callable, Iterator
from operator import attrgetter as of
from operator import itemgetter
from typing import Any

from data.languages import get
from eval import null_comparison, paired_runs
from eval.columns import (
    Column,
    Table,
    count,
    digits,
    figures,
    number,
    percent,
    plain,
    share,
    shown,
    with_commas,
    with_sign,
)
from eval.compare import Estimate, Tally
from eval.distillation import PAPER, Retained, Student, compared_languages, why_none
from eval.experts import ExpertSharing, by_stack
from eval.frontier import COSTS, Network, Point
from eval.gains import Comparison, LanguageGain, Summary
from eval.losses import Unit
from eval.report.contents import ReportContents, speedup_text
from eval.speed_up import interval_in_words
from eval.tasks import comparison
from eval.tasks.comparison import Compared, SentenceComparison, TaskComparison, language_codes

UNITS = {Unit.NATS_PER_TOKEN: "nats/token", Unit.BITS_PER_BYTE: "bits/byte"}


def estimate_in(record: Any, name: str) -> Estimate | None:
    """Returns a number of a record, with the ends that its other fields hold; None without one."""
    value, low, high = (getattr(record, f"{name}{end}") for end in ("", "_low", "_high"))
    return None if value is None else Estimate(value=value, low=low, high=high, examples=0)


def two(value: float | None) -> str:
    """Returns a number with two digits."""
    return number(value, 2)


def _code_and_variant(code: str) -> str:
    return f"{code} · variant" if get(code).is_script_variant else code


LANGUAGE = Column("Language", lambda code: get(code).name, note=_code_and_variant)
# Of gains by language; the page has its first four columns with a picture, in its template.
GAINS = (
    Column("", of("language.name"), name="name"),
    Column("", of("language.script"), name="script"),
    Column("", of("language.family"), name="family"),
    Column("", of("is_variant"), name="script_variant"),
    Column("", lambda gain: gain.loss_nats[0], name="loss_nats_baseline"),
    Column("", lambda gain: gain.loss_nats[1], name="loss_nats_candidate"),
    Column("", lambda gain: gain.loss_nats_runs[0], name="loss_nats_baseline_runs"),
    Column("", lambda gain: gain.loss_nats_runs[1], name="loss_nats_candidate_runs"),
    Column("", lambda gain: gain.gain_in(Unit.NATS_PER_TOKEN), name="gain_nats", ends=True),
    Column("", of("gain.p_value"), name="p_value_adjusted"),
    Column("", lambda gain: gain.bits_per_byte[0], name="bits_per_byte_baseline"),
    Column("", lambda gain: gain.bits_per_byte[1], name="bits_per_byte_candidate"),
    Column("", lambda gain: gain.gain_in(Unit.BITS_PER_BYTE), name="gain_bits_per_byte", ends=True),
    Column("", lambda gain: gain.speedup and gain.speedup.ratio, name="step_speedup"),
    Column("", lambda gain: gain.speedup and gain.speedup.is_bound, name="step_speedup_is_bound"),
    Column("Training", of("text.tokens"), count, "tokens", name="training_tokens"),
    Column("", of("text.tokens_seen"), name="training_tokens_seen"),
    Column(
        "Bytes",
        of("text.bytes_per_token"),
        two,
        "per token",
        name="bytes_per_token",
    ),
    Column("", of("text.tokens_per_page"), name="tokens_per_page"),
    Column("", of("text.unknown_share"), name="unknown_share"),
    Column("", of("text.byte_fallback_share"), name="byte_fallback_share"),
    Column("Held out", of("gain.examples"), count, "pages", name="held_out_pages"),
    Column("", of("pages_unscored"), name="held_out_pages_unscored"),
)
CODE = Column("", of("language.code"), name="code")
VERDICT = Column("", of("verdict"), name="verdict")


def _losses(names: tuple[str, str], unit: Unit) -> list[Column]:
    """Returns the columns of both sides' losses in a unit."""
    field = "loss_nats" if unit is Unit.NATS_PER_TOKEN else "bits_per_byte"
    return [
        Column(name, lambda gain, at=at: getattr(gain, field)[at], number, UNITS[unit])
        for at, name in enumerate(names)
    ]


def beside_gains(report: ReportContents) -> Table:
    """Returns what the page has beside the gains of languages."""
    names = report.compared.names
    columns = [column for unit in Unit for column in _losses(names, unit)]
    kinds = Column("Script", GAINS[1].value), Column("Family", GAINS[2].value)
    return shown([*columns, *GAINS, *kinds], report.gains.values())


def languages(report: ReportContents) -> Table:
    """Returns the gains by language in Markdown."""
    name = Column(
        "Language",
        lambda gain: f"{gain.name}{' *' if gain.is_variant else ''}",
        note=of("language.code"),
    )
    gain = Column("Gain", of("gain"), with_sign, verdict=of("verdict"))
    speedup = Column("Step speed-up", _speedup, figures)
    losses = _losses(report.compared.names, report.unit)
    return shown([name, *losses, gain, speedup], report.gains.values())


def _speedup(gain: LanguageGain) -> str:
    is_bound = gain.speedup is not None and gain.speedup.is_bound
    sign = ("≤ ", "≥ ")[gain.gain.value > 0] if is_bound else ""
    return f"{sign}{speedup_text(gain)}"


def lengths(report: ReportContents) -> Table:
    """Returns the mean gain after each length."""
    columns = (
        Column("Steps of the runs", lambda row: row[0].candidate.steps[-1], count),
        Column("Mean gain", lambda row: paired_runs.mean_gain(*row), with_sign, UNITS[report.unit]),
        Column("Better in", lambda row: row[0].tally.better, count),
    )
    return shown(columns, report.lengths)


def counts(tally: Callable[[Any], Tally | None]) -> Iterator[Column]:
    """Yields the columns of a tally of languages; it is None for a row without gains."""
    for title, part, name in (
        ("Languages", "languages", "languages"),
        ("Better", "better", "languages_improved"),
        ("Better beyond noise", "better_significantly", "languages_improved_significantly"),
        ("Worse", "worse", "languages_worse"),
        ("Worse beyond noise", "worse_significantly", "languages_worse_significantly"),
    ):

        def part_of(row: Any, part: str = part) -> int | None:
            return (result := tally(row)) and getattr(result, part)

        yield Column(title, part_of, count, name=name)


def script_columns(unit: Unit) -> tuple[Column, ...]:
    """Returns the columns of a script, on the page and in `report.json`."""
    return (
        Column("Script", lambda script: _scripts(script.scripts)),
        Column("", of("scripts"), name="scripts"),
        *counts(of("tally")),
        Column("Mean gain", of("mean"), with_sign, UNITS[unit], "mean_gain", ends=True),
        Column("Languages in it", of("mean_languages"), count, name="mean_gain_languages"),
        Column("Mean gain", of("mean_bits"), _four, "bits/byte", "mean_gain_bits_per_byte"),
    )


def scripts(report: ReportContents) -> Table:
    """Returns the gains by script."""
    return shown(script_columns(report.unit), report.compared.scripts)


def _scripts(names: tuple[str, ...]) -> str:
    of_one = f"{len(names)} scripts of one language: " if len(names) > 1 else ""
    return f"{of_one}{with_commas(names)}"


def _four(value: float | None) -> str:
    return with_sign(value, 4)


def nulls(report: ReportContents) -> Table:
    """Returns the comparisons between seeds of one side."""
    columns = (
        Column("Between seeds of one side", of("baseline.name")),
        Column("Seed numbers", _seeds_of_halves),
        *counts(of("tally")),
        Column("Mean step speed-up", of("summary.mean_step_speedup"), two),
        Column("95% interval", lambda null: _speedup_interval(null.summary), figures),
        Column("Intervals", lambda n: null_comparison.intervals_over(n) or "over pages and runs"),
    )
    return shown(columns, report.nulls)


def _seeds_of_halves(null: Comparison) -> str:
    return f"{with_commas(null.candidate.seeds)} against {with_commas(null.baseline.seeds)}"


def _speedup_interval(summary: Summary, places: int = 2) -> str:
    return interval_in_words(summary.mean_step_speedup_low, summary.mean_step_speedup_high, places)


def groups(report: ReportContents) -> Table:
    """Returns the facts of all groups, with their mean gains over the baseline."""
    columns = (
        Column("Model", lambda row: row[0].name),
        Column("Recipe", lambda row: row[0].facts.recipe),
        Column("Parameters", lambda row: row[0].facts.parameters, count),
        Column("Steps", lambda row: row[0].facts.steps, count),
        Column("Seed numbers", lambda row: with_commas(row[0].side.seeds), figures),
        Column("Mean gain", lambda row: row[1] and row[1].mean, with_sign),
        Column("Unit", lambda row: row[1].unit.value if row[1] else ""),
        *counts(lambda row: row[1] and row[1].tally),
    )
    return shown(columns, zip(report.groups, (None, *report.comparisons), strict=True))


def networks(report: ReportContents) -> Table:
    """Returns the networks of both sides: costs, what is equal, and the candidate's gains."""
    (opponents, ours), candidate = report.networks, report.candidate.name
    compared = [report.compared, *(each for _, each in report.opponents)]
    rows: list[tuple[Network, Comparison | None, Any]] = [
        *zip(opponents, compared, report.equal, strict=True),
        *((network, None, None) for network in ours),
    ]
    columns = (
        Column("Network", lambda row: row[0].name),
        Column(f"Equal to {candidate}", _equal),
        Column(f"{candidate}’s mean gain", lambda row: row[1] and row[1].mean, with_sign),
        Column("Unit", lambda row: row[1].unit.value if row[1] else ""),
        *counts(lambda row: row[1] and row[1].tally),
        Column("Step speed-up", lambda row: row[1] and row[1].summary.mean_step_speedup, two),
        Column("95% interval", lambda row: _speedup_interval(row[1].summary) if row[1] else ""),
        Column("Width", lambda row: row[0].width, count),
        Column("Parameters", lambda row: row[0].parameters, count),
        Column("FLOPs", lambda row: row[0].flops_per_token, count, "per token, forward"),
        Column("Device-seconds", lambda row: row[0].step_device_seconds, plain, "per step"),
    )
    return shown(columns, rows)


def _equal(row: tuple[Network, Comparison | None, tuple[str, ...] | None]) -> str:
    _, comparison, equal = row
    if comparison is None:
        return ""
    return "not known" if equal is None else with_commas(equal) or "nothing"


def trade(report: ReportContents) -> Table:
    """Returns losses and costs, mean over seeds, and of which frontiers each is."""
    frontiers = {
        (side[0].side, cost): report.frontier(side[0].side, cost)
        for side in report.networks
        for cost in COSTS
    }

    def lowest_at(point: Point) -> str:
        costs = [cost for cost in COSTS if point in frontiers[point.side, cost]]
        return with_commas(COSTS[cost] for cost in costs) or "–"

    of_scripts = (
        Column("Loss", lambda point, name=name: point.losses[name], number, name)
        for name in report.points[0].losses
    )
    columns = (
        Column("Network", of("network")),
        Column("Steps", of("steps"), count),
        Column("Seeds", lambda point: len(point.seeds), count),
        Column("Device-seconds", of("device_seconds"), count),
        Column("FLOPs", of("flops_per_token"), count, "per token, forward"),
        Column("Parameters", of("parameters"), count),
        *of_scripts,
        Column("Lowest of its side for its", lowest_at),
    )
    return shown(columns, report.mean_points)


def pruned_models(report: ReportContents) -> Table:
    """Returns what pruned models lost."""
    columns = (
        Column("Pruned model", of("name")),
        Column("Experts kept", lambda m: f"{m.experts} of {m.experts_before}", figures),
        Column("The others", lambda model: model.others or "–"),
        Column("Lost in its languages", of("lost_in_own"), with_sign, "nats/token"),
        Column("Lost in all others", of("lost_in_others"), with_sign, "nats/token"),
        Column("Its languages", of("made_for")),
    )
    return shown(columns, report.pruned)


def losses(report: ReportContents) -> Table:
    """Returns each model's final losses by language."""
    of_models = (
        Column(model, lambda code, of=result, at=at: of[code][at], number, UNITS[unit])
        for model, result in report.losses.items()
        for at, unit in enumerate(Unit)
    )
    return shown([LANGUAGE, *of_models], report.gains)


def students(report: ReportContents) -> Table:
    """Returns what students keep overall, and what those of the paper kept."""
    columns = (
        Column("Student", itemgetter(0)),
        Column("Compression", itemgetter(1), percent),
        *_kept(itemgetter(2)),
        Column("Median language", lambda row: row[3] and row[3].median_over_languages, percent),
        Column("Parameters", lambda row: row[3] and row[3].parameters, count),
        Column("Steps", lambda row: row[3] and row[3].steps, count),
        Column("Seed numbers", lambda row: row[3] and with_commas(row[3].seeds), figures),
    )
    ours = [
        (student.name, student.compression, student.overall, student) for student in report.students
    ]
    papers = [("the paper, table 7", smaller, kept, None) for smaller, kept in PAPER]
    return shown(columns, [*ours, *papers])


def students_by_language(report: ReportContents) -> Table:
    """Returns what students keep in each language in which a share is given."""
    first, candidate = report.students[0].languages, report.candidate.name
    gain = Column(
        f"{candidate}’s gain", lambda code: first[code].gain_nats_teacher, with_sign, "nats/token"
    )
    kept = (column for student in report.students for column in _kept_by_language(student))
    return shown([LANGUAGE, gain, *kept], compared_languages(report.students))


def _kept_by_language(student: Student) -> Iterator[Column]:
    yield from _kept(lambda code: student.languages[code], student.name)


def _kept(of_row: Any, unit: str = "") -> Iterator[Column]:
    """Yields the columns of a share kept and of why there is none; a paper's share is a number."""

    def kept(row: Any) -> Any:
        result = of_row(row)
        return estimate_in(result, "gain_retained") if isinstance(result, Retained) else result

    def why(row: Any) -> str:
        result = of_row(row)
        is_given = not isinstance(result, Retained) or result.gain_retained is not None
        return "" if is_given else why_none(result)

    yield Column("Gain kept", kept, percent, unit)
    yield Column("Why none", why, unit=unit)


def fertility(report: ReportContents) -> Table:
    """Returns the tokenizer's fertility by language."""
    columns = (
        LANGUAGE._replace(value=of("name"), note=of("language.code")),
        Column("Tokens/byte", lambda gain: 1 / gain.text.bytes_per_token, number),
        Column("Tokens/page", of("text.tokens_per_page"), count),
        Column("Unknown", of("text.unknown_share"), share),
        Column("Byte fallback", of("text.byte_fallback_share"), share),
    )
    return shown(columns, (gain for gain in report.gains.values() if gain.text.bytes_per_token))


def times(report: ReportContents) -> Table:
    """Returns step times of both sides, and the speed-ups in steps and time."""
    result, summary = report.step_times, report.summary
    assert result is not None  # the section has them
    seconds = result.baseline_step_seconds, result.candidate_step_seconds
    rows: list[tuple[Any, ...]] = [
        ("Seconds per step, median", *seconds, estimate_in(result, "step_time_ratio"))
    ]
    if result.time_speedup is not None:
        steps = f"{number(summary.mean_step_speedup)} ({_speedup_interval(summary, 3) or '–'})"
        rows.append(("Steps, mean over languages", None, None, steps))
        rows.append(("Time: their product", None, None, estimate_in(result, "time_speedup")))
    names = zip(report.compared.names, (1, 2), strict=True)
    columns = [
        Column("Measured in turns", itemgetter(0)),
        *(Column(name, itemgetter(at), digits(number, 4)) for name, at in names),
        Column("Speed-up", itemgetter(3), number),
    ]
    return shown(columns, rows)


def experts(sharing: ExpertSharing) -> Table:
    """Returns the use of experts by language, farthest from all first."""
    rows = {code: {} for code in sharing.languages}
    columns = [LANGUAGE._replace(value=lambda row: get(row[0]).name, note=itemgetter(0))]
    for stack, use in by_stack(sharing).items():
        for code, of_language in use.items():
            rows[code][stack] = of_language

        def distance(row: Any, stack: str = stack) -> float:
            return row[1][stack].distance

        columns += [
            Column("Distance", distance, two, stack, heat=distance),
            Column("Entropy", lambda r, s=stack: r[1][s].entropy_nats, two, f"{stack}, nats"),
            Column("Dropped", lambda r, s=stack: r[1][s].dropped_share, share, stack),
            Column("Tokens", lambda r, s=stack: r[1][s].tokens, count, stack),
        ]
    columns.append(Column("Script", lambda row: get(row[0]).script))
    columns.append(Column("Family", lambda row: get(row[0]).family))
    first = next(iter(rows.values()))
    return shown(columns, sorted(rows.items(), key=lambda row: -row[1][next(iter(first))].distance))


def layers(sharing: ExpertSharing) -> Table:
    """Returns the use of experts by switch layer."""
    columns = (
        Column("Switch layer", of("name")),
        Column("Experts", of("experts"), count),
        Column("Load", _load, figures),
        Column("Entropy", of("entropy_of_all"), two, "nats"),
        Column("Dropped", of("dropped_of_all"), share),
        Column("Farthest from all", lambda layer: _farthest(layer, sharing.languages)),
    )
    return shown(columns, sharing.layers)


def _load(layer: Any) -> str:
    return f"{share(layer.load_of_all.min())} to {share(layer.load_of_all.max())}"


def _farthest(layer: Any, languages: tuple[str, ...]) -> str:
    at = layer.distance.argmax()
    return f"{get(languages[at]).name} ({layer.distance[at]:.2f})"


def scores(report: ReportContents, task: TaskComparison) -> Table:
    """Returns the mean scores on a task, one row per way of training and metric."""
    columns = [
        Column("Trained on", lambda row: row[0].name),
        Column("Score", lambda row: row[1].label),
        *_three(report, lambda row: row[1].mean),
        *counts(lambda row: row[1].tally),
        Column("Seed numbers", lambda row: comparison.seeds(row[0]), figures),
    ]
    return shown(columns, ((mode, each) for mode in task.modes for each in mode.scores))


def scores_by_language(report: ReportContents, task: TaskComparison, label: str) -> Table:
    """Returns the scores by one metric in each language, ways of training side by side."""
    by_mode, columns = task.by(label), [LANGUAGE]
    for mode, result in by_mode.items():
        columns += _three(report, lambda code, of=result.languages: of.get(code), mode)
    if (overlapping := task.overlapping) is not None:
        columns.append(Column("Overlaps", overlapping.get, count, "examples"))
    return shown(columns, language_codes(by_mode))


def sentences(report: ReportContents, result: SentenceComparison) -> Table:
    """Returns the nats per sentence of a parallel text, their mean over languages first."""
    name = LANGUAGE._replace(
        value=lambda row: get(row[0]).name if row[0] else "Mean over languages", note=itemgetter(0)
    )
    three = _three(report, itemgetter(1), "nats per sentence", 2, most=None)
    columns = [name, *three, Column("Sentences", lambda row: row[1].gain.examples, count)]
    mean = [] if result.scores.mean is None else [("", result.scores.mean)]
    return shown(columns, [*mean, *result.scores.languages.items()])


def _three(
    report: ReportContents,
    of_row: Any,
    unit: str = "",
    places: int = 1,
    *,
    most: float | None = comparison.MOST,
) -> Iterator[Column]:
    """Yields the columns of both sides' numbers and of the gain."""

    def part(name: str) -> Any:
        def value(row: Any) -> Estimate | None:
            result: Compared | None = of_row(row)
            return None if result is None else getattr(comparison.shown(result, most), name)

        return value

    def verdict(row: Any) -> str:
        result: Compared | None = of_row(row)
        return "" if result is None else result.verdict

    for name, title in zip(("baseline", "candidate"), report.compared.names, strict=True):
        yield Column(title, part(name), digits(number, places), unit)
    yield Column("Gain", part("gain"), digits(with_sign, places), unit, verdict=verdict)
