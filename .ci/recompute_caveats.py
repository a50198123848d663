"""What a reader of docs/results/long.md has to know beside its report, from the published files.

Usage: recompute_caveats.py [docs/results/long]

Prints intervals of other confidence, how often text was read, what the held-out pages are, and step
speed-ups by script. `experiments/held_out.py` makes the table of held-out pages.
"""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from recompute_runs import by_language, paired_ends
from recompute_sides import NATS, Side, at_step, side
from recompute_speedups import mean_speedup
from scipy import stats

LENGTHS = 7_936, 15_872, 31_744
RAW_TOKENS_PER_STEP = 128 * 78
# Held-out losses of mT5 after 3,968 steps with the former rate, seeds 0 to 3 (archive.md).
FORMER_RATE = 3.458, 3.404, 3.429, 3.426
KINDS = {
    "mediawiki_i18n": "messages of programs",
    "mozilla_www": "translations of one text",
    "gnome_help": "translations of one text",
    "opensource_guide": "translations of one text",
    "bitcoin_org": "translations of one text",
    "tico19": "translations of one text",
    "udhr": "translations of one text",
    "global_storybooks": "translations of one text",
    "contributor_covenant": "translations of one text",
    "bible_pd": "chapters of the Bible",
    "common_voice": "sentences to read aloud",
    "tatoeba": "example sentences",
    "wikipedia_android": "messages of programs",
    "mozilla_vpn": "messages of programs",
}


def main(folder: Path) -> None:
    """Prints every figure."""
    runs = folder / "runs"
    sides = [side(sorted(runs.glob(f"{name}-*/*"))) for name in ("mt5", "switch")]
    report = json.loads((folder / "report.json").read_text())
    scripts = pd.Series({code: one["script"] for code, one in report["languages"].items()})
    scripts = scripts[~scripts.index.str.endswith("-Latn")]
    print_intervals(sides)
    print_rate(sides[0])
    print_readings(report)
    print_held_out(pd.read_csv(folder / "held_out.csv", na_filter=False), sides)
    print_speedups(sides, scripts)


def print_intervals(sides: list[Side]) -> None:
    """Prints the paired intervals of 95 and 99 % after each length."""
    for step in LENGTHS:
        losses, pages, rests = by_language(at_step(sides, step), NATS)
        gains = np.subtract(*(np.mean([of[at] for of in losses], axis=0) for at in (0, 1)))
        for confidence in (0.95, 0.99):
            low, high = paired_ends(gains, pages, rests, confidence)
            print(f"{step} steps: {gains.mean():.4f}, {confidence:.0%} {low:.3f} to {high:.3f}")


def print_rate(mt5: Side) -> None:
    """Prints what the tuned rate gave mT5 after 3,968 steps; the seeds are others."""
    tuned = [means(run[3_968]).mean() for run in mt5]
    print(f"the rate gave mT5 {np.mean(FORMER_RATE) - np.mean(tuned):.4f} nats")


def means(rows: pd.DataFrame) -> pd.Series:
    """Returns nats per target token of each of the 101 languages."""
    sums = rows.groupby("language")[[*NATS]].sum()
    losses = sums.loss_nats / sums.target_tokens
    return losses[~losses.index.str.endswith("-Latn")]


def print_readings(report: dict) -> None:
    """Prints how often text was read at the end, from the tokens that a run read."""
    languages = pd.DataFrame(report["languages"]).T
    read, there = (
        languages[name].astype(float) for name in ("training_tokens_seen", "training_tokens")
    )
    times = (read / there).drop(index="hi-Latn")
    for one in (report["baseline"], report["candidate"]):
        trained = one["training_loss_nats"]
        print(f"{one['name']}: training loss {trained:.3f}")
    print(f"gain and amount of text: {report['summary']['gain_tokens_rank_correlation']:.2f}")
    print(f"repeats: {1 - np.minimum(read, there).sum() / read.sum():.1%} of the tokens read")
    print(f"readings: median {times.median():.1f}; {times.idxmax()} {times.max():.0f}")
    print(f"over 10 times: {(times > 10).sum()} languages; over 50: {(times > 50).sum()}")


def print_held_out(table: pd.DataFrame, sides: list[Side]) -> None:
    """Prints what the held-out pages are, and the gain after the last length on parts of them."""
    ends = at_step(sides, LENGTHS[-1])
    known = ends[0][0].merge(table, on=["language", "url"], how="left", validate="one_to_one")
    kinds = known.source.map(KINDS).fillna("other").value_counts(normalize=True)
    print(f"{len(known)} pages; {(known.training_pages > 0).mean():.1%} of documents trained on")
    print(f"shared strings: {known.shared.mean():.1%} in the mean of pages")
    print(f"kinds: {', '.join(f'{kind} {share:.0%}' for kind, share in kinds.items())}")
    parts: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
        "all pages": lambda rows: rows.shared >= 0,
        "pages below 5 % overlap": lambda rows: rows.shared < 0.05,
        "pages of unseen documents": lambda rows: rows.training_pages == 0,
    }
    for name, chosen in parts.items():
        which = known[chosen(known)][["language", "url"]]
        losses = [
            pd.concat([means(run.merge(which)) for run in runs], axis=1).mean(axis=1)
            for runs in ends
        ]
        gains = losses[0] - losses[1]
        print(f"{name}: gain {gains.mean():.3f}, better in {(gains > 0).sum()} of {len(gains)}")


def print_speedups(sides: list[Side], scripts: pd.Series) -> None:
    """Prints mean step speed-ups by script, with intervals over pages and runs."""
    groups = {
        "all": scripts.index,
        "Latin": scripts.index[scripts == "Latn"],
        "Cyrillic": scripts.index[scripts == "Cyrl"],
        "others": scripts.index[~scripts.isin(["Latn", "Cyrl"])],
    }
    for name, codes in groups.items():
        mine = []
        for one in sides:
            chosen = Side(
                {step: rows[rows.language.isin(codes)] for step, rows in run.items()} for run in one
            )
            mine.append(chosen)
        mean, error, freedom = mean_speedup(mine, *NATS)
        half = stats.t.ppf(0.975, freedom) * error
        low, high = math.exp(mean - half), math.exp(mean + half)
        print(f"step speed-up, {name}: {math.exp(mean):.2f} ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/results/long"))
