"""The rows of a report's languages and the summary over them, recomputed."""

import math
import sys

import numpy as np
import pandas as pd
from recompute_gains import error, interval, scored
from recompute_sides import BITS, NATS, Side, Unit, curves, has_speedup, last
from recompute_speedups import is_bound, log_speedup, mean_speedup
from recompute_statistics import adjusted, same
from scipy import stats

FEWEST_RANKED = 8  # languages of a rank correlation


def compare_languages(languages: dict[str, dict], sides: list[Side], unit: Unit) -> pd.DataFrame:
    """Compares losses, gains, speed-ups and intervals of each language; returns what was found."""
    in_nats, in_bits = ([curves(one, *each) for one in sides] for each in (NATS, BITS))
    compared = in_nats if unit == NATS else in_bits
    rows, trained = [], has_speedup(sides)
    for code, shown in languages.items():
        for at, name in enumerate(("baseline", "candidate")):
            same(f"{code} nats", shown[f"loss_nats_{name}"], in_nats[at][code].iloc[-1])
            same(f"{code} bits", shown[f"bits_per_byte_{name}"], in_bits[at][code].iloc[-1])
        mine = scored([[r[r.language == code] for r in last(one)] for one in sides], unit[1])
        pages = len(mine[0][0])
        gain = final_gain(compared, code, mine, unit)
        bits_gain = gain if unit == BITS else in_bits[0][code].iloc[-1] - in_bits[1][code].iloc[-1]
        same(f"{code} gain in bits", shown["gain_bits_per_byte"], bits_gain)
        field = "gain_nats" if unit == NATS else "gain_bits_per_byte"
        same(f"{code} gain", shown[field], gain)
        both = [dict(curve[code]) for curve in compared]
        speedup = math.exp(log_speedup(*both)) if trained else None
        same(f"{code} speed-up", shown["step_speedup"], speedup)
        same(f"{code} pages", shown["held_out_pages"], pages)
        several = pages > 1
        low, high, p_value = interval(mine, gain, *unit) if several else (None, None, None)
        same(f"{code} low", shown[f"{field}_low"], low)
        same(f"{code} high", shown[f"{field}_high"], high)
        bound = is_bound(*both) if trained else None
        same(f"{code} bound", shown["step_speedup_is_bound"], bound)
        ours, theirs = (
            [of[unit[0]].sum() / of[unit[1]].sum() for of in side_of] for side_of in mine[::-1]
        )
        rows.append(
            {"code": code, "gain": gain, "speedup": speedup, "p_value": p_value, "bound": bound}
            | {"variant": code.endswith("-Latn"), "shown": shown["p_value_adjusted"]}
            | {"bits": bits_gain, "pages": pages}
            | {"every": max(ours) < min(theirs), "tokens": shown["training_tokens"]}
        )
    return pd.DataFrame(rows).set_index("code")


def final_gain(
    compared: list[pd.DataFrame], code: str, mine: list[list[pd.DataFrame]], unit: Unit
) -> float:
    """Returns the gain over the pages that both sides score; of all pages where none is."""
    if not len(mine[0][0]):
        return compared[0][code].iloc[-1] - compared[1][code].iloc[-1]
    theirs, ours = (np.mean([r[unit[0]].sum() / r[unit[1]].sum() for r in of]) for of in mine)
    return float(theirs - ours)


def compare_losses(losses: dict[str, dict], one: Side) -> None:
    """Compares a model's final losses and their intervals."""
    units = {"loss_nats": NATS, "bits_per_byte": BITS}
    for code, shown in losses.items():
        for name, unit in units.items():
            (runs,) = scored([[r[r.language == code] for r in last(one)]], unit[1])
            loss = np.mean([r[unit[0]].sum() / r[unit[1]].sum() for r in runs])
            same(f"{code} {name}", shown[name], loss)
            known = len(runs[0]) > 1
            size, free = error([1], [runs], *unit) if known else (math.nan, math.nan)
            wide = stats.t.ppf(0.975, free) * size
            for end, sign in (("low", -1), ("high", 1)):
                same(
                    f"{code} {name} {end}",
                    shown[f"{name}_{end}"],
                    loss + sign * wide if known else None,
                )


def compare_means(
    name: str, summary: dict, sides: list[Side], unit: Unit
) -> tuple[float, float, float] | None:
    """Compares the mean speed-up and its interval; returns its log, standard error and freedom."""
    if summary["mean_step_speedup"] is None:
        return None
    mean, size, free = mean_speedup(sides, *unit)
    same(f"{name} mean speed-up", summary["mean_step_speedup"], math.exp(mean))
    ends = {end: summary[f"mean_step_speedup_{end}"] for end in ("low", "high")}
    many = summary["languages_speedup_is_bound"] > 0.05 * summary["languages"]
    if many and None not in ends.values():
        sys.exit(f"{name} speed-up has both ends although many languages are at a bound")
    known = not math.isnan(size)
    for (end, shown), sign in zip(ends.items(), (-1, 1), strict=True):
        found = math.exp(mean + sign * stats.t.ppf(0.975, free) * size) if known else None
        if not (many and shown is None):  # bounds have no spread on their open side
            same(f"{name} speed-up {end}", shown, found)
    return mean, math.nan if many else size, free


def compare_summary(table: pd.DataFrame, summary: dict[str, float], languages: int | None) -> None:
    """Compares counts, speed-ups and intervals over languages, script variants left out."""
    counted = table[~table.variant]
    tested = adjusted(counted.p_value.dropna().astype(float))
    for code, shown in table.shown.items():
        same(f"{code} p-value", None if pd.isna(shown) else shown, tested.get(code))
    significant = counted.loc[tested.index[tested < 0.05]]
    exact = {
        "languages": len(counted),
        "languages_improved": int((counted.gain > 0).sum()),
        "languages_worse": int((counted.gain < 0).sum()),
        "languages_improved_significantly": int((significant.gain > 0).sum()),
        "languages_worse_significantly": int((significant.gain < 0).sum()),
        "languages_improved_in_every_run": int(counted.every.sum()),
        "median_held_out_pages": float(counted.pages.median()),
        "script_variants": int(table.variant.sum()),
    }
    known = counted[counted.tokens.fillna(0).astype(float) > 0]
    if len(known) >= FEWEST_RANKED and min(known.gain.nunique(), known.tokens.nunique()) > 1:
        tokens = known.tokens.astype(float)
        exact["gain_tokens_rank_correlation"] = stats.spearmanr(known.gain, tokens).statistic
    if counted.speedup.notna().all():
        speedups = counted.speedup.astype(float)
        exact |= {
            "languages_not_reached": int((counted.gain < 0).sum()),
            "languages_speedup_is_bound": int(counted.bound.sum()),
            "median_step_speedup": float(np.exp(np.log(speedups).median())),
            "mean_step_speedup": float(np.exp(np.log(speedups).mean())),
            "share_step_speedup_at_least_4": float((speedups >= 4 * (1 - 1e-9)).mean()),
        }
    for name, value in exact.items():
        same(name, summary[name], value)
    if languages not in (None, len(counted)):
        sys.exit(f"{languages} languages were expected, the report holds {len(counted)}")
    for name, value in exact.items():
        print(f"{name:38} report {summary[name]:<12.6g} recomputed {value:.6g}")
    print(f"{len(table)} rows equal to 1e-9, intervals and p-values too")
