"""The steps of `mswitch clean`: each reads what the steps before it spilled, and spills in turn.

A step is a frozen dataclass that is called with the number of a shard or of a partition, and
returns a `Tally`. It does not know that Beam calls it. What it decides lives in `data`.
"""
