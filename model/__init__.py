"""What the network is: T5's encoder-decoder and Switch's sparse feed-forward; no text, no jobs.

Dimension names, the same everywhere, also in the sharding table (`sharding.py`):

* `batch`, `length`: rows of a batch and positions in a row; `source` and `target` where both meet.
* `vocabulary`, `embed`, `heads`, `head`, `mlp`: sizes of the network.
* `experts`, `capacity`: experts of a switch layer and slots of an expert in a group.
* `groups`, `tokens`: routing groups and the tokens of one; a group never depends on the mesh.
* `blocks`: repetitions of the scanned block.

No JAX is imported here.
"""

NUMERICS_VERSION = 1
"""Version of the training arithmetic, recorded with every run.

Raise it with any change by which the same recipe, seed and tokens no longer give the same numbers
up to rounding: initialization, routing, loss, optimizer, or how random keys are derived. Faster
code, renamed code and another mesh leave it alone.
"""
