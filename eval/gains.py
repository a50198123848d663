"""Gains: two sides compared, per language, on average and by script.

A gain is baseline minus candidate: positive means that the candidate is better. Its unit is nats
per target token where both sides have the same vocabulary, otherwise bits per byte. "Tokens" are
target tokens in losses and training tokens where so named. Field names are those of `report.json`
and carry their units. An unknown number is None, never 0: the interval of a single page, the
training text of a report without `--tokens`.

The 101 languages of mC4 are counted, each alike. The six Latin-script variants (`ru-Latn`, ...) are
reported beside them and never counted.

The mean gain, on which a verdict rests, has its interval in closed form, over pages and runs
(`statistics`). A language with a single scored page has no spread over pages, so the mean is over
the others.

Gains by script show what a mean may hide: with 2,048 ids all 62 languages in Latin script gained,
and the 29 in neither Latin nor Cyrillic lost (docs/results/archive.md). Scripts of one language are
taken together, because a language has a row of its own.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data.languages import all_languages, get
from eval import sides, speed_up, statistics
from eval.losses import PageLosses, Unit
from eval.sides import Side
from eval.speed_up import LogRatio, SpeedupSummary, StepSpeedup
from eval.statistics import Contributions, GainInterval, Interval, StandardError, standard_error

FEWEST_RANKED = 8  # languages of a rank correlation: with fewer, chance alone often makes 0.7


@dataclass(frozen=True, kw_only=True)
class TrainingText:
    """The training text of a language; None where it was not recorded.

    Attributes:
        tokens: distinct training tokens in the token blocks, or tokens seen if those are unknown.
        tokens_seen: training tokens that the runs read, repeats counted, mean over runs.
        bytes_per_token: UTF-8 bytes ÷ tokens of the training text; high where pieces are long.
        tokens_per_page: training tokens ÷ training pages.
        unknown_share: share of tokens whose text is lost.
        byte_fallback_share: share of tokens that stand for one byte of a character without a piece.
    """

    tokens: float | None = None
    tokens_seen: float | None = None
    bytes_per_token: float | None = None
    tokens_per_page: float | None = None
    unknown_share: float | None = None
    byte_fallback_share: float | None = None


@dataclass(frozen=True, kw_only=True)
class LanguageGain:
    """One language of `report.json`.

    * `gain_nats` is None where the sides have different vocabularies. The interval is then that of
      the gain in bits per byte, otherwise that of the gain in nats.
    * `p_value_adjusted` is None where nothing was tested: one held-out page, or a script variant.
    * `..._runs` are the losses of each run, in the order of the runs.
    * `step_speedup` is below 1 where the candidate ends worse. It and `step_speedup_is_bound` are
      None where a side was not trained here or has a single evaluation after step 0.
    * `held_out_pages` have a scored token; pages too short to hide one are counted as unscored.
    """

    name: str
    script: str
    family: str
    script_variant: bool
    loss_nats_baseline: float
    loss_nats_candidate: float
    loss_nats_baseline_runs: tuple[float, ...]
    loss_nats_candidate_runs: tuple[float, ...]
    gain_nats: float | None
    gain_nats_low: float | None
    gain_nats_high: float | None
    p_value_adjusted: float | None
    bits_per_byte_baseline: float
    bits_per_byte_candidate: float
    gain_bits_per_byte: float
    gain_bits_per_byte_low: float | None
    gain_bits_per_byte_high: float | None
    step_speedup: float | None
    step_speedup_is_bound: bool | None
    training_tokens: float | None
    training_tokens_seen: float | None
    bytes_per_token: float | None
    tokens_per_page: float | None
    unknown_share: float | None
    byte_fallback_share: float | None
    held_out_pages: int
    held_out_pages_unscored: int

    @property
    def gain(self) -> float:
        """Gain in the unit of the comparison."""
        return self.gain_bits_per_byte if self.gain_nats is None else self.gain_nats

    @property
    def low(self) -> float | None:
        """Lower end of the gain's interval; None if there is none."""
        return self.gain_bits_per_byte_low if self.gain_nats is None else self.gain_nats_low

    @property
    def high(self) -> float | None:
        """Upper end of the gain's interval; None if there is none."""
        return self.gain_bits_per_byte_high if self.gain_nats is None else self.gain_nats_high

    @property
    def verdict(self) -> str:
        """`better` or `worse` beyond noise, `uncorrected` or `unclear`.

        `uncorrected` is a language whose interval excludes 0, but which the correction for many
        languages does not count beyond noise.
        """
        p_value, low, high = self.p_value_adjusted, self.low, self.high
        if p_value is None or low is None or high is None or low <= 0 <= high:
            return "unclear"
        if p_value >= statistics.FALSE_DISCOVERY_RATE:
            return "uncorrected"
        return "better" if self.gain > 0 else "worse"


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The summary of `report.json`: over languages, script variants left out.

    * `languages_improved_in_every_run`: every candidate run is better than every baseline run.
    * `mean_gain` is over the `mean_gain_languages` with two scored pages or more, in the report's
      unit, with a 95% interval; None where there is no such language.
    * `languages_not_reached`: the candidate does not reach the baseline's final quality.
    * `languages_speedup_is_bound`: the target lies so far before a curve's first point that the
      speed-up is a bound.
    * `mean_step_speedup` is the geometric mean over all languages, with a 95% interval.
    * Speed-ups are None where a side was not trained here or has a single evaluation after step 0.
    * `gain_tokens_rank_correlation` is Spearman's, between gain and training tokens; None for
      fewer than `FEWEST_RANKED` languages.
    """

    languages: int
    languages_missing: tuple[str, ...]
    script_variants: int
    median_held_out_pages: float
    languages_improved: int
    languages_improved_significantly: int
    languages_improved_in_every_run: int
    languages_worse: int
    languages_worse_significantly: int
    mean_gain: float | None
    mean_gain_low: float | None
    mean_gain_high: float | None
    mean_gain_languages: int
    languages_not_reached: int | None
    languages_speedup_is_bound: int | None
    median_step_speedup: float | None
    mean_step_speedup: float | None
    mean_step_speedup_low: float | None
    mean_step_speedup_high: float | None
    share_step_speedup_at_least_4: float | None
    gain_tokens_rank_correlation: float | None


def mean_gain(
    baseline: Side, candidate: Side, unit: Unit, codes: Collection[str] | None = None
) -> Interval | None:
    """Returns the mean gain of these languages, or of all without script variants.

    Languages without two pages that all runs score are left out; None where all are.
    """
    final_pages = baseline.final_pages[0], candidate.final_pages[0]
    pages, languages = counted_pages(*final_pages, unit, codes)
    if not languages.size:
        return None
    theirs, from_theirs = mean_losses(baseline, unit, pages, languages)
    ours, from_ours = mean_losses(candidate, unit, pages, languages)
    error = standard_error([from_theirs, from_ours.times(-1.0)])
    assert error is not None  # every language has two pages
    return error.around(float((theirs - ours).mean()))


def counted_pages(
    baseline: PageLosses, candidate: PageLosses, unit: Unit, asked: Collection[str] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the positions of the pages that count, and the number of each one's language."""
    codes, of_page = baseline.held_out.by_language
    scored = (baseline.sizes(unit) > 0) & (candidate.sizes(unit) > 0)
    several = np.bincount(of_page[scored], minlength=len(codes)) > 1
    counted = np.array(
        [not get(code).is_script_variant and (asked is None or code in asked) for code in codes]
    )
    positions = np.flatnonzero(scored & (several & counted)[of_page])
    return positions, np.unique(of_page[positions], return_inverse=True)[1]


