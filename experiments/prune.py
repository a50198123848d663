"""What a language loses with a share of the experts, chosen and treated in several ways.

    python experiments/prune.py --runs RUN [RUN ...] --tokens TOKENS --out DIR

For each run, share and way, each language gets a network of its own: its experts are chosen on
windows of its training text, and it is scored on its held-out pages, which nothing else reads.
Networks of one share have arrays of one shape, so all languages share one compiled program. The
losses are of what `mswitch prune` would write; dispatch is dropless before and after.

Choosing: by the sum of gates (`gates`, what `mswitch prune` does), by `load` alone, at random
(`random`), by the gates of the language that uses experts most alike (`nearest`), and by those of
all others (`others`); the last two never see the language. Treating: `left out`, `merged`, `fitted`
(`--tokens`), and both. Writes prune.csv, a row per run, way, share and language, and prints a
table. A way that is in the file is not measured again. Larger shares have the main ways only.
"""

import csv
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import numpy as np
import tyro
from jax.sharding import Mesh

from data.examples.held_out_batches import HeldOutBatch, HeldOutPage, batches
from data.languages import get
from data.tokens.blocks import TokenBlocks
from model.batch import Batch, Call
from model.config import ModelConfig
from model.conversions.pruning import (
    expert_axes,
    kept_count,
    merged_arrays,
    most_important_experts,
    pruned_arrays,
    pruned_config,
    refitted_network,
    stack_rows,
)
from model.conversions.student import TeacherExpertUse, expert_use
from model.decoding.generation import never_dropping
from model.sharding.layouts import by_path
from model.trainer import Trainer
from model.transformer import Transformer
from pipeline.fields import CacheOptions
from pipeline.hardware.batches import to_devices
from pipeline.recipe.recipe import Recipe
from pipeline.runs.directory import find_run
from pipeline.runs.opened_run import recipe_of, restore
from pipeline.tokens.opened_blocks import open_blocks
from pipeline.training.kept_experts import refit_batches
from pipeline.training.pruning import trainer_of_one_device

SHARES = (0.25, 0.5, 0.8)
ALLOWED_NATS = 0.02
ROWS = 64
TABLE = """| share kept | others | chosen by | mean | median | at most 0.02 | \
better than random | better than load |
|---|---|---|---:|---:|---:|---:|---:|"""
FIELDS = "run", "chosen", "treated", "share", "language", "before_nats", "after_nats"

Arrays = Mapping[str, np.ndarray]


class Way(NamedTuple):
    """How experts are chosen, and what becomes of the others."""

    chosen: str
    merged: bool = False
    fitted: bool = False

    @property
    def treated(self) -> str:
        """Name of what becomes of the other experts."""
        names = [name for name in ("merged", "fitted") if getattr(self, name)]
        return " and ".join(names) or "left out"


