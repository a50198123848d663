"""The null comparisons of a report, each of two halves of one side's runs, recomputed."""

import math

import pandas as pd
from recompute_gains import interval, mean_gain, scored
from recompute_languages import compare_means
from recompute_sides import Side, Unit, curves, has_speedup, last, without_variants
from recompute_speedups import log_speedup
from recompute_statistics import adjusted, same


def compare_null(null: dict, one: Side, seeds: list[int], unit: Unit) -> None:
    """Compares one side's halves, as far as the report shows them."""
    halves = [
        Side(one[seeds.index(seed)] for seed in null[f"{which}_seeds"])
        for which in ("baseline", "candidate")
    ]
    compared = [curves(half, *unit) for half in halves]
    rows = []
    for code, shown in null["languages"].items():
        gain = compared[0][code].iloc[-1] - compared[1][code].iloc[-1]
        same(f"null {code} gain", shown["gain"], gain)
        mine = scored([[r[r.language == code] for r in last(half)] for half in halves], unit[1])
        p_value = interval(mine, gain, *unit)[2] if len(mine[0][0]) > 1 else None
        speedup = (
            log_speedup(*(dict(curve[code]) for curve in compared)) if has_speedup(halves) else None
        )
        ratio = None if speedup is None else math.exp(speedup)
        same(f"null {code} speed-up", shown["step_speedup"], ratio)
        rows.append({"code": code, "gain": gain, "p_value": p_value, "speedup": speedup})
    table, summary = pd.DataFrame(rows).set_index("code"), null["summary"]
    counted = table[~table.index.str.endswith("-Latn")]
    same("null languages", summary["languages"], len(counted))
    same("null better", summary["languages_improved"], int((counted.gain > 0).sum()))
    same("null worse", summary["languages_worse"], int((counted.gain < 0).sum()))
    known = counted.speedup.notna().all()
    median = math.exp(counted.speedup.astype(float).median()) if known else None
    same("null median speed-up", summary["median_step_speedup"], median)
    for name, found in mean_gain(without_variants(halves), *unit).items():
        same(f"null {name}", summary[name], found)
    tested = adjusted(counted.p_value.dropna().astype(float))
    found = counted.loc[tested.index[tested < 0.05]]
    for name, sign in (("improved", 1), ("worse", -1)):
        shown = null["summary"][f"languages_{name}_significantly"]
        same(f"null {name}", shown, int((sign * found.gain > 0).sum()))
    compare_means("null", null["summary"], halves, unit)
