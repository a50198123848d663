"""Two sides, language by language: what `report.json` says, as frozen dataclasses.

A side is one architecture with one run a seed; its loss is the mean over runs, and counts are equal
because all runs score the same pages. The 101 languages of mC4 are counted; the six Latin-script
variants (`ru-Latn`, ...) are reported beside them and never counted. Losses are in nats per target
token, gains are baseline minus candidate (positive: the candidate is better), tokens are target
tokens in losses and training tokens where so named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from data import languages as table
from eval import intervals, language_loss, step_speedup
from eval.language_loss import LanguageLosses, PageLosses
from eval.step_speedup import StepSpeedup


@dataclass(frozen=True, kw_only=True)
class Side:
    """One architecture's runs, evaluated at the same steps.

    Attributes:
        name: what the report calls it, for example `Switch`.
        steps: the steps of its evaluations, ascending.
        losses: at each step, sums per language, mean over runs.
        pages: the last evaluation's pages, one entry a run.
        step_seconds: median wall time of a training step; None if it was not recorded.
    """

    name: str
    steps: tuple[int, ...]
    losses: tuple[LanguageLosses, ...]
    pages: tuple[PageLosses, ...]
    step_seconds: float | None

    def curves(self) -> Float[np.ndarray, "evaluations languages"]:
        """Returns nats per target token at each step, one column a language."""
        return np.stack([losses.nats_per_token() for losses in self.losses])

    def total_curve(self) -> Float[np.ndarray, " evaluations"]:
        """Returns nats per target token over all pages at each step."""
        return np.concatenate(
            [language_loss.total(losses).nats_per_token() for losses in self.losses]
        )


@dataclass(frozen=True, kw_only=True)
class TrainingText:
    """What a language's training text was; None where it was not recorded.

    Attributes:
        tokens: distinct training tokens in the token blocks, or tokens seen if those are unknown.
        tokens_seen: training tokens that the runs saw, repeats counted, mean over runs.
        bytes_per_token: UTF-8 bytes ÷ tokens of the training text: high where pieces fit well.
        tokens_per_page: training tokens ÷ training pages.
        unknown_share: of the tokens, those whose text is lost.
        byte_fallback_share: of the tokens, those that stand for one byte, for want of a piece.
    """

    tokens: float | None = None
    tokens_seen: float | None = None
    bytes_per_token: float | None = None
    tokens_per_page: float | None = None
    unknown_share: float | None = None
    byte_fallback_share: float | None = None


@dataclass(frozen=True, kw_only=True)
class LanguageGain:
    """One language of `report.json`; a speed-up that was not reached is None beside its bound.

    `p_value_adjusted` is None where nothing was tested: one held-out page, or a script variant.
    """

    name: str
    script: str
    family: str
    script_variant: bool
    loss_nats_baseline: float
    loss_nats_candidate: float
    gain_nats: float
    gain_nats_low: float | None
    gain_nats_high: float | None
    p_value_adjusted: float | None
    bits_per_byte_baseline: float
    bits_per_byte_candidate: float
    step_speedup: float | None
    step_speedup_bound: float
    step_speedup_lasting: float | None
    training_tokens: float | None
    training_tokens_seen: float | None
    bytes_per_token: float | None
    tokens_per_page: float | None
    unknown_share: float | None
    byte_fallback_share: float | None
    held_out_pages: int

    @property
    def verdict(self) -> str:
        """`better`, `worse` (both beyond noise) or `unclear`."""
        p_value = self.p_value_adjusted
        if p_value is None or p_value >= intervals.FALSE_DISCOVERY_RATE or self.gain_nats == 0:
            return "unclear"
        return "better" if self.gain_nats > 0 else "worse"


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The summary of `report.json`: over languages, script variants left out.

    `median_step_speedup` and `mean_step_speedup` run over all languages; one that did not reach the
    baseline's quality counts at its bound, which makes the mean an upper bound then.
    `mean_step_speedup_reached` leaves such languages out. `time_speedup` is the median step
    speed-up × (baseline step seconds ÷ candidate step seconds). The rank correlation is Spearman's,
    between gain and training tokens.
    """

    languages: int
    languages_missing: tuple[str, ...]
    script_variants: int
    median_held_out_pages: float
    languages_improved: int
    languages_improved_significantly: int
    languages_worse: int
    languages_worse_significantly: int
    languages_not_reached: int
    median_step_speedup: float
    median_step_speedup_is_bound: bool
    median_step_speedup_lasting: float
    mean_step_speedup: float
    mean_step_speedup_reached: float | None
    share_step_speedup_at_least_4: float
    time_speedup: float | None
    gain_tokens_rank_correlation: float | None


