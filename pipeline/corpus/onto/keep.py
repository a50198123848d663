"""Last step of a job whose corpus may be added to: leaves beside it what an addition needs.

Files of the workspace, or of the corpus that was added to, are copied (`data.files.atomic`).
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from data.files.atomic import copy_file
from data.files.digests import digest_of_contents
from data.files.paths import size_of
from pipeline.beam.workspace import Workspace
from pipeline.corpus import spills
from pipeline.corpus.counts import Tally, tally_of, total
from pipeline.corpus.judgements import CLUSTER_SIZES, DescribePages
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
        for kind, source in self._sources(number):
            copy_file(source, self._path(kind, number), self.workspace.scratch)
        if self.exchanges is not None:
            self._keep_verdicts(self.exchanges, number)
        sizes = {kind: size_of(self._path(kind, number)) for kind in KINDS}
        kept = {kind: size for kind, size in sizes.items() if size}
        self._keep_counts(number, self._digests(number, kept))
        tally = Tally()
        for kind, size in kept.items():
            tally.add(KEPT_BYTES, detail=kind, number=size)
        return tally

    def _digests(self, number: int, kinds: Iterable[str]) -> dict[str, str]:
        """Returns the digests of a shard's files; those of files of the base corpus are known."""
        known: dict[str, str] = {}
        if growth := self._growth(number):
            there = growth.kept(number).digests
            known = {kind: there[kind] for kind in verdicts.SAME if kind in there}
        return {
            kind: known.get(kind) or digest_of_contents(self._path(kind, number)) for kind in kinds
        }

    def _growth(self, number: int) -> GrowthFiles | None:
        """Returns what is kept of a shard of the base corpus; None for a new shard."""
        return self.base.growth if self.base and number < self.base.shards else None

    @property
    def _kept(self) -> GrowthFiles:
        return GrowthFiles(self.workspace.out)

    def _path(self, kind: str, number: int) -> str:
        return self._kept.path(kind, number)

    def _sources(self, number: int) -> Iterator[tuple[str, str]]:
        """Yields the files to copy: kind and path."""
        space = self.workspace
        yield verdicts.BROKEN, broken_path(space, number)
        if self.exchanges is None:
            return
        web = self.exchanges.chosen is not None
        yield verdicts.VERSIONS, versions_path(space, number)
        yield verdicts.LINES, line_keys_path(space, number)
        yield verdicts.REPEATS, repeats_path(space, number)
        yield verdicts.CLAIMS, claims_path(space, number)
        yield verdicts.OUTCOMES, spills.outcomes_path(space, number)
        if web:
            yield verdicts.MINHASH, minhash_keys_path(space, number)
        if growth := self._growth(number):
            for kind in verdicts.SAME if web else (verdicts.PAGES,):
                yield kind, growth.path(kind, number)
        else:
            yield verdicts.PAGES, space.spill(ReadShard.name, number)
            if web:
                yield verdicts.DESCRIBED, space.spill(DescribePages.name, number)

    def _keep_verdicts(self, exchanges: Exchanges, number: int) -> None:
        space = self.workspace
        if exchanges.chosen is not None and not self._growth(number):
            self._keep_answers(number)
        decided = exchanges.verdicts(number)
        for kind, numbers in (
            (verdicts.DUPLICATES, decided.duplicates),
            (verdicts.LEAVES, decided.leaves),
            (verdicts.LOST, decided.lost),
        ):
            spills.write_numbers(space, self._path(kind, number), numbers)
        sizes = [decided.sizes[name] for name in CLUSTER_SIZES.names]
        spills.write(space, self._path(verdicts.SIZES, number), CLUSTER_SIZES, sizes)

    def _keep_answers(self, number: int) -> None:
        space = self.workspace
        path = self._path(verdicts.ANSWERS, number)
        with spills.writer(space, path, ANSWERED) as file:
            for batch in spills.batches(space.spill(DescribePages.name, number)):
                file.write_batch(batch.select(ANSWERED.names))

    def _keep_counts(self, number: int, digests: dict[str, str]) -> None:
        space = self.workspace
        tally = total(tally_of(space, step, number) for step in self.steps)
        for key in [key for key in tally.counts if key[0] in OF_JOB]:
            del tally.counts[key]
        with space.publish(self._kept.tally_path(number)) as unfinished:
            value = tally.as_json() | {"digests": digests}
            unfinished.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
