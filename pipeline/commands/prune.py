"""`mswitch prune`: the experts of a run that some languages use, as a run with fewer experts.

Which ones follows from the routing that `mswitch evaluate` recorded by language, expert and layer.
With --tokens the kept experts are fitted to training text of these languages: windows lie evenly
over a language's training tokens, each language has as many, and their spans are hidden as those of
held-out pages are. Held-out pages are never read here.

The weights are read one array at a time, so the whole network is in memory only where experts are
fitted. Everything is on one device: the numbers of experts before and after divide over no common
mesh. The result is at the source's step and has its inputs, so it is evaluated on the same tokens
and compared as the source is. docs/decisions/pruning.md.
"""

import math
import resource
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from data import languages
from data.examples.held_out_batches import HeldOutPage, batches
from data.examples.span_corruption import Lengths
from data.files.atomic import write_bytes
from data.files.digests import digest_of_contents
from data.files.parquet_files import read_table
from data.files.paths import Place, exists, read_bytes
from data.tokens.blocks import TokenBlocks
from data.tokens.shards import TokenizedPage
from data.tokens.tokenizer import MODEL_FILE
from eval.experts import WRITTEN, ExpertUse, expert_use, switch_layers
from model.batch import Batch
from model.config import MeshShape, ModelConfig, SwitchConfig
from model.conversions.pruning import (
    kept_count,
    most_important_experts,
    pruned_config,
    refitted_network,
)
from model.sharding.layouts import by_path
from model.sharding.mesh import make_mesh
from model.step import TrainState
from model.trainer import Trainer
from model.transformer import Transformer, parameter_count
from pipeline.arguments import Prune
from pipeline.artifacts import digest_of_manifest
from pipeline.errors import ArtifactError
from pipeline.hardware.batches import to_devices
from pipeline.recipe.recipe import Recipe
from pipeline.recipe.trainer import trainer_on
from pipeline.runs.checkpoints import explain_save_errors
from pipeline.runs.directory import (
    check_same_vocabulary,
    checkpoint_read,
    find_finished_run,
    requested_step,
    routing_file,
)
from pipeline.runs.opened_run import read_pruned, recipe_of, restore
from pipeline.stage import Identity, Intent, Outcome, bytes_in_words, files_of, run_stage
from pipeline.tokens.opened_blocks import cached_nowhere, check_holds_windows, open_blocks
from pipeline.training.description import describe_run
from pipeline.training.origins import write_first_checkpoint

WINDOWS = 128  # per language (docs/decisions/pruning.md)
ROWS = 32


def check_has_text(blocks: TokenBlocks, languages: Sequence[str]) -> None:
    """Checks that there is training text of every language.

    Raises:
        ArtifactError: if one has none.
    """
    there = blocks.languages("train")
    if missing := [code for code in languages if code not in there]:
        raise ArtifactError(
            f"Experts were to be fitted on text of {', '.join(missing)}, of which "
            f"{blocks.address} has no training tokens; name other tokens, or leave --tokens out."
        )


def refit_batches(
    blocks: TokenBlocks, languages: Sequence[str], lengths: Lengths, mesh: Mesh
) -> list[Batch]:
    """Returns corrupted windows of training text, in batches on a mesh.

    Args:
        blocks: token blocks.
        languages: languages with training tokens.
        lengths: lengths of a window.
        mesh: one device.
    """
    parts = [part for code in languages for part in _windows(blocks, code, lengths.raw, WINDOWS)]
    sentinel = blocks.manifest.vocabulary.first_sentinel
    return [
        to_devices({"inputs": b.inputs, "targets": b.targets, "language": b.page}, mesh, ROWS)
        for b in batches(parts, lengths, first_sentinel=sentinel, rows=ROWS)
    ]


