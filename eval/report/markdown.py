"""`report.md`: the verdict, the cautions, the summary and one row per language."""

from dataclasses import asdict

from data.languages import get
from eval import distillation
from eval.gains import LanguageGain, ScriptGain
from eval.losses import Unit
from eval.report import markdown_sections
from eval.report.contents import ReportContents, shared_total, speedup_text
from eval.report.markdown_sections import bullets, heading, paragraph, table
from eval.verdict import cautions, sentences

MANY = 1000  # from which on a number has no decimals, and commas


def to_markdown(report: ReportContents) -> str:
    """Returns `report.md`."""
    title = f"{report.candidate.name} against {report.baseline.name}, language by language"
    parts = [heading(title), paragraph(sentences(report)), paragraph(report.null_sentence)]
    parts += [paragraph(report.bill_sentence), bullets(cautions(report))]
    parts += [_summary(report), *_nulls(report), *_step_times(report)]
    parts += [_how_to_read(report), _sides(report)]
    parts += [*_differences(report), *_held_out(report)]
    parts += [
        *_scripts(report),
        _languages(report),
        *markdown_sections.models(report),
        *markdown_sections.tasks(report),
        *_students(report),
        *markdown_sections.experts(report.experts),
    ]
    parts += [*_fertility(report), _written(report)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _summary(report: ReportContents) -> str:
    """Returns every number of `report.json`'s summary; missing languages are counted."""
    numbers = asdict(report.summary) | {"languages_missing": len(report.summary.languages_missing)}
    return table(
        ("over languages", ""),
        [(name.replace("_", " "), _plain(value)) for name, value in numbers.items()],
    )


def _how_to_read(report: ReportContents) -> str:
    baseline, candidate, unit = report.baseline.name, report.candidate.name, report.unit
    named = "nats per target token" if unit is Unit.NATS_PER_TOKEN else "bits per byte"
    return paragraph(
        f"Gain is {named} on held-out pages, {baseline} minus {candidate}: above zero, {candidate} "
        "is better. In brackets is the 95% interval over pages (and runs, where a side has "
        "several). ● marks gains that are beyond noise after Benjamini–Hochberg over all "
        "languages. A step speed-up below 1 is one of "
        f"{baseline}; “≥” and “≤” mark bounds. Script variants (*) are listed but not counted."
    )


def _sides(report: ReportContents) -> str:
    facts = zip(asdict(report.facts[0]).items(), asdict(report.facts[1]).values(), strict=True)
    return table(
        ("", report.baseline.name, report.candidate.name),
        [(name.replace("_", " "), _plain(one), _plain(other)) for (name, one), other in facts],
    )


def _differences(report: ReportContents) -> list[str]:
    if not report.differences:
        return []
    rows = [
        (one.field, *(", ".join(dict.fromkeys(values)) for values in one[1:]))
        for one in report.differences
    ]
    head = ("differs", report.baseline.name, report.candidate.name)
    return [
        paragraph("Beyond the feed-forward, the name and the seed the runs differ in:"),
        table(head, rows),
    ]


def _held_out(report: ReportContents) -> list[str]:
    if report.shared_lines is None:
        return []
    total = shared_total(report.shared_lines)
    counted = (
        f"Of {total.lines:,} lines of {total.pages:,} held-out pages, {total.shared_lines:,} also "
        f"stand on training pages, on {total.pages_sharing:,} of the held-out ones"
    )
    sharing = [(code, one) for code, one in report.shared_lines.items() if one.shared_lines]
    named = ", ".join(f"{get(code).name} {one.shared_lines:,}" for code, one in sharing)
    return [paragraph(f"{counted}: {named}." if named else f"{counted}.")]


def _mean_of(one: ScriptGain) -> str:
    if one.mean_gain is None:
        return "–"
    ends = f"[{one.mean_gain_low:+.3f}, {one.mean_gain_high:+.3f}]"
    over = f" over {one.mean_gain_languages}" if one.mean_gain_languages < one.languages else ""
    return f"{one.mean_gain:+.3f} {ends}{over}"


def _scripts(report: ReportContents) -> list[str]:
    if not report.scripts:
        return []
    rows = [
        (
            ", ".join(one.scripts),
            *map(str, (one.languages, one.languages_improved, one.languages_worse)),
            str(one.languages_improved_significantly + one.languages_worse_significantly),
            _mean_of(one),
            "–" if (bits := one.mean_gain_bits_per_byte) is None else f"{bits:+.4f}",
        )
        for one in report.scripts
    ]
    counts = ("languages", "better", "worse", "beyond noise")
    return [table(("script", *counts, "mean gain", "bits per byte"), rows)]


def _languages(report: ReportContents) -> str:
    head = ("language", "code", report.baseline.name, report.candidate.name)
    return table(
        (*head, "gain", "interval", "", "step speed-up"),
        [_row(code, gain) for code, gain in report.gains.items()],
    )


def _row(code: str, gain: LanguageGain) -> tuple[str, ...]:
    in_nats = gain.gain_nats is not None
    losses = (
        (gain.loss_nats_baseline, gain.loss_nats_candidate)
        if in_nats
        else (gain.bits_per_byte_baseline, gain.bits_per_byte_candidate)
    )
    return (
        gain.name + (" *" if gain.script_variant else ""),
        code,
        *(f"{loss:.3f}" for loss in losses),
        f"{gain.gain:+.3f}",
        "one page"
        if gain.low is None or gain.high is None
        else f"[{gain.low:+.3f}, {gain.high:+.3f}]",
        "" if gain.verdict == "unclear" else "●",
        _speedup(gain),
    )


def _speedup(gain: LanguageGain) -> str:
    mark = "≥ " if gain.gain > 0 else "≤ "
    return (mark if gain.step_speedup_is_bound else "") + speedup_text(gain)


def _nulls(report: ReportContents) -> list[str]:
    """Returns each side against itself: what seeds alone make."""
    if not report.nulls:
        return []
    head = ("seeds of one side", "against", "better in", "beyond noise", "worse beyond noise")
    head += ("mean step speed-up", "intervals")
    rows = [
        (
            one.name,
            f"{_plain(one.candidate_seeds)} against {_plain(one.baseline_seeds)}",
            f"{one.summary.languages_improved} of {one.summary.languages}",
            str(one.summary.languages_improved_significantly),
            str(one.summary.languages_worse_significantly),
            f"{_plain(one.summary.mean_step_speedup)} ({_plain(one.summary.mean_step_speedup_low)} "
            f"to {_plain(one.summary.mean_step_speedup_high)})",
            one.intervals_over or "over pages and runs",
        )
        for one in report.nulls
    ]
    return [table(head, rows)]


def _step_times(report: ReportContents) -> list[str]:
    """Returns every number of `report.json`'s step times, or how to measure them."""
    said = paragraph(report.time_sentence)
    if report.step_times is None:
        return [said]
    rows = [(name.replace("_", " "), _plain(v)) for name, v in asdict(report.step_times).items()]
    return [said, table(("step times, measured in turns", ""), rows)]


def _students(report: ReportContents) -> list[str]:
    if not report.students:
        return []
    rows = [
        (
            one.name,
            _plain(one.seeds),
            _percent(one.compression),
            _percent(one.overall.gain_retained),
            ("unbounded" if one.overall.gain_is_clear else "gain may be 0")
            if one.overall.gain_retained is None
            else f"{_percent(one.overall.gain_retained_low)} to "
            f"{_percent(one.overall.gain_retained_high)}",
            _percent(one.median_over_languages),
        )
        for one in report.students
    ]
    rows += [
        ("the paper, table 7", "–", _percent(smaller), _percent(kept), "–", "–")
        for smaller, kept in distillation.PAPER
    ]
    head = "student", "seed numbers", "compression", "gain kept", "95% interval", "median language"
    sentences = [distillation.sentence(one, report.candidate.name) for one in report.students]
    return [paragraph(" ".join(sentences)), table(head, rows)]


def _written(report: ReportContents) -> str:
    """Returns when, by which code and from what the report was made."""
    rows = [
        (name.replace("_", " "), _plain(value)) for name, value in report.written._asdict().items()
    ]
    return table(("written", ""), [(name, value or "–") for name, value in rows])


def _fertility(report: ReportContents) -> list[str]:
    rows = [_fertility_row(code, one) for code, one in report.gains.items() if one.bytes_per_token]
    if not rows:
        return []
    columns = ("language", "code", "tokens/byte", "tokens/page", "unknown", "byte fallback")
    title = paragraph("Tokenizer fertility on the training text:")
    return [title, table(columns, rows)]


def _fertility_row(code: str, gain: LanguageGain) -> tuple[str, ...]:
    return (
        gain.name,
        code,
        "–" if gain.bytes_per_token is None else f"{1 / gain.bytes_per_token:.3f}",
        "–" if gain.tokens_per_page is None else f"{gain.tokens_per_page:,.0f}",
        "–" if gain.unknown_share is None else f"{gain.unknown_share:.2%}",
        "–" if gain.byte_fallback_share is None else f"{gain.byte_fallback_share:.2%}",
    )


def _plain(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, tuple):
        return ", ".join(_plain(one) if isinstance(one, float) else str(one) for one in value)
    if isinstance(value, float) and abs(value) < MANY:
        return f"{value:.4g}"
    return f"{value:,.0f}" if isinstance(value, int | float) and abs(value) >= MANY else str(value)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"
