"""Dense networks of equal time and of equal parameters against a Switch, at two widths.

    python experiments/opponents.py [--documents DIR] [--web GLOB] [--state | --report LENGTH]

docs/results/opponents-design.md fixes what is run and measured, and in which order: here it is the
order of `GROUPS`. A network is a recipe of the multilingual experiments at a width: four heads
share the width, and a feed-forward is twice as wide. A network that is compared has the learning
rate of its own that suits it best. Trunks, branches, seeds and lengths are those of `long.py`.

Runs take many hours, and a machine may not last as long. So what a comparison needs of a run is
copied to `experiments/measured/opponents` when the run ends, some hundred kilobytes, to be
committed with whatever is committed next. A run that lies there is not made again, one that was cut
short resumes where its checkpoints still are, and a trunk whose branches all lie there is not
needed: it is started as often as needed, on whatever machine, from Python 3.13. All runs are of one
commit, which has a worktree and an environment of its own:

    nice python experiments/opponents.py

`--state` prints which runs there are, how far each other one is, and the hours that are left.
`--report LENGTH` compares the runs of a length, and refuses before all of them are there.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import long
import text
import tyro
from lanes import Task, pretrain, run_chains, stage

COMMIT = "64e5f6e1dad6813de3763aa5be9776f8bc7b8d19"  # of which all runs are
PYTHON = (3, 13)  # whose newest JAX is that of the long runs
MEASURED = Path("experiments/measured/opponents")
LONG = Path("docs/results/long/runs")
SCALES = (1.0, 1.4, 2.0)
BEYOND = {SCALES[0]: 0.7, SCALES[-1]: 2.8}  # the further point where the best is at an edge
# Losses by scale of the runs that `long.py` made of the networks of width 32.
EARLIER = {
    "mt5-32": {1.0: 3.2809, 1.4: 3.2665, 2.0: 3.2798, 2.8: 3.3186},
    "switch-32": {1.0: 3.2036, 2.0: 3.2189},
}
# Of each run. Metrics have what was dropped and how evenly experts were used, by step.
KEPT = (
    "recipe.json",
    "manifest.json",
    "time.json",
    "skipped.jsonl",
    "alarms.jsonl",
    "metrics.jsonl",
    "evaluation/*.parquet",
)


class Network(NamedTuple):
    """A network of the multilingual experiments.

    Attributes:
        side: dense or sparse.
        width: size of an embedding.
        seconds: one core's time for a step, about, as the design page has it.
    """

    side: Literal["mt5", "switch"]
    width: int
    seconds: float

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.side}-{self.width}"

    def settings(self) -> Sequence[str]:
        """Returns what differs from the recipe, which has width 32."""
        width = self.width
        sizes = f"model.embed={width}", f"model.head={width // 4}", f"model.mlp={2 * width}"
        if self.side == "mt5" or width == 32:
            return sizes
        # Logits of a router begin with unit variance at every width.
        return *sizes, f"model.switch.router_scale={width**-0.5:.4f}"


SWITCH = Network("switch", 32, 0.257)
# Of about the Switch's time, and of about its parameters.
OPPONENTS = Network("mt5", 40, 0.270), Network("mt5", 48, 0.317)
# The same at width 64, and mT5 and the Switch themselves.
WIDER = Network("mt5", 64, 0.385), Network("switch", 64, 0.493), Network("mt5", 72, 0.471)
WIDEST = Network("mt5", 120, 0.806)


class Run(NamedTuple):
    """A run of the design.

    Attributes:
        name: its folder.
        network: what is trained.
        task: the command that makes it.
        first: the step at which it begins: that of a branch is where it leaves its trunk.
        last: the step at which it ends.
    """

    name: str
    network: Network
    task: Task
    first: int
    last: int

    @property
    def is_measured(self) -> bool:
        """Whether what a comparison needs of it is there."""
        return (MEASURED / self.name / "manifest.json").exists()

    @property
    def is_trunk(self) -> bool:
        """Whether branches leave it, which are compared in its place."""
        return self.name.endswith("/trunk")

    def reached(self, out: Path) -> int:
        """Returns the step of the last line of its log, and where it begins if there is none."""
        log = out / self.name / "metrics.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        return json.loads(lines[-1])["step"] if lines else self.first


Chain = Sequence[Run]


class Group(NamedTuple):
    """Runs that the design names in one row.

    Attributes:
        letter: the row's.
        about: what they are.
        rates: networks whose rates are sought.
        trained: networks that are trained, with their seeds.
        lengths: to which lengths, in steps.
    """

    letter: str
    about: str
    rates: Sequence[Network]
    trained: Sequence[tuple[Network, Sequence[int]]]
    lengths: Sequence[int]


SHORT, ALL = long.LENGTHS, (*long.LENGTHS, *long.LONGER)
SEEDED = [(network, long.SEEDS) for network in OPPONENTS]
RATES = Group("a", "rates of the Switch and of widths 40 and 48", (SWITCH, *OPPONENTS), [], ())
FIRST = Group("b", "widths 40 and 48 to 7,936 steps", (), SEEDED, SHORT)
WIDE = Group(
    "c",
    "width 64 to 7,936 steps",
    (*WIDER, WIDEST),
    [*((network, long.SEEDS) for network in WIDER), (WIDEST, long.SEEDS[:2])],
    SHORT,
)
LONGER = Group("d", "widths 40 and 48 to 31,744 steps", (), SEEDED, ALL)
GROUPS = RATES, FIRST, WIDE, LONGER


@dataclass(frozen=True, kw_only=True)
class Arguments(text.Arguments):
    """Where the text is, and where results are written."""

    out: Path = Path("runs/opponents")
    """Directory for runs and their checkpoints, which may be lost."""
    state: bool = False
    """Print which runs there are, instead of training."""
    report: int | None = None
    """Compare the runs of this many steps, instead of training."""


def main(arguments: Arguments) -> None:
    """Runs what is not there yet, prints what is, or compares it."""
    if arguments.state:
        print(state(arguments.out))
    elif arguments.report:
        compare(arguments.out, arguments.report)
    else:
        text.prepare(arguments, install(arguments.out))
        for group in GROUPS:
            train(arguments.out, group)


def python_of(out: Path) -> str:
    """Returns the Python of the environment in which runs are made."""
    return str((out / "code" / ".venv" / "bin" / "python").absolute())


def install(out: Path) -> str:
    """Makes the worktree of `COMMIT` and its environment, and returns its Python.

    Raises:
        SystemExit: if this is another Python than that of the earlier runs.
    """
    if sys.version_info[:2] != PYTHON:
        raise SystemExit(
            f"Runs are made with Python {'.'.join(map(str, PYTHON))}, as the long runs were, and "
            f"this is {sys.version.split()[0]}, whose JAX is another: start it with that one."
        )
    code = out / "code"
    if not code.exists():
        add = "git", "worktree", "add", "--force", "--detach", str(code), COMMIT
        subprocess.run(add, check=True)
    base = Path(sys.base_prefix) / "bin" / "python3"
    # At this commit language identification needs `fasttext` even where CLD3 is what is asked for.
    options = f"PYTHON={base}", "EXTRAS=demo,fasttext"
    subprocess.run(["make", "-C", str(code), "install", *options], check=True)
    return python_of(out)


def train(out: Path, group: Group) -> None:
    """Makes a group's runs that are not there: rates, a further rate at an edge, and the others."""
    for chains in (rate_chains, further_chains, trained_chains):
        left = ([run.task for run in needed(chain)] for chain in chains(out, group))
        run_chains([chain for chain in left if chain], lambda task: keep(out, task))


