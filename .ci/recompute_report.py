"""Recomputes report.json from the runs' evaluation files in plain pandas, without mswitch's code.

Usage: recompute_report.py REPORT_DIR --baseline RUN... --candidate RUN... [--student RUN...]
                           [--also NAME=RUN...] [--languages N]
                           [--baseline-tasks RUN... --candidate-tasks RUN...]

Losses, gains, bits per byte, intervals, p-values and step speed-ups must be equal to 1e-9, counts
and verdicts exactly. Standard errors are computed by leaving out one page at a time.
"""

import argparse
import itertools
import json
import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from recompute_statistics import adjusted, put_together, same
from recompute_tasks import compare_sentences, compare_tasks
from scipy import stats

Side = list[dict[int, pd.DataFrame]]  # per seed: rows of each point of the curve, by step


def evaluations(run: Path) -> dict[int, pd.DataFrame]:
    """Returns the rows of each evaluation of a run, by step, ordered by language and address."""
    files = (run / "evaluation").glob("step=*.parquet")
    found = {int(path.stem.split("=")[1]): pd.read_parquet(path) for path in files}
    return {
        step: rows.sort_values(["language", "url"], ignore_index=True).assign(
            loss_bits=lambda table: table.loss_nats / math.log(2)
        )
        for step, rows in sorted(found.items())
    }


def side(runs: list[Path]) -> Side:
    """Returns a side's curves: of evaluations, or of final ones where runs have several lengths."""
    read = [evaluations(run) for run in runs]
    if len({max(one) for one in read}) == 1:
        return read
    seeds: dict[int, dict[int, pd.DataFrame]] = {}
    for run, one in zip(runs, read, strict=True):
        seed = json.loads((run / "recipe.json").read_text())["recipe"]["seed"]
        seeds.setdefault(seed, {})[max(one)] = one[max(one)]
    longest = max(max(one) for one in seeds.values())
    order = [seed for seed, one in seeds.items() if longest in one]
    return [dict(sorted(seeds[seed].items())) for seed in order]


def last(one: Side) -> list[pd.DataFrame]:
    """Returns the rows of the last point, one table per seed."""
    return [points[max(points)] for points in one]


def curves(one: Side, amount: str, size: str) -> pd.DataFrame:
    """Returns losses as mean over runs, one row per step and one column per language."""
    each = []
    for run in one:
        sums = {step: rows.groupby("language")[[amount, size]].sum() for step, rows in run.items()}
        each.append(pd.DataFrame({step: of[amount] / of[size] for step, of in sums.items()}).T)
    return sum(each) / len(each)


def log_speedup(baseline: dict[int, float], candidate: dict[int, float]) -> float:
    """Returns the log of the speed-up; negative where the candidate ends worse."""
    baseline, candidate = ({s: c[s] for s in sorted(c) if s > 0} for c in (baseline, candidate))
    ours, theirs = candidate[max(candidate)], baseline[max(baseline)]
    if ours == theirs:
        return (log_saved(baseline, candidate) - log_saved(candidate, baseline)) / 2
    return log_saved(baseline, candidate) if ours < theirs else -log_saved(candidate, baseline)


def log_saved(baseline: dict[int, float], candidate: dict[int, float]) -> float:
    """Returns the log of the baseline's steps minus that of the candidate's to its final loss."""
    target, steps = baseline[max(baseline)], list(candidate)
    reached, segment = math.log(steps[0]), math.log(steps[1] / steps[0])
    if (first := candidate[steps[0]]) < target:  # extrapolated by at most one segment
        fall = first - candidate[steps[1]]
        reached -= segment * (min((target - first) / fall, 1) if fall > 0 else 1)
    for one, other in itertools.pairwise(steps):
        above, below = sorted((candidate[one], candidate[other]), reverse=True)
        if below > target:
            reached += math.log(other / one)
        elif above > target:
            reached += math.log(other / one) * (above - target) / (above - below)
    return math.log(max(baseline)) - reached


