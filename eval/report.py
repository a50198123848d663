"""The report as a whole: its one sentence, `report.json`, and `report.md`.

Whoever reads the sentence must be able to trust it when the candidate loses: it counts better and
worse languages alike, beyond noise and in all, and says in how many the baseline's final quality is
never reached. `report.json` holds every number of the pictures; names carry their units.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from eval.comparison import LanguageGain, Side, Summary
from eval.funnel import Funnel


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What a side was: one entry a side, means over its runs; None where not recorded.

    Attributes:
        name: what the report calls the side.
        recipe: its recipe's name.
        seeds: one a run.
        parameters: number of weights.
        flops_per_sequence: of the forward pass.
        experts: experts a switch layer; None for a dense side.
        devices: what it ran on.
        steps: training steps.
        step_seconds: median wall time of a step, compiling left out.
        tokens_per_second: median.
        dropped_share: share of tokens over capacity, mean over the last tenth of training.
        training_loss_nats: nats per target token, mean over the last tenth of training.
    """

    name: str
    recipe: str
    seeds: tuple[int, ...]
    parameters: int | None
    flops_per_sequence: int | None
    experts: int | None
    devices: str
    steps: int
    step_seconds: float | None
    tokens_per_second: float | None
    dropped_share: float | None
    training_loss_nats: float | None


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that the renderings show."""

    baseline: Side
    candidate: Side
    facts: tuple[RunFacts, RunFacts]
    summary: Summary
    gains: Mapping[str, LanguageGain]
    funnel: Funnel | None
    training_tokens_are: str

    @property
    def sentence(self) -> str:
        """The answer, in one breath."""
        return f"{better_sentence(self)} {speed_sentence(self)}"


def better_sentence(report: Report) -> str:
    """Says in how many languages the candidate is better and worse."""
    summary = report.summary
    better, worse = (
        summary.languages_improved_significantly,
        summary.languages_worse_significantly,
    )
    opening = (
        f"{report.candidate.name} is better than {report.baseline.name} in "
        f"{summary.languages_improved} of {summary.languages} languages"
    )
    if better == worse == 0:
        return f"{opening} and worse in {summary.languages_worse}, nowhere beyond noise."
    return (
        f"{opening} ({better} beyond noise) and worse in {summary.languages_worse} "
        f"({worse} beyond noise)."
    )


def speed_sentence(report: Report) -> str:
    """Says in how many languages the baseline's final quality is reached, and how soon."""
    summary = report.summary
    reached = summary.languages - summary.languages_not_reached
    opening = (
        f"It reaches {report.baseline.name}’s final quality in {reached} of {summary.languages}"
    )
    if reached == 0:
        return f"It reaches {report.baseline.name}’s final quality in none."
    if summary.median_step_speedup_is_bound:
        return f"{opening}; in the median language it does not."
    return (
        f"{opening}; the median language needs 1/{summary.median_step_speedup:.2f} of the steps"
        f"{_in_time(summary.time_speedup)}."
    )


def to_json(report: Report) -> dict[str, Any]:
    """Returns `report.json`."""
    return {
        "sentence": report.sentence,
        "summary": asdict(report.summary),
        "languages": {code: asdict(gain) for code, gain in report.gains.items()},
        "baseline": asdict(report.facts[0]),
        "candidate": asdict(report.facts[1]),
        "training_tokens_are": report.training_tokens_are,
        "curves": {
            side.name: {
                "steps": list(side.steps),
                "loss_nats": {
                    "all": side.total_curve().tolist(),
                    **dict(zip(side.losses[-1].languages, side.curves().T.tolist(), strict=True)),
                },
            }
            for side in (report.baseline, report.candidate)
        },
        "corpus": None if report.funnel is None else asdict(report.funnel),
    }


def to_markdown(report: Report) -> str:
    """Returns `report.md`: the sentence, the summary and one row a language, best gain first."""
    baseline, candidate = report.baseline.name, report.candidate.name
    head = [
        f"# {candidate} against {baseline}, language by language",
        report.sentence,
        f"Gain is nats per target token on held-out pages, {baseline} minus {candidate}: above "
        f"zero, {candidate} is better. In brackets the 95% interval over resampled pages; ● marks "
        "what stays beyond noise after Benjamini–Hochberg over all languages. A step speed-up of "
        "“< x” was not reached. Script variants (*) stand beside the languages, not counted.",
        _markdown_table(
            ("", baseline, candidate),
            [
                (name.replace("_", " "), _plain(one), _plain(other))
                for (name, one), other in zip(
                    asdict(report.facts[0]).items(), asdict(report.facts[1]).values(), strict=True
                )
            ],
        ),
        _markdown_table(
            ("language", "code", baseline, candidate, "gain", "interval", "", "step speed-up"),
            [_markdown_row(code, gain) for code, gain in report.gains.items()],
        ),
    ]
    known = [(code, gain) for code, gain in report.gains.items() if gain.bytes_per_token]
    if fertility := [_fertility_row(code, gain) for code, gain in known]:
        columns = ("language", "code", "tokens/byte", "tokens/page", "unknown", "byte fallback")
        head += ["How finely the vocabulary cuts the training text:"]
        head += [_markdown_table(columns, fertility)]
    return "\n\n".join(head) + "\n"


def speedup_text(gain: LanguageGain) -> str:
    """Returns `1.62` or, when it was not reached, `< 1.00`."""
    if gain.step_speedup is None:
        return f"< {gain.step_speedup_bound:.2f}"
    return f"{gain.step_speedup:.2f}"


def _in_time(time_speedup: float | None) -> str:
    return "" if time_speedup is None else f" and {1 / time_speedup:.0%} of the wall time"


def _markdown_row(code: str, gain: LanguageGain) -> tuple[str, ...]:
    low, high = gain.gain_nats_low, gain.gain_nats_high
    return (
        gain.name + (" *" if gain.script_variant else ""),
        code,
        f"{gain.loss_nats_baseline:.3f}",
        f"{gain.loss_nats_candidate:.3f}",
        f"{gain.gain_nats:+.3f}",
        "one page" if low is None or high is None else f"[{low:+.3f}, {high:+.3f}]",
        "" if gain.verdict == "unclear" else "●",
        speedup_text(gain),
    )


def _fertility_row(code: str, gain: LanguageGain) -> tuple[str, ...]:
    return (
        gain.name,
        code,
        "–" if gain.bytes_per_token is None else f"{1 / gain.bytes_per_token:.3f}",
        "–" if gain.tokens_per_page is None else f"{gain.tokens_per_page:,.0f}",
        "–" if gain.unknown_share is None else f"{gain.unknown_share:.2%}",
        "–" if gain.byte_fallback_share is None else f"{gain.byte_fallback_share:.2%}",
    )


def _markdown_table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _plain(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, tuple):
        return ", ".join(str(one) for one in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
