"""Does the gain grow with the network? `word_pieces.py` with networks three times as wide.

    python experiments/wider.py [--out DIR]

Tokens and lengths are those of `word_pieces.py`, which must have tokenized in the same directory.
Embedding, heads and feed-forward are three times as wide as in its recipes; the numbers of heads
and layers stay. A step has 4.8 times the FLOPs. Two seeds are four runs, each of some 80 minutes on
one core. A finished run is not repeated, and one that was cut short resumes.
"""

from collections.abc import Sequence
from pathlib import Path

import decayed
import multilingual
import tyro
import word_pieces
from lanes import Task, run_chains
from variants import Arguments

WIDE = ("model.embed=96", "model.head=24", "model.mlp=192")
ROUTER = "model.switch.router_scale=0.1"  # 1 / sqrt(embed), as in the recipe: logits of variance 1


def main(arguments: Arguments) -> None:
    """Runs what is not finished, and writes the report."""
    out, seeds, lengths = arguments.out, range(arguments.seeds), decayed.LENGTHS[:1]
    run_chains([chain for seed in seeds for chain in chains(out, seed, lengths)])
    mt5, switch = (decayed.runs_of(f"{side}-wide", seeds, lengths) for side in ("mt5", "switch"))
    multilingual.report(out, f"report-wide-{arguments.seeds}-seeds", mt5, switch)


def chains(out: Path, seed: int, lengths: Sequence[int]) -> list[Sequence[Task]]:
    """Returns the runs of one seed, the longer first."""
    return [
        decayed.chain(
            out,
            f"{side}-wide",
            side,
            seed,
            lengths,
            word_pieces.ROWS,
            *WIDE,
            *((ROUTER,) if side == "switch" else ()),
        )
        for side in decayed.SIDES
    ]


if __name__ == "__main__":
    main(tyro.cli(Arguments))
