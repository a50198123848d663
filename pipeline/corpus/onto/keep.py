"""Last step of a job whose corpus may be added to: leaves beside it what an addition needs.

Files of the workspace, or of the corpus that was added to, are copied (`data.files.atomic`).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from data.files.atomic import copy_file
from data.files.digests import digest_of_contents
from data.files.paths import size_of
from pipeline.beam.workspace import Workspace
from pipeline.corpus import spills
from pipeline.corpus.counts import Tally, total
from pipeline.corpus.judgements import DescribePages
from pipeline.corpus.lines import claims_path, line_keys_path, repeats_path
from pipeline.corpus.near_duplicates import PAIRS, minhash_keys_path
from pipeline.corpus.onto import delta, verdicts
from pipeline.corpus.onto.base import Base
from pipeline.corpus.onto.delta import GONE_ROWS
from pipeline.corpus.onto.verdicts import (
    ANSWERED,
    KINDS,
    Exchanges,
    GrowthFiles,
    KeptShard,
    write_verdicts,
)
from pipeline.corpus.read import ReadShard, broken_path, versions_path

KEPT_BYTES = "kept_bytes"  # kind of count: size of what is kept beside the corpus, by kind
OF_JOB = (*delta.KINDS, GONE_ROWS, PAIRS)  # kinds of counts of this addition alone


@dataclass(frozen=True)
class KeepShard:
    """Keeps what one shard left.

    Attributes:
        steps: names of the steps whose counts are kept.
        exchanges: exchanges of the job; None where no page meets another and counts are kept alone.
        base: corpus that the job adds to, if any.
    """

    workspace: Workspace
    steps: tuple[str, ...]
    exchanges: Exchanges | None
    base: Base | None

    name = "keep"

    def __call__(self, number: int) -> Tally:
        """Keeps what is left of one shard."""
        space, kept = self.workspace, GrowthFiles(self.workspace.out)
        growth = self.base.growth if self.base and number < self.base.shards else None
        for kind, source in self._sources(number, growth):
            copy_file(source, kept.path(kind, number), space.scratch)
        if self.exchanges is not None:
            if self.exchanges.chosen is not None and growth is None:
                with spills.writer(space, kept.path(verdicts.ANSWERS, number), ANSWERED) as file:
                    for batch in spills.batches(space.spill(DescribePages.name, number)):
                        file.write_batch(batch.select(ANSWERED.names))
            write_verdicts(space, kept, number, self.exchanges.verdicts(number))
        known = {} if growth is None else growth.kept(number).digests
        digests, tally = {}, Tally()
        for kind in KINDS:
            path = kept.path(kind, number)
            if size := size_of(path):
                same = known.get(kind) if kind in verdicts.SAME else None
                digests[kind] = same or digest_of_contents(path)
                tally.add(KEPT_BYTES, detail=kind, number=size)
        self._keep_counts(number, kept.tally_path(number), digests)
        return tally

    def _sources(self, number: int, growth: GrowthFiles | None) -> Iterator[tuple[str, str]]:
        """Yields the files to copy: kind and path; some of a shard of the base corpus, as is."""
        space = self.workspace
        yield verdicts.BROKEN, broken_path(space, number)
        if self.exchanges is None:
            return
        yield verdicts.VERSIONS, versions_path(space, number)
        yield verdicts.LINES, line_keys_path(space, number)
        yield verdicts.REPEATS, repeats_path(space, number)
        yield verdicts.CLAIMS, claims_path(space, number)
        yield verdicts.OUTCOMES, spills.outcomes_path(space, number)
        web = self.exchanges.chosen is not None
        if web:
            yield verdicts.MINHASH, minhash_keys_path(space, number)
        if growth is not None:
            for kind in verdicts.SAME if web else (verdicts.PAGES,):
                yield kind, growth.path(kind, number)
        else:
            yield verdicts.PAGES, space.spill(ReadShard.name, number)
            if web:
                yield verdicts.DESCRIBED, space.spill(DescribePages.name, number)

    def _keep_counts(self, number: int, path: str, digests: dict[str, str]) -> None:
        space = self.workspace
        tally = total(space.record(step, number, Tally) for step in self.steps)
        counts = {kind: of for kind, of in tally.counts.items() if kind not in OF_JOB}
        with space.publish(path) as unfinished:
            value = KeptShard(counts=counts, broken=tally.broken, digests=digests).as_json()
            unfinished.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
