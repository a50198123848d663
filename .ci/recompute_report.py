"""Recomputes report.json from the runs' evaluation files in plain pandas, without mswitch's code.

Usage: recompute_report.py REPORT_DIR --baseline RUN... --candidate RUN... [--languages N]

Losses, gains, bits per byte, step speed-ups and every count must be equal to 1e-6. Intervals and
verdicts are resampled with another seed, so they agree up to chance: ends within a tenth of the
interval's width in the median language, counts within three languages.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

RESAMPLES, SEED = 2000, 20261125
COUNTS_MAY_DIFFER_BY = 3


def evaluations(run: Path) -> pd.DataFrame:
    """Returns all rows of all evaluations of a run."""
    files = (run / "evaluation").glob("step=*.parquet")
    return pd.concat(
        pd.read_parquet(path).assign(step=int(path.stem.split("=")[1])) for path in files
    )


def curves(runs: list[pd.DataFrame], amount: str, size: str) -> pd.DataFrame:
    """Returns losses as mean over runs, one row per step and one column per language."""
    each = []
    for run in runs:
        sums = run.groupby(["step", "language"])[[amount, size]].sum()
        each.append((sums[amount] / sums[size]).unstack())
    return sum(each) / len(each)


def step_speedup(baseline: pd.Series, candidate: pd.Series) -> float | None:
    """Returns the baseline's last step ÷ the candidate's interpolated first step at its loss."""
    target, before = baseline.iloc[-1], None
    for step, loss in candidate.items():
        if loss <= target:
            if before is None:
                step = candidate.index[candidate.index > 0][0]
            else:
                share = (before[1] - target) / (before[1] - loss)
                step = before[0] + share * (step - before[0])
            return baseline.index[-1] / step
        before = step, loss
    return None


def scored(sides: list[list[pd.DataFrame]], size: str) -> list[list[pd.DataFrame]]:
    """Returns the pages on which every run has a scored token, ordered by address."""
    tables = [[run.sort_values("url") for run in runs] for runs in sides]
    counts = np.all([run[size].to_numpy() > 0 for runs in tables for run in runs], axis=0)
    return [[run[counts] for run in runs] for runs in tables]


def interval(sides: list[list[pd.DataFrame]], amount: str, size: str) -> tuple[float, float, float]:
    """Returns the bootstrap's 95% interval and p-value for the last evaluations of one language."""
    pages, rng = len(sides[0][0]), np.random.default_rng(SEED)
    drawn = rng.integers(pages, size=(RESAMPLES, pages))
    losses = []
    for runs in sides:
        sums = np.stack([run[amount].to_numpy()[drawn].sum(axis=1) for run in runs])
        chosen = rng.integers(len(runs), size=(len(runs), RESAMPLES))
        mean = np.take_along_axis(sums, chosen, axis=0).mean(axis=0)
        losses.append(mean / runs[0][size].to_numpy()[drawn].sum(axis=1))
    gains = losses[0] - losses[1]
    totals = [
        np.array([run[amount].sum() / run[size].sum() for run in runs if len(runs) > 1])
        for runs in sides
    ]
    between = [total.var(ddof=1) / total.size if total.size else 0.0 for total in totals]
    lost = sum(part / total.size for part, total in zip(between, totals, strict=True) if part)
    of_pages = max(gains.var(ddof=1) - sum(between) + lost, 0) * pages / (pages - 1)
    error = math.sqrt(of_pages + sum(between))
    if not error:
        return *np.quantile(gains, [0.025, 0.975]), float(gains.mean() == 0)
    free = of_pages**2 / (pages - 1)
    free += sum(b**2 / (t.size - 1) for b, t in zip(between, totals, strict=True) if b)
    free = error**4 / free
    gain = gains.mean()
    stretch = stats.t.isf(0.025, free) / stats.norm.isf(0.025) * error / gains.std(ddof=1)
    ends = gain + stretch * (np.quantile(gains, [0.025, 0.975]) - gain)
    return *ends, 2 * stats.t.sf(abs(gain) / error, free)


def beyond_noise(p_values: pd.Series) -> set[str]:
    """Returns the findings of Benjamini and Hochberg at 5%."""
    ordered = p_values.sort_values()
    passed = ordered <= 0.05 * np.arange(1, len(ordered) + 1) / len(ordered)
    return set(ordered.index[: passed.to_numpy().nonzero()[0].max(initial=-1) + 1])


def same(name: str, shown: float | None, found: float | None) -> None:
    """Exits with a message unless the report shows the recomputed value."""
    if (shown is None) != (found is None) or (
        found is not None and not math.isclose(shown, found, rel_tol=1e-6, abs_tol=1e-9)
    ):
        sys.exit(f"{name}: the report shows {shown}, recomputed {found}")


