"""`mswitch prune`: the experts of a run that some languages use, as a run with fewer experts.

Reads the routing that `mswitch evaluate` recorded by language, expert and layer. The weights are
read one array at a time, so the whole network is never in memory. The result is at the source's
step and has its inputs, so it is evaluated on the same tokens and compared as the source is.
docs/decisions/pruning.md.
"""

import math
import resource
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from data import languages
from data.stores.addresses import Place
from data.stores.atomic import write_bytes
from data.stores.digests import digest_of_contents
from data.stores.files import exists, read_bytes
from data.stores.parquet_files import read_table
from data.tokens.tokenizer import MODEL_FILE
from eval.expert_importance import ExpertUse, expert_use
from eval.expert_sharing import WRITTEN
from model.checkpoint import with_shardings
from model.config import SwitchConfig
from model.dimensions import by_path
from model.sharding.mesh import MeshShape
from model.switch.merging import merged_arrays
from model.switch.pruning import (
    expert_axes,
    kept_count,
    most_important,
    of_stack,
    pruned_arrays,
    pruned_config,
)
from model.train_step import Trainer, TrainState
from model.transformer import Transformer, parameter_count
from pipeline.arguments import Prune
from pipeline.artifacts.claims import Claim, digest_of_manifest
from pipeline.artifacts.intent import Identity, Intent, bytes_in_words, claimed, files_of, finish
from pipeline.errors import ArtifactError
from pipeline.recipe.recipe import Recipe
from pipeline.runs.directory import checkpoint_read, find_finished_run, requested_step
from pipeline.runs.open import load_run, trainer_here
from pipeline.runs.routing_files import routing_with_gates
from pipeline.runs.stored_checkpoints import open_checkpoints
from pipeline.terminal import Terminal, print_end
from pipeline.training.description import describe_run
from pipeline.training.first_weights import write_first_checkpoint
from pipeline.training.save_errors import explain_save_errors

ARRAYS = ".arrays"  # of a checkpoint, before the names of a network's arrays


class PruneRequest(NamedTuple):
    """A pruning whose arguments passed all checks.

    Attributes:
        trainer: functions of the run to prune.
        step: step of its checkpoint.
        use: use of its experts by the languages.
        kept: experts of each layer that stay, the encoder's layers before the decoder's.
        recipe: recipe of the result.
        intent: what the pruning would do.
    """

    trainer: Trainer
    step: int
    use: ExpertUse
    kept: Int[np.ndarray, "layers kept"]
    recipe: Recipe
    intent: Intent


def resolved(arguments: Prune) -> PruneRequest:
    """Returns the pruning that the arguments name.

    Raises:
        ArtifactError: if there is no such sparse run, checkpoint or routing, or too little is kept.
        DataError: if a language is unknown, or has no held-out pages.
    """
    codes = requested_languages(arguments.languages)
    find_finished_run(arguments.run)
    source, trainer = load_run(arguments.run)
    count = requested_count(arguments, source.model.switch)
    step = requested_step(arguments.run, arguments.step)
    path = routing_with_gates(arguments.run, step)
    use = expert_use(read_table(path, WRITTEN), codes, str(path))
    recipe = replace(
        source,
        name=arguments.out.name,
        model=pruned_config(source.model, count),
        steps=max(step, 1),
        mesh=MeshShape(),
    )
    settings = {"languages": codes, "keep": arguments.keep, "merge": arguments.merge, "step": step}
    inputs = {"run": digest_of_manifest(arguments.run), "routing": digest_of_contents(path)}
    intent = Intent(
        stage="prune",
        reads=[
            checkpoint_read("run", arguments.run, step),
            files_of("routing", arguments.run, [path]),
        ],
        writes="recipe.json, the vocabulary and a checkpoint",
        out=arguments.out,
        identity=Identity(settings, inputs),
        work=f"{count} of {use.gate.shape[1]} experts in {len(use.gate)} layers",
    )
    return PruneRequest(trainer, step, use, most_important(use.gate, count), recipe, intent)


def requested_languages(words: Sequence[str]) -> list[str]:
    """Returns the codes of languages that are separated by commas or spaces.

    Raises:
        ArtifactError: if there is none.
        DataError: if one is unknown.
    """
    names = [name for word in words for name in word.split(",") if name]
    if not names:
        raise ArtifactError("--languages was empty; name the languages that the run is to serve.")
    return list(languages.codes(names))


def requested_count(arguments: Prune, switch: SwitchConfig | None) -> int:
    """Returns the number of experts to keep per layer.

    Raises:
        ArtifactError: if the run is dense, the share is none, or fewer than a token's choices stay.
    """
    run, keep = arguments.run, arguments.keep
    if switch is None:
        raise ArtifactError(f"{run} was to be pruned and has no experts; name a sparse run.")
    if not (math.isfinite(keep) and 0 < keep <= 1):
        raise ArtifactError(f"--keep was {keep}; it is a share above 0 and at most 1.")
    count = kept_count(switch.experts, keep)
    if count < switch.choices:
        raise ArtifactError(
            f"--keep {keep} leaves {count} of {switch.experts} experts of {run}, whose tokens take "
            f"{switch.choices} each; keep a share of at least {switch.choices / switch.experts:g}."
        )
    return count


