"""What some languages use of a run, its experts and its pieces, as a smaller run.

Which experts stay is decided in `kept_experts.py`. With a trim the vocabulary keeps the pieces that
training text of the languages has (`data/tokens/trimming.py`), and the rows of embedding and logits
follow; what that costs is measured in `trimmed_vocabulary.py`.

The weights are read one array at a time, so the whole network is in memory only where experts are
fitted. Everything is on one device: the numbers of experts before and after divide over no common
mesh. The result is at the source's step and has its inputs, so it is evaluated on the same tokens
and compared as the source is. docs/decisions/pruning.md.
"""

import resource
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Int

from data import languages
from data.files.atomic import write_bytes
from data.files.digests import digest_of_contents
from data.files.paths import Place, exists, read_bytes
from data.tokens.blocks import TokenBlocks
from data.tokens.tokenizer import MODEL_FILE, load
from data.tokens.trimming import Trimming, compared_lines, piece_counts, trim
from model.batch import Batch
from model.config import MeshShape
from model.conversions.pruning import pruned_config, refitted_network, with_rows
from model.sharding.layouts import by_path
from model.sharding.mesh import make_mesh
from model.step import TrainState
from model.trainer import Trainer
from model.transformer import Transformer, parameter_count
from pipeline.artifacts import TOKENS, digest_of_manifest
from pipeline.errors import ArtifactError
from pipeline.fields import CacheOptions
from pipeline.following import with_digest
from pipeline.recipe.recipe import Recipe, recipe_to_json
from pipeline.recipe.trainer import trainer_on
from pipeline.runs.checkpoints import explain_save_errors, write_first_checkpoint
from pipeline.runs.directory import (
    check_same_vocabulary,
    checkpoint_read,
    evaluation_file,
    find_finished_run,
    requested_step,
)
from pipeline.runs.opened_run import read_pruned, recipe_of, restore
from pipeline.runs.uses import export_command, tokens_of_its_own
from pipeline.stage import Identity, Intent, Job, Outcome, bytes_in_words, files_of, staged_job
from pipeline.tokens.opened_blocks import check_holds_windows, open_blocks
from pipeline.training.description import describe_run
from pipeline.training.kept_experts import (
    KeptExperts,
    check_has_text,
    experts_to_keep,
    refit_batches,
)
from pipeline.training.trimmed_vocabulary import TrimmedPages, nats_per_byte, print_costs


class Pruning(NamedTuple):
    """What becomes of a run.

    Attributes:
        run: run to prune.
        step: step of its checkpoint.
        codes: languages that it is made for.
        recipe: recipe of the result.
        whole, pruned: functions of the networks before and after, on one device.
        experts: experts that stay; None for all.
        blocks: token blocks to fit experts on or to trim by; None for neither.
        trimming: the trimmed vocabulary; None where all pieces stay.
        rows: rows of the vocabulary that stay; None for all.
    """

    run: Place
    step: int
    codes: list[str]
    recipe: Recipe
    whole: Trainer
    pruned: Trainer
    experts: KeptExperts | None
    blocks: TokenBlocks | None
    trimming: Trimming | None
    rows: Int[np.ndarray, " rows"] | None

    @property
    def pieces_before(self) -> int:
        """Number of pieces before a trim."""
        assert self.blocks is not None
        return self.blocks.manifest.vocabulary.vocabulary_size

    @property
    def in_words(self) -> str:
        """How many experts and pieces stay."""
        parts = []
        if self.experts is not None:
            layers, count = self.experts.kept.shape
            parts.append(f"{count} of {self.experts.before} experts in {layers} layers")
        if self.trimming is not None:
            parts.append(f"{len(self.trimming.kept):,} of {self.pieces_before:,} pieces")
        return " and ".join(parts)


def pruning(
    run: Place,
    out: Place,
    names: Sequence[str],
    *,
    keep: float | None,
    merge: bool,
    least_count: int | None,
    tokens: str,
    step: int | None,
    cache: CacheOptions,
) -> Job:
    """Returns the job that prunes a run.

    Args:
        run: run to prune.
        out: directory of the result.
        names: languages that it is to serve.
        keep: share of each layer's experts to keep; None for all.
        merge: whether dropped experts are merged into the kept ones.
        least_count: how often a piece has to occur to stay; None for all pieces.
        tokens: token blocks to fit experts on or to trim by; "" for neither.
        step: step of the checkpoint; None for the best or the last.
        cache: cache for blocks of an object store.

    Raises:
        ArtifactError: if there is no such run, checkpoint, routing or text, or too little is kept.
        DataError: if a language has no held-out pages, or pieces are not chosen by score.
    """
    codes = list(languages.codes(names))
    source = recipe_of(find_finished_run(run), run)
    at = requested_step(run, step)
    model, experts, blocks, trimming, rows = source.model, None, None, None, None
    if keep is not None:
        experts = experts_to_keep(run, at, model, codes, keep, merge)
        model = pruned_config(model, experts.per_layer)
    if tokens:
        blocks = text_of_languages(run, source, codes, tokens, cache, fitted=keep is not None)
    if blocks is not None and least_count is not None:
        trimming = trim(read_bytes(run / MODEL_FILE), piece_counts(blocks, codes), least_count)
        rows = trimming.rows(blocks.manifest.vocabulary.vocabulary_size, model.vocabulary_rows)
        model = replace(model, vocabulary_rows=len(rows))
    recipe = replace(source, name=out.name, model=model, steps=max(at, 1), mesh=MeshShape())
    whole, pruned = trainer_of_one_device(source), trainer_of_one_device(recipe)
    made = Pruning(run, at, codes, recipe, whole, pruned, experts, blocks, trimming, rows)
    trimmed = {} if least_count is None else {"trim": least_count}
    settings = {"languages": codes, "keep": keep, "merge": merge, "step": at, **trimmed}
    intent = intent_of(made, out, settings)
    return staged_job(intent, partial(prune, made, out, tokens, least_count))


