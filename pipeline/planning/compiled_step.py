"""The programs of a run, compiled from shapes alone for devices that need not exist; their memory.

They are those of `make_trainer`, which `pretrain` runs: the training step, and the scoring of
held-out rows. `pretrain --upcycle` runs one more, which makes the first state. No weight is made
and nothing is computed. They are compiled in a process of their own. `LESS_EFFORT` turns off the
TPU compiler's search for the fastest kernels, which is nine tenths of its work and changes neither
buffers nor collectives.

The compiler assigns every buffer, so memory is that of a run except for the allocator's
fragmentation. A program whose temporaries alone exceed a device's memory is refused by the
compiler, which names their size.
"""

import math
import multiprocessing
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp

from data.languages import all_languages
from model.batch import Batch
from model.config import ConfigurationError
from model.conversions.upcycling import LOGITS, Beginning, first_state
from model.sharding.layouts import batch_sharding, dimension_names, is_names
from model.sharding.mesh import make_mesh
from model.step import TrainState
from model.trainer import Trainer
from pipeline.hardware.compiler_flags import REDUCE_SCATTER
from pipeline.planning.hlo.collectives import BACKWARD
from pipeline.planning.hlo.program import Computation, Instruction, Program, parse
from pipeline.planning.topology import GPU_OPTIONS, Topology
from pipeline.recipe.recipe import Recipe
from pipeline.recipe.trainer import trainer_on
from pipeline.terminal import print_message
from pipeline.training.shapes import carries_moments

# docs/decisions/plans-by-compiling.md
LESS_EFFORT: Any = {"optimization_level": 9}  # O0 of JAX's CompilerEffortLevel
# TPU7x runs its collectives on sparse cores, where libtpu 0.0.42 aborts on an all-reduce ("Check
# failed: std::abs(inc) < core_count()", offload_collective_strategies.cc).
ON_TENSOR_CORES: Any = {"xla_tpu_enable_sparse_core_collective_offload_all_reduce": False}
LANGUAGES = len(all_languages())  # whose experts a scoring counts apart
MOVES = ("bitcast", "convert", "copy", "copy-done", "copy-start")
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Memory of one device while a program runs, in bytes.

    Attributes:
        parameters, optimizer, batch: size of each part of the state and of the batch, from its
            sharding. The optimizer's statistics stay where they are while a run scores.
        padding: padding of the arguments to the compiler's tiles.
        kept: activations that the loop over blocks keeps for the backward pass; 0 where few blocks
            are unrolled, as activations are then among the temporaries.
        temporaries: all other buffers of the program, including gradients.
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
    """A recipe's training step as compiled for a topology, with the memory of scoring.

    Attributes:
        recipe: recipe with its mesh.
        topology: devices that the step was compiled for.
        memory: memory of one device in training.
        program: compiled program; None if the temporaries alone exceed a device's memory.
        arrays: number of the model's arrays, which are the step's first arguments.
        scoring: memory of one device while held-out rows are scored; None if it is unknown,
            because the step itself does not fit.
        split: number of the model's arrays that are stored in parts and used whole.
        dense: recipe of the dense run that the recipe begins as, if it does.
        upcycling: memory of one device while its state becomes the first one; its parameters and
            optimizer state are the dense run's, and the first state is among the temporaries.
    """

    recipe: Recipe
    topology: Topology
    memory: Memory
    program: Program | None
    arrays: int
    scoring: Memory | None = None
    split: int = 0
    dense: Recipe | None = None
    upcycling: Memory | None = None

    @property
    def fits(self) -> bool:
        """True if all programs fit into a device's memory; always true for simulated devices."""
        available = self.topology.memory
        return available is None or (self.program is not None and self.needs <= available)

    @property
    def needs(self) -> int:
        """Bytes of one device that the largest program needs."""
        programs = (self.memory, self.scoring, self.upcycling)
        return max(memory.total for memory in programs if memory is not None)


