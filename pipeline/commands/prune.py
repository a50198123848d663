"""`mswitch prune`: the experts and the pieces of a run that some languages use, as a smaller run.

Which experts follows from the routing that `mswitch evaluate` recorded by language, expert and
layer. With --tokens the kept experts are fitted to training text of these languages: windows lie
evenly over a language's training tokens, each language has as many, and their spans are hidden as
those of held-out pages are. Held-out pages are read to measure only.

With --trim the vocabulary keeps the pieces that training text of the languages has
(`data/tokens/trimming.py`), and the rows of embedding and logits follow. Experts need not be there.

The weights are read one array at a time, so the whole network is in memory only where experts are
fitted. Everything is on one device: the numbers of experts before and after divide over no common
mesh. The result is at the source's step and has its inputs, so it is evaluated on the same tokens
and compared as the source is. docs/decisions/pruning.md.
"""

import math
import resource
from collections.abc import Iterator, Sequence
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
from data.tokens.tokenizer import MODEL_FILE, load
from data.tokens.trimming import Trimming, compared_lines, piece_counts, trim
from eval.experts import WRITTEN, ExpertUse, expert_use, switch_layers
from model.batch import Batch
from model.config import MeshShape, ModelConfig, SwitchConfig
from model.conversions.pruning import (
    kept_count,
    most_important_experts,
    pruned_config,
    refitted_network,
    with_rows,
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
from pipeline.recipe.recipe import Recipe, recipe_to_json
from pipeline.recipe.trainer import trainer_on
from pipeline.runs.checkpoints import explain_save_errors, write_first_checkpoint
from pipeline.runs.directory import (
    check_same_vocabulary,
    checkpoint_read,
    evaluation_file,
    find_finished_run,
    requested_step,
    routing_file,
)
from pipeline.runs.opened_run import read_pruned, recipe_of, restore
from pipeline.stage import Identity, Intent, Outcome, bytes_in_words, files_of, run_stage
from pipeline.terminal import print_message
from pipeline.tokens.opened_blocks import cached_nowhere, check_holds_windows, open_blocks
from pipeline.training.description import describe_run
from pipeline.training.trimmed_pages import TrimmedPages, nats_per_byte

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
            f"Text of {', '.join(missing)} was to be read, of which {blocks.address} has no "
            "training tokens; name other tokens, or leave --tokens out."
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


class NetworkPruning(NamedTuple):
    """What becomes of a run.

    Attributes:
        run: run to prune.
        step: step of its checkpoint.
        whole, pruned: functions of the networks before and after, on one device.
        kept: experts of each layer that stay, the encoder's layers before the decoder's; None for
            all.
        load: use of each expert, to merge dropped experts by; None to leave them out.
        rows: rows of the vocabulary that stay; None for all.
    """

    run: Place
    step: int
    whole: Trainer
    pruned: Trainer
    kept: Int[np.ndarray, "layers kept"] | None
    load: Float[np.ndarray, "layers experts"] | None
    rows: Int[np.ndarray, " rows"] | None


def trainer_of_one_device(recipe: Recipe) -> Trainer:
    """Returns a recipe's functions on the first device of this machine."""
    return trainer_on(recipe, make_mesh(MeshShape(), jax.devices()[:1]))


def pruned_state(pruning: NetworkPruning, text: Sequence[Batch]) -> TrainState:
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
        network = jax.device_put(network, trainer.shardings.arrays)
        whole, _ = restore(pruning.run, pruning.whole, pruning.step)
        network = refitted_network(
            pruning.whole.model(whole), trainer.model(network), text, trainer.mesh
        )
        network, _ = eqx.partition(network, eqx.is_array)
    step = jax.device_put(np.asarray(pruning.step, np.int32), trainer.shardings.step)
    if pruning.rows is not None:
        network = with_rows(network, pruning.rows)
    arrays = jax.device_put(network, trainer.shardings.arrays)
    return trainer.begin_with(arrays)._replace(step=step)


def _read(pruning: NetworkPruning) -> Transformer:
    """Returns the arrays of the pruned network with all rows of its vocabulary, on the host."""
    by_name = dict(
        read_pruned(pruning.run, pruning.whole, pruning.step, pruning.kept, pruning.load)
    )
    shapes = pruning.pruned.shapes
    in_order = [by_name.pop(name) for name in by_path(shapes)]
    return jax.tree.unflatten(jax.tree.structure(shapes), in_order)


class PruneRequest(NamedTuple):
    """A pruning whose arguments passed all checks.

    Attributes:
        codes: languages.
        experts: number of experts per layer of the run to prune; 0 where all stay.
        pruning: what to keep of it.
        recipe: recipe of the result.
        blocks: token blocks to fit experts on or to trim by; None for neither.
        trimming: the trimmed vocabulary; None where all pieces stay.
        intent: what the pruning would do.
    """

    codes: list[str]
    experts: int
    pruning: NetworkPruning
    recipe: Recipe
    blocks: TokenBlocks | None
    trimming: Trimming | None
    intent: Intent


def checked_request(arguments: Prune) -> PruneRequest:
    """Returns the pruning that the arguments name.

    Raises:
        ArtifactError: if there is no such run, checkpoint, routing or text, or too little is kept.
        DataError: if a language is unknown, or has no held-out pages.
    """
    codes = list(languages.codes(arguments.languages))
    about = find_finished_run(arguments.run)
    source = recipe_of(about, arguments.run)
    count = requested_count(arguments, source.model.switch)
    step = requested_step(arguments.run, arguments.step)
    inputs = {"run": digest_of_manifest(arguments.run)}
    reads = [checkpoint_read("run", arguments.run, step)]
    model, kept, loads, rows, experts, work = source.model, None, None, None, 0, []
    if count:
        path = routing_file(arguments.run, step)
        use = use_of_experts(path, model, codes)
        kept, loads = most_important_experts(use.gate, count), use.load if arguments.merge else None
        experts, model = use.gate.shape[1], pruned_config(model, count)
        inputs["routing"] = digest_of_contents(path)
        reads.append(files_of("routing", arguments.run, [path]))
        work.append(f"{count} of {experts} experts in {len(use.gate)} layers")
    blocks = requested_text(arguments, source, codes)
    trimming = None
    if blocks is not None:
        inputs["tokens"] = digest_of_manifest(blocks.directory)
        trimming = requested_trimming(arguments, blocks, codes)
    if blocks is not None and trimming is not None:
        ids = blocks.manifest.vocabulary.vocabulary_size
        rows = trimming.rows(ids, model.vocabulary_rows)
        model = replace(model, vocabulary_rows=len(rows))
        work.append(f"{len(trimming.kept):,} of {ids:,} pieces")
    recipe = replace(
        source, name=arguments.out.name, model=model, steps=max(step, 1), mesh=MeshShape()
    )
    intent = Intent(
        stage="prune",
        reads=reads,
        writes="recipe.json, the vocabulary and a checkpoint",
        out=arguments.out,
        identity=Identity(settings_of(arguments, codes, step), inputs),
        work=" and ".join(work),
    )
    whole, pruned = trainer_of_one_device(source), trainer_of_one_device(recipe)
    pruning = NetworkPruning(arguments.run, step, whole, pruned, kept, loads, rows)
    return PruneRequest(codes, experts, pruning, recipe, blocks, trimming, intent)


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
    trim = {} if arguments.trim is None else {"trim": arguments.trim}
    kept = {"keep": arguments.keep, "merge": arguments.merge}
    return {"languages": codes, **kept, "step": step, **trim}


def requested_text(arguments: Prune, source: Recipe, codes: Sequence[str]) -> TokenBlocks | None:
    """Returns the token blocks to fit experts on or to trim by, if any are named.

    Raises:
        ArtifactError: if they have another vocabulary or lack a language, the run's targets are too
            short for them, or a token has several experts, whose matrices cannot be fitted one by
            one.
    """
    if not arguments.tokens:
        return None
    if arguments.keep is not None:
        check_holds_windows(arguments.run, source)
    blocks = open_blocks(arguments.tokens, arguments.cache)
    check_same_vocabulary(arguments.run, blocks)
    check_has_text(blocks, codes)
    switch = source.model.switch
    if arguments.keep is not None and switch is not None and switch.choices > 1:
        raise ArtifactError(
            f"{arguments.run} was to be fitted on {arguments.tokens}, but sends each token to "
            f"{switch.choices} experts, whose matrices cannot be fitted one by one; leave --tokens "
            "out (and --trim, which can follow in a second command)."
        )
    return blocks


def requested_trimming(
    arguments: Prune, blocks: TokenBlocks, codes: Sequence[str]
) -> Trimming | None:
    """Returns the trimmed vocabulary, if the vocabulary is to be trimmed.

    Raises:
        DataError: if its pieces are not chosen by score.
    """
    if arguments.trim is None:
        return None
    model = read_bytes(arguments.run / MODEL_FILE)
    return trim(model, piece_counts(blocks, codes), arguments.trim)


def requested_count(arguments: Prune, switch: SwitchConfig | None) -> int:
    """Returns the number of experts to keep per layer; 0 where only the vocabulary is trimmed.

    Raises:
        ArtifactError: if nothing is to be pruned, the run is dense, the share is none, fewer than a
            token's choices stay, or a vocabulary is to be trimmed without text.
    """
    run, keep, trim = arguments.run, arguments.keep, arguments.trim
    if trim is not None and (trim < 0 or not arguments.tokens):
        raise ArtifactError(
            f"--trim {trim} keeps the pieces that training tokens have so often; give 0 or more, "
            "and the tokens (--tokens DIR)."
        )
    if keep is None and (trim is None or arguments.merge):
        raise ArtifactError(
            f"{run} was to be pruned{' with --merge' if arguments.merge else ''}, without a share "
            "of experts to keep; give --keep, or --trim alone."
        )
    if keep is None:
        return 0
    if switch is None:
        raise ArtifactError(
            f"{run} was to be pruned and has no experts; name a sparse run, or --trim alone."
        )
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
    """Returns the command's intent."""
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
    body = {"steps": pruning.step, "recipe": recipe_to_json(request.recipe)}
    body |= record(request) | cost_of_trimming(arguments, request)
    print_costs(body)
    before, after = body["parameters_before"], body["parameters"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    return Outcome(
        body,
        f"{request.intent.work}, {before:,} parameters before and {after:,} after "
        f"({bytes_in_words(4 * before)} and {bytes_in_words(4 * after)}), with at most "
        f"{bytes_in_words(peak)} of memory, in {arguments.out}",
        cautions=cautions(arguments, body),
        following=following(arguments),
    )


def cautions(arguments: Prune, body: dict[str, Any]) -> Iterator[str]:
    """Yields a sentence if trimming left the vocabulary as it was."""
    if arguments.trim is not None and body["pieces"] == body["pieces_before"]:
        yield (
            f"--trim {arguments.trim} changed nothing: the tokens of these languages have all "
            f"{body['pieces']:,} pieces so often; name fewer languages, or a larger --trim."
        )


def print_costs(body: dict[str, Any]) -> None:
    """Prints what a trimmed vocabulary costs each language."""
    for code, lines in body.get("lines", {}).items():
        nats = body.get("nats_per_byte", {}).get(code)
        losses = (
            "; {before:.4f} nats per byte before, {after:.4f} after".format(**nats) if nats else ""
        )
        share = lines["other"] / max(lines["lines"], 1)
        print_message(
            f"prune: {code}: {lines['other']:,} of {lines['lines']:,} held-out lines have other "
            f"pieces ({share:.2%}){losses}"
        )


def following(arguments: Prune) -> tuple[object, ...]:
    """Returns the next command: a trimmed vocabulary has tokens of its own."""
    if arguments.trim is None:
        return ("evaluate", "--run", arguments.out, "--tokens", arguments.tokens or "tokens")
    place = f"vocabulary-{arguments.out.name}"
    return ("vocabulary", "--model", arguments.out / MODEL_FILE, "--out", place)


def text(request: PruneRequest) -> list[Batch]:
    """Returns the text to fit the kept experts on; none to leave them as they are."""
    if request.blocks is None or request.pruning.kept is None:
        return []
    mesh = request.pruning.pruned.mesh
    return refit_batches(request.blocks, request.codes, request.recipe.lengths, mesh)


def describe(arguments: Prune, request: PruneRequest) -> None:
    """Writes recipe.json and the files that the source's weights have in common with these."""
    about, inputs = find_finished_run(arguments.run), None
    more = {"numerics_version": about.numerics_version, "commits": list(about.commits)}
    both = {"languages": request.codes, "run": digest_of_manifest(arguments.run), **record(request)}
    if request.pruning.kept is not None:
        more["pruned"] = {**both, "others": others(request)}
    if exists(arguments.run / "mixture.json"):
        write_bytes(arguments.out / "mixture.json", read_bytes(arguments.run / "mixture.json"))
    if request.trimming is None:
        write_bytes(arguments.out / MODEL_FILE, read_bytes(arguments.run / MODEL_FILE))
    else:  # the source's tokens have other ids
        write_bytes(arguments.out / MODEL_FILE, request.trimming.model)
        more["trimmed"] = both
        inputs = {k: v for k, v in about.inputs.items() if k not in ("tokens", "vocabulary")}
        inputs["vocabulary"] = digest_of_contents(arguments.out / MODEL_FILE)
    describe_run(
        arguments.out, request.recipe, request.pruning.pruned, inputs or about.inputs, more
    )


def others(request: PruneRequest) -> str:
    """Returns the fate of the experts that were not kept, in words; empty if all were."""
    kept = request.pruning.kept
    if kept is None or kept.shape[-1] == request.experts:
        return ""
    fate = "left out" if request.pruning.load is None else "merged"
    return fate if request.blocks is None else f"{fate}, the kept ones fitted"


def record(request: PruneRequest) -> dict[str, Any]:
    """Returns the manifest's record of the pruning beside its settings and measurements."""
    switch, kept, trimming = request.recipe.model.switch, request.pruning.kept, request.trimming
    facts: dict[str, Any] = {}
    if kept is not None and switch is not None:
        stacks = zip(("encoder", "decoder"), np.split(kept, 2), strict=True)
        facts["kept"] = {
            f"{stack} {(block + 1) * switch.every}": experts.tolist()
            for stack, layers in stacks
            for block, experts in enumerate(layers)
        }
        facts["experts"] = request.experts
    if trimming is not None and request.blocks is not None:
        facts["pieces_before"] = request.blocks.manifest.vocabulary.vocabulary_size
        facts["pieces"] = len(trimming.kept)
    facts["parameters_before"] = parameter_count(request.pruning.whole.shapes)
    return facts | {"parameters": parameter_count(request.pruning.pruned.shapes)}


def cost_of_trimming(arguments: Prune, request: PruneRequest) -> dict[str, Any]:
    """Returns the cost of trimming a vocabulary, by language, for the manifest.

    Losses are left out where experts have a capacity: the pages of a few languages overflow it.
    """
    blocks, trimming, recipe = request.blocks, request.trimming, request.recipe
    if blocks is None or trimming is None:
        return {}
    whole = load(arguments.run / MODEL_FILE)
    lines = {
        code: compared_lines(blocks, whole, trimming, code, recipe.held_out_pages)._asdict()
        for code in request.codes
    }
    if recipe.model.switch is not None and recipe.model.switch.dispatch != "dropless":
        return {"lines": lines}
    trainer, step = request.pruning.pruned, request.pruning.step
    arrays, _ = restore(arguments.out, trainer, step)
    pages = TrimmedPages(blocks, trimming, request.codes, recipe)
    nats = nats_per_byte(evaluation_file(arguments.run, step), pages, trainer, arrays)
    return {"lines": lines, "nats_per_byte": nats}
