"""The rows and the summary of `report.json`.

Field names are those of the file and carry their units. An unknown number is None, never 0: the
interval of a single page, the training text of a report without `--tokens`.
"""

from dataclasses import dataclass

from eval.statistics import intervals


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
        """`better`, `worse` (both beyond noise) or `unclear`."""
        p_value = self.p_value_adjusted
        if p_value is None or p_value >= intervals.FALSE_DISCOVERY_RATE or self.gain == 0:
            return "unclear"
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
    * `gain_tokens_rank_correlation` is Spearman's, between gain and training tokens.
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