def compile_step(
    recipe: Recipe,
    topology: Topology,
    dense: Recipe | None = None,
    announce: Callable[[str], None] = lambda _: None,
) -> CompiledStep:
    """Compiles a recipe's training step and, if it fits, its other programs.

    Args:
        recipe: recipe with its mesh.
        topology: devices to compile for.
        dense: recipe of the dense run that it begins as, if it does.
        announce: called with the name of each program before it is compiled.

    Raises:
        ConfigurationError: if the mesh does not use all devices of the topology.
    """
    trainer = trainer_on(recipe, make_mesh(recipe.mesh, topology.devices))
    state, batch = jax.eval_shape(trainer.init), _batch(recipe, trainer)
    sharding = jax.tree.map(lambda leaf: leaf.sharding, batch)
    sizes = _state_sizes(trainer, state) | {"batch": _stored_bytes(batch, sharding)}
    assert isinstance(trainer.step, jax.stages.Wrapped)
    announce("the training step")
    memory, program = _compile(trainer.step.lower(state, batch), topology, sizes, {})
    arrays, split = len(jax.tree.leaves(state.arrays)), _split_arrays(trainer)
    step = CompiledStep(recipe, topology, memory, program, arrays, split=split, dense=dense)
    if not step.fits:
        return step
    resident = {"optimizer": sizes.pop("optimizer")}
    announce("the scoring of held-out pages")
    score = trainer.score.lower(state.arrays, batch, LANGUAGES)
    scoring, _ = _compile(score, topology, sizes, resident)
    if dense is not None:
        announce("the first state of the upcycled run")
    upcycling = None if dense is None else _upcycling_memory(dense, trainer, recipe, topology)
    return replace(step, scoring=scoring, upcycling=upcycling)


def _batch(recipe: Recipe, trainer: Trainer) -> Batch:
    """Returns the shapes of a batch with its sharding, without which JAX traces other no-ops."""
    lengths, rows = recipe.lengths, batch_sharding(trainer.mesh)

    def ids(*shape: int) -> Any:
        return jnp.zeros((recipe.rows, *shape), jnp.int32)

    shapes = jax.eval_shape(
        lambda: Batch(inputs=ids(lengths.inputs), targets=ids(lengths.targets), language=ids())
    )
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=rows), shapes
    )


def _state_sizes(trainer: Trainer, state: TrainState) -> dict[str, int]:
    return {
        "parameters": _stored_bytes(state.arrays, trainer.shardings.arrays),
        "optimizer": _stored_bytes(state.optimizer, trainer.shardings.optimizer),
    }


def _stored_bytes(shapes: Any, shardings: Any) -> int:
    """Returns the bytes of one device's parts of arrays."""
    return sum(
        math.prod(sharding.shard_shape(shape.shape)) * shape.dtype.itemsize
        for shape, sharding in zip(jax.tree.leaves(shapes), jax.tree.leaves(shardings), strict=True)
    )


def _split_arrays(trainer: Trainer) -> int:
    """Returns the number of arrays that the batch's axes split, not counting the split of experts.

    Each device needs such an array whole, along that dimension, for its own rows.
    """
    names = jax.tree.leaves(dimension_names(trainer.shapes), is_leaf=is_names)
    shardings = jax.tree.leaves(trainer.shardings.arrays)
    return sum(
        any(
            sharding.mesh.shape[axis] > 1
            for name, axes in zip(dimensions, sharding.spec, strict=False)
            for axis in ((axes,) if isinstance(axes, str) else axes or ())
            if name != "experts" and axis != "model"
        )
        for dimensions, sharding in zip(names, shardings, strict=True)
    )


def _upcycling_memory(dense: Recipe, switch: Trainer, recipe: Recipe, topology: Topology) -> Memory:
    """Returns the memory of the program that makes the first state of an upcycled run."""
    carries = carries_moments(dense, recipe)
    trainer = trainer_on(dense, switch.mesh)
    program = first_state(trainer, switch, Beginning(0, recipe.seed, LOGITS, 0.0, carries))
    state = jax.eval_shape(trainer.init)
    sizes = _state_sizes(trainer, state) | {"batch": 0}
    # The dense optimizer state occupies the devices even if the program does not take it.
    resident = {} if carries else {"optimizer": sizes.pop("optimizer")}
    return _compile(program.lower(state), topology, sizes, resident)[0]


