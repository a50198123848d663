"""A cleaning job, run: its stages as Beam graphs, their progress on the terminal, what was written.

A graph has as many stages as it can: on a cluster all of them, with `mc4`. Each wave of an exchange
that takes several is a graph of its own, and so is each of the rounds that are repeated until no
pair of pages is left.

Progress is the runner's counters, where it reports them during the job. The local runner does not,
so there the tallies in the workspace are read. Both grow with every work item and count the same,
so the display is the same everywhere.
"""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineResult, PipelineState
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from data.errors import DataError
from data.files.paths import is_remote, join_path
from pipeline.beam.job import (
    DoExchange,
    DoWork,
    Stage,
    Step,
    WorkNumbers,
    counters,
    in_workers,
    running,
)
from pipeline.beam.options import in_process
from pipeline.beam.workspace import Exchange, Wave, Workspace, incomplete, is_collected
from pipeline.corpus import write
from pipeline.corpus.counts import Tally, total
from pipeline.corpus.graph import plan, steps
from pipeline.corpus.job import CleaningJob
from pipeline.corpus.judge import JudgePages
from pipeline.corpus.near_duplicates import ContractPairs, pairs_left
from pipeline.corpus.onto import delta
from pipeline.corpus.onto.base import Base
from pipeline.corpus.onto.delta import EMPTY, FILES, KeepFile, WriteDelta
from pipeline.corpus.onto.keep import KeepShard
from pipeline.corpus.write import (
    NO_ADDITION,
    GroupsOfShard,
    PlanGroup,
    PlannedFile,
    PlannedGroup,
    WriteFile,
)

# Weight of each step's finished work: its share of the CPU time with mC4's rules (102 MB of WET).
WEIGHTS = {
    "read": 0.27, "claim": 0.18, "judge": 0.48,
    "describe": 0.65, "resemble": 0.15, "contract-00": 0.01, "candidates": 0.02,
    "keep": 0.02,
}  # fmt: skip
WRITING = 0.07
UPDATE_SECONDS = 1.0
STORE_UPDATE_SECONDS = 10.0  # each update is one request per step, which stores charge for
LAST_UPDATE_SECONDS = 5.0  # the job does not wait longer for an update that a store delays


class JobProgress:
    """The counts of a running job, updated repeatedly."""

    def __init__(self, workspace: Workspace, items: Mapping[str, int]):
        self._workspace, self._items = workspace, items
        self._seen: dict[str, set[int]] = {step: set() for step in items}
        self._tallied: Counter[str] = Counter()
        self._reading = threading.Lock()
        self._begun: Counter[str] = Counter()  # by earlier starts
        self._before: Counter[str] = Counter()  # a graph's counters leave out earlier graphs
        self._counts: Counter[str] = Counter()
        self._graph: beam.Pipeline | None = None

    def begin(self) -> None:
        """Records the work of earlier starts of the job."""
        self.update()
        self._begun = Counter(self._tallied)

    def follow(self, graph: beam.Pipeline) -> None:
        """Reads the counters of a graph from here on, while it runs and reports any."""
        self._read_tallies()
        self._before = Counter(self._tallied)
        self._graph = graph

    def update(self) -> None:
        """Updates the counts."""
        counted = self._counters()
        if counted:
            # Attempted counters can decrease on retry; the display must not.
            self._counts |= self._before + Counter(counted)
        else:
            self._read_tallies()
            self._counts = Counter(self._tallied)

    def _counters(self) -> dict[str, int]:
        """Returns the graph's counters so far; empty if the runner does not report them."""
        job: PipelineResult | None = getattr(self._graph, "result", None)  # once it is submitted
        try:
            return {} if job is None or PipelineState.is_terminal(job.state) else counters(job)
        except Exception:  # each runner raises its own errors; the display must not end a job
            return {}

    def _read_tallies(self) -> None:
        with self._reading:  # the thread of the display, or the one that submits a graph
            for step, seen in self._seen.items():
                finished = set(self._workspace.done(step))
                for tally in self._workspace.records_of(step, finished - seen, Tally):
                    self._tallied.update(tally.counters() | {f"pieces/{step}": 1})
                seen |= finished

    @property
    def done(self) -> float:
        """Share of the work that is finished; the writing of files counts only at the end."""
        weights = {step: WEIGHTS[step] for step in self._items}
        parts = (
            weights[step] * self._counts[f"pieces/{step}"] / items
            for step, items in self._items.items()
        )
        return sum(parts) / (sum(weights.values()) + WRITING)

    def line(self, seconds: float) -> str:
        """Returns the progress so far, in one line."""
        read, kept = self._counts["pages_read"], self._counts["pages_kept"]
        rejected = sum(n for name, n in self._counts.items() if name.startswith("rejected/"))
        share = f", {kept / (kept + rejected):.0%} kept" if kept else ""
        rate = (read - self._begun["pages_read"]) / max(seconds, 1e-9)
        return f"{read:,} pages, {rate:,.0f} per second{share}"


