"""The network: T5's encoder-decoder with Switch's sparse feed-forward; no text, no jobs.

What to read first:

    config, batch, transformer    sizes; the input; the encoder-decoder of scanned blocks of layers
    layers/, kernels/, remat      attention, feed-forward, position bias; attention as kernels
    switch/                       the sparse layer (its package has a reading order)
    sharding/                     meshes, the table of layouts, exchanges between devices
    loss/, optimizer, step, trainer             from a batch to the next state
    fingerprints, conversions/, hugging_face/   states as tables, other networks' weights
    decoding/                     answers: greedy, sampled, by beams
    flops, memory                 work and memory from sizes alone

Dimension names, the same everywhere; many are keys of the sharding table (`sharding/layouts.py`):

* `batch`, `length`: rows of a batch and positions in a row; `source` and `target` if both occur.
* `vocabulary`, `embed`, `heads`, `head`, `mlp`: sizes of the network.
* `experts`, `capacity`: experts per switch layer, and tokens per expert and pool of groups;
  `every_expert` where a device has all of them, `embed_shard` its part of `embed`.
* `groups`, `tokens`: routing groups, and tokens per group; neither depends on the mesh.
* `top_k`: experts per token.
* `blocks`: repetitions of the block of layers that is scanned.

No JAX is imported here.
"""

NUMERICS_VERSION = 4
"""Version of the training arithmetic, recorded with every run.

1. Versions 0.1.0 and before.
2. The first weights have keys of their own. The router's losses are means over tokens instead of
   means over groups. The step of a dense network is that of version 1.
3. Position biases begin with T5's variance, or with a slope. Steps are those of version 2.
4. The slope is beside the learned biases, not in them. Steps without a slope are those of before.

Raise it with any change by which the same recipe, seed and tokens no longer give the same numbers
up to rounding: initialization, routing, loss, optimizer, or how random keys are derived. Faster
code, renamed code and another mesh leave it alone.
"""

# First versions with today's steps: since then only first weights were drawn in another way.
DENSE_STEPS_SINCE, SPARSE_STEPS_SINCE, SLOPED_STEPS_SINCE = 1, 2, 4