def _compile(
    lowered: jax.stages.Lowered,
    topology: Topology,
    arguments: dict[str, int],
    resident: dict[str, int],
) -> tuple[Memory, Program | None]:
    """Returns the memory of a program, and the program unless the compiler refuses it.

    Args:
        lowered: program to compile.
        topology: devices to compile for.
        arguments: bytes of its arguments by kind.
        resident: bytes by kind of what a device holds beside them.
    """
    try:
        compiled = lowered.compile(_options(topology))
    except jax.errors.JaxRuntimeError as error:
        return _refused_memory(error, arguments | resident), None
    program = parse(compiled.as_text() or "")
    sizes: Any = compiled.memory_analysis()
    kept = _kept_for_backward(program)
    results = sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    memory = Memory(
        **arguments,
        **resident,
        padding=sizes.argument_size_in_bytes - sum(arguments.values()),
        kept=kept,
        temporaries=sizes.temp_size_in_bytes + results - kept,
        program=sizes.generated_code_size_in_bytes,
    )
    return memory, program


def _options(topology: Topology) -> Any:
    if topology.is_gpu:
        return GPU_OPTIONS
    if not topology.is_tpu:
        return None
    on_tensor_cores = ON_TENSOR_CORES if topology.kind.startswith("TPU7x") else {}
    return {**LESS_EFFORT, REDUCE_SCATTER: True, **on_tensor_cores}


def _refused_memory(error: Exception, arguments: dict[str, int]) -> Memory:
    """Returns the memory of a program that the compiler refuses, from its message.

    Raises:
        ConfigurationError: if the compiler itself ran out of memory.
    """
    size = re.search(r"required for HLO temporaries \(([\d.]+)([KMGT])\)", str(error))
    if size is None:
        if "RESOURCE_EXHAUSTED" in str(error):
            raise ConfigurationError(
                f"The compiler ran out of memory: {error} Lower rows or plan a larger slice."
            ) from error
        raise error
    temporaries = round(float(size.group(1)) * UNITS[size.group(2)])
    return Memory(**arguments, padding=0, kept=0, temporaries=temporaries, program=0)


def _kept_for_backward(program: Program) -> int:
    """Returns the bytes passed from a forward loop to a backward loop, stacked over blocks."""
    total = 0
    for computation, loop, _ in program.executed_instructions():
        if loop.opcode != "while" or BACKWARD not in loop.operation:
            continue
        values = program.computations[computation]
        initial = values[loop.operands[0]]
        total += sum(
            values[name].size
            for name in set(initial.operands)
            if name in values and _is_from_forward_loop(values[name], values)
        )
    return total


def _is_from_forward_loop(value: Instruction, values: Computation) -> bool:
    while value.opcode in MOVES and value.operands[0] in values:
        value = values[value.operands[0]]
    if value.opcode != "get-tuple-element":
        return False
    source = values[value.operands[0]]
    return source.opcode == "while" and BACKWARD not in source.operation


class Aborted(Exception):
    """The process ended before the function returned; its output says why."""


def in_own_process(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Returns the function's result in a new process, in which JAX computes on the CPU.

    What libraries write on standard error there is shown only if the process ends without a result:
    they warn of slow compilation. What Python writes is shown at once.

    Raises:
        Aborted: if the process ends without a result.
    """
    context = multiprocessing.get_context("spawn")
    with (
        tempfile.NamedTemporaryFile() as written,
        ProcessPoolExecutor(1, context, initializer=_begin, initargs=(written.name,)) as pool,
    ):
        try:
            return pool.submit(function, *args, **kwargs).result()
        except BrokenProcessPool as error:
            for line in written.read().decode(errors="replace").splitlines():
                print_message(line)
            raise Aborted from error
        except KeyboardInterrupt:
            for process in multiprocessing.active_children():
                process.kill()  # compiling, which nothing else interrupts
            raise


def _begin(written: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this process
    sys.stderr = os.fdopen(os.dup(sys.stderr.fileno()), "w", buffering=1)
    with open(written, "ab") as file:
        os.dup2(file.fileno(), 2)  # that of libraries written in C++
    on_cpu()


def on_cpu() -> None:
    """Keeps JAX from looking for devices; call before it is used."""
    jax.config.update("jax_platforms", "cpu")