def main(arguments: list[str]) -> None:
    """Recomputes the report, compares it and prints the values that were compared."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("--baseline", type=Path, nargs="+", required=True)
    parser.add_argument("--candidate", type=Path, nargs="+", required=True)
    parser.add_argument("--languages", type=int, help="number of languages to expect")
    parsed = parser.parse_args(arguments)
    report = json.loads((parsed.report / "report.json").read_text())
    for name in ("index.html", "report.md"):
        assert (parsed.report / name).stat().st_size > 1000, name
    sides = [[evaluations(run) for run in runs] for runs in (parsed.baseline, parsed.candidate)]
    for run in (run for runs in sides for run in runs):
        run["loss_bits"] = run.loss_nats / math.log(2)
    nats, bits = ("loss_nats", "target_tokens"), ("loss_bits", "text_bytes")
    unit = nats if report["unit"] == "nats per token" else bits
    in_nats, in_bits = ([curves(runs, *each) for runs in sides] for each in (nats, bits))
    compared = in_nats if unit == nats else in_bits
    last = [[run[run.step == run.step.max()] for run in runs] for runs in sides]
    rows = []
    for code, shown in report["languages"].items():
        for at, side in enumerate(("baseline", "candidate")):
            same(f"{code} nats", shown[f"loss_nats_{side}"], in_nats[at][code].iloc[-1])
            same(f"{code} bits", shown[f"bits_per_byte_{side}"], in_bits[at][code].iloc[-1])
        gain = compared[0][code].iloc[-1] - compared[1][code].iloc[-1]
        field = "gain_nats" if unit == nats else "gain_bits_per_byte"
        same(f"{code} gain", shown[field], gain)
        trained = all(curve.index[-1] > 0 for curve in compared)
        speedup = step_speedup(compared[0][code], compared[1][code]) if trained else None
        same(f"{code} speed-up", shown["step_speedup"], speedup)
        bound = compared[0].index[-1] / compared[1].index[-1] if trained else None
        same(f"{code} bound", shown["step_speedup_bound"], bound)
        mine = scored([[run[run.language == code] for run in runs] for runs in last], unit[1])
        same(f"{code} pages", shown["held_out_pages"], len(mine[0][0]))
        low, high, p_value = interval(mine, *unit) if len(mine[0][0]) > 1 else (None, None, None)
        rows.append(
            {"code": code, "gain": gain, "speedup": speedup, "bound": bound, "p_value": p_value}
            | {"low": low, "high": high, "variant": code.endswith("-Latn")}
            | {"shown_low": shown[f"{field}_low"], "shown_high": shown[f"{field}_high"]}
        )
    table = pd.DataFrame(rows).set_index("code")
    compare_summary(table, report["summary"], parsed.languages)


def compare_summary(table: pd.DataFrame, summary: dict[str, float], languages: int | None) -> None:
    """Compares counts, speed-ups and intervals over languages, script variants left out."""
    counted = table[~table.variant]
    found = beyond_noise(counted.p_value.dropna().astype(float))
    significant = counted[counted.index.isin(found)]
    exact = {
        "languages": len(counted),
        "languages_improved": int((counted.gain > 0).sum()),
        "languages_worse": int((counted.gain < 0).sum()),
    }
    if counted.bound.notna().all():
        at_bound = counted.speedup.astype(float).fillna(counted.bound.astype(float))
        exact |= {
            "languages_not_reached": int(counted.speedup.isna().sum()),
            "median_step_speedup": float(at_bound.median()),
            "mean_step_speedup": float(at_bound.mean()),
            "share_step_speedup_at_least_4": float((counted.speedup.astype(float) >= 4).mean()),
        }
    by_chance = {
        "languages_improved_significantly": int((significant.gain > 0).sum()),
        "languages_worse_significantly": int((significant.gain < 0).sum()),
    }
    for name, value in exact.items():
        same(name, summary[name], value)
    for name, value in by_chance.items():
        if abs(summary[name] - value) > COUNTS_MAY_DIFFER_BY:
            sys.exit(f"{name}: the report shows {summary[name]}, resampled {value}")
    if languages not in (None, len(counted)):
        sys.exit(f"{languages} languages were expected, the report holds {len(counted)}")
    drawn = counted.dropna(subset=["low"]).astype({"low": float, "shown_low": float})
    width = (drawn.shown_high - drawn.shown_low).astype(float)
    apart = (drawn.low - drawn.shown_low).abs() + (drawn.high - drawn.shown_high).abs().astype(
        float
    )
    share = float((apart / 2 / width.where(width > 0)).median()) if len(drawn) else 0.0
    if share > 0.1:
        sys.exit(f"resampled intervals lie {share:.0%} of their width apart")
    for name, value in (exact | by_chance).items():
        print(f"{name:38} report {summary[name]:<12.6g} recomputed {value:.6g}")
    print(f"{len(table)} rows equal to 1e-6; intervals {share:.1%} of their width apart (median)")


if __name__ == "__main__":
    main(sys.argv[1:])