def language_gains(
    baseline: Side, candidate: Side, text: Mapping[str, TrainingText]
) -> dict[str, LanguageGain]:
    """Returns every evaluated language's row, best gain first."""
    final = candidate.losses[-1]
    of_language = candidate.pages[0].language.astype(str)
    nats = [np.stack([pages.loss_nats for pages in side.pages]) for side in (baseline, candidate)]
    tokens = candidate.pages[0].target_tokens
    gains = []
    for code in final.languages:
        mine = of_language == code
        gains.append(intervals.gain_interval(nats[0][:, mine], nats[1][:, mine], tokens[mine]))
    # Script variants are no language of their own: they are not among the comparisons corrected.
    corrected = intervals.adjusted_p_values(
        [
            None if table.get(code).is_script_variant else gain.p_value
            for code, gain in zip(final.languages, gains, strict=True)
        ]
    )
    speedups = _speedups(baseline, candidate)
    rows = {
        code: _row(
            code,
            baseline.losses[-1],
            final,
            gain,
            p_value,
            speedup,
            text.get(code, TrainingText()),
        )
        for code, gain, p_value, speedup in zip(
            final.languages, gains, corrected, speedups, strict=True
        )
    }
    return dict(sorted(rows.items(), key=lambda item: -item[1].gain_nats))


def summarise(gains: Mapping[str, LanguageGain], baseline: Side, candidate: Side) -> Summary:
    """Returns the summary over the languages, script variants left out."""
    rows = [row for row in gains.values() if not row.script_variant]
    speedups = step_speedup.summarise(
        [
            StepSpeedup(row.step_speedup, row.step_speedup_lasting, row.step_speedup_bound, None)
            for row in rows
        ]
    )
    expected = [one.code for one in table.all_languages() if not one.is_script_variant]
    return Summary(
        languages=len(rows),
        languages_missing=tuple(code for code in expected if code not in gains),
        script_variants=len(gains) - len(rows),
        median_held_out_pages=float(np.median([row.held_out_pages for row in rows])),
        languages_improved=sum(row.gain_nats > 0 for row in rows),
        languages_improved_significantly=_count(rows, "better"),
        languages_worse=sum(row.gain_nats < 0 for row in rows),
        languages_worse_significantly=_count(rows, "worse"),
        languages_not_reached=speedups.not_reached,
        median_step_speedup=speedups.median,
        median_step_speedup_is_bound=speedups.median_is_bound,
        median_step_speedup_lasting=speedups.median_lasting,
        mean_step_speedup=speedups.mean,
        mean_step_speedup_reached=speedups.mean_reached,
        share_step_speedup_at_least_4=speedups.share_at_least_4,
        time_speedup=step_speedup.time_speedup(
            speedups.median, baseline.step_seconds, candidate.step_seconds
        ),
        gain_tokens_rank_correlation=_rank_correlation(rows),
    )


def _count(rows: Sequence[LanguageGain], verdict: str) -> int:
    return sum(row.verdict == verdict for row in rows)


def _rank_correlation(rows: Sequence[LanguageGain]) -> float | None:
    """Returns Spearman's correlation of gain and training tokens, or None if there is none."""
    pairs = [(row.gain_nats, row.training_tokens) for row in rows if row.training_tokens]
    gains, tokens = ([pair[side] for pair in pairs] for side in (0, 1))
    if len(set(gains)) < 2 or len(set(tokens)) < 2:
        return None
    # Ranks' Pearson correlation, which is what Spearman's is.
    ranks = np.corrcoef(stats.rankdata(gains), stats.rankdata(tokens))
    return float(ranks[0, 1])


def _speedups(baseline: Side, candidate: Side) -> list[StepSpeedup]:
    steps: list[Int[np.ndarray, " evaluations"]] = [
        np.array(side.steps) for side in (baseline, candidate)
    ]
    return [
        step_speedup.step_speedup(steps[0], baseline_loss, steps[1], candidate_loss)
        for baseline_loss, candidate_loss in zip(
            baseline.curves().T, candidate.curves().T, strict=True
        )
    ]


def _row(
    code: str,
    baseline: LanguageLosses,
    candidate: LanguageLosses,
    gain: intervals.GainInterval,
    p_value_adjusted: float | None,
    speedup: StepSpeedup,
    text: TrainingText,
) -> LanguageGain:
    language, at = table.get(code), candidate.languages.index(code)
    return LanguageGain(
        name=language.name,
        script=language.script,
        family=language.family,
        script_variant=language.is_script_variant,
        loss_nats_baseline=float(baseline.nats_per_token()[at]),
        loss_nats_candidate=float(candidate.nats_per_token()[at]),
        gain_nats=gain.gain_nats,
        gain_nats_low=gain.low,
        gain_nats_high=gain.high,
        p_value_adjusted=p_value_adjusted,
        bits_per_byte_baseline=float(baseline.bits_per_byte()[at]),
        bits_per_byte_candidate=float(candidate.bits_per_byte()[at]),
        step_speedup=speedup.first,
        step_speedup_bound=speedup.bound,
        step_speedup_lasting=speedup.lasting,
        training_tokens=text.tokens,
        training_tokens_seen=text.tokens_seen,
        bytes_per_token=text.bytes_per_token,
        tokens_per_page=text.tokens_per_page,
        unknown_share=text.unknown_share,
        byte_fallback_share=text.byte_fallback_share,
        held_out_pages=int(candidate.pages[at]),
    )