def text_of_languages(
    run: Place,
    source: Recipe,
    codes: Sequence[str],
    tokens: str,
    cache: CacheOptions,
    *,
    fitted: bool,
) -> TokenBlocks:
    """Returns the token blocks to fit experts on or to trim by.

    Raises:
        ArtifactError: if they have another vocabulary or lack a language, the run's targets are too
            short for them, or a token has several experts, whose matrices cannot be fitted one by
            one.
    """
    if fitted:
        check_holds_windows(run, source)
    blocks = open_blocks(tokens, cache)
    check_same_vocabulary(run, blocks)
    check_has_text(blocks, codes)
    switch = source.model.switch
    if fitted and switch is not None and switch.choices > 1:
        raise ArtifactError(
            f"{run} was to be fitted on {tokens}, but sends each token to {switch.choices} "
            "experts, whose matrices cannot be fitted one by one; leave --tokens out (and --trim, "
            "which can follow in a second command)."
        )
    return blocks


def trainer_of_one_device(recipe: Recipe) -> Trainer:
    """Returns a recipe's functions on the first device of this machine."""
    return trainer_on(recipe, make_mesh(MeshShape(), jax.devices()[:1]))


def intent_of(pruning: Pruning, out: Place, settings: dict[str, Any]) -> Intent:
    """Returns the intent to prune a run."""
    run, experts, blocks = pruning.run, pruning.experts, pruning.blocks
    inputs = {"run": digest_of_manifest(run)}
    reads = [checkpoint_read("run", run, pruning.step)]
    if experts is not None:
        inputs["routing"] = digest_of_contents(experts.routing)
        reads.append(files_of("routing", run, [experts.routing]))
    if blocks is not None:
        inputs["tokens"] = digest_of_manifest(blocks.directory)
    return Intent(
        stage="prune",
        reads=reads,
        writes="recipe.json, the vocabulary and a checkpoint",
        out=out,
        identity=Identity(settings, inputs),
        work=pruning.in_words,
    )


