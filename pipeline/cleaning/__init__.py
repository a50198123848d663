"""The steps of `mswitch clean`: each reads what earlier steps spilled, and spills its own results.

A step is a frozen dataclass that is called with the number of a shard or of a hash partition, and
returns a `Tally`. It is independent of Beam, which calls it. The rules that it applies are in
`data`.
"""
