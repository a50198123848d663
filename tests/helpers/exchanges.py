"""What an engine does with a round of an exchange, in this process."""

from collections import defaultdict

import numpy as np

from pipeline.beam.workspace import Waves


def exchanged(turn, waves: Waves, shards: int, draw: np.random.Generator) -> None:
    """Does what the engine does, with the elements of a group in any order."""
    for wave in waves.all():
        groups, verdicts = defaultdict(list), [{} for _ in range(shards)]
        for shard in range(shards):
            for partition, part in turn.parts(shard, wave):
                groups[partition].append((shard, part))
        for partition, parts in groups.items():
            assert wave.first <= partition < wave.end
            parts = [parts[index] for index in draw.permutation(len(parts))]
            for shard, verdict in turn.compare(partition, parts):
                verdicts[shard][partition] = verdict
        for shard in range(shards):
            turn.collect(shard, wave, verdicts[shard])