def prune(pruning: Pruning, out: Place, tokens: str, least_count: int | None) -> Outcome:
    """Writes the pruned run."""
    with explain_save_errors(out):
        write_first_checkpoint(out, lambda: pruned_state(pruning), pruning.step)
    describe(pruning, out)
    body = {"steps": pruning.step, "recipe": recipe_to_json(pruning.recipe)}
    body |= record(pruning) | cost_of_trimming(pruning, out)
    print_costs(body)
    before, after = body["parameters_before"], body["parameters"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    return Outcome(
        body,
        f"{pruning.in_words}, {before:,} parameters before and {after:,} after "
        f"({bytes_in_words(4 * before)} and {bytes_in_words(4 * after)}), with at most "
        f"{bytes_in_words(peak)} of memory, in {out}",
        cautions=cautions(pruning, least_count),
        following=next_command(pruning, out, tokens),
    )


def pruned_state(pruning: Pruning) -> TrainState:
    """Returns the pruned network at its source's step, its experts fitted if there is text.

    Raises:
        ArtifactError: if the source's checkpoint is damaged.
    """
    trainer = pruning.pruned
    network = _read(pruning)
    if pruning.experts is not None and pruning.blocks is not None:
        lengths = pruning.recipe.lengths
        text = refit_batches(pruning.blocks, pruning.codes, lengths, trainer.mesh)
        network = _fit_experts(pruning, network, text)
    step = jax.device_put(np.asarray(pruning.step, np.int32), trainer.shardings.step)
    if pruning.rows is not None:
        network = with_rows(network, pruning.rows)
    arrays = jax.device_put(network, trainer.shardings.arrays)
    return trainer.begin_with(arrays)._replace(step=step)


def _read(pruning: Pruning) -> Transformer:
    """Returns the arrays of the pruned network with all rows of its vocabulary, on the host."""
    experts = pruning.experts
    kept, load = (None, None) if experts is None else (experts.kept, experts.load)
    by_name = dict(read_pruned(pruning.run, pruning.whole, pruning.step, kept, load))
    shapes = pruning.pruned.shapes
    in_order = [by_name.pop(name) for name in by_path(shapes)]
    return jax.tree.unflatten(jax.tree.structure(shapes), in_order)


def _fit_experts(pruning: Pruning, network: Transformer, text: Sequence[Batch]) -> Transformer:
    """Returns the arrays of a network whose kept experts are fitted to what all computed."""
    trainer = pruning.pruned
    network = jax.device_put(network, trainer.shardings.arrays)
    whole, _ = restore(pruning.run, pruning.whole, pruning.step)
    fitted = refitted_network(
        pruning.whole.model(whole), trainer.model(network), text, trainer.mesh
    )
    arrays, _ = eqx.partition(fitted, eqx.is_array)
    return arrays


def describe(pruning: Pruning, out: Place) -> None:
    """Writes recipe.json and the files that the source's weights have in common with these."""
    run, experts = pruning.run, pruning.experts
    about = find_finished_run(run)
    inputs = about.inputs
    more = {"numerics_version": about.numerics_version, "commits": list(about.commits)}
    both = {"languages": pruning.codes, "run": digest_of_manifest(run), **record(pruning)}
    if experts is not None:
        more["pruned"] = {**both, "others": experts.others(fitted=pruning.blocks is not None)}
    if exists(run / "mixture.json"):
        write_bytes(out / "mixture.json", read_bytes(run / "mixture.json"))
    if pruning.trimming is None:
        write_bytes(out / MODEL_FILE, read_bytes(run / MODEL_FILE))
    else:  # the source's tokens have other ids
        write_bytes(out / MODEL_FILE, pruning.trimming.model)
        more["trimmed"] = both
        inputs = {k: v for k, v in inputs.items() if k not in ("tokens", "vocabulary")}
        inputs["vocabulary"] = digest_of_contents(out / MODEL_FILE)
    describe_run(out, pruning.recipe, pruning.pruned, inputs, more)


def record(pruning: Pruning) -> dict[str, Any]:
    """Returns the manifest's record of the pruning beside its settings and measurements."""
    switch, experts = pruning.recipe.model.switch, pruning.experts
    facts: dict[str, Any] = {}
    if experts is not None and switch is not None:
        facts |= {"kept": experts.by_layer(switch.every), "experts": experts.before}
    if pruning.trimming is not None:
        facts |= {"pieces_before": pruning.pieces_before, "pieces": len(pruning.trimming.kept)}
    facts["parameters_before"] = parameter_count(pruning.whole.shapes)
    return facts | {"parameters": parameter_count(pruning.pruned.shapes)}


def cost_of_trimming(pruning: Pruning, out: Place) -> dict[str, Any]:
    """Returns the cost of trimming a vocabulary, by language, for the manifest.

    Losses are left out where experts have a capacity: the pages of a few languages overflow it.
    """
    blocks, trimming, recipe = pruning.blocks, pruning.trimming, pruning.recipe
    if blocks is None or trimming is None:
        return {}
    whole = load(pruning.run / MODEL_FILE)
    lines = {
        code: compared_lines(blocks, whole, trimming, code, recipe.held_out_pages)._asdict()
        for code in pruning.codes
    }
    if recipe.model.switch is not None and recipe.model.switch.dispatch != "dropless":
        return {"lines": lines}
    arrays, _ = restore(out, pruning.pruned, pruning.step)
    pages = TrimmedPages(blocks, trimming, pruning.codes, recipe)
    evaluation = evaluation_file(pruning.run, pruning.step)
    return {
        "lines": lines,
        "nats_per_byte": nats_per_byte(evaluation, pages, pruning.pruned, arrays),
    }


def cautions(pruning: Pruning, least_count: int | None) -> Iterator[str]:
    """Yields a sentence if trimming left the vocabulary as it was."""
    if pruning.trimming is not None and len(pruning.trimming.kept) == pruning.pieces_before:
        yield (
            f"--trim {least_count} changed nothing: the tokens of these languages have all "
            f"{pruning.pieces_before:,} pieces so often; name fewer languages, or a larger --trim."
        )


def next_command(pruning: Pruning, out: Place, tokens: str) -> Iterator[object]:
    """Yields the words that score what is left; a trimmed vocabulary has tokens of its own."""
    if pruning.trimming is not None:
        yield from tokens_of_its_own(out)
        return
    digest = find_finished_run(pruning.run).inputs.get("tokens")
    if scored := tokens or with_digest(pruning.run, TOKENS, digest):
        yield from ("evaluate", "--run", out, "--tokens", scored)
    else:
        yield from export_command(out)