@contextlib.contextmanager
def progress_shown(
    workspace: Workspace, items: Mapping[str, int], console: Console
) -> Iterator[JobProgress]:
    """Shows the progress of a job during the block.

    Args:
        workspace: workspace of the job.
        items: number of work items of each step.
        console: console to print on.
    """
    shown, ended, started = JobProgress(workspace, items), threading.Event(), time.monotonic()
    shown.begin()
    columns = (
        TextColumn("clean"),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
    )
    pause = STORE_UPDATE_SECONDS if is_remote(workspace.out) else UPDATE_SECONDS
    # Rich's default, 10 times per second, took 4 % of the job's CPU time.
    with Progress(*columns, console=console, transient=True, refresh_per_second=1) as bar:
        task = bar.add_task("", total=1.0)

        def keep_updating() -> None:
            while not ended.wait(pause):
                with contextlib.suppress(OSError, DataError):  # of a store: the job will report it
                    shown.update()
                line = shown.line(time.monotonic() - started)
                bar.update(task, completed=shown.done, description=line)

        thread = threading.Thread(target=keep_updating, daemon=True)
        thread.start()
        try:
            yield shown
        finally:
            ended.set()
            thread.join(LAST_UPDATE_SECONDS)


OF_GROUP = tuple[str, tuple[int, str, bytes, bytes]]

# Part of a graph: a step, or one wave of some exchanges.
GraphStage = Step | tuple[Wave, tuple[Exchange, ...]]


def run_job(
    job: CleaningJob,
    options: PipelineOptions,
    follow: Callable[[beam.Pipeline], None] = lambda _: None,
) -> None:
    """Runs the job's graphs, one after the other, where the options place them.

    Args:
        job: the job.
        options: Beam's options; a wave takes less time than starting processes for it.
        follow: called with each graph before it runs.

    Raises:
        DataError: if a worker met a condition that the user can fix, such as a full disk.
    """
    for graph in graphs(job):
        has_steps = any(not isinstance(stage, tuple) for stage in graph)
        with running(options if has_steps else in_process(options)) as pipeline:
            build(job, graph, pipeline)
            follow(pipeline)


def graphs(job: CleaningJob) -> Iterator[list[GraphStage]]:
    """Yields the graphs of the job; the rest depends on the results of those before."""
    waiting: list[Stage] = []
    for stage in plan(job):
        waiting.append(stage)
        contracted = stage
        while isinstance(contracted, ContractPairs):
            yield from _group_stages(job, waiting)
            waiting = []
            if not pairs_left(contracted, job.shards):
                break
            asked, contracted = contracted.round()
            waiting = [(asked,), contracted]
    yield from _group_stages(job, waiting)


def _group_stages(job: CleaningJob, stages: Iterable[Stage]) -> Iterator[list[GraphStage]]:
    """Yields stages in graphs, without waves whose verdicts were collected by an earlier start."""
    graph: list[GraphStage] = []
    for stage in stages:
        if not isinstance(stage, tuple):
            graph.append(stage)
            continue
        waves = [*stage[-1].waves.all()]
        turns: list[GraphStage] = [
            (wave, stage) for wave in waves if not is_collected(stage[-1], wave, job.shards)
        ]
        if len(waves) == 1:
            graph += turns
        else:
            yield from (alone for alone in (graph, *([turn] for turn in turns)) if alone)
            graph = []
    if graph:
        yield graph


def build(job: CleaningJob, graph: Sequence[GraphStage], pipeline: beam.Pipeline) -> None:
    """Adds stages to a pipeline, each after the one before; after the last, the corpus's files."""
    shards = pipeline | WorkNumbers(job.shards)
    for stage in graph:
        if isinstance(stage, tuple):
            wave, exchanges = stage
            for exchange in exchanges:
                shards = shards | type(exchange).__name__ >> DoExchange(exchange, wave)
        else:
            shards = shards | f"{type(stage).__name__}-{stage.name}" >> DoWork(stage)
            if stage.name == JudgePages.name:
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
        names = tuple(step.name for step in steps(job) if step.name != KeepShard.name)
        groups = in_workers(GroupsOfShard(space, names), input_or_inputs)
        addition = job.base or NO_ADDITION
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


def total_of(job: CleaningJob) -> Tally:
    """Returns the sum of the tallies of all work on shards.

    Raises:
        DataError: if work items are missing.
    """
    return total(
        tally
        for step in steps(job)
        for tally in job.workspace.records(step.name, job.shards, Tally)
    )


def output_paths(job: CleaningJob, tally: Tally) -> Iterator[str]:
    """Yields the paths of the corpus's files, as its groups' plans name them.

    Raises:
        DataError: if the plan of a group is missing.
    """
    plans = planned_groups(job, tally)
    out, base = job.workspace.out, kept_files(job)
    names = [file.name for plan in plans for file in plan.files] + [file.name for file in base]
    return (
        join_path(out, name) for name in [*names, *(delta.names(job.shards) if job.base else [])]
    )


def planned_groups(job: CleaningJob, tally: Tally) -> list[PlannedGroup]:
    """Returns the plans of the groups of pages that the job wrote.

    Raises:
        DataError: if the plan of a group is missing.
    """
    plans = list(job.workspace.left(write.PLAN, PlannedGroup))
    groups = len(tally.groups) + bool(tally.broken)
    if missing := groups - len(plans):
        raise DataError(incomplete(f"{missing} groups of pages", job.workspace.out))
    return plans


def kept_files(job: CleaningJob) -> list[PlannedFile]:
    """Returns the files of the corpus that was added to, without those that lost all rows.

    Raises:
        DataError: if work items are missing.
    """
    if job.base is None:
        return []
    files = job.base.growth.facts().files
    outcomes = job.workspace.records(KeepFile.name, len(files), Tally)
    return [
        file for file, tally in zip(files, outcomes, strict=True) if not tally.details(FILES)[EMPTY]
    ]
