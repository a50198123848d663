"""What a Switch that begins as a dense run gains, for the same total FLOPs.

    python experiments/upcycle.py --tokens TOKENS [--out DIR] [--seeds 2]

Per seed a dense run is trained with T5's steady rate, and its branches lower the rate to 0 to end
after 1,984, 3,968 and 7,936 steps. At step 992 a Switch of 16 experts per feed-forward is made of
it, which goes on with its examples, rate and moments, and lowers the rate where the dense branches
do. The dense steps count, so at one length both have cost the same FLOPs. A Switch from scratch has
the same lengths. Reports compare them.

A step of the Switch takes about 0.2 CPU-seconds, a dense one 0.12: about two hours on one core for
two seeds. Shorter lengths come first. A finished run is not repeated, and one that was cut short
resumes. Beside other work:

    taskset --cpu-list 1 nice -n 19 python experiments/upcycle.py --tokens TOKENS
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from lanes import Task, run_all, run_chains

AT = 992  # steps of the dense run before the Switch
# Step from which the rate falls to 0, by length. That of the longest falls early, on all sides
# alike, so that it may leave the run of 3,968 steps.
FALLS = {1_984: 1_488, 3_968: 2_976, 7_936: 2_976}
SHORT, LONG = (1_984, 3_968), (7_936,)
SIDES = {"mt5": "mt5-experiment", "upcycled": "switch-experiment", "switch": "switch-experiment"}
RARELY = ("evaluate_every=7936", "log_every=16", "checkpoint_every=496", "keep_every=496")
STEADY = ("steps=2976", "evaluate_every=0", "optimizer.decay_from=1")
# Routing settles four times sooner than with the default (docs/results/upcycle.md).
LOGITS = 0.03


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What to train on, and where results are written."""

    tokens: str
    """Tokens of the 101 languages, as experiments/multilingual.py or decayed.py makes them."""
    out: Path = Path("runs/upcycle")
    """Directory for all results."""
    seeds: int = 2
    """Number of seeds per side."""


def main(arguments: Arguments) -> None:
    """Runs what is not finished, the shorter lengths first, and writes a report per length."""
    every = range(arguments.seeds)
    for lengths in (SHORT, LONG):
        both = [
            dense(arguments, seed, lengths) + sparse(arguments, "upcycled", seed, lengths)
            for seed in every
        ]
        run_chains(both)
        reports(arguments, "upcycled", lengths)
    run_chains([sparse(arguments, "switch", seed, (*SHORT, *LONG)) for seed in every])
    reports(arguments, "switch", (*SHORT, *LONG))


def dense(arguments: Arguments, seed: int, lengths: Sequence[int]) -> list[Task]:
    """Returns the dense run of one seed, and its branches."""
    trunk = pretrain(arguments, "mt5", seed, "trunk", settings=STEADY)
    return [trunk, *(branch(arguments, "mt5", seed, length, "trunk") for length in lengths)]


def sparse(arguments: Arguments, side: str, seed: int, lengths: Sequence[int]) -> list[Task]:
    """Returns the Switches of one seed, upcycled or from scratch."""
    parent = f"--upcycle={arguments.out}/mt5-{seed}/trunk"
    upcycles = (parent, f"--upcycle-at={AT}", f"--upcycle-logits={LOGITS}")
    begins = upcycles if side == "upcycled" else ()
    tasks = []
    for length in lengths:
        falls = f"optimizer.decay_from={FALLS[length] / length}"
        whole = pretrain(
            arguments, side, seed, str(length), *begins, settings=(f"steps={length}", falls)
        )
        leaves = branch(arguments, side, seed, length, str(SHORT[-1]))
        tasks.append(leaves if length in LONG else whole)
    return tasks


def branch(arguments: Arguments, side: str, seed: int, length: int, trunk: str) -> Task:
    """Returns a run of this length that leaves another one where its rate falls."""
    leaves = f"--trunk={arguments.out}/{side}-{seed}/{trunk}", f"--branch-at={FALLS[length]}"
    return pretrain(arguments, side, seed, str(length), *leaves, settings=(f"steps={length}",))


def pretrain(
    arguments: Arguments, side: str, seed: int, name: str, *options: str, settings: Sequence[str]
) -> Task:
    """Returns one run."""
    out = arguments.out / f"{side}-{seed}" / name
    named = f"--recipe={SIDES[side]}", f"--tokens={arguments.tokens}", f"--out={out}"
    command = ("pretrain", *named, *options, "--set", f"seed={seed}", *RARELY, *settings)
    return Task(arguments.out / "logs" / f"{side}-{seed}-{name}.log", command)


def reports(arguments: Arguments, side: str, lengths: Sequence[int]) -> None:
    """Writes a report per length, of a side against the dense runs."""
    run_all([report(arguments, side, length) for length in lengths])


def report(arguments: Arguments, side: str, length: int) -> Task:
    """Returns one report."""
    runs = [
        [str(arguments.out / f"{name}-{seed}/{length}") for seed in range(arguments.seeds)]
        for name in ("mt5", side)
    ]
    sides = ("--baseline", *runs[0], "--candidate", *runs[1])
    out = arguments.out / f"report-{side}-{length}-{arguments.seeds}-seeds"
    return Task(arguments.out / "logs/report.log", ("report", *sides, f"--out={out}"))


if __name__ == "__main__":
    main(tyro.cli(Arguments))