def mean_speedup(sides: list[Side], amount: str, size: str) -> tuple[float, float, float]:
    """Returns mean, standard error and degrees of freedom of the log speed-ups, by jackknife."""
    keep = np.all([rows[size] > 0 for one in sides for rows in last(one)], axis=0)
    keep &= ~last(sides[0])[0].language.str.endswith("-Latn").to_numpy()
    names = last(sides[0])[0].language[keep].to_numpy()
    tables = [
        {s: np.stack([run[s][amount][keep].to_numpy() for run in one]) for s in one[0]}
        for one in sides
    ]
    sizes = [last(one)[0][size][keep].to_numpy(float) for one in sides]
    languages = list(dict.fromkeys(names))
    places = {code: np.flatnonzero(names == code) for code in languages}

    def of(code: str, drop: int | None = None, run: tuple[int, int] | None = None) -> float:
        pages = [at for at in places[code] if at != drop]
        both = []
        for which, (table, size_of) in enumerate(zip(tables, sizes, strict=True)):
            rest = [r for r in range(len(sides[which])) if (which, r) != run]
            count = size_of[pages].sum() * len(rest)
            both.append({s: rows[np.ix_(rest, pages)].sum() / count for s, rows in table.items()})
        return log_speedup(*both)

    each = {code: of(code) for code in languages}
    mean, count = sum(each.values()) / len(each), len(each)
    if min(map(len, places.values())) < 2:
        return mean, math.nan, math.nan
    of_pages = sum(
        (len(places[code]) - 1) / len(places[code]) * (of(code, drop=at) - each[code]) ** 2
        for code in languages
        for at in places[code]
    )
    of_runs = []
    for which, one in enumerate(sides):
        if (runs := len(one)) > 1:
            means = [sum(of(c, run=(which, r)) for c in languages) / count for r in range(runs)]
            of_runs.append(((runs - 1) / runs * sum((m - mean) ** 2 for m in means), runs - 1))
    return mean, *put_together(of_pages / count**2, len(names) - count, of_runs)


def scored(sides: list[list[pd.DataFrame]], size: str) -> list[list[pd.DataFrame]]:
    """Returns the pages on which every run has a scored token."""
    counts = np.all([run[size].to_numpy() > 0 for runs in sides for run in runs], axis=0)
    return [[run[counts] for run in runs] for runs in sides]


def without_each_page(runs: list[pd.DataFrame], amount: str, size: str) -> np.ndarray:
    """Returns by how much a run's loss moves without a page, one row per run."""
    amounts, sizes = (
        np.stack([run[name].to_numpy(float) for run in runs]) for name in (amount, size)
    )
    sums, counts = amounts.sum(axis=1, keepdims=True), sizes.sum(axis=1, keepdims=True)
    return (sums - amounts) / (counts - sizes) - sums / counts


def between_runs(runs: list[pd.DataFrame], moved: np.ndarray, amount: str, size: str) -> float:
    """Returns the variance of the mean over runs, without the interaction of runs and pages."""
    count, pages = moved.shape
    if count == 1:
        return 0.0
    losses = np.array([run[amount].sum() / run[size].sum() for run in runs])
    rest = ((moved - moved.mean(axis=0)) ** 2).sum() * (pages - 1) / pages / (count - 1)
    return max(losses.var(ddof=1) - rest, 0.0) / count


def error(factors: list[float], sides: list[list[pd.DataFrame]], *unit: str) -> tuple[float, float]:
    """Returns standard error and degrees of freedom of a sum of the sides' losses times factors."""
    moved = [without_each_page(runs, *unit) for runs in sides]
    pages = moved[0].shape[1]
    together = sum(f * one.mean(axis=0) for f, one in zip(factors, moved, strict=True))
    of_pages = (together**2).sum() * (pages - 1) / pages
    of_runs = [
        f**2 * between_runs(runs, one, *unit)
        for f, runs, one in zip(factors, sides, moved, strict=True)
    ]
    free = [(v, len(runs) - 1) for v, runs in zip(of_runs, sides, strict=True) if v]
    return put_together(of_pages, pages - 1, free)


