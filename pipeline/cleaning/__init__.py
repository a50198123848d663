"""The stages of `mswitch clean`: work on shards, and exchanges between them.

Work is a frozen dataclass that is called with the number of a shard: it reads what earlier stages
left for this shard, spills its own results and returns a `Tally`. A round of an exchange is one
with the methods of `pipeline.beam.waves.Round`. Neither imports Beam, which calls them. The rules
that they apply are in `data`. `graph` has the order of the stages.
"""
