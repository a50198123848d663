"""Each page's language: identified, and accepted by a threshold that follows from all pages."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
import pyarrow as pa

from data.language_id.thresholds import STEPS, MedianLessDeviation, steps_of
from pipeline.beam.waves import Parts, Wave
from pipeline.beam.workspace import Workspace
from pipeline.cleaning.judgement import Judgement
from pipeline.cleaning.spills import spill
from pipeline.cleaning.spills.page_spill import page_spill
from pipeline.cleaning.spills.spilled_pages import SpilledPages
from pipeline.cleaning.tally import Tally, TallyRecord

CERTAINTY = "certainty"  # kind of count: pages of a language by identified probability
THRESHOLDS = pa.schema([("language", pa.string()), ("threshold", pa.float64())])
WHOLE = Wave(0, 1)  # one partition: some 100 kB of counts from each shard

Counted = list[tuple[str, str, int]]  # language, step of its probability, pages


@dataclass(frozen=True)
class DescribePages:
    """Spills a shard's pages that pass the judgements; counts the probabilities of languages."""

    workspace: Workspace
    source: SpilledPages
    judgements: tuple[Judgement, ...]

    step = "describe"

    def __call__(self, number: int) -> Tally:
        """Processes one shard."""
        with page_spill(self.workspace, self.step, number) as files:
            for passed, dropped, rows in self.source.chunks(
                self.workspace, number, self.judgements
            ):
                files.write(passed, dropped, rows)
                steps = steps_of(np.array([page.language_probability for page in passed], float))
                for page, step in zip(passed, steps.tolist(), strict=True):
                    files.tally.counts[CERTAINTY, page.identified_language, str(step)] += 1
        return files.tally


@dataclass(frozen=True)
class DecideThresholds:
    """Collects each language's threshold, from the probabilities of the pages of all shards."""

    workspace: Workspace
    certainty: MedianLessDeviation

    step = "thresholds"

    def parts(self, shard: int, wave: Wave) -> Iterator[tuple[int, bytes]]:
        """Yields the shard's counts of probabilities."""
        tally = self.workspace.record(DescribePages.step, shard, TallyRecord)
        found = [
            (code, step, count) for kind, code, step, count in tally.counts if kind == CERTAINTY
        ]
        yield wave.first, msgspec.json.encode(found)

    def compare(self, partition: int, parts: Parts) -> Iterator[tuple[int, bytes]]:
        """Yields the thresholds, the same for each shard."""
        histograms: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(STEPS + 1, np.int64))
        for _, part in parts:
            for code, step, count in msgspec.json.decode(part, type=Counted):
                histograms[code][int(step)] += count
        found = {code: self.certainty.threshold(counts) for code, counts in histograms.items()}
        for shard, _ in parts:
            yield shard, msgspec.json.encode(dict(sorted(found.items())))

    def collect(self, shard: int, wave: Wave, verdicts: dict[int, bytes]) -> None:
        """Writes the thresholds for a shard."""
        (found,) = [msgspec.json.decode(one, type=dict[str, float]) for one in verdicts.values()]
        path = wave.verdict(self.workspace, self.step, shard)
        spill.write(self.workspace, path, THRESHOLDS, [list(found), list(found.values())])


def thresholds_of(workspace: Workspace, shard: int) -> Mapping[str, float]:
    """Returns each language's threshold, as a shard has collected them."""
    (batch,) = spill.batches(WHOLE.verdict(workspace, DecideThresholds.step, shard))
    languages, values = (column.to_pylist() for column in batch.columns)
    return dict(zip(languages, values, strict=True))