def mean_losses(
    side: Side, unit: Unit, pages: np.ndarray, languages: np.ndarray
) -> tuple[np.ndarray, Contributions]:
    """Returns the loss per language, mean over runs, and the contributions to their mean."""
    amounts = np.stack([run.amounts(unit)[pages] for run in side.final_pages])
    sizes = side.final_pages[0].sizes(unit)[pages]
    totals = np.bincount(languages, sizes)
    losses = np.bincount(languages, amounts.mean(axis=0)) / totals
    shares = sizes / totals[languages]
    values = amounts / totals[languages] - losses[languages] * shares
    return losses, Contributions(values / totals.size, shares, languages)


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
    unit, codes = unit or sides.common_unit(baseline, candidate), candidate.languages
    gains = [
        statistics.gain_interval(baseline.scores(code, unit), candidate.scores(code, unit))
        for code in codes
    ]
    # Script variants are not languages of their own, so the correction leaves them out.
    corrected = statistics.adjusted_p_values(
        [
            None if get(code).is_script_variant else gain.p_value
            for code, gain in zip(codes, gains, strict=True)
        ]
    )
    speedups = _speedups(baseline, candidate, unit)
    rows = _LanguageRows(baseline, candidate, unit)
    by_language = {
        code: rows.row(code, gain, p_value, speedup, text.get(code, TrainingText()))
        for code, gain, p_value, speedup in zip(codes, gains, corrected, speedups, strict=True)
    }
    return dict(sorted(by_language.items(), key=lambda item: -item[1].gain))