MAIN = Way("gates"), Way("load"), Way("random"), Way("gates", fitted=True)
WAYS = (
    *MAIN,
    Way("gates", merged=True),
    Way("nearest"),
    Way("others"),
    Way("random", fitted=True),
    Way("load", fitted=True),
    Way("nearest", fitted=True),
    Way("gates", merged=True, fitted=True),
)


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What is pruned, and where results are written."""

    runs: tuple[Path, ...]
    """Finished sparse runs on one vocabulary, with one expert per token."""
    tokens: Path
    """Their tokens."""
    out: Path
    """Directory for prune.csv."""
    shares: tuple[float, ...] = SHARES
    """Shares of experts to keep."""


class Subject:
    """One run with the text of all languages.

    Args:
        run: the run.
        blocks: its tokens.
    """

    def __init__(self, run: Path, blocks: TokenBlocks):
        self.name, self.blocks = name_of(run), blocks
        recipe = recipe_of(find_run(run), run)
        self.experts = recipe.model.switch.experts if recipe.model.switch else 0
        self.recipe = replace(recipe, model=grouped_by_rows(recipe))
        both = set(blocks.languages("train")) & set(blocks.languages("validation"))
        self.codes = sorted(code for code in both if not get(code).is_script_variant)
        source = trainer_of_one_device(recipe)
        arrays, _ = restore(run, source, None)
        self.arrays = {name: np.asarray(leaf) for name, leaf in by_path(arrays).items()}
        self.trainers: dict[int, Trainer] = {}
        self.axes = expert_axes(self.trainer(self.experts).shapes)
        self.whole = self.network(self.arrays, self.experts)
        mesh, lengths = self.trainer(self.experts).mesh, recipe.lengths
        self.text = {code: refit_batches(blocks, [code], lengths, mesh) for code in self.codes}
        self.pages = {code: held_out(blocks, code, recipe) for code in self.codes}
        self.use = {code: use_in(self.whole, self.text[code], mesh) for code in self.codes}
        self.before = {code: self.loss(self.whole, code) for code in self.codes}

    def trainer(self, experts: int) -> Trainer:
        """Returns the functions of the network with so many experts."""
        if experts not in self.trainers:
            model = pruned_config(self.recipe.model, experts)
            self.trainers[experts] = trainer_of_one_device(replace(self.recipe, model=model))
        return self.trainers[experts]

    def network(self, arrays: Arrays, experts: int) -> Transformer:
        """Returns a network of these arrays."""
        trainer = self.trainer(experts)
        in_order = [arrays[name] for name in by_path(trainer.shapes)]
        tree = jax.tree.unflatten(jax.tree.structure(trainer.shapes), in_order)
        return trainer.model(jax.device_put(tree, trainer.shardings.arrays))

    def loss(self, network: Transformer, code: str) -> float:
        """Returns nats per target token of a language's held-out pages."""
        switch = network.config.switch
        assert switch is not None  # a sparse network
        trainer = self.trainer(switch.experts)
        arrays, _ = eqx.partition(network, eqx.is_array)
        nats, tokens = 0.0, 0
        for batch in self.pages[code]:
            rows = {"inputs": batch.inputs, "targets": batch.targets, "language": batch.page}
            losses, _ = trainer.score(arrays, to_devices(rows, trainer.mesh, ROWS), 0)
            nats += float(np.sum(np.asarray(losses.loss_nats)[batch.page >= 0], dtype=np.float64))
            tokens += int(np.sum(np.asarray(losses.target_tokens)[batch.page >= 0]))
        return nats / tokens

    def losses(self, way: Way, share: float) -> Iterator[tuple[str, float]]:
        """Yields each language with its loss, with experts of its own."""
        count = kept_count(self.experts, share)
        mesh = self.trainer(count).mesh
        for code in self.codes:
            use, text = self.seen(way, code)
            kept = most_important_experts(importance(way, use, code), count)
            network = self.network(self.pruned(kept, use if way.merged else None), count)
            if way.fitted:
                network = refitted_network(self.whole, network, text, mesh)
            yield code, self.loss(network, code)

    def seen(self, way: Way, code: str) -> tuple[TeacherExpertUse, Sequence[Batch]]:
        """Returns the use and the text that a way chooses and fits by, for a language."""
        others = [other for other in self.codes if other != code]
        if way.chosen == "nearest":
            nearest = min(others, key=lambda other: distance(self.use[other], self.use[code]))
            return self.use[nearest], self.text[nearest]
        if way.chosen == "others":
            parts = zip(*(self.use[other] for other in others), strict=True)
            return TeacherExpertUse(*(np.sum(part, axis=0) for part in parts)), ()
        return self.use[code], self.text[code]

    def pruned(self, kept: np.ndarray, use: TeacherExpertUse | None) -> dict[str, np.ndarray]:
        """Returns the arrays without the dropped experts, or with them merged, by a use."""
        arrays = pruned_arrays(self.arrays, self.axes, kept)
        if use is None:
            return arrays
        for stack in (".encoder", ".decoder"):
            names = [name for name in self.axes if name.startswith(stack)]
            of_layers = (stack_rows(np.asarray(layers), stack) for layers in (kept, use.load))
            arrays |= merged_arrays({name: self.arrays[name] for name in names}, *of_layers)
        return arrays


def grouped_by_rows(recipe: Recipe) -> ModelConfig:
    """Returns a run's network without capacity, in routing groups of one row."""
    switch, lengths = recipe.model.switch, recipe.lengths
    assert switch is not None  # a sparse run
    groups = replace(
        switch, encoder_group_tokens=lengths.inputs, decoder_group_tokens=lengths.targets
    )
    return pruned_config(replace(recipe.model, switch=groups), switch.experts)


def held_out(blocks: TokenBlocks, code: str, recipe: Recipe) -> list[HeldOutBatch]:
    """Returns a language's held-out pages in batches."""
    pages = [HeldOutPage(code, page) for page in blocks.pages(code, "validation")]
    sentinel = blocks.manifest.vocabulary.first_sentinel
    return list(batches(pages, recipe.lengths, first_sentinel=sentinel, rows=ROWS))


