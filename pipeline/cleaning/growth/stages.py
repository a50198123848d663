"""The stages of a job that adds to a corpus, and the last one of a job that may be added to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data.rules.line_rules import LineHashes
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
from pipeline.cleaning.growth.kept import Kept
from pipeline.cleaning.growth.side import Stages
from pipeline.cleaning.growth.verdicts import Decided
from pipeline.cleaning.judge import JudgePages


@dataclass(frozen=True)
class ByOrigin:
    """Work that is another one for shards of the corpus that is added to than for new shards."""

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
        found: what is kept beside it.
        shards: number of its shards.
        files: number of its files.
        generation: number of additions, the job's included.
        thresholds: its thresholds of languages.
        held_out_up_to: largest held-out digests of its languages, where a share is held out.
    """

    found: Kept
    shards: int
    files: int
    generation: int
    thresholds: Mapping[str, float]
    held_out_up_to: Mapping[str, str]


@dataclass(frozen=True)
class Course:
    """How the pages of a job meet each other, as far as an addition must know.

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


def work_on_base(base: Base, course: Course, judge: JudgePages) -> dict[str, WorkStep]:
    """Returns the work on shards of the corpus that is added to, by the name of its step."""
    space, found, decided = judge.workspace, base.found, course.decided
    thresholds = dict(base.thresholds)
    steps: list[WorkStep] = [
        TakePages(space, found, judge.one_page_per_line),
        JudgeChanged(judge, course.stages, found, decided, thresholds),
    ]
    if course.line_hashes is not None:
        steps.append(
            TakeLineKeys(
                space, found, course.line_hashes, course.asked,
                decided.addresses, decided.candidates, decided.lines.partitions,
            )
        )  # fmt: skip
    if course.asked is not None:
        addresses = decided.addresses
        steps += [
            CountAnswers(space, found, addresses),
            TakeMinHashKeys(space, found, course.asked, addresses, course.minhash, thresholds),
            TakeCandidates(space, found, decided.candidates.partitions),
        ]
    return {step.step: step for step in steps}


def with_base(some: Sequence[Any], base: Base, course: Course, judge: JudgePages) -> list[Any]:
    """Returns stages, of which those that are work take what is kept on the corpus's shards."""
    work = work_on_base(base, course, judge)
    found: list[Any] = []
    for stage in some:
        of_base = work.get(getattr(stage, "step", ""))
        of_new = JudgeAdded(stage) if isinstance(stage, JudgePages) else stage
        found.append(ByOrigin(of_base, of_new, base.shards) if of_base else stage)
    return found