def interval(
    sides: list[list[pd.DataFrame]], gain: float, *unit: str
) -> tuple[float, float, float]:
    """Returns the 95% interval of a gain and its p-value, for the pages of one language."""
    size, free = error([1, -1], sides, *unit)
    wide = stats.t.ppf(0.975, free) * size
    p_value = 2 * stats.t.cdf(-abs(gain) / size, free) if size else float(gain == 0)
    return gain - wide, gain + wide, p_value


def mean_gain(sides: list[list[pd.DataFrame]], *unit: str) -> dict[str, float | None]:
    """Returns the mean gain over the languages with two scored pages, and its interval."""
    amount, size = unit
    each, pages, free, parts = [], [], [], []
    for code in sorted(set(sides[0][0].language)):
        mine = scored([[r[r.language == code] for r in runs] for runs in sides], size)
        if len(mine[0][0]) < 2:
            continue
        losses = [[r[amount].sum() / r[size].sum() for r in runs] for runs in mine]
        moved = [without_each_page(runs, *unit) for runs in mine]
        count = len(mine[0][0])
        scale = (count - 1) / count
        each.append(losses)
        pages.append((((moved[0].mean(axis=0) - moved[1].mean(axis=0)) ** 2).sum()) * scale)
        free.append(count - 1)
        parts.append([((m - m.mean(axis=0)) ** 2).sum() * scale for m in moved])
    names = ("mean_gain", "mean_gain_low", "mean_gain_high")
    if not each:
        return dict.fromkeys(names)
    languages, of_runs, means = len(each), [], []
    for at in (0, 1):
        by_run = np.mean([losses[at] for losses in each], axis=0)
        means.append(by_run.mean())
        if (count := len(by_run)) > 1:
            rest = sum(part[at] for part in parts) / languages**2 / (count - 1)
            variance = max(by_run.var(ddof=1) - rest, 0.0) / count
            of_runs += [(variance, count - 1)] if variance else []
    wide, freedom = put_together(sum(pages) / languages**2, sum(free), of_runs)
    half, mean = stats.t.ppf(0.975, freedom) * wide, means[0] - means[1]
    return dict(zip(names, (mean, mean - half, mean + half), strict=True))


def verdict_of(report: dict, found: dict[str, float | None], runs: list[int]) -> str:
    """Returns the verdict."""
    baseline, candidate = (report[which]["name"] for which in ("baseline", "candidate"))
    if found["mean_gain"] is None:
        return "Nothing can be told: no language has two held-out pages."
    if found["mean_gain_low"] <= 0 <= found["mean_gain_high"]:
        return f"No difference between {baseline} and {candidate} that could be told."
    word = "better" if found["mean_gain"] > 0 else "worse"
    single = " in these runs; other seeds may differ" if min(runs) == 1 else ""
    return f"{candidate} is {word} than {baseline}{single}."


def kept(sides: list[list[pd.DataFrame]]) -> tuple[float, float, float] | tuple[None, None, None]:
    """Returns the share of the teacher's gain that the student keeps, and Fieller's interval."""
    unit = "loss_nats", "target_tokens"
    losses = [sum(r.loss_nats.sum() for r in one) / len(one) for one in sides]
    losses = [loss / one[0].target_tokens.sum() for loss, one in zip(losses, sides, strict=True)]
    gain, student = losses[0] - losses[1], losses[0] - losses[2]
    sides = scored(sides, "target_tokens")
    if gain <= 0 or len(sides[0][0]) < 2:
        return None, None, None
    ratio = student / gain
    t = stats.t.ppf(0.975, error([1 - ratio, ratio, -1], sides, *unit)[1])
    # The set is where (student - r gain)^2 <= t^2 Var: a parabola, through three of its points.
    points = np.array([-1.0, 0.0, 1.0])
    sizes = [error([1 - r, r, -1], sides, *unit)[0] for r in points]
    parabola = np.polyfit(points, (student - points * gain) ** 2 - (t * np.array(sizes)) ** 2, 2)
    if error([1, -1, 0], sides, *unit)[0] * t >= gain:
        return None, None, None
    low, high = sorted(np.roots(parabola).real.tolist())
    return ratio, low, high