@eqx.filter_jit
def use_of_batch(network: Transformer, batch: Batch, call: Call) -> TeacherExpertUse:
    """Returns the use of experts by one batch."""
    lengths = batch.inputs.shape[1], batch.targets.shape[1]
    return expert_use(never_dropping(network, *lengths), batch, call)


def use_in(network: Transformer, text: Iterable[Batch], mesh: Mesh) -> TeacherExpertUse:
    """Returns the use of experts per token of a text."""
    parts = [use_of_batch(network, batch, Call(mesh)) for batch in text]
    load, gate = (np.sum(layers, axis=0, dtype=np.float64) for layers in zip(*parts, strict=True))
    tokens = load.sum(axis=1, keepdims=True)
    return TeacherExpertUse(load / tokens, gate / tokens)


def distance(use: TeacherExpertUse, other: TeacherExpertUse) -> float:
    """Returns the total variation distance of two languages' use, mean over layers."""
    return float(np.abs(use.load - other.load).sum(axis=1).mean() / 2)


def importance(way: Way, use: TeacherExpertUse, code: str) -> np.ndarray:
    """Returns the number per expert that a way chooses by."""
    if way.chosen == "random":
        return np.random.default_rng(zlib.crc32(code.encode())).random(use.load.shape)
    return np.asarray(use.load if way.chosen == "load" else use.gate)


def main(arguments: Arguments) -> None:
    """Measures what is not in prune.csv yet, and prints a table."""
    path = arguments.out / "prune.csv"
    arguments.out.mkdir(parents=True, exist_ok=True)
    blocks = open_blocks(str(arguments.tokens), CacheOptions())
    for run in arguments.runs:
        done = {(row["chosen"], row["treated"], row["share"]) for row in rows(path, name_of(run))}
        left = [
            (way, share)
            for share in arguments.shares
            for way in (WAYS if share == min(arguments.shares) else MAIN)
            if (way.chosen, way.treated, f"{share:g}") not in done
        ]
        left.sort(key=lambda variant: variant[0].fitted)  # fits take ten times as long
        subject = Subject(run, blocks) if left else None
        for way, share in left:
            assert subject is not None  # something is left
            add(path, subject, way, share, dict(subject.losses(way, share)))
    print_table(list(rows(path)))


def add(path: Path, subject: Subject, way: Way, share: float, losses: Mapping[str, float]) -> None:
    """Adds the losses of one way to prune.csv."""
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(FIELDS)
        for code, after in losses.items():
            names = subject.name, way.chosen, way.treated, f"{share:g}", code
            writer.writerow([*names, f"{subject.before[code]:.5f}", f"{after:.5f}"])


def name_of(run: Path) -> str:
    """Returns a run's name in the table; decayed runs of all seeds lie in folders of one name."""
    return f"{run.parent.name}/{run.name}"


def rows(path: Path, run: str | None = None) -> Iterator[dict[str, str]]:
    """Yields the rows of prune.csv, of one run or of all."""
    if path.exists():
        with path.open(newline="") as file:
            yield from (row for row in csv.DictReader(file) if run in (None, row["run"]))


def print_table(rows: Sequence[Mapping[str, str]]) -> None:
    """Prints a row per share and way: losses are means over runs, then compared by language."""
    lost: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    for row in rows:
        key = row["share"], row["treated"], row["chosen"]
        added = float(row["after_nats"]) - float(row["before_nats"])
        lost.setdefault(key, {}).setdefault(row["language"], []).append(added)
    means = {key: {c: float(np.mean(v)) for c, v in of.items()} for key, of in lost.items()}
    print(TABLE)
    for (share, treated, chosen), of in sorted(means.items()):
        better = [
            str(sum(of[code] < than[code] for code in of)) if than and name != chosen else "–"
            for name in ("random", "load")
            for than in [means.get((share, treated, name))]
        ]
        values = np.array(list(of.values()))
        within = f"{int(np.sum(values <= ALLOWED_NATS))} of {len(of)}"
        print(f"| {share} | {treated} | {chosen} | {values.mean():+.4f} | {np.median(values):+.4f} "
              f"| {within} | {' | '.join(better)} |")  # fmt: skip


if __name__ == "__main__":
    main(tyro.cli(Arguments))
