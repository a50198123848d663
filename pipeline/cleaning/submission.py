"""The stages of a job as Beam graphs, submitted one after the other.

A graph has as many stages as it can: on a cluster all of them, with `mc4`. Each wave of an exchange
that takes several is a graph of its own, and so is each of the rounds that are repeated until no
pair of pages is left.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, cast

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.beam.exchange import ExchangeRound
from pipeline.beam.job import running
from pipeline.beam.options import Follow, in_process
from pipeline.beam.waves import Wave, is_collected
from pipeline.beam.work_items import DoWork, WorkNumbers, WorkStep, in_workers
from pipeline.cleaning.corpus_files.corpus_plan import GroupsOfShard, PlanGroup
from pipeline.cleaning.corpus_files.group_files import NO_ADDITION, Addition
from pipeline.cleaning.corpus_files.write import WriteFile
from pipeline.cleaning.graph import Exchange, Rounds, Stage, stages, work_of
from pipeline.cleaning.growth import delta
from pipeline.cleaning.growth.corpus_files import KeepFile, WriteDelta
from pipeline.cleaning.growth.keep import KeepShard
from pipeline.cleaning.growth.stages import Base
from pipeline.cleaning.job import CleaningJob
from pipeline.cleaning.judge import JudgePages
from pipeline.cleaning.near_duplicates.groups import pairs_left

OF_GROUP = tuple[str, tuple[int, str, bytes, bytes]]


class WaveOf(NamedTuple):
    """One wave of an exchange."""

    exchange: Exchange
    wave: Wave


GraphStage = WorkStep | WaveOf


def run_job(job: CleaningJob, options: PipelineOptions, follow: Follow = lambda _: None) -> None:
    """Runs the job's graphs, one after the other, where the options place them.

    Args:
        job: the job.
        options: Beam's options; a wave takes less time than starting processes for it.
        follow: called with each running graph.

    Raises:
        DataError: if a worker met a condition that the user can fix, such as a full disk.
    """
    for graph in graphs(job):
        some = options if any(not isinstance(one, WaveOf) for one in graph) else in_process(options)
        with running(some, follow) as pipeline:
            build(job, graph, pipeline)


def graphs(job: CleaningJob) -> Iterator[list[GraphStage]]:
    """Yields the graphs of the job; the rest depends on the results of those before."""
    waiting: list[Stage] = []
    for stage in stages(job):
        if not isinstance(stage, Rounds):
            waiting.append(stage)
            continue
        yield from _grouped(job, waiting)
        waiting = []
        for number in itertools.count():
            if not pairs_left(job.workspace, number, job.shards):
                break
            yield from _grouped(job, stage.stages(job.workspace, number))
    yield from _grouped(job, waiting)


def _grouped(job: CleaningJob, some: Iterable[Stage]) -> Iterator[list[GraphStage]]:
    """Yields stages in graphs, without waves whose verdicts were collected by an earlier start."""
    graph: list[GraphStage] = []
    for stage in some:
        if not isinstance(stage, Exchange):
            graph.append(cast(WorkStep, stage))
            continue
        waves = [*stage.waves.all()]
        turns = [WaveOf(stage, one) for one in waves if not _is_collected(job, stage, one)]
        if len(waves) == 1:
            graph += turns
        else:
            alone: list[list[GraphStage]] = [[turn] for turn in turns]
            yield from (one for one in (graph, *alone) if one)
            graph = []
    if graph:
        yield graph


def _is_collected(job: CleaningJob, exchange: Exchange, wave: Wave) -> bool:
    return is_collected(job.workspace, exchange.rounds[-1].step, wave, job.shards)


def build(job: CleaningJob, graph: Sequence[GraphStage], pipeline: beam.Pipeline) -> None:
    """Adds stages to a pipeline, each after the one before; after the last, the corpus's files."""
    shards = pipeline | WorkNumbers(job.shards)
    for stage in graph:
        if isinstance(stage, WaveOf):
            for turn in stage.exchange.rounds:
                shards = shards | type(turn).__name__ >> ExchangeRound(turn, stage.wave)
        else:
            shards = shards | f"{type(stage).__name__}-{stage.step}" >> DoWork(stage)
            if stage.step == JudgePages.step:
                _ = shards | "WriteCorpus" >> WriteCorpus(job)
                if job.base is not None:
                    _ = shards | "KeepCorpus" >> KeepCorpus(job, job.base)


class WriteCorpus(beam.PTransform):
    """Plans the files of each group of pages, and writes them; returns their names."""

    def __init__(self, job: CleaningJob):
        super().__init__()
        self._job = job

    def expand(self, input_or_inputs):  # noqa: D102, described by the class
        job, space = self._job, self._job.workspace
        steps = tuple(step.step for step in work_of(job) if step.step != KeepShard.step)
        groups = in_workers(GroupsOfShard(space, steps), input_or_inputs)
        base = job.base
        addition = NO_ADDITION
        if base is not None:
            addition = Addition(base.generation, base.held_out_up_to, base.pages, base.shards)
        plan = in_workers(PlanGroup(space, job.rules.held_out, addition), input_or_inputs)
        write = in_workers(WriteFile.of(space, job.rules), input_or_inputs)
        return (
            input_or_inputs
            | "Groups" >> beam.FlatMap(groups).with_output_types(OF_GROUP)
            | "ByGroup" >> beam.GroupByKey()
            | "Plan" >> beam.FlatMap(plan)
            | "Spread" >> beam.Reshuffle()
            | "Write" >> beam.Map(write)
        )


class KeepCorpus(beam.PTransform):
    """Keeps the files of the corpus that a job adds to, and writes the difference."""

    def __init__(self, job: CleaningJob, base: Base):
        super().__init__()
        self._job, self._base = job, base

    def expand(self, input_or_inputs):  # noqa: D102, described by the class
        job, files = self._job, self._base.files
        judged = (
            input_or_inputs
            | "One" >> beam.Map(lambda _: (0, 0)).with_output_types(tuple[int, int])
            | "All" >> beam.GroupByKey()
        )
        _ = (
            input_or_inputs
            | "File" >> beam.Map(lambda n: (delta.file_of(n), n)).with_output_types(tuple[int, int])
            | "ByFile" >> beam.GroupByKey()
            | "Number" >> beam.Keys().with_output_types(int)
            | "WriteDelta" >> DoWork(WriteDelta(job.workspace, job.shards))
        )
        return (
            judged
            | "Files" >> beam.FlatMap(lambda _: range(files)).with_output_types(int)
            | "Spread" >> beam.Reshuffle()
            | "KeepFile" >> DoWork(KeepFile(job.workspace, self._base.growth))
        )