def intents(arguments: Prune) -> list[Intent]:
    """Returns what the command would do."""
    return [resolved(arguments).intent]


def run(arguments: Prune) -> None:
    """Writes the pruned run; does nothing if it is finished."""
    request = resolved(arguments)
    with claimed(request.intent) as found:
        if found is Claim.FINISHED:
            Terminal(stderr=True).print(f"prune: {arguments.out} is finished.")
            return
        trainer = trainer_here(request.recipe)
        with explain_save_errors(arguments.out):
            write_first_checkpoint(
                arguments.out, lambda: pruned_state(arguments, request, trainer), request.step
            )
        describe(arguments, request, trainer)
        finish(request.intent, {"steps": request.step, **record(request, trainer)})
        announce(arguments, request, trainer)


def pruned_state(arguments: Prune, request: PruneRequest, trainer: Trainer) -> TrainState:
    """Returns the pruned network, with a fresh optimizer state, at the source's step.

    Raises:
        CheckpointError: if the source's checkpoint is damaged.
    """
    load = request.use.load if arguments.merge else None
    found = dict(read_pruned(arguments.run, request, load))
    shapes = trainer.shapes
    in_order = [found.pop(name) for name in by_path(shapes)]
    arrays = jax.tree.unflatten(jax.tree.structure(shapes), in_order)
    fresh = jax.jit(
        lambda: trainer.init().optimizer, out_shardings=trainer.shardings.optimizer
    )  # without the random weights, which would take as much memory again
    step = jax.device_put(np.asarray(request.step, np.int32), trainer.shardings.step)
    return TrainState(jax.device_put(arrays, trainer.shardings.arrays), fresh(), step)


def read_pruned(
    run: Place, request: PruneRequest, load: np.ndarray | None
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the arrays of the pruned network by name, each read when its turn comes.

    Args:
        run: run to prune.
        request: what to keep.
        load: use of each expert, to merge dropped experts by; None to leave them out.
    """
    trainer, kept = request.trainer, request.kept
    axes = expert_axes(trainer.shapes)
    shapes = with_shardings(jax.eval_shape(trainer.init), trainer.shardings)
    checkpoints = open_checkpoints(run / "checkpoints")
    try:
        for names in read_together(trainer.shapes, axes, merging=load is not None):
            of = {ARRAYS + name: name for name in names}
            read = checkpoints.restore_some(request.step, shapes, of)
            arrays = {of[name]: np.asarray(array) for name, array in read.items()}
            if load is None or names[0] not in axes:
                yield from pruned_arrays(arrays, axes, kept).items()
            else:
                of_layers = of_stack(kept, names[0]), of_stack(load, names[0])
                yield from merged_arrays(arrays, *of_layers).items()
    finally:
        checkpoints.close()


def read_together(
    shapes: Transformer, axes: dict[str, int], *, merging: bool
) -> Iterator[list[str]]:
    """Yields the names of arrays to read at one time: all that stay whole, then those of experts.

    One array of experts at a time, or to merge them all of a stack's, which have one layer's name.
    """
    groups: dict[str, list[str]] = {}
    for name in by_path(shapes):
        of = "whole" if name not in axes else name.rpartition(".")[0] if merging else name
        groups.setdefault(of, []).append(name)
    yield from groups.values()


def describe(arguments: Prune, request: PruneRequest, trainer: Trainer) -> None:
    """Writes recipe.json and the files that the source's weights have in common with these."""
    about = find_finished_run(arguments.run)
    more = {
        "numerics_version": about.numerics_version,
        "commits": list(about.commits),
        "pruned": {"run": str(arguments.run), **record(request, trainer)},
    }
    describe_run(arguments.out, request.recipe, trainer, about.inputs, more)
    for name in (MODEL_FILE, "mixture.json"):
        if exists(arguments.run / name):
            write_bytes(arguments.out / name, read_bytes(arguments.run / name))


def record(request: PruneRequest, trainer: Trainer) -> dict[str, Any]:
    """Returns what the manifest says about the pruning beside its settings."""
    switch = request.recipe.model.switch
    assert switch is not None  # the run is sparse
    kept = {
        f"{stack} {(block + 1) * switch.every}": experts.tolist()
        for stack, of in zip(("encoder", "decoder"), np.split(request.kept, 2), strict=True)
        for block, experts in enumerate(of)
    }
    return {
        "kept": kept,
        "experts": request.use.gate.shape[1],
        "parameters_before": parameter_count(request.trainer.shapes),
        "parameters": parameter_count(trainer.shapes),
    }


def announce(arguments: Prune, request: PruneRequest, trainer: Trainer) -> None:
    """Prints what was kept, the parameters and the memory."""
    before, after = (parameter_count(one.shapes) for one in (request.trainer, trainer))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    print_end(
        "prune",
        f"{request.intent.work}, {before:,} parameters before and {after:,} after, with at most "
        f"{bytes_in_words(peak)} of memory, in {arguments.out}",
        following=f"evaluate --run {arguments.out} --tokens tokens",
    )
