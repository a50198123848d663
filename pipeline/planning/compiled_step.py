"""The training step of a recipe, compiled for devices that need not exist, from shapes alone.

It is `make_trainer`'s step, the one that `pretrain` runs; nothing is computed, no weight made.
The compiler assigns every buffer, so memory is what a run would take but for the allocator's
fragmentation; and it writes every collective. For TPUs it is told not to look for the fastest
kernels (`LESS_EFFORT`), which is nine tenths of its work and touches neither.
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
from pipeline.planning.program import Instruction, Program, parse
from pipeline.planning.topology import Topology
from pipeline.recipe.recipe import Recipe

BACKWARD = "transpose("  # in the name of every operation of the backward pass
SAME = ("bitcast", "convert", "copy", "copy-done", "copy-start")
# docs/decisions/plans-by-compiling.md
LESS_EFFORT: Any = {"exec_time_optimization_effort": -1.0}
# TPU7x has its collectives done by sparse cores; of an all-reduce there libtpu 0.0.42 dies ("Check
# failed: std::abs(inc) < core_count()", offload_collective_strategies.cc).
ON_TENSOR_CORES: Any = {"xla_tpu_enable_sparse_core_collective_offload_all_reduce": False}
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of one device.

    Attributes:
        parameters, optimizer, batch: what the step is given, by its sharding.
        padding: what the compiler adds to these for its tiles.
        kept: activations that the loop over blocks keeps for the backward pass; 0 where few blocks
            are written out, for they are then among the temporaries.
        temporaries: everything else that the step works in, gradients among it.
        program: the program itself.
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
        """All of it; results take the place of what was given (donation)."""
        return sum(vars(self).values())


@dataclass(frozen=True)
class CompiledStep:
    """What the compiler made of a recipe.

    Attributes:
        recipe: with its mesh.
        topology: what it was compiled for.
        memory: of a device.
        program: None where the compiler refused: the temporaries alone exceed the memory.
        arrays: how many arrays the model has; they are the step's first arguments.
    """

    recipe: Recipe
    topology: Topology
    memory: Memory
    program: Program | None
    arrays: int

    @property
    def fits(self) -> bool:
        """True where a device has the memory; simulated ones are not asked."""
        limit = self.topology.memory
        return limit is None or (self.program is not None and self.memory.total <= limit)


def compile_step(recipe: Recipe, topology: Topology) -> CompiledStep:
    """Compiles a recipe's step.

    Raises:
        ConfigurationError: the mesh does not use the topology's devices.
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
    given = _given(trainer, state, recipe)
    arrays = len(jax.tree.leaves(state.arrays))
    assert isinstance(trainer.step, jax.stages.Wrapped)
    lowered = trainer.step.lower(state, _batch(recipe))
    try:
        compiled = lowered.compile(_options(topology))
    except jax.errors.JaxRuntimeError as error:
        memory = Memory(**given, padding=0, kept=0, temporaries=_refused(error), program=0)
        return CompiledStep(recipe, topology, memory, None, arrays)
    program = parse(compiled.as_text() or "")
    return CompiledStep(recipe, topology, _memory(compiled, program, given), program, arrays)


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


def _given(trainer: Trainer, state: Any, recipe: Recipe) -> dict[str, int]:
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


def _memory(compiled: jax.stages.Compiled, program: Program, given: dict[str, int]) -> Memory:
    sizes: Any = compiled.memory_analysis()
    kept = kept_for_backward(program)
    results = sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    return Memory(
        **given,
        padding=sizes.argument_size_in_bytes - sum(given.values()),
        kept=kept,
        temporaries=sizes.temp_size_in_bytes + results - kept,
        program=sizes.generated_code_size_in_bytes,
    )


def _refused(error: Exception) -> int:
    """Returns the bytes of temporaries of a program that the compiler found too large."""
    found = re.search(r"required for HLO temporaries \(([\d.]+)([KMGT])\)", str(error))
    if found is None:
        if "RESOURCE_EXHAUSTED" in str(error):
            raise ConfigurationError(f"The compiler ran out of memory: {error}") from error
        raise error
    return round(float(found.group(1)) * UNITS[found.group(2)])


def kept_for_backward(program: Program) -> int:
    """Returns the bytes that pass from a forward loop to a backward one, stacked over blocks."""
    total = 0
    for computation, loop, _ in program.everywhere():
        if loop.opcode != "while" or BACKWARD not in loop.operation:
            continue
        values = program.computations[computation]
        given = values[loop.operands[0]]
        total += sum(
            values[name].size
            for name in set(given.operands)
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
