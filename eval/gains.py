"""Gains: two sides compared by their losses, per language, on average, by script and by length.

A gain is baseline minus candidate: positive means that the candidate is better. Its unit is nats
per target token where both sides have the same vocabulary, otherwise bits per byte. "Tokens" are
target tokens in losses and training tokens where so named. Field names are those of `report.json`
and carry their units. An unknown number is None, never 0: the interval of a single page, the
training text of a report without `--tokens`.

The candidate and every further model are compared with the baseline by a `Comparison`. So are the
halves of one side's runs (`null_comparison`), and both sides' runs of each length.

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
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Bool

from data.languages import Language, all_languages, get
from eval import compare, speed_up
from eval.compare import Estimate, Parts, Tally
from eval.losses import Unit
from eval.sides import Points, Side, common_scores
from eval.speed_up import LogRatio, SpeedupSummary, StepSpeedup

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


NO_TEXT = TrainingText()


@dataclass(frozen=True, kw_only=True)
class LanguageGain:
    """The gain in one language.

    Attributes:
        language: the language.
        unit: unit of the gain.
        gain: the gain; its examples are the pages with a token that both sides score. The p-value
            is None where nothing was tested: one held-out page, or a script variant.
        loss_nats, bits_per_byte: losses of baseline and candidate.
        loss_nats_runs: losses of each side's runs, in the order of the runs.
        speedup: step speed-up, below 1 where the candidate ends worse; None where a side was not
            trained here or has a single evaluation after step 0.
        text: its training text.
        pages_unscored: number of held-out pages that are too short to hide a token.
    """

    language: Language
    unit: Unit
    gain: Estimate
    loss_nats: tuple[float, float]
    bits_per_byte: tuple[float, float]
    loss_nats_runs: tuple[tuple[float, ...], tuple[float, ...]]
    speedup: StepSpeedup | None
    text: TrainingText
    pages_unscored: int

    @property
    def name(self) -> str:
        """Name of the language."""
        return self.language.name

    @property
    def is_variant(self) -> bool:
        """Whether it is a script variant, which is not counted."""
        return self.language.is_script_variant

    @property
    def verdict(self) -> str:
        """Verdict on the gain, as in `compare`."""
        return self.gain.verdict

    def gain_in(self, unit: Unit) -> Estimate | None:
        """Returns the gain in a unit, without an interval in another than the comparison's.

        None in nats between different vocabularies.
        """
        if unit is self.unit:
            return self.gain
        if unit is Unit.NATS_PER_TOKEN:
            return None
        baseline, candidate = self.bits_per_byte
        return Estimate(value=baseline - candidate, examples=self.gain.examples)


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


@dataclass(frozen=True, kw_only=True)
class ScriptGain:
    """The gain in a script.

    Attributes:
        scripts: ISO 15924 codes: one, or those of one language each.
        codes: codes of its languages.
        tally: counts of its languages.
        mean: mean gain over the languages with two scored pages or more; None where there is none.
        mean_bits: the same in bits per byte.
    """

    scripts: tuple[str, ...]
    codes: tuple[str, ...]
    tally: Tally
    mean: Estimate | None
    mean_bits: float | None

    @property
    def label(self) -> str:
        """The script, or `scripts of one language`."""
        return self.scripts[0] if len(self.scripts) == 1 else "scripts of one language"

    @property
    def mean_languages(self) -> int:
        """Number of languages in the mean."""
        return 0 if self.mean is None else self.mean.languages


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two sides compared by their losses; each part is computed when it is first asked for.

    Attributes:
        baseline, candidate: the sides.
        unit: unit of the gains.
        text: training text by language.
    """

    baseline: Side
    candidate: Side
    unit: Unit
    text: Mapping[str, TrainingText] = field(default_factory=dict)

    @property
    def sides(self) -> tuple[Side, Side]:
        """Baseline and candidate."""
        return self.baseline, self.candidate

    @property
    def names(self) -> tuple[str, str]:
        """Names of baseline and candidate."""
        return self.baseline.name, self.candidate.name

    @property
    def of_single_runs(self) -> list[str]:
        """Names of the sides of one run, whose seed is in no interval."""
        return [side.name for side in self.sides if len(side.runs) == 1]

    @cached_property
    def parts(self) -> Parts:
        """Losses of both sides, whose difference is the gain."""
        baseline, candidate = common_scores(self.sides, self.unit)
        return (1.0, baseline), (-1.0, candidate)

    @cached_property
    def estimates(self) -> dict[str, Estimate]:
        """Gain of each language, ordered by code."""
        return compare.each(self.parts)

    @cached_property
    def mean(self) -> Estimate | None:
        """Mean gain over languages; None where no language has two scored pages."""
        return compare.mean(self.parts)

    @cached_property
    def tally(self) -> Tally:
        """Number of languages that are better and worse, script variants left out."""
        return compare.tally(self.estimates)

    @cached_property
    def gains(self) -> dict[str, LanguageGain]:
        """One row per evaluated language, best gain first."""
        rows = {code: self._row(at, code) for at, code in enumerate(self.candidate.languages)}
        return dict(sorted(rows.items(), key=lambda item: -item[1].gain.value))

    @property
    def counted(self) -> dict[str, LanguageGain]:
        """The rows without script variants."""
        return {code: gain for code, gain in self.gains.items() if not gain.is_variant}

    def _row(self, at: int, code: str) -> LanguageGain:
        gain = self.estimates[code]
        (nats, our_nats), (bits, our_bits) = self._final_losses
        runs, our_runs = (side.final_losses(Unit.NATS_PER_TOKEN) for side in self.sides)
        return LanguageGain(
            language=get(code),
            unit=self.unit,
            gain=gain,
            loss_nats=(float(nats[at]), float(our_nats[at])),
            bits_per_byte=(float(bits[at]), float(our_bits[at])),
            loss_nats_runs=(tuple(runs[:, at].tolist()), tuple(our_runs[:, at].tolist())),
            speedup=None if self.speedups is None else self.speedups[at],
            text=self.text.get(code, NO_TEXT),
            pages_unscored=int(self.candidate.losses[-1].pages[at]) - gain.examples,
        )

    @cached_property
    def _final_losses(self) -> list[list[np.ndarray]]:
        return [[side.losses[-1].losses(unit) for side in self.sides] for unit in Unit]

    @cached_property
    def speedups(self) -> list[StepSpeedup] | None:
        """Step speed-up of each language; None where the sides' curves do not compare."""
        if not self.baseline.compares_with(self.candidate):
            return None
        (steps, losses), (our_steps, our_losses) = (
            side.trained_curves(self.unit) for side in self.sides
        )
        logs, bounds = speed_up.log_speedups(steps, losses.T, our_steps, our_losses.T)
        pairs = zip(np.exp(logs).tolist(), bounds.tolist(), strict=True)
        return [StepSpeedup(*pair) for pair in pairs]

    @cached_property
    def mean_speedup(self) -> SpeedupSummary | None:
        """Speed-ups over the languages without script variants."""
        known = [row.speedup for row in self.counted.values() if row.speedup is not None]
        if not known:
            return None
        pages = counted_pages(self.candidate)
        baseline, candidate = (side.page_curves(self.unit, pages) for side in self.sides)
        _, of_page = self.candidate.final_pages[0].held_out.by_language
        _, numbers = np.unique(of_page[pages], return_inverse=True)
        upper_bounds = sum(
            row.speedup is not None and row.speedup.is_bound and row.gain.value < 0
            for row in self.counted.values()
        )
        error = speed_up.error_of_mean(baseline, candidate, numbers)
        return speed_up.summarise(known, error, upper_bounds)

    @property
    def log_speedup(self) -> LogRatio | None:
        """Mean log step speed-up with its standard error; None without one."""
        mean = self.mean_speedup
        return mean and LogRatio(math.log(mean.mean), mean.error)

    @cached_property
    def summary(self) -> Summary:
        """The summary over the languages, script variants left out."""
        rows, speedups = [*self.counted.values()], self.mean_speedup
        counts = self.tally
        expected = [row.code for row in all_languages() if not row.is_script_variant]
        _, low, high = self.mean.ends if self.mean else (None,) * 3
        return Summary(
            languages=counts.languages,
            languages_missing=tuple(code for code in expected if code not in self.gains),
            script_variants=len(self.gains) - len(rows),
            median_held_out_pages=float(np.median([row.gain.examples for row in rows])),
            languages_improved=counts.better,
            languages_improved_significantly=counts.better_significantly,
            languages_improved_in_every_run=self._improved_in_every_run(),
            languages_worse=counts.worse,
            languages_worse_significantly=counts.worse_significantly,
            mean_gain=self.mean and self.mean.value,
            mean_gain_low=low,
            mean_gain_high=high,
            mean_gain_languages=self.mean.languages if self.mean else 0,
            languages_not_reached=None if speedups is None else counts.worse,
            languages_speedup_is_bound=speedups and speedups.at_bound,
            median_step_speedup=speedups and speedups.median,
            mean_step_speedup=speedups and speedups.mean,
            mean_step_speedup_low=speedups and speedups.low,
            mean_step_speedup_high=speedups and speedups.high,
            share_step_speedup_at_least_4=speedups and speedups.share_at_least_4,
            gain_tokens_rank_correlation=_rank_correlation(rows),
        )

    def _improved_in_every_run(self) -> int:
        baseline, candidate = (side.final_losses(self.unit) for side in self.sides)
        in_every_run = candidate.max(axis=0) < baseline.min(axis=0)
        counted = [not get(code).is_script_variant for code in self.candidate.languages]
        return int(np.count_nonzero(in_every_run & counted))

    @cached_property
    def scripts(self) -> list[ScriptGain]:
        """A row per script, most languages first; none for a single row: the summary has it."""
        groups = _codes_by_script(self.counted)
        return [self._script(codes) for codes in groups] if len(groups) > 1 else []

    def _script(self, codes: Collection[str]) -> ScriptGain:
        rows = [self.gains[code] for code in codes]
        in_bits = [row.gain_in(Unit.BITS_PER_BYTE) for row in rows if row.gain.examples > 1]
        bits = [gain.value for gain in in_bits if gain is not None]
        return ScriptGain(
            scripts=tuple(sorted({row.language.script for row in rows})),
            codes=tuple(sorted(codes)),
            tally=compare.tally({code: self.estimates[code] for code in codes}),
            mean=compare.mean(self.parts, codes),
            mean_bits=float(np.mean(bits)) if bits else None,
        )

    @cached_property
    def lengths(self) -> list["Comparison"]:
        """The comparison after each length, ascending; none unless both sides have several."""
        of_ends = {side.points for side in self.sides} == {Points.DECAYED}
        if not of_ends or self.baseline.steps != self.candidate.steps:
            return []
        return [
            Comparison(
                baseline=self.baseline.until(step),
                candidate=self.candidate.until(step),
                unit=self.unit,
            )
            for step in self.candidate.steps
        ]


