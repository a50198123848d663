"""The evaluations of a side's runs, read with pandas alone."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd


class Side(list[dict[int, pd.DataFrame]]):
    """Per seed the rows of each point of the curve, by step."""

    of_ends = False  # whether points are the ends of runs of several lengths


Unit = tuple[str, str]  # columns of amounts and of sizes
NATS, BITS = ("loss_nats", "target_tokens"), ("loss_bits", "text_bytes")


def unit_of(shown: dict) -> Unit:
    """Returns the unit of the gains of a report or of a further model."""
    return NATS if shown["unit"] == "nats per token" else BITS


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
        return Side(read)
    seeds: dict[int, dict[int, pd.DataFrame]] = {}
    for run, one in zip(runs, read, strict=True):
        seed = json.loads((run / "recipe.json").read_text())["recipe"]["seed"]
        seeds.setdefault(seed, {})[max(one)] = one[max(one)]
    longest = max(max(one) for one in seeds.values())
    order = [seed for seed, one in seeds.items() if longest in one]
    found = Side(dict(sorted(seeds[seed].items())) for seed in order)
    found.of_ends = True
    return found


def last(one: Side) -> list[pd.DataFrame]:
    """Returns the rows of the last point, one table per seed."""
    return [points[max(points)] for points in one]


def curves(one: Sequence[dict[int, pd.DataFrame]], amount: str, size: str) -> pd.DataFrame:
    """Returns losses as mean over runs, one row per step and one column per language."""
    each = []
    for run in one:
        sums = {step: rows.groupby("language")[[amount, size]].sum() for step, rows in run.items()}
        each.append(pd.DataFrame({step: of[amount] / of[size] for step, of in sums.items()}).T)
    return sum(each) / len(each)


def has_speedup(sides: list[Side]) -> bool:
    """Returns whether curves of two points or more compare: all within one run, or all of ends."""
    several = all(sum(at > 0 for at in one[0]) > 1 for one in sides)
    return several and len({one.of_ends for one in sides}) == 1


def longest(runs: list[Path]) -> list[Path]:
    """Returns the runs of the greatest length, by their last evaluation."""
    last_step = {
        run: max(
            int(path.stem.split("=")[1]) for path in (run / "evaluation").glob("step=*.parquet")
        )
        for run in runs
    }
    return [run for run in runs if last_step[run] == max(last_step.values())]


def without_variants(sides: list[Side]) -> list[list[pd.DataFrame]]:
    """Returns the last rows of the languages, script variants left out."""
    return [[_counted(rows) for rows in last(one)] for one in sides]


def at_step(sides: list[Side], step: int) -> list[list[pd.DataFrame]]:
    """Returns the rows of a point, script variants left out."""
    return [[_counted(points[step]) for points in one] for one in sides]


def _counted(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[~rows.language.str.endswith("-Latn")]
