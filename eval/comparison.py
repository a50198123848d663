"""Compares two sides per language: computes what `language_gain` declares.

The 101 languages of mC4 are counted. The six Latin-script variants (`ru-Latn`, ...) are reported
beside them and never counted. A gain is baseline minus candidate: positive means that the candidate
is better. Its unit is nats per target token where both sides have the same vocabulary, otherwise
bits per byte. "Tokens" are target tokens in losses and training tokens where so named.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from data.languages import all_languages, get
from eval import side
from eval.language_gain import LanguageGain, Summary, TrainingText
from eval.language_loss import Unit
from eval.side import Side
from eval.statistics import intervals, step_speedup
from eval.statistics.intervals import GainInterval
from eval.statistics.mean_gain import mean_gain
from eval.statistics.standard_error import StandardError
from eval.statistics.step_speedup import SpeedupSummary, StepSpeedup
from eval.statistics.time_speedup import LogRatio


def language_gains(
    baseline: Side,
    candidate: Side,
    text: Mapping[str, TrainingText],
    unit: Unit | None = None,
) -> dict[str, LanguageGain]:
    """Returns one row per evaluated language, best gain first.

    Args:
        baseline, candidate: the sides.
        text: training text by language.
        unit: unit of the gains; None for that in which the sides can be compared.
    """
    unit, codes = unit or side.unit_of(baseline, candidate), candidate.languages
    gains = [
        intervals.gain_interval(baseline.scores(code, unit), candidate.scores(code, unit))
        for code in codes
    ]
    # Script variants are not languages of their own, so the correction leaves them out.
    corrected = intervals.adjusted_p_values(
        [
            None if get(code).is_script_variant else gain.p_value
            for code, gain in zip(codes, gains, strict=True)
        ]
    )
    speedups = _speedups(baseline, candidate, unit)
    final = _FinalLosses(baseline, candidate, unit)
    rows = {
        code: final.row(code, gain, p_value, speedup, text.get(code, TrainingText()))
        for code, gain, p_value, speedup in zip(codes, gains, corrected, speedups, strict=True)
    }
    return dict(sorted(rows.items(), key=lambda item: -item[1].gain))


def summarise(
    gains: Mapping[str, LanguageGain], baseline: Side, candidate: Side, unit: Unit | None = None
) -> Summary:
    """Returns the summary over the languages, script variants left out; `unit` is the gains'."""
    unit = unit or side.unit_of(baseline, candidate)
    rows = [row for row in gains.values() if not row.script_variant]
    speedups = _speedup_summary(rows, baseline, candidate, unit)
    mean = mean_gain(baseline, candidate, unit)
    expected = [one.code for one in all_languages() if not one.is_script_variant]
    return Summary(
        languages=len(rows),
        languages_missing=tuple(code for code in expected if code not in gains),
        script_variants=len(gains) - len(rows),
        median_held_out_pages=float(np.median([row.held_out_pages for row in rows])),
        languages_improved=sum(row.gain > 0 for row in rows),
        languages_improved_significantly=_count(rows, "better"),
        languages_improved_in_every_run=_improved_in_every_run(baseline, candidate, unit),
        languages_worse=sum(row.gain < 0 for row in rows),
        languages_worse_significantly=_count(rows, "worse"),
        mean_gain=mean and mean.mean,
        mean_gain_low=mean and mean.low,
        mean_gain_high=mean and mean.high,
        mean_gain_languages=mean.languages if mean else 0,
        languages_not_reached=None if speedups is None else sum(row.gain < 0 for row in rows),
        languages_speedup_is_bound=speedups and speedups.at_bound,
        median_step_speedup=speedups and speedups.median,
        mean_step_speedup=speedups and speedups.mean,
        mean_step_speedup_low=speedups and speedups.low,
        mean_step_speedup_high=speedups and speedups.high,
        share_step_speedup_at_least_4=speedups and speedups.share_at_least_4,
        gain_tokens_rank_correlation=_rank_correlation(rows),
    )


def _speedup_summary(
    rows: Sequence[LanguageGain], baseline: Side, candidate: Side, unit: Unit
) -> SpeedupSummary | None:
    known = [
        StepSpeedup(row.step_speedup, row.step_speedup_is_bound)
        for row in rows
        if row.step_speedup is not None and row.step_speedup_is_bound is not None
    ]
    if not known:
        return None
    return step_speedup.summarise(known, _error_of_mean_speedup(baseline, candidate, unit))


def log_speedup(summary: Summary, baseline: Side, candidate: Side) -> LogRatio | None:
    """Returns the mean log step speed-up of a summary with its standard error; None without one."""
    if summary.mean_step_speedup is None:
        return None
    error = None
    if summary.mean_step_speedup_low is not None:
        unit = side.unit_of(baseline, candidate)
        error = _error_of_mean_speedup(baseline, candidate, unit)
    return LogRatio(math.log(summary.mean_step_speedup), error)


