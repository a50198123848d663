"""What an engine does with an exchange, in this process."""

from collections import defaultdict

import numpy as np

from pipeline.beam.workspace import Exchange


def exchanged(exchange: Exchange, shards: int, draw: np.random.Generator) -> None:
    """Does what the engine does, with the elements of a group in any order."""
    for wave in exchange.waves.all():
        groups, verdicts = defaultdict(list), [{} for _ in range(shards)]
        for shard in range(shards):
            for partition, part in exchange.send(shard, wave):
                groups[partition].append((shard, part))
        for partition, parts in groups.items():
            assert wave.first <= partition < wave.end
            parts = [parts[index] for index in draw.permutation(len(parts))]
            for shard, verdict in exchange.compare(partition, parts):
                verdicts[shard][partition] = verdict
        for shard in range(shards):
            exchange.collect(shard, wave, verdicts[shard])