def summarise(
    gains: Mapping[str, LanguageGain], baseline: Side, candidate: Side, unit: Unit | None = None
) -> Summary:
    """Returns the summary over the languages, script variants left out; `unit` is the gains'."""
    unit = unit or sides.common_unit(baseline, candidate)
    rows = [row for row in gains.values() if not row.script_variant]
    speedups = _speedup_summary(rows, baseline, candidate, unit)
    mean = mean_gain(baseline, candidate, unit)
    expected = [language.code for language in all_languages() if not language.is_script_variant]
    return Summary(
        languages=len(rows),
        languages_missing=tuple(code for code in expected if code not in gains),
        script_variants=len(gains) - len(rows),
        median_held_out_pages=float(np.median([row.held_out_pages for row in rows])),
        languages_improved=sum(row.gain > 0 for row in rows),
        languages_improved_significantly=sum(row.verdict == "better" for row in rows),
        languages_improved_in_every_run=_improved_in_every_run(baseline, candidate, unit),
        languages_worse=sum(row.gain < 0 for row in rows),
        languages_worse_significantly=sum(row.verdict == "worse" for row in rows),
        mean_gain=mean and mean.value,
        mean_gain_low=mean and mean.low,
        mean_gain_high=mean and mean.high,
        mean_gain_languages=sum(row.held_out_pages > 1 for row in rows),
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
    upper_bounds = sum(bool(row.step_speedup_is_bound) and row.gain < 0 for row in rows)
    error = _error_of_mean_speedup(baseline, candidate, unit)
    return speed_up.summarise(known, error, upper_bounds)


def log_speedup(summary: Summary, baseline: Side, candidate: Side) -> LogRatio | None:
    """Returns the mean log step speed-up of a summary with its standard error; None without one."""
    if summary.mean_step_speedup is None:
        return None
    error = None
    if summary.mean_step_speedup_low is not None and summary.mean_step_speedup_high is not None:
        unit = sides.common_unit(baseline, candidate)
        error = _error_of_mean_speedup(baseline, candidate, unit)
    return LogRatio(math.log(summary.mean_step_speedup), error)


def _error_of_mean_speedup(baseline: Side, candidate: Side, unit: Unit) -> StandardError | None:
    """Returns the standard error of the mean log speed-up over languages without variants."""
    languages, of_page = candidate.final_pages[0].held_out.by_language
    counted = np.array([not get(code).is_script_variant for code in languages])[of_page]
    _, numbers = np.unique(of_page[counted], return_inverse=True)
    return speed_up.error_of_mean(
        baseline.page_curves(unit, counted), candidate.page_curves(unit, counted), numbers
    )


def _improved_in_every_run(baseline: Side, candidate: Side, unit: Unit) -> int:
    in_every_run = candidate.final_losses(unit).max(axis=0) < baseline.final_losses(unit).min(
        axis=0
    )
    counted = [not get(code).is_script_variant for code in candidate.languages]
    return int(np.count_nonzero(in_every_run & counted))


def _rank_correlation(rows: Sequence[LanguageGain]) -> float | None:
    """Returns Spearman's correlation of gain and training tokens.

    None if either is constant or fewer than `FEWEST_RANKED` languages are known.
    """
    rows = [row for row in rows if row.training_tokens]
    gains, tokens = [row.gain for row in rows], [row.training_tokens for row in rows]
    if len(rows) < FEWEST_RANKED or len(set(gains)) < 2 or len(set(tokens)) < 2:
        return None
    from scipy import stats  # imported where it computes, as in `eval.statistics`

    correlation = stats.spearmanr(gains, tokens)
    return float(correlation.statistic)  # pyright: ignore[reportAttributeAccessIssue]


def _speedups(baseline: Side, candidate: Side, unit: Unit) -> list[StepSpeedup | None]:
    """Returns one speed-up per language; None for all where the sides' curves do not compare."""
    if not baseline.compares_with(candidate):
        return [None] * len(candidate.languages)
    baseline_steps, baseline_losses = baseline.trained_curves(unit)
    candidate_steps, candidate_losses = candidate.trained_curves(unit)
    logs, bounds = speed_up.log_speedups(
        baseline_steps, baseline_losses.T, candidate_steps, candidate_losses.T
    )
    return [
        StepSpeedup(ratio, is_bound)
        for ratio, is_bound in zip(np.exp(logs).tolist(), bounds.tolist(), strict=True)
    ]


class _LanguageRows:
    """The rows of languages, from the final losses of both sides."""

    def __init__(self, baseline: Side, candidate: Side, unit: Unit):
        self.sides = baseline, candidate
        self.unit = unit
        self.nats, self.bits = (
            [side.losses[-1].losses(loss_unit) for side in self.sides] for loss_unit in Unit
        )
        self.runs = [side.final_losses(Unit.NATS_PER_TOKEN) for side in self.sides]
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
        nats, bits = ([float(losses[at]) for losses in both] for both in (self.nats, self.bits))
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


@dataclass(frozen=True, kw_only=True)
class ScriptGain:
    """A script in `report.json`.

    * `scripts` are ISO 15924 codes: one, or those of one language each.
    * `mean_gain` is in the report's unit, over the languages with two scored pages or more, with a
      95% interval; None where there is no such language.
    * `mean_gain_languages` are these, and `mean_gain_bits_per_byte` is over them too.
    """

    scripts: tuple[str, ...]
    languages: int
    languages_improved: int
    languages_improved_significantly: int
    languages_worse: int
    languages_worse_significantly: int
    mean_gain: float | None
    mean_gain_low: float | None
    mean_gain_high: float | None
    mean_gain_languages: int
    mean_gain_bits_per_byte: float | None


def script_gains(
    gains: Mapping[str, LanguageGain], baseline: Side, candidate: Side, unit: Unit
) -> list[ScriptGain]:
    """Returns a row per script, most languages first; none for a single row: the summary has it."""
    groups = _codes_by_script(gains)
    if len(groups) == 1:
        return []
    return [_script_gain(codes, gains, baseline, candidate, unit) for codes in groups]


def _codes_by_script(gains: Mapping[str, LanguageGain]) -> list[list[str]]:
    """Returns the codes of each script, and last those of all scripts of one language."""
    by_script: dict[str, list[str]] = defaultdict(list)
    for code, gain in gains.items():
        if not gain.script_variant:
            by_script[gain.script].append(code)
    shared = [codes for codes in by_script.values() if len(codes) > 1]
    single = [code for codes in by_script.values() if len(codes) == 1 for code in codes]
    return [*sorted(shared, key=len, reverse=True), *([single] if single else [])]


def _script_gain(
    codes: Sequence[str],
    gains: Mapping[str, LanguageGain],
    baseline: Side,
    candidate: Side,
    unit: Unit,
) -> ScriptGain:
    rows = [gains[code] for code in codes]
    verdicts = [row.verdict for row in rows]
    mean = mean_gain(baseline, candidate, unit, codes)
    bits = [row.gain_bits_per_byte for row in rows if row.held_out_pages > 1]
    return ScriptGain(
        scripts=tuple(sorted({row.script for row in rows})),
        languages=len(rows),
        languages_improved=sum(row.gain > 0 for row in rows),
        languages_improved_significantly=verdicts.count("better"),
        languages_worse=sum(row.gain < 0 for row in rows),
        languages_worse_significantly=verdicts.count("worse"),
        mean_gain=mean and mean.value,
        mean_gain_low=mean and mean.low,
        mean_gain_high=mean and mean.high,
        mean_gain_languages=len(bits),
        mean_gain_bits_per_byte=float(np.mean(bits)) if bits else None,
    )
