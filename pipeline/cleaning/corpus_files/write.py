"""Last step: the files of the corpus, each with pages of one group.

Each fits a worker's memory. Rows are sorted by digest, then by content, so the bytes depend on the
pages alone. A file that exists is complete, and belongs to this job (`pipeline/beam/workspace.py`),
so it is not written again.
"""

from bisect import bisect_left
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from data.files.paths import exists, join_path
from data.reading.page import REJECTED, WRITTEN, WRITTEN_WITH_CLUSTERS
from data.rules.rule_sets import WebRuleSet
from pipeline.beam.workspace import Workspace
from pipeline.cleaning.corpus_files import broken_records
from pipeline.cleaning.corpus_files.broken_records import BrokenFile
from pipeline.cleaning.corpus_files.group_files import ALL_DIGESTS, CorpusFile
from pipeline.cleaning.spills import sorted_runs, spill


@dataclass(frozen=True)
class WriteFile:
    """Writes a file of the corpus."""

    workspace: Workspace
    columns: pa.Schema

    @classmethod
    def of(cls, workspace: Workspace, rules: object) -> "WriteFile":
        """Returns the step for these rules; `mswitch-web` writes sizes of clusters."""
        has_clusters = isinstance(rules, WebRuleSet)
        return cls(workspace, WRITTEN_WITH_CLUSTERS if has_clusters else WRITTEN)

    def __call__(self, file: CorpusFile | BrokenFile) -> str:
        """Writes the file, unless it exists; returns its name."""
        if isinstance(file, BrokenFile):
            return broken_records.write(self.workspace, file)
        path = join_path(self.workspace.out, file.name)
        if not exists(path):
            table = _sorted(self._read(file))
            columns = REJECTED if file.name.startswith("rejected/") else self.columns
            if file.split:
                split = pa.array([file.split] * len(table), pa.string())
                table = table.set_column(table.schema.get_field_index("split"), "split", split)
            with self.workspace.publish(path) as unfinished:
                pq.write_table(
                    table.select(columns.names).cast(columns), unfinished, compression="zstd"
                )
        return file.name

    def _read(self, file: CorpusFile) -> pa.Table:
        found = (
            _range(batch, file.first, file.end)
            for name, numbers in file.reads
            for batch in spill.batches(self.workspace.path_of(name), numbers)
        )
        return pa.Table.from_batches([one for one in found if one.num_rows], sorted_runs.SCHEMA)


def _range(batch: pa.RecordBatch, first: int, end: int) -> pa.RecordBatch:
    digests = batch["digest"].to_pylist()
    begin = bisect_left(digests, first.to_bytes(16, "big"))
    stop = len(digests) if end == ALL_DIGESTS else bisect_left(digests, end.to_bytes(16, "big"))
    # A copy: a slice would keep the whole run in memory until the file is written.
    return batch.take(pa.array(range(begin, stop), pa.int64()))


def _sorted(table: pa.Table) -> pa.Table:
    order = ["digest", *REJECTED.names]
    digest = table["digest"].cast(pa.binary())
    table = table.set_column(table.schema.get_field_index("digest"), "digest", digest)
    return table.sort_by([(name, "ascending") for name in order])
