"""`mswitch time`: the step times of two finished runs, measured in turns in one process."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from pipeline.command import Stage
from pipeline.fields import CacheOptions, FinishedRun, In, Out, Range, RunPlace, Tokens
from pipeline.stage import Job


@dataclass(frozen=True, kw_only=True)
class Time(Stage):
    """Measure the step times of two finished runs side by side: in one process, in turns.

    Both networks, with their optimizer states, have to fit on the devices of this machine together.
    The runs are only read.
    """

    example: ClassVar = "--baseline runs/mt5 --candidate runs/switch --tokens tokens --out times"

    baseline: In[FinishedRun]
    """Run of the dense baseline that `mswitch pretrain` finished."""
    candidate: In[FinishedRun]
    """Run of the candidate, with the same rows per batch and the same lengths. Naming the baseline
    here as well shows how far the ratio strays from 1 by chance."""
    tokens: In[Tokens]
    """Directory of the tokens that both were trained on, or its address on an object store."""
    out: Out[RunPlace]
    """Directory for step_times.json."""
    steps: Annotated[int, Range(least=1)] = 4
    """Number of steps per round and run. There are 20 rounds, and one before that is not counted;
    a round should take a second or more."""
    deterministic: bool = False
    """Fixed order of sums on GPUs, if the runs were trained with it. TPUs and CPUs always have
    it."""
    cache: CacheOptions = field(default=CacheOptions())

    def jobs(self) -> Iterator[Job]:
        """Yields the job that measures both runs."""
        from pipeline.training.step_times import timing

        sides = {"baseline": self.baseline, "candidate": self.candidate}
        yield timing(sides, self.tokens, self.out, self.steps, self.deterministic, self.cache)
