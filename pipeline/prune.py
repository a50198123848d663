"""`mswitch prune`: the experts of a run that some languages use, as a run with fewer experts.

Reads the routing that `mswitch evaluate` recorded by language, expert and layer. The weights are
read one array at a time, so the whole network is in memory only where --tokens names text to fit
the kept experts on. The result is at the source's step and has its inputs, so it is evaluated on
the same tokens and compared as the source is.
docs/decisions/pruning.md.
"""

import math
import resource
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from data import languages
from data.files.atomic import write_bytes
from data.files.digests import digest_of_contents
from data.files.parquet_files import read_table
from data.files.paths import Place, exists, read_bytes
from data.tokens.blocks import TokenBlocks
from data.tokens.tokenizer import MODEL_FILE
from eval.experts import WRITTEN, ExpertUse, expert_use, switch_layers
from model.batch import Batch
from model.config import MeshShape, ModelConfig, SwitchConfig
from model.conversions.pruning import kept_count, most_important, pruned_config
from model.transformer import parameter_count
from pipeline.arguments import Prune
from pipeline.artifacts.claims import Claim, digest_of_manifest
from pipeline.artifacts.intent import Identity, Intent, bytes_in_words, claimed, files_of, finish
from pipeline.errors import ArtifactError
from pipeline.recipe.recipe import Recipe
from pipeline.runs.directory import (
    check_same_vocabulary,
    checkpoint_read,
    find_finished_run,
    requested_step,
)
from pipeline.runs.evaluation_paths import routing_file
from pipeline.runs.open import recipe_of
from pipeline.terminal import print_end
from pipeline.tokens.checks import check_holds_windows
from pipeline.tokens.open_blocks import cached_nowhere, open_blocks
from pipeline.training.description import describe_run
from pipeline.training.from_runs.first_weights import write_first_checkpoint
from pipeline.training.from_runs.pruned_state import Pruning, pruned_state, trainer_of_one_device
from pipeline.training.from_runs.refit_text import check_has_text, refit_batches
from pipeline.training.save_errors import explain_save_errors


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


def resolved(arguments: Prune) -> PruneRequest:
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
        kept=most_important(use.gate, count),
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
        return [resolved(uncached).intent]


def run(arguments: Prune) -> None:
    """Writes the pruned run; does nothing if it is finished."""
    request = resolved(arguments)
    with claimed(request.intent) as found:
        if found is Claim.FINISHED:
            return
        pruning = request.pruning
        with explain_save_errors(arguments.out):
            write_first_checkpoint(
                arguments.out, lambda: pruned_state(pruning, text(request)), pruning.step
            )
        describe(arguments, request)
        finish(request.intent, {"steps": pruning.step, **record(request)})
        announce(arguments, request)


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


def announce(arguments: Prune, request: PruneRequest) -> None:
    """Prints what was kept, the parameters and the memory."""
    before, after = (record(request)[name] for name in ("parameters_before", "parameters"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    print_end(
        "prune",
        f"{request.intent.work}, {before:,} parameters before and {after:,} after, with at most "
        f"{bytes_in_words(peak)} of memory, in {arguments.out}",
        following=("evaluate", "--run", arguments.out, "--tokens", arguments.tokens or "tokens"),
    )
