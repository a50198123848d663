"""What a finished job has written: its counts, its groups of pages and its files."""

from collections.abc import Iterator

from data.errors import DataError
from data.files.paths import join_path
from pipeline.beam.workspace import incomplete
from pipeline.cleaning.corpus_files import corpus_plan
from pipeline.cleaning.corpus_files.corpus_plan import PlannedFile, PlannedGroup
from pipeline.cleaning.graph import work_of
from pipeline.cleaning.growth import delta
from pipeline.cleaning.growth.corpus_files import EMPTY, FILES, KeepFile
from pipeline.cleaning.job import CleaningJob
from pipeline.cleaning.tally import Tally, tallies, total


def total_of(job: CleaningJob) -> Tally:
    """Returns the sum of the tallies of all work on shards.

    Raises:
        DataError: if work items are missing.
    """
    found = (
        tally for step in work_of(job) for tally in tallies(job.workspace, step.step, job.shards)
    )
    return total(found)


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
    plans = list(job.workspace.left(corpus_plan.PLAN, PlannedGroup))
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
    found = tallies(job.workspace, KeepFile.step, len(files))
    return [
        file for file, tally in zip(files, found, strict=True) if not tally.counts[FILES, "", EMPTY]
    ]