def without_variants(sides: list[Side]) -> list[list[pd.DataFrame]]:
    """Returns the last rows of the languages, script variants left out."""
    return [[rows[~rows.language.str.endswith("-Latn")] for rows in last(one)] for one in sides]


def compare_students(students: list[dict], sides: list[Side], runs: list[Path]) -> None:
    """Compares the share that each student keeps, overall and per language."""
    by_name: dict[str, list[Path]] = {}
    for run in runs:
        name = json.loads((run / "recipe.json").read_text())["recipe"]["name"]
        by_name.setdefault(name, []).append(run)
    ends = ("gain_retained", "gain_retained_low", "gain_retained_high")
    for shown in students if runs else []:
        three = [*sides, side(by_name[shown["name"]])]
        parts = {"overall": (shown["overall"], without_variants(three))}
        for code, row in shown["languages"].items():
            parts[code] = row, [[r[r.language == code] for r in last(one)] for one in three]
        for code, (row, rows) in parts.items():
            for name, found in zip(ends, kept(rows), strict=True):
                same(f"{shown['name']} {code} {name}", row[name], found)
        print(f"{shown['name']}: {len(parts)} shares kept equal to 1e-9")


def compare_means(name: str, summary: dict, sides: list[Side], unit: tuple[str, str]) -> None:
    """Compares the mean speed-up and its interval."""
    if summary["mean_step_speedup"] is None:
        return
    mean, size, free = mean_speedup(sides, *unit)
    same(f"{name} mean speed-up", summary["mean_step_speedup"], math.exp(mean))
    known = not math.isnan(size)
    for end, sign in (("low", -1), ("high", 1)):
        found = math.exp(mean + sign * stats.t.ppf(0.975, free) * size) if known else None
        same(f"{name} speed-up {end}", summary[f"mean_step_speedup_{end}"], found)


def compare_null(null: dict, one: Side, seeds: list[int], unit: tuple[str, str]) -> None:
    """Compares one side's halves, as far as the report shows them."""
    halves = [
        [one[seeds.index(seed)] for seed in null[f"{which}_seeds"]]
        for which in ("baseline", "candidate")
    ]
    compared = [curves(half, *unit) for half in halves]
    rows = []
    for code, shown in null["languages"].items():
        gain = compared[0][code].iloc[-1] - compared[1][code].iloc[-1]
        same(f"null {code} gain", shown["gain"], gain)
        mine = scored([[r[r.language == code] for r in last(half)] for half in halves], unit[1])
        p_value = interval(mine, gain, *unit)[2] if len(mine[0][0]) > 1 else None
        rows.append({"code": code, "gain": gain, "p_value": p_value})
    table = pd.DataFrame(rows).set_index("code")
    counted = table[~table.index.str.endswith("-Latn")]
    same("null better", null["summary"]["languages_improved"], int((counted.gain > 0).sum()))
    tested = adjusted(counted.p_value.dropna().astype(float))
    found = counted.loc[tested.index[tested < 0.05]]
    for name, sign in (("improved", 1), ("worse", -1)):
        shown = null["summary"][f"languages_{name}_significantly"]
        same(f"null {name}", shown, int((sign * found.gain > 0).sum()))
    compare_means("null", null["summary"], halves, unit)


