"""Recomputes report.json from the runs' evaluation files in plain pandas, without mswitch's code.

Usage: recompute_report.py REPORT_DIR --baseline RUN... --candidate RUN... [--student RUN...]
                           [--also NAME=RUN...] [--languages N]
                           [--baseline-tasks RUN... --candidate-tasks RUN...] [--step-times DIR]

Losses, gains, bits per byte, intervals, p-values and step speed-ups must be equal to 1e-9, counts
and verdicts exactly. Standard errors are computed by leaving out one page at a time.
"""

import argparse
import json
import sys
from pathlib import Path

from recompute_contents import check_names, compare_contents
from recompute_gains import mean_gain
from recompute_languages import compare_languages, compare_means, compare_summary
from recompute_models import compare_further, compare_pruned, compare_students
from recompute_nulls import compare_null
from recompute_runs import compare_lengths, compare_runs
from recompute_scripts import compare_scripts
from recompute_sides import longest, side, unit_of, without_variants
from recompute_statistics import same
from recompute_tasks import compare_sentences, compare_tasks
from recompute_times import compare_times
from recompute_trade import compare_trade, networks


def verdict_of(report: dict, found: dict[str, float | None], runs: list[int]) -> str:
    """Returns the verdict."""
    baseline, candidate = (report[which]["name"] for which in ("baseline", "candidate"))
    if found["mean_gain"] is None:
        return "Nothing can be told: no language has two held-out pages."
    fields = [one["field"] for one in report["differences"]]
    more = " and more" if len(fields) > 2 else ""
    differ = f" differ in {', '.join(fields[:2])}{more} too" if fields else ""
    if min(runs) == 1:
        of = " per side" if max(runs) == 1 else f" of {(baseline, candidate)[runs.index(1)]}"
        told = f"Whether {candidate} is better than {baseline} cannot be told from one seed{of}"
        return f"{told}{differ and ', in runs that' + differ}."
    if found["mean_gain_low"] <= 0 <= found["mean_gain_high"]:
        return f"No difference between {baseline} and {candidate} was detected."
    word = "better" if found["mean_gain"] > 0 else "worse"
    weak = " in these runs" if fields else ""
    return f"{candidate} is {word} than {baseline}{weak}{differ and ', which' + differ}."


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
    parser.add_argument("--step-times", type=Path, help="what mswitch time wrote")
    parser.add_argument("--languages", type=int, help="number of languages to expect")
    parsed = parser.parse_args(arguments)
    report = json.loads((parsed.report / "report.json").read_text())
    for name in ("index.html", "report.md"):
        assert (parsed.report / name).stat().st_size > 1000, name
    # The verdict is of the network that is named first on each side.
    both = [networks(runs)[0] for runs in (parsed.baseline, parsed.candidate)]
    sides = [side(runs) for runs in both]
    unit = unit_of(report)
    table = compare_languages(report["languages"], sides, unit)
    compare_summary(table, report["summary"], parsed.languages)
    speedup = compare_means("the", report["summary"], sides, unit)
    compare_times(report["step_times"], parsed.step_times, speedup)
    means = mean_gain(without_variants(sides), *unit)
    for name, found in means.items():
        same(name, report["summary"][name], found)
    verdict = verdict_of(report, means, [len(one) for one in sides])
    if report["verdict"] != verdict:
        sys.exit(f"the report's verdict is {report['verdict']!r}, recomputed {verdict!r}")
    print(f"mean gain equal to 1e-9; verdict: {verdict}")
    compare_runs(report.get("runs"), report, without_variants(sides), unit)
    compare_lengths(report, sides, unit)
    compare_contents(report, sides)
    for null in report["nulls"]:
        at = 0 if null["name"] == report["baseline"]["name"] else 1
        seeds = report[("baseline", "candidate")[at]]["seeds"]
        compare_null(null, sides[at], seeds, unit)
    print(f"interval of the mean speed-up, {len(report['nulls'])} null comparisons equal to 1e-9")
    compare_students(report["students"], sides, parsed.student)
    compare_scripts(report, table, sides, *unit)
    further = [one["name"] for one in report["further"]]
    check_names("further models", [word.partition("=")[0] for word in parsed.also], further)
    compare_further(report, sides, parsed.also)
    compare_pruned(report, both[1], parsed.also)
    compare_trade(report, parsed.baseline, parsed.candidate)
    compare_tasks(report, parsed.baseline_tasks, parsed.candidate_tasks)
    compare_sentences(report, *map(longest, both))


if __name__ == "__main__":
    main(sys.argv[1:])
