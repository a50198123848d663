"""Gains by script: of languages that share their letters.

A mean over all languages may hide different effects: with 2,048 ids all 62 languages in Latin
script gained, and 28 of 29 in others were behind (docs/results/decayed.md). Every language counts
alike and script variants are left out, as in the mean over all. Scripts of one language are
taken together, because a language has a row of its own.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eval.language_gain import LanguageGain
from eval.language_loss import Unit
from eval.side import Side
from eval.statistics.mean_gain import mean_gain


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
    groups = _groups(gains)
    if len(groups) == 1:
        return []
    return [_row(codes, gains, baseline, candidate, unit) for codes in groups]


def _groups(gains: Mapping[str, LanguageGain]) -> list[list[str]]:
    """Returns the codes of each script, and last those of all scripts of one language."""
    by_script: dict[str, list[str]] = defaultdict(list)
    for code, gain in gains.items():
        if not gain.script_variant:
            by_script[gain.script].append(code)
    shared = [codes for codes in by_script.values() if len(codes) > 1]
    single = [code for codes in by_script.values() if len(codes) == 1 for code in codes]
    return [*sorted(shared, key=len, reverse=True), *([single] if single else [])]


def _row(
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
        mean_gain=mean and mean.mean,
        mean_gain_low=mean and mean.low,
        mean_gain_high=mean and mean.high,
        mean_gain_languages=len(bits),
        mean_gain_bits_per_byte=float(np.mean(bits)) if bits else None,
    )
