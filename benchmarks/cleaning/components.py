"""Connected components in rounds through the engine: memory from 1 to 10 million edges.

    PYTHONPATH=.:tests/helpers python benchmarks/cleaning/components.py [--sizes EDGES ...]

Edges are those of pages that share keys: clusters of 2 to 8 pages, and a tenth each of one chain,
one star, and pairs of pages drawn at random, as many pages as pairs. They lie where a job has them:
each shard has the pairs of its pages, 125,000 on average. The job's own steps run on Beam's
embedded runner, a wave of 8 partitions at a time, and each size in a process of its own. Its peak
is that of one worker, with the wave that this runner holds in memory. Reported are also the rounds,
the bytes shuffled, and the largest element and piece of work. Targets: CPU and bytes per edge grow
at most 1.4 times from 1 to 10 million. The groups are
compared with SciPy's components.
"""

import json
import multiprocessing
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from apache_beam.metrics.metric import MetricsFilter
from clusters_in_memory import clusters

from data.numbers import splitmix64
from pipeline.beam.job import NAMESPACE, running
from pipeline.beam.options import pipeline_options
from pipeline.beam.workspace import Waves, Workspace, verdict_paths
from pipeline.corpus import submission
from pipeline.corpus.job import PARTITIONS_AT_ONCE, CleaningJob
from pipeline.corpus.near_duplicates import (
    ContractPairs,
    PairPages,
    groups_of,
    pairs_left,
    write_pairs,
)
from pipeline.corpus.read import DEFAULT_CUT
from pipeline.corpus.rules import find_rules
from pipeline.corpus.submission import GraphStage

RESULT = Path(__file__).parents[1] / "results/components.json"
PAIRS_OF_SHARD = 125_000
SIZES = (1_000_000, 3_000_000, 10_000_000)
ALIKE = Waves(1, 1)


def main(sizes: tuple[int, ...] = SIZES) -> None:
    """Measures each size in processes of its own."""
    context = multiprocessing.get_context("spawn")
    runs = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as out, context.Pool(1, maxtasksperchild=1) as alone:
            job = job_of(out, shards=-(-size // PAIRS_OF_SHARD))
            alone.apply(spill_pairs, (job, size))
            runs.append({"edges": size} | alone.apply(measured, (job,)))
            runs[-1] |= alone.apply(checked, (job, size))
        print(json.dumps(runs[-1]), flush=True)
    result = {"pairs_per_shard": PAIRS_OF_SHARD, "runs": runs}
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def job_of(out: str, shards: int) -> CleaningJob:
    """Returns a job of which only the search for groups is run; its partitions are its shards."""
    return CleaningJob(
        workspace=Workspace(out, "components"),
        rules=find_rules("mswitch-web"),
        shards=shards,
        partitions=shards,
        in_waves=True,
        cut=DEFAULT_CUT,
    )


def graph(count: int) -> np.ndarray:
    """Returns `count` edges, mixed; the second end is that of the smallest page of a key."""
    tenth = count // 10
    chain = np.stack((np.arange(tenth) + 1, np.arange(tenth)), axis=1)
    star = np.stack((np.arange(tenth) + 1, np.zeros(tenth, int)), axis=1) + tenth + 1
    drawn = np.random.default_rng(2).integers(0, tenth, (tenth, 2))
    drawn = np.sort(np.where(drawn == drawn[:, ::-1], [0, 1], drawn))[:, ::-1] + 2 * tenth + 2
    others = np.arange(count - 3 * tenth)
    sizes = 1 + np.arange(len(others)) % 7  # edges of each small cluster, in turn
    heads = np.repeat(np.cumsum(sizes + 1) - sizes - 1, sizes)[: len(others)]
    place = others - np.repeat(np.cumsum(sizes) - sizes, sizes)[: len(others)]
    small = np.stack((heads + 1 + place, heads), axis=1) + 3 * tenth + 2
    edges = np.concatenate((chain, star, drawn, small))
    return splitmix64(np.random.default_rng(1).permutation(edges).astype(np.uint64))


def spill_pairs(job: CleaningJob, count: int) -> None:
    """Leaves each shard the pairs of its pages, as the exchange of keys does."""
    edges = graph(count)
    smallest = np.setdiff1d(edges[:, 1], edges[:, 0])
    pairs = np.concatenate((edges, np.stack((smallest, smallest), axis=1)))
    pairs = pairs[np.argsort(pairs[:, 0] % np.uint64(job.shards), kind="stable")]
    ends = np.searchsorted(pairs[:, 0] % np.uint64(job.shards), np.arange(1, job.shards))
    for shard, some in enumerate(np.split(pairs, ends)):
        (path,) = verdict_paths(PairPages(job.workspace, ALIKE), shard)
        write_pairs(job.workspace, path, some)


def measured(job: CleaningJob) -> dict[str, Any]:
    """Finds the groups in this process; returns what that took."""
    sums, most = Counter[str](), Counter[str]()
    before, cpu, began = peak_bytes(), time.process_time(), time.monotonic()
    rounds = 0
    for stages in graphs(job):
        rounds += not isinstance(stages[0], tuple)
        with running(pipeline_options(())) as pipeline:
            submission.build(job, stages, pipeline)
        add_sizes(pipeline.result, sums, most)
    return {
        "shards_and_partitions": job.shards,
        "rounds": rounds - 1,
        "shuffled_bytes": sum(sums.values()),
        "largest_element_bytes": max(most.values()),
        "start_bytes": before,
        "peak_bytes": peak_bytes(),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "wall_seconds": round(time.monotonic() - began, 1),
    }


def graphs(job: CleaningJob) -> Iterator[Sequence[GraphStage]]:
    """Yields the graphs that `submission.graphs` has between the pairs and the candidates."""
    waves = Waves(job.partitions, PARTITIONS_AT_ONCE)
    contracted = ContractPairs(PairPages(job.workspace, ALIKE), waves)
    yield [contracted]
    while pairs_left(contracted, job.shards):
        asked, contracted = contracted.round()
        yield from ([(wave, (asked,))] for wave in waves.all())
        yield [contracted]


def add_sizes(run: Any, sums: Counter[str], most: Counter[str]) -> None:
    """Adds the sizes of a finished graph's elements."""
    for one in run.metrics().query(MetricsFilter().with_namespace(NAMESPACE))["distributions"]:
        kind, _ = one.key.metric.name.split("_bytes/")
        sums[kind] += one.committed.sum
        most[kind] = max(most[kind], one.committed.max)


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def checked(job: CleaningJob, count: int) -> dict[str, int]:
    """Compares the groups with SciPy's components; returns the numbers of both."""
    expected = clusters(graph(count))
    found = [groups_of(job.workspace, shard) for shard in range(job.shards)]
    page, group = map(np.concatenate, zip(*found, strict=True))
    order = np.argsort(page)
    assert (page[order] == expected.page).all()
    pairs = np.stack((group[order], expected.representative), axis=1)
    groups = len(np.unique(expected.representative))
    assert len(np.unique(pairs, axis=0)) == len(np.unique(group)) == groups
    return {"pages": len(page), "groups": groups}


if __name__ == "__main__":
    tyro.cli(main)