def needed(chain: Chain) -> Chain:
    """Returns the runs of a chain that are to be made: no trunk whose branches are all there."""
    left = [run for run in chain if not run.is_measured]
    return [] if all(run.is_trunk for run in left) else left


def rate_chains(out: Path, group: Group) -> Iterator[Chain]:
    """Returns the runs of three scales of each network, without those made earlier."""
    for scale in (1.4, 1.0, 2.0):
        for network in group.rates:
            if scale not in EARLIER.get(network.name, {}):
                yield [rate_run(out, network, scale)]


def further_chains(out: Path, group: Group) -> Iterator[Chain]:
    """Returns a run of one more scale for each network whose best is at an edge."""
    for network in group.rates:
        losses = rate_losses(network)
        further = BEYOND.get(min(losses, key=lambda scale: losses[scale]))
        if further and further not in EARLIER.get(network.name, {}):
            yield [rate_run(out, network, further)]


def trained_chains(out: Path, group: Group) -> Iterator[Chain]:
    """Returns a chain for each seed of all networks in turn."""
    # The Switch's long runs are at 1.4: at another best rate its seeds are run again.
    again = [(SWITCH, long.SEEDS)] if group is FIRST and best_scale(SWITCH) != 1.4 else []
    for seed in long.SEEDS:
        for network, seeds in (*group.trained, *again):
            if seed in seeds:
                yield trained(out, network, seed, group.lengths)


def rate_run(out: Path, network: Network, scale: float) -> Run:
    """Returns a run that shows what a scale gives."""
    steps = SHORT[0] if network.width >= WIDER[0].width else long.RATE_STEPS
    settings = f"seed={long.RATE_SEED}", f"optimizer.scale={scale}", *long.decayed(steps)
    return run_of(out, rate_name(network, scale), network, 0, steps, settings)


def run_of(
    out: Path,
    name: str,
    network: Network,
    first: int,
    last: int,
    settings: Sequence[str],
    *leaves: str,
) -> Run:
    """Returns a run of a network, which the environment of `COMMIT` makes.

    Args:
        out: directory for runs.
        name: its folder.
        network: what is trained.
        first: the step at which it begins.
        last: the step at which it ends.
        settings: what differs from the recipe, beyond the network's sizes.
        leaves: options that name the trunk which it leaves.
    """
    common = "--set", *network.settings(), *long.COMMON, *settings
    task = pretrain(out, name, f"{network.side}-multilingual", *leaves, *common)
    return Run(name, network, task._replace(python=python_of(out)), first, last)


def rate_name(network: Network, scale: float) -> str:
    """Returns the name of a run of `rate_run`."""
    return f"rate/{network.name}-{scale}"


