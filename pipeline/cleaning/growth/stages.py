"""The stages of a job that adds to a corpus, and the last one of a job that may be added to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data.dedup.line_dedup import LineHashes
from pipeline.beam.work_items import Record, WorkStep
from pipeline.beam.workspace import Workspace
from pipeline.cleaning.growth.base_judge import JudgeChanged
from pipeline.cleaning.growth.base_lines import TakeLineKeys
from pipeline.cleaning.growth.base_pages import (
    CountAnswers,
    TakeCandidates,
    TakeMinHashKeys,
    TakePages,
)
from pipeline.cleaning.growth.delta import JudgeAdded
from pipeline.cleaning.growth.growth_files import GrowthFiles
from pipeline.cleaning.growth.replay import Stages
from pipeline.cleaning.growth.verdicts import Decided
from pipeline.cleaning.judge import JudgePages


@dataclass(frozen=True)
class ByOrigin:
    """Runs one step on shards of the base corpus and another on new shards."""

    of_base: Any
    of_new: Any
    base_shards: int

    @property
    def workspace(self) -> Workspace:
        """Workspace of the job."""
        return self.of_new.workspace

    @property
    def step(self) -> str:
        """Name in the workspace."""
        return self.of_new.step

    def __call__(self, number: int) -> Record:
        """Does one work item."""
        return (self.of_base if number < self.base_shards else self.of_new)(number)


@dataclass(frozen=True)
class Base:
    """The corpus that a job adds to.

    Attributes:
        growth: what is kept beside it.
        shards: number of its shards.
        files: number of its files.
        generation: number of additions, the job's included.
        thresholds: its thresholds of languages.
        held_out_up_to: digests up to which its languages' pages are held out, where a share is.
        pages: number of its kept pages by language.
    """

    growth: GrowthFiles
    shards: int
    files: int
    generation: int
    thresholds: Mapping[str, float]
    held_out_up_to: Mapping[str, str]
    pages: Mapping[str, int]


@dataclass(frozen=True)
class AdditionContext:
    """What an addition needs to know of a job's exchanges and judgements.

    Attributes:
        decided: the verdicts of its exchanges.
        stages: the judgements before the last ones.
        asked: requested languages, where near-duplicates are removed.
        line_hashes: hashes of lines; None where no lines are compared.
        minhash: number of partitions of MinHash keys.
    """

    decided: Decided
    stages: Stages
    asked: frozenset[str] | None
    line_hashes: LineHashes | None
    minhash: int


def work_on_base(base: Base, context: AdditionContext, judge: JudgePages) -> dict[str, WorkStep]:
    """Returns the work on shards of the base corpus, by the name of its step."""
    space, growth, decided = judge.workspace, base.growth, context.decided
    thresholds = dict(base.thresholds)
    steps: list[WorkStep] = [
        TakePages(space, growth, judge.one_page_per_line),
        JudgeChanged(judge, context.stages, growth, decided, thresholds),
    ]
    if context.line_hashes is not None:
        steps.append(
            TakeLineKeys(
                space, growth, context.line_hashes, context.asked,
                decided.addresses, decided.candidates, decided.lines.partitions,
            )
        )  # fmt: skip
    if context.asked is not None:
        addresses = decided.addresses
        steps += [
            CountAnswers(space, growth, addresses),
            TakeMinHashKeys(space, growth, context.asked, addresses, context.minhash, thresholds),
            TakeCandidates(space, growth, decided.candidates.partitions),
        ]
    return {step.step: step for step in steps}


def with_base(
    some: Sequence[Any], base: Base, context: AdditionContext, judge: JudgePages
) -> list[Any]:
    """Returns the stages; on shards of the base corpus, steps reuse what was kept."""
    work = work_on_base(base, context, judge)
    found: list[Any] = []
    for stage in some:
        of_base = work.get(getattr(stage, "step", ""))
        of_new = JudgeAdded(stage) if isinstance(stage, JudgePages) else stage
        found.append(ByOrigin(of_base, of_new, base.shards) if of_base else stage)
    return found
