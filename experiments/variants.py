"""Do 4 or 64 experts gain more than 16, and does the gain hold under UniMax?

    python experiments/variants.py [--out DIR]

Tokens, lengths, baselines and runs with 16 experts are those of `word_pieces.py`, which must have
ended with as many seeds in the same directory. One report shows 4 and 64 experts beside 16, all of
the same seeds. Under UniMax, which reads languages as evenly as about five epochs of the smallest
ones allow (up to six, where a token has fewer characters than the mean), both sides are trained
again. Two seeds are eight runs; one with 16 experts takes about 35 minutes on one core. A finished
run is not repeated, and one that was cut short resumes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import decayed
import multilingual
import tyro
import word_pieces
from lanes import Task, run_chains

EXPERTS = (4, 64)
# Text of a run: steps x rows x raw window, with 1.69 characters per token here.
UNIMAX = f"mixture=unimax:5:{round(decayed.LENGTHS[0] * 128 * 70 * 1.69)}"


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Where the runs of `word_pieces.py` are, and where these go."""

    out: Path = word_pieces.Arguments.out
    """Directory of `word_pieces.py`."""
    seeds: int = 2
    """Number of seeds per side."""


def main(arguments: Arguments) -> None:
    """Runs what is not finished; writes a report of the numbers of experts and one of UniMax."""
    out, seeds, lengths = arguments.out, range(arguments.seeds), decayed.LENGTHS[:1]
    for run in (run for side in decayed.SIDES for run in decayed.runs_of(side, seeds, lengths)):
        if not (out / run / "manifest.json").exists():
            raise SystemExit(
                f"{out / run} is compared with and is not finished; run word_pieces.py with "
                f"--seeds {len(seeds)} or more first."
            )
    run_chains([chain for seed in seeds for chain in chains(out, seed, lengths)])
    runs = {
        name: decayed.runs_of(name, seeds, lengths)
        for name in (*decayed.SIDES, *map(with_experts, EXPERTS), "mt5-unimax", "switch-unimax")
    }
    of_seeds = f"{arguments.seeds}-seeds"
    also = {f"{experts} experts": runs[with_experts(experts)] for experts in EXPERTS}
    multilingual.report(out, f"report-experts-{of_seeds}", runs["mt5"], runs["switch"], also)
    multilingual.report(out, f"report-unimax-{of_seeds}", runs["mt5-unimax"], runs["switch-unimax"])


def chains(out: Path, seed: int, lengths: Sequence[int]) -> list[Sequence[Task]]:
    """Returns the runs of one seed, the longest first."""

    def chain(name: str, side: str, setting: str) -> Sequence[Task]:
        return decayed.chain(out, name, side, seed, lengths, word_pieces.ROWS, setting)

    return [
        *(
            chain(with_experts(experts), "switch", f"model.switch.experts={experts}")
            for experts in reversed(EXPERTS)
        ),
        *(chain(f"{side}-unimax", side, UNIMAX) for side in decayed.SIDES),
    ]


def with_experts(experts: int) -> str:
    """Returns the name of runs with this number of experts."""
    return f"switch-{experts}-experts"


if __name__ == "__main__":
    main(tyro.cli(Arguments))
