"""Gains by script, for the recomputation of a report."""

import pandas as pd
from recompute_gains import mean_gain
from recompute_sides import Side, last
from recompute_statistics import adjusted, same

ALONE = "scripts of one language"


def compare_scripts(report: dict, table: pd.DataFrame, sides: list[Side], *unit: str) -> None:
    """Compares each script's counts, mean gain and interval; each language is in one row."""
    counted = table[~table.variant]
    tested = adjusted(counted.p_value.dropna().astype(float))
    significant = counted.gain.where(counted.index.isin(tested.index[tested < 0.05]), 0)
    scripts = pd.Series({code: report["languages"][code]["script"] for code in counted.index})
    scripts = scripts.where(scripts.map(scripts.value_counts()) > 1, ALONE)
    shown = {}
    for one in report["scripts"]:
        is_shared = len(one["scripts"]) == 1 and one["languages"] > 1
        shown[one["scripts"][0] if is_shared else ALONE] = one
    if sorted(shown) != sorted(set(scripts)) and scripts.nunique() > 1:
        raise SystemExit(f"scripts {sorted(set(scripts))} were found, the report holds {shown}")
    for name, one in shown.items():
        codes = scripts.index[scripts == name]
        mine = [[rows[rows.language.isin(codes)] for rows in last(each)] for each in sides]
        bits = table.bits[codes][table.pages[codes] > 1]
        found = {
            "languages": len(codes),
            "languages_improved": int((counted.gain[codes] > 0).sum()),
            "languages_improved_significantly": int((significant[codes] > 0).sum()),
            "languages_worse": int((counted.gain[codes] < 0).sum()),
            "languages_worse_significantly": int((significant[codes] < 0).sum()),
            "mean_gain_bits_per_byte": bits.mean() if len(bits) else None,
            **mean_gain(mine, *unit),
        }
        for field, value in found.items():
            same(f"{name} {field}", one[field], value)
    print(f"{len(shown)} rows of scripts equal to 1e-9")