def compare_languages(
    languages: dict[str, dict], sides: list[Side], unit: tuple[str, str]
) -> pd.DataFrame:
    """Compares losses, gains, speed-ups and intervals of each language; returns what was found."""
    nats, bits = ("loss_nats", "target_tokens"), ("loss_bits", "text_bytes")
    in_nats, in_bits = ([curves(one, *each) for one in sides] for each in (nats, bits))
    compared = in_nats if unit == nats else in_bits
    rows = []
    for code, shown in languages.items():
        for at, name in enumerate(("baseline", "candidate")):
            same(f"{code} nats", shown[f"loss_nats_{name}"], in_nats[at][code].iloc[-1])
            same(f"{code} bits", shown[f"bits_per_byte_{name}"], in_bits[at][code].iloc[-1])
        gain = compared[0][code].iloc[-1] - compared[1][code].iloc[-1]
        field = "gain_nats" if unit == nats else "gain_bits_per_byte"
        same(f"{code} gain", shown[field], gain)
        trained = all((curve.index > 0).sum() > 1 for curve in compared)
        both = [dict(curve[code]) for curve in compared]
        speedup = math.exp(log_speedup(*both)) if trained else None
        same(f"{code} speed-up", shown["step_speedup"], speedup)
        mine = scored([[r[r.language == code] for r in last(one)] for one in sides], unit[1])
        same(f"{code} pages", shown["held_out_pages"], len(mine[0][0]))
        several = len(mine[0][0]) > 1
        low, high, p_value = interval(mine, gain, *unit) if several else (None, None, None)
        same(f"{code} low", shown[f"{field}_low"], low)
        same(f"{code} high", shown[f"{field}_high"], high)
        rows.append(
            {"code": code, "gain": gain, "speedup": speedup, "p_value": p_value}
            | {"variant": code.endswith("-Latn"), "shown": shown["p_value_adjusted"]}
        )
    return pd.DataFrame(rows).set_index("code")


def compare_losses(losses: dict[str, dict], one: Side) -> None:
    """Compares a model's final losses and their intervals."""
    units = {
        "loss_nats": ("loss_nats", "target_tokens"),
        "bits_per_byte": ("loss_bits", "text_bytes"),
    }
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


def compare_further(report: dict, sides: list[Side], also: list[str]) -> None:
    """Compares the further models: their losses, and their gains over the baseline."""
    runs: dict[str, list[Path]] = {}
    for word in also:
        name, _, run = word.partition("=")
        runs.setdefault(name, []).append(Path(run))
    models = dict(zip((report[at]["name"] for at in ("baseline", "candidate")), sides, strict=True))
    for shown in report["further"]:
        models[shown["name"]] = one = side(runs[shown["name"]])
        in_nats = shown["unit"] == "nats per token"
        unit = ("loss_nats", "target_tokens") if in_nats else ("loss_bits", "text_bytes")
        both = [sides[0], one]
        compare_summary(compare_languages(shown["languages"], both, unit), shown["summary"], None)
        compare_means(shown["name"], shown["summary"], both, unit)
        for name, found in mean_gain(without_variants(both), *unit).items():
            same(f"{shown['name']} {name}", shown["summary"][name], found)
    for name, losses in report["losses"].items():
        compare_losses(losses, models[name])
        print(f"{name}: losses of {len(losses)} languages and their intervals equal to 1e-9")


def compare_pruned(report: dict, candidate: Side, also: list[str]) -> None:
    """Compares what pruned models lost against the candidate, in their languages and in others."""
    named: dict[str, list[Path]] = {}
    for word in also:
        name, _, run = word.partition("=")
        named.setdefault(name, []).append(Path(run))
    unit = "loss_nats", "target_tokens"
    for shown in report["pruned"]:
        about = json.loads((named[shown["name"]][0] / "recipe.json").read_text())
        facts = about["pruned"]["languages"], about["pruned"]["experts"]
        assert (shown["languages"], shown["experts_before"]) == facts
        assert shown["experts"] == about["recipe"]["model"]["switch"]["experts"]
        both = side(named[shown["name"]]), candidate
        ours, theirs = (curves(of, *unit).iloc[-1] for of in both)
        lost = ours - theirs
        for code, value in shown["lost_nats"].items():
            same(f"{shown['name']} {code} lost_nats", value, lost[code])
        own = lost.index.isin(shown["languages"])
        for name, part in (("lost_in_own", lost[own]), ("lost_in_others", lost[~own])):
            same(f"{shown['name']} {name}", shown[name], part.mean() if len(part) else None)
        print(f"{shown['name']}: losses by share of experts kept equal to 1e-9")