def rate_losses(network: Network) -> dict[float, float]:
    """Returns held-out losses in nats per target token, by scale.

    Raises:
        SystemExit: if a run of the three scales is not there.
    """
    losses = dict(EARLIER.get(network.name, {}))
    for scale in (*SCALES, *BEYOND.values()):
        run = MEASURED / rate_name(network, scale)
        if (run / "manifest.json").exists():
            losses[scale] = long.held_out_loss(run)
        elif scale in SCALES and scale not in losses:
            raise SystemExit(
                f"Rates of {network.name} are compared when all are there: {run} is not."
            )
    return losses


def best_scale(network: Network) -> float:
    """Returns the smallest scale whose loss is within `long.TIE` of the lowest."""
    return long.smallest_of_the_best(rate_losses(network))


def trained(out: Path, network: Network, seed: int, lengths: Sequence[int]) -> Chain:
    """Returns a trunk and its branches of these lengths; no trunk is made shorter."""
    scale = best_scale(network)
    folder = f"{network.name}-{scale}-{seed}"
    settings = f"seed={seed}", f"optimizer.scale={scale}"
    trunk = f"{folder}/trunk"
    steps = max(long.branch_at(lengths[-1]), long.steps_of(out / trunk))
    steady = "optimizer.decay_from=1", f"steps={steps}", f"keep_every={long.KEPT}"
    often = f"evaluate_every={long.branch_at(lengths[0])}"
    chain = [run_of(out, trunk, network, 0, steps, (*settings, *steady, often))]
    for length in lengths:
        at = long.branch_at(length)
        leaves = f"--trunk={out}/{trunk}", f"--branch-at={at}"
        decayed = *settings, *long.decayed(length)
        chain.append(run_of(out, f"{folder}/{length}", network, at, length, decayed, *leaves))
    return chain


def keep(out: Path, task: Task) -> None:
    """Copies what a comparison needs of a run that has ended, and its manifest last."""
    name = task.log.relative_to(out / "logs").with_suffix("").as_posix()
    if name.endswith("/trunk"):
        return
    kept = [path for pattern in KEPT for path in sorted((out / name).glob(pattern))]
    for path in sorted(kept, key=lambda path: path.name == "manifest.json"):
        target = MEASURED / path.relative_to(out)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def compare(out: Path, length: int) -> None:
    """Writes the report of a length: both opponents and mT5 against the Switch, all seeds.

    Raises:
        SystemExit: if a run of this length is not there: no loss is looked at before.
    """
    chains = [chain for group in (FIRST, LONGER) for chain in trained_chains(out, group)]
    runs = dict.fromkeys(run.name for chain in chains for run in chain if run.last == length)
    missing = [name for name in runs if not (MEASURED / name / "manifest.json").exists()]
    if missing or not runs:
        raise SystemExit(
            f"Losses after {length} steps are compared when all runs are there; missing: "
            f"{', '.join(missing) or 'a run of this length'}."
        )
    # Width 48, of the Switch's parameters, is the primary comparison and leads the report.
    names = sorted(runs, key=lambda name: (name.startswith("mt5-40"), name))
    new = [str(MEASURED / name) for name in names if not name.startswith(SWITCH.name)]
    own = [str(MEASURED / name) for name in names if name.startswith(SWITCH.name)]
    sides = ("mt5", "switch")
    mt5, switch = ([str(LONG / f"{side}-{seed}/{length}") for seed in long.SEEDS] for side in sides)
    stage(
        out,
        "report",
        *("--baseline", *new, *mt5, "--candidate", *(own or switch), "--allow-differences"),
        f"--out={out}/report-{length}",
    )


def state(out: Path) -> str:
    """Returns per group how many runs there are, each that has begun, and the hours that are left.

    Hours are those of one core at the design's times per step.
    """
    return "\n".join(line for group in GROUPS for line in group_state(out, group))


def group_state(out: Path, group: Group) -> Iterator[str]:
    """Yields the lines of a group."""
    chains = list(rate_chains(out, group))
    seconds, waits = 0.0, ""
    try:
        chains += [*further_chains(out, group), *trained_chains(out, group)]
    except SystemExit:
        waits = " Further runs follow from rates that are not known yet."
        if group.lengths:
            branches = sum(length - long.branch_at(length) for length in group.lengths)
            steps = long.branch_at(group.lengths[-1]) + branches
            seconds = sum(steps * network.seconds * len(seeds) for network, seeds in group.trained)
    runs = [run for chain in chains for run in chain if not run.is_trunk]
    left = [run for chain in chains for run in needed(chain)]
    seconds += sum((run.last - run.reached(out)) * run.network.seconds for run in left)
    made = sum(run.is_measured for run in runs)
    about = f"{group.letter}  {group.about}: {made} of {len(runs)} runs"
    yield f"{about}, {seconds / 3600:.1f} core-hours left.{waits}"
    for run in left:
        if (reached := run.reached(out)) > run.first:
            yield f"   under way: {run.name}, step {reached:,} of {run.last:,}"


if __name__ == "__main__":
    main(tyro.cli(Arguments))