def _windows(blocks: TokenBlocks, code: str, raw: int, most: int) -> list[HeldOutPage]:
    """Returns windows of a language as pages, whose names seed the hidden spans."""
    stream = blocks.stream(code, "train")
    count = min(most, max(len(stream) // raw, 1))
    starts = (np.arange(count) * len(stream) // count).tolist()
    windows = stream.read_windows(starts, min(raw, len(stream)))
    return [
        HeldOutPage(code, TokenizedPage(f"training text of {code}, {start}", tokens, 0, 0))
        for start, tokens in zip(starts, windows, strict=True)
    ]


class Pruning(NamedTuple):
    """What becomes of a run.

    Attributes:
        run: run to prune.
        step: step of its checkpoint.
        whole, pruned: functions of the networks before and after, on one device.
        kept: experts of each layer that stay, the encoder's layers before the decoder's.
        load: use of each expert, to merge dropped experts by; None to leave them out.
    """

    run: Place
    step: int
    whole: Trainer
    pruned: Trainer
    kept: Int[np.ndarray, "layers kept"]
    load: Float[np.ndarray, "layers experts"] | None


def trainer_of_one_device(recipe: Recipe) -> Trainer:
    """Returns a recipe's functions on the first device of this machine."""
    return trainer_on(recipe, make_mesh(MeshShape(), jax.devices()[:1]))


def pruned_state(pruning: Pruning, text: Sequence[Batch]) -> TrainState:
    """Returns the pruned network at its source's step.

    Args:
        pruning: what to keep.
        text: text to fit the kept experts on; they stay as they are without any.

    Raises:
        ArtifactError: if the source's checkpoint is damaged.
    """
    trainer = pruning.pruned
    network = _read(pruning)
    if text:
        whole, _ = restore(pruning.run, pruning.whole, pruning.step)
        network = refitted_network(
            pruning.whole.model(whole), trainer.model(network), text, trainer.mesh
        )
        network, _ = eqx.partition(network, eqx.is_array)
    step = jax.device_put(np.asarray(pruning.step, np.int32), trainer.shardings.step)
    arrays = jax.device_put(network, trainer.shardings.arrays)
    return trainer.begin_with(arrays)._replace(step=step)


def _read(pruning: Pruning) -> Transformer:
    """Returns the arrays of the pruned network, on its device."""
    by_name = dict(
        read_pruned(pruning.run, pruning.whole, pruning.step, pruning.kept, pruning.load)
    )
    shapes = pruning.pruned.shapes
    in_order = [by_name.pop(name) for name in by_path(shapes)]
    arrays = jax.tree.unflatten(jax.tree.structure(shapes), in_order)
    return jax.device_put(arrays, pruning.pruned.shardings.arrays)


class PruneRequest(NamedTuple):
    """A pruning whose arguments passed all checks.

    Attributes:
        codes: languages.
        experts: number of experts per layer of the run to prune.
        pruning: what to keep of it.
        recipe: recipe of the result.
        blocks: token blocks to fit experts on; None to leave them as they are.
        intent: what the pruning would do.
    """

    codes: list[str]
    experts: int
    pruning: Pruning
    recipe: Recipe
    blocks: TokenBlocks | None
    intent: Intent


def checked_request(arguments: Prune) -> PruneRequest:
    """Returns the pruning that the arguments name.

    Raises:
        ArtifactError: if there is no such sparse run, checkpoint or routing, or too little is kept.
        DataError: if a language is unknown, or has no held-out pages.
    """
    codes = list(languages.codes(arguments.languages))
    about = find_finished_run(arguments.run)
    source = recipe_of(about, arguments.run)
    count = requested_count(arguments, source.model.switch)
    step = requested_step(arguments.run, arguments.step)
    path = routing_file(arguments.run, step)
    use = use_of_experts(path, source.model, codes)
    blocks = requested_text(arguments, source, codes)
    recipe = replace(
        source,
        name=arguments.out.name,
        model=pruned_config(source.model, count),
        steps=max(step, 1),
        mesh=MeshShape(),
    )
    pruning = Pruning(
        run=arguments.run,
        step=step,
        whole=trainer_of_one_device(source),
        pruned=trainer_of_one_device(recipe),
        kept=most_important_experts(use.gate, count),
        load=use.load if arguments.merge else None,
    )
    experts = use.gate.shape[1]
    inputs = {"run": digest_of_manifest(arguments.run), "routing": digest_of_contents(path)}
    inputs |= {} if blocks is None else {"tokens": digest_of_manifest(blocks.directory)}
    intent = Intent(
        stage="prune",
        reads=[
            checkpoint_read("run", arguments.run, step),
            files_of("routing", arguments.run, [path]),
        ],
        writes="recipe.json, the vocabulary and a checkpoint",
        out=arguments.out,
        identity=Identity(settings_of(arguments, codes, step), inputs),
        work=f"{count} of {experts} experts in {len(use.gate)} layers",
    )
    return PruneRequest(codes, experts, pruning, recipe, blocks, intent)


def use_of_experts(path: Place, model: ModelConfig, codes: Sequence[str]) -> ExpertUse:
    """Returns the use of a network's experts that an evaluation recorded.

    Raises:
        DataError: if a language has no held-out pages, or the file is of another network.
    """
    assert model.switch is not None  # a sparse run
    layers = switch_layers(model.blocks, model.switch.every)
    return expert_use(read_table(path, WRITTEN), codes, layers, model.switch.experts, str(path))


def settings_of(arguments: Prune, codes: list[str], step: int) -> dict[str, Any]:
    """Returns every setting that changes the result, as JSON values."""
    return {"languages": codes, "keep": arguments.keep, "merge": arguments.merge, "step": step}


def requested_text(arguments: Prune, source: Recipe, codes: Sequence[str]) -> TokenBlocks | None:
    """Returns the token blocks to fit experts on, if any are named.

    Raises:
        ArtifactError: if they have another vocabulary or lack a language, the run's targets are too
            short for them, or a token has several experts, whose matrices cannot be fitted one by
            one.
    """
    if not arguments.tokens:
        return None
    check_holds_windows(arguments.run, source)
    blocks = open_blocks(arguments.tokens, arguments.cache)
    check_same_vocabulary(arguments.run, blocks)
    check_has_text(blocks, codes)
    switch = source.model.switch
    if switch is not None and switch.choices > 1:
        raise ArtifactError(
            f"{arguments.run} was to be fitted on {arguments.tokens}, but sends each token to "
            f"{switch.choices} experts, whose matrices cannot be fitted one by one; leave --tokens "
            "out."
        )
    return blocks


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
    with cached_nowhere(arguments) as uncached:
        return [checked_request(uncached).intent]


def run(arguments: Prune) -> None:
    """Writes the pruned run; does nothing if it is finished."""
    request = checked_request(arguments)
    run_stage(request.intent, partial(prune, arguments, request))


def prune(arguments: Prune, request: PruneRequest) -> Outcome:
    """Writes the pruned run."""
    pruning = request.pruning
    with explain_save_errors(arguments.out):
        write_first_checkpoint(
            arguments.out, lambda: pruned_state(pruning, text(request)), pruning.step
        )
    describe(arguments, request)
    kept = record(request)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    return Outcome(
        {"steps": pruning.step, **kept},
        f"{request.intent.work}, {kept['parameters_before']:,} parameters before and "
        f"{kept['parameters']:,} after, with at most {bytes_in_words(peak)} of memory, in "
        f"{arguments.out}",
        following=("evaluate", "--run", arguments.out, "--tokens", arguments.tokens or "tokens"),
    )


def text(request: PruneRequest) -> list[Batch]:
    """Returns the text to fit the kept experts on; none to leave them as they are."""
    if request.blocks is None:
        return []
    mesh = request.pruning.pruned.mesh
    return refit_batches(request.blocks, request.codes, request.recipe.lengths, mesh)


def describe(arguments: Prune, request: PruneRequest) -> None:
    """Writes recipe.json and the files that the source's weights have in common with these."""
    about = find_finished_run(arguments.run)
    more = {
        "numerics_version": about.numerics_version,
        "commits": list(about.commits),
        "pruned": {
            "languages": request.codes,
            "run": digest_of_manifest(arguments.run),
            "others": others(request),
            **record(request),
        },
    }
    describe_run(arguments.out, request.recipe, request.pruning.pruned, about.inputs, more)
    for name in (MODEL_FILE, "mixture.json"):
        if exists(arguments.run / name):
            write_bytes(arguments.out / name, read_bytes(arguments.run / name))


def others(request: PruneRequest) -> str:
    """Returns what became of the experts that were not kept, in words; empty if all were."""
    if request.pruning.kept.shape[-1] == request.experts:
        return ""
    fate = "left out" if request.pruning.load is None else "merged"
    return fate if request.blocks is None else f"{fate}, the kept ones fitted"


def record(request: PruneRequest) -> dict[str, Any]:
    """Returns what the manifest records of the pruning beside its settings."""
    switch = request.recipe.model.switch
    assert switch is not None  # the run is sparse
    kept = {
        f"{stack} {(block + 1) * switch.every}": experts.tolist()
        for stack, of in zip(("encoder", "decoder"), np.split(request.pruning.kept, 2), strict=True)
        for block, experts in enumerate(of)
    }
    return {
        "kept": kept,
        "experts": request.experts,
        "parameters_before": parameter_count(request.pruning.whole.shapes),
        "parameters": parameter_count(request.pruning.pruned.shapes),
    }
