"""The training step of a recipe, compiled from shapes alone for devices that need not exist.

It is the step of `make_trainer`, which `pretrain` runs; no weight is made and nothing is computed.
The compiler assigns every buffer and emits every collective, so memory is that of a run except for
the allocator's fragmentation. `LESS_EFFORT` turns off the TPU compiler's search for the fastest
kernels, which is nine tenths of its work and changes neither buffers nor collectives.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from model.batch import Batch
from model.config import ConfigurationError
from model.sharding import make_mesh
from model.train_step import Trainer, make_trainer
from pipeline.planning import gpus
from pipeline.planning.instruction import Instruction
from pipeline.planning.origins import BACKWARD
from pipeline.planning.program import Program, parse
from pipeline.planning.topology import Topology
from pipeline.recipe.recipe import Recipe

SAME = ("bitcast", "convert", "copy", "copy-done", "copy-start")
# docs/decisions/plans-by-compiling.md
LESS_EFFORT: Any = {"exec_time_optimization_effort": -1.0}
# TPU7x runs its collectives on sparse cores, where libtpu 0.0.42 aborts on an all-reduce ("Check
# failed: std::abs(inc) < core_count()", offload_collective_strategies.cc).
ON_TENSOR_CORES: Any = {"xla_tpu_enable_sparse_core_collective_offload_all_reduce": False}
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Memory of one device, in bytes.

    Attributes:
        parameters, optimizer, batch: size of each argument of the step, from its sharding.
        padding: padding of the arguments to the compiler's tiles.
        kept: activations that the loop over blocks keeps for the backward pass; 0 where few blocks
            are unrolled, as activations are then among the temporaries.
        temporaries: all other buffers of the step, including gradients.
        program: size of the compiled program.
    """

    parameters: int
    optimizer: int
    batch: int
    padding: int
    kept: int
    temporaries: int
    program: int

    @property
    def total(self) -> int:
        """Sum of all parts; results reuse the buffers of the arguments (donation)."""
        return sum(vars(self).values())


@dataclass(frozen=True)
class CompiledStep:
    """A recipe's training step as compiled for a topology.

    Attributes:
        recipe: recipe with its mesh.
        topology: devices that the step was compiled for.
        memory: memory of one device.
        program: compiled program; None if the temporaries alone exceed a device's memory.
        arrays: number of the model's arrays, which are the step's first arguments.
    """

    recipe: Recipe
    topology: Topology
    memory: Memory
    program: Program | None
    arrays: int

    @property
    def fits(self) -> bool:
        """True if a device has enough memory; always true for simulated devices."""
        limit = self.topology.memory
        return limit is None or (self.program is not None and self.memory.total <= limit)


def compile_step(recipe: Recipe, topology: Topology) -> CompiledStep:
    """Compiles a recipe's training step.

    Raises:
        ConfigurationError: if the mesh does not use all devices of the topology.
    """
    mesh = make_mesh(recipe.mesh, topology.devices)
    trainer = make_trainer(
        recipe.model,
        recipe.optimizer,
        steps=recipe.steps,
        seed=recipe.seed,
        mesh=mesh,
        accumulate=recipe.accumulate,
        remat=recipe.remat,
    )
    state = jax.eval_shape(trainer.init)
    arguments = _argument_sizes(trainer, state, recipe)
    arrays = len(jax.tree.leaves(state.arrays))
    assert isinstance(trainer.step, jax.stages.Wrapped)
    lowered = trainer.step.lower(state, _batch(recipe))
    try:
        compiled = lowered.compile(_options(topology))
    except jax.errors.JaxRuntimeError as error:
        memory = Memory(**arguments, padding=0, kept=0, temporaries=_temporaries(error), program=0)
        return CompiledStep(recipe, topology, memory, None, arrays)
    program = parse(compiled.as_text() or "")
    return CompiledStep(recipe, topology, _memory(compiled, program, arguments), program, arrays)


def _options(topology: Topology) -> Any:
    if topology.is_gpu:
        return gpus.OPTIONS
    if not topology.is_tpu:
        return None
    return LESS_EFFORT | (ON_TENSOR_CORES if topology.kind.startswith("TPU7x") else {})


def _batch(recipe: Recipe) -> Batch:
    lengths = recipe.lengths

    def ids(*shape: int) -> Any:
        return jnp.zeros((recipe.rows, *shape), jnp.int32)

    return jax.eval_shape(
        lambda: Batch(inputs=ids(lengths.inputs), targets=ids(lengths.targets), language=ids())
    )


def _argument_sizes(trainer: Trainer, state: Any, recipe: Recipe) -> dict[str, int]:
    rows = jax.tree.leaves(_batch(recipe))
    shards = recipe.mesh.data * recipe.mesh.expert
    return {
        "parameters": _stored(state.arrays, trainer.shardings.arrays),
        "optimizer": _stored(state.optimizer, trainer.shardings.optimizer),
        "batch": sum(leaf.size * leaf.dtype.itemsize for leaf in rows) // shards,
    }


def _stored(shapes: Any, shardings: Any) -> int:
    return sum(
        math.prod(sharding.shard_shape(shape.shape)) * shape.dtype.itemsize
        for shape, sharding in zip(jax.tree.leaves(shapes), jax.tree.leaves(shardings), strict=True)
    )


def _memory(compiled: jax.stages.Compiled, program: Program, arguments: dict[str, int]) -> Memory:
    sizes: Any = compiled.memory_analysis()
    kept = kept_for_backward(program)
    results = sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    return Memory(
        **arguments,
        padding=sizes.argument_size_in_bytes - sum(arguments.values()),
        kept=kept,
        temporaries=sizes.temp_size_in_bytes + results - kept,
        program=sizes.generated_code_size_in_bytes,
    )


def _temporaries(error: Exception) -> int:
    """Returns the size of the temporaries that the compiler reports as too large."""
    found = re.search(r"required for HLO temporaries \(([\d.]+)([KMGT])\)", str(error))
    if found is None:
        if "RESOURCE_EXHAUSTED" in str(error):
            raise ConfigurationError(
                f"The compiler ran out of memory: {error} Lower rows or plan a larger slice."
            ) from error
        raise error
    return round(float(found.group(1)) * UNITS[found.group(2)])


def kept_for_backward(program: Program) -> int:
    """Returns the bytes passed from a forward loop to a backward loop, stacked over blocks."""
    total = 0
    for computation, loop, _ in program.executed():
        if loop.opcode != "while" or BACKWARD not in loop.operation:
            continue
        values = program.computations[computation]
        initial = values[loop.operands[0]]
        total += sum(
            values[name].size
            for name in set(initial.operands)
            if name in values and _from_forward_loop(values[name], values)
        )
    return total


def _from_forward_loop(value: Instruction, values: dict[str, Instruction]) -> bool:
    while value.opcode in SAME and value.operands[0] in values:
        value = values[value.operands[0]]
    if value.opcode != "get-tuple-element":
        return False
    source = values[value.operands[0]]
    return source.opcode == "while" and BACKWARD not in source.operation
