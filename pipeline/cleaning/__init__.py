"""The steps of `mswitch clean`: each reads what earlier steps spilled, and spills its own results.

A step is a frozen dataclass that is called with the number of a work item: of a shard or of a hash
partition. It returns a `Tally`. It does not import Beam, which calls it. The rules that it applies
are in `data`. `graph` has the order of the steps.
"""