def _error_of_mean_speedup(baseline: Side, candidate: Side, unit: Unit) -> StandardError | None:
    """Returns the standard error of the mean log speed-up over languages without variants."""
    languages, of_page = candidate.final_pages[0].held_out.by_language
    counted = np.array([not get(code).is_script_variant for code in languages])[of_page]
    _, numbers = np.unique(of_page[counted], return_inverse=True)
    curves = [one.page_curves(unit, counted) for one in (baseline, candidate)]
    return step_speedup.error_of_mean(curves[0], curves[1], numbers)


def _improved_in_every_run(baseline: Side, candidate: Side, unit: Unit) -> int:
    every = candidate.final_losses(unit).max(axis=0) < baseline.final_losses(unit).min(axis=0)
    counted = [not get(code).is_script_variant for code in candidate.languages]
    return int(np.count_nonzero(every & counted))


def _count(rows: Sequence[LanguageGain], verdict: str) -> int:
    return sum(row.verdict == verdict for row in rows)


def _rank_correlation(rows: Sequence[LanguageGain]) -> float | None:
    """Returns Spearman's correlation of gain and training tokens; None if either is constant."""
    pairs = [(row.gain, row.training_tokens) for row in rows if row.training_tokens]
    gains, tokens = ([pair[side] for pair in pairs] for side in (0, 1))
    if len(set(gains)) < 2 or len(set(tokens)) < 2:
        return None
    found = stats.spearmanr(gains, tokens)
    return float(found.statistic)  # pyright: ignore[reportAttributeAccessIssue]


def _speedups(baseline: Side, candidate: Side, unit: Unit) -> list[StepSpeedup | None]:
    """Returns one speed-up per language; None for all where the sides' curves do not compare."""
    if not baseline.compares_with(candidate):
        return [None] * len(candidate.languages)
    (steps, losses), (their_steps, their_losses) = (
        one.trained_curves(unit) for one in (baseline, candidate)
    )
    logs, bounds = step_speedup.log_speedups(steps, losses.T, their_steps, their_losses.T)
    return [
        StepSpeedup(ratio, is_bound)
        for ratio, is_bound in zip(np.exp(logs).tolist(), bounds.tolist(), strict=True)
    ]


class _FinalLosses:
    """The final losses of both sides, from which the rows are read."""

    def __init__(self, baseline: Side, candidate: Side, unit: Unit):
        self.sides = baseline, candidate
        self.unit = unit
        self.nats, self.bits = (
            [one.losses[-1].losses(each) for one in self.sides] for each in Unit
        )
        self.runs = [one.final_losses(Unit.NATS_PER_TOKEN) for one in self.sides]
        self.pages = candidate.losses[-1].pages

    def row(
        self,
        code: str,
        gain: GainInterval,
        p_value_adjusted: float | None,
        speedup: StepSpeedup | None,
        text: TrainingText,
    ) -> LanguageGain:
        """Returns one language's row."""
        language, at = get(code), self.sides[1].languages.index(code)
        nats, bits = ([float(one[at]) for one in both] for both in (self.nats, self.bits))
        in_nats = self.unit is Unit.NATS_PER_TOKEN
        interval = (gain.low, gain.high), (None, None)
        (low, high), (low_bits, high_bits) = interval if in_nats else interval[::-1]
        return LanguageGain(
            name=language.name,
            script=language.script,
            family=language.family,
            script_variant=language.is_script_variant,
            loss_nats_baseline=nats[0],
            loss_nats_candidate=nats[1],
            loss_nats_baseline_runs=tuple(self.runs[0][:, at].tolist()),
            loss_nats_candidate_runs=tuple(self.runs[1][:, at].tolist()),
            gain_nats=gain.gain if in_nats else None,
            gain_nats_low=low,
            gain_nats_high=high,
            p_value_adjusted=p_value_adjusted,
            bits_per_byte_baseline=bits[0],
            bits_per_byte_candidate=bits[1],
            gain_bits_per_byte=bits[0] - bits[1] if in_nats else gain.gain,
            gain_bits_per_byte_low=low_bits,
            gain_bits_per_byte_high=high_bits,
            step_speedup=speedup and speedup.ratio,
            step_speedup_is_bound=speedup and speedup.is_bound,
            training_tokens=text.tokens,
            training_tokens_seen=text.tokens_seen,
            bytes_per_token=text.bytes_per_token,
            tokens_per_page=text.tokens_per_page,
            unknown_share=text.unknown_share,
            byte_fallback_share=text.byte_fallback_share,
            held_out_pages=gain.pages,
            held_out_pages_unscored=int(self.pages[at]) - gain.pages,
        )