def main(arguments: list[str]) -> None:
    """Recomputes the report, compares it and prints the values that were compared."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("--baseline", type=Path, nargs="+", required=True)
    parser.add_argument("--candidate", type=Path, nargs="+", required=True)
    parser.add_argument("--student", type=Path, nargs="+", default=[])
    parser.add_argument("--also", nargs="+", default=[], metavar="NAME=RUN")
    parser.add_argument("--baseline-tasks", type=Path, nargs="+", default=[])
    parser.add_argument("--candidate-tasks", type=Path, nargs="+", default=[])
    parser.add_argument("--languages", type=int, help="number of languages to expect")
    parsed = parser.parse_args(arguments)
    report = json.loads((parsed.report / "report.json").read_text())
    for name in ("index.html", "report.md"):
        assert (parsed.report / name).stat().st_size > 1000, name
    sides = [side(runs) for runs in (parsed.baseline, parsed.candidate)]
    nats, bits = ("loss_nats", "target_tokens"), ("loss_bits", "text_bytes")
    unit = nats if report["unit"] == "nats per token" else bits
    table = compare_languages(report["languages"], sides, unit)
    compare_summary(table, report["summary"], parsed.languages)
    compare_means("the", report["summary"], sides, unit)
    means = mean_gain(without_variants(sides), *unit)
    for name, found in means.items():
        same(name, report["summary"][name], found)
    verdict = verdict_of(report, means, [len(one) for one in sides])
    if report["verdict"] != verdict:
        sys.exit(f"the report's verdict is {report['verdict']!r}, recomputed {verdict!r}")
    print(f"mean gain equal to 1e-9; verdict: {verdict}")
    for null in report["nulls"]:
        at = 0 if null["name"] == report["baseline"]["name"] else 1
        seeds = report[("baseline", "candidate")[at]]["seeds"]
        compare_null(null, sides[at], seeds, unit)
    print(f"interval of the mean speed-up, {len(report['nulls'])} null comparisons equal to 1e-9")
    compare_students(report["students"], sides, parsed.student)
    if "further" in report:  # reports published before they had further models do not
        compare_further(report, sides, parsed.also)
    if "pruned" in report:  # nor do they have pruned models
        compare_pruned(report, sides[1], parsed.also)
    if "tasks" in report:
        compare_tasks(report, parsed.baseline_tasks, parsed.candidate_tasks)
        compare_sentences(report, longest(parsed.baseline), longest(parsed.candidate))


def longest(runs: list[Path]) -> list[Path]:
    """Returns the runs of the greatest length, by their last evaluation."""
    last_step = {
        run: max(
            int(path.stem.split("=")[1]) for path in (run / "evaluation").glob("step=*.parquet")
        )
        for run in runs
    }
    return [run for run in runs if last_step[run] == max(last_step.values())]


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
    }
    if counted.speedup.notna().all():
        speedups = counted.speedup.astype(float)
        exact |= {
            "languages_not_reached": int((speedups < 1).sum()),
            "median_step_speedup": float(np.exp(np.log(speedups).median())),
            "mean_step_speedup": float(np.exp(np.log(speedups).mean())),
            "share_step_speedup_at_least_4": float((speedups >= 4).mean()),
        }
    for name, value in exact.items():
        same(name, summary[name], value)
    if languages not in (None, len(counted)):
        sys.exit(f"{languages} languages were expected, the report holds {len(counted)}")
    for name, value in exact.items():
        print(f"{name:38} report {summary[name]:<12.6g} recomputed {value:.6g}")
    print(f"{len(table)} rows equal to 1e-9, intervals and p-values too")


if __name__ == "__main__":
    main(sys.argv[1:])