def counted_pages(side: Side) -> Bool[np.ndarray, " pages"]:
    """Returns whether each held-out page is of a language that is not a script variant."""
    codes, of_page = side.final_pages[0].held_out.by_language
    return np.array([not get(code).is_script_variant for code in codes])[of_page]


def _rank_correlation(rows: Sequence[LanguageGain]) -> float | None:
    """Returns Spearman's correlation of gain and training tokens.

    None if either is constant or fewer than `FEWEST_RANKED` languages are known.
    """
    rows = [row for row in rows if row.text.tokens]
    gains, tokens = [row.gain.value for row in rows], [row.text.tokens for row in rows]
    if len(rows) < FEWEST_RANKED or len(set(gains)) < 2 or len(set(tokens)) < 2:
        return None
    from scipy import stats  # imported where it computes, as in `eval.statistics`

    correlation = stats.spearmanr(gains, tokens)
    return float(correlation.statistic)  # pyright: ignore[reportAttributeAccessIssue]


def _codes_by_script(gains: Mapping[str, LanguageGain]) -> list[list[str]]:
    """Returns the codes of each script, and last those of all scripts of one language."""
    by_script: dict[str, list[str]] = defaultdict(list)
    for code, gain in gains.items():
        by_script[gain.language.script].append(code)
    shared = [codes for codes in by_script.values() if len(codes) > 1]
    single = [code for codes in by_script.values() if len(codes) == 1 for code in codes]
    return [*sorted(shared, key=len, reverse=True), *([single] if single else [])]
