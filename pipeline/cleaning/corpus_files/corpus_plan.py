"""The steps that plan the files of the corpus: what each shard has of a group, and its files."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from msgspec import Struct, to_builtins

from data.files.json_files import Count, RelativePath
from pipeline.beam.workspace import Workspace
from pipeline.cleaning.corpus_files import broken_records
from pipeline.cleaning.corpus_files.broken_records import BrokenFile
from pipeline.cleaning.corpus_files.group_files import (
    NO_ADDITION,
    RUN,
    Addition,
    CorpusFile,
    HeldOutPages,
    ShardOfGroup,
    files_of,
    smallest_digest,
)
from pipeline.cleaning.read import ReadShard
from pipeline.cleaning.tally import SortedRun, Tally, TallyRecord

PLAN = "plan"  # folder of the workspace


class PlannedFile(Struct, frozen=True, array_like=True):
    """A file of the corpus, and the range of shards that its rows come from."""

    name: RelativePath
    first: Count
    end: Count


class PlannedGroup(Struct, frozen=True, kw_only=True):
    """What the plan of a group leaves in the workspace.

    Attributes:
        group: name of the group.
        files: its files.
        held_out_up_to: digest up to which pages are held out, in hexadecimal; None where no share
            is. If no page is, it is below that of every training page.
    """

    group: str
    files: list[PlannedFile]
    held_out_up_to: str | None


@dataclass(frozen=True)
class GroupsOfShard:
    """Yields what a shard has of each group, from the records of its own work items."""

    workspace: Workspace
    steps: tuple[str, ...]

    def __call__(self, shard: int) -> Iterator[tuple[str, tuple[int, str, bytes, bytes]]]:
        """Reads the records of one shard."""
        for step in self.steps:
            tally = Tally.of_record(self.workspace.record(step, shard, TallyRecord))
            for (group, file), runs in _by_group_and_file(tally.runs).items():
                yield group, ShardOfGroup(shard, file, _packed(runs), b"")
            for code, digests in tally.smallest.items():
                if digests:
                    smallest = b"".join(map(bytes.fromhex, digests))
                    yield f"pages/{code}", ShardOfGroup(shard, "", b"", smallest)
            if tally.broken:
                spilled = broken_records.spilled(self.workspace, ReadShard.step, shard)
                name = self.workspace.name_of(spilled)
                yield broken_records.FOLDER, ShardOfGroup(shard, name, b"", b"")


@dataclass(frozen=True)
class PlanGroup:
    """Plans the files of one group, and leaves their names in the workspace."""

    workspace: Workspace
    held_out: HeldOutPages
    addition: Addition = NO_ADDITION

    def __call__(
        self, group: tuple[str, Iterable[tuple[int, str, bytes, bytes]]]
    ) -> list[CorpusFile | BrokenFile]:
        """Returns the files."""
        name, parts = group
        if name == broken_records.FOLDER:
            files: list[CorpusFile | BrokenFile] = [_broken_file(parts)]
        else:
            files = [*files_of(name, parts, self.held_out, self.addition)]
        planned = PlannedGroup(
            group=name, files=[*map(_planned, files)], held_out_up_to=_held_out_up_to(files, parts)
        )
        self.workspace.leave(PLAN, name.replace("/", "-"), to_builtins(planned))
        return files


def _planned(file: CorpusFile | BrokenFile) -> PlannedFile:
    return PlannedFile(file.name, *(file.shards if isinstance(file, CorpusFile) else (0, 0)))


def _held_out_up_to(
    files: Iterable[CorpusFile | BrokenFile], parts: Iterable[tuple[int, str, bytes, bytes]]
) -> str | None:
    ends = {one.first for one in files if isinstance(one, CorpusFile) and one.split == "train"}
    return next((f"{max((end or smallest_digest(parts)) - 1, 0):032x}" for end in ends), None)


def _broken_file(parts: Iterable[tuple[int, str, bytes, bytes]]) -> BrokenFile:
    return BrokenFile(broken_records.NAME, tuple(file for _, file, *_ in sorted(parts)))


def _by_group_and_file(
    runs: Iterable[SortedRun],
) -> Mapping[tuple[str, str], list[SortedRun]]:
    found: dict[tuple[str, str], list[SortedRun]] = defaultdict(list)
    for run in runs:
        found[run.group, run.file].append(run)
    return found


def _packed(runs: Iterable[SortedRun]) -> bytes:
    rows = [
        (run.batch, run.pages, run.size, int(run.first[:16], 16), int(run.last[:16], 16))
        for run in runs
    ]
    return np.array(rows, RUN).tobytes()
