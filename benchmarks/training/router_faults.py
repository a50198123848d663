"""Whether the alarm names faults of routers that are put into a healthy run, and no others.

    python benchmarks/training/router_faults.py --tokens DIR [--faults N] [--seed N]

A run of `switch-multilingual` trains for `HEALTHY` steps; the watch must stay silent. Then each
fault begins at a drawn step of that run after `SETTLING`, in a drawn layer, and the run goes on
with it for 100 steps. The alarm's thresholds were fixed before the first draw, except for
`SETTLING`, which came after it; then the same seed was drawn again.

    dead experts        after each step a router column is zero, or that of a lower expert
    one expert for all  after each step all columns of a router are equal: ties go to the first
    frozen router       its gradient is zero
    nan router          one weight, or all, are not numbers

Writes benchmarks/results/router_faults.json: per fault, the steps until it was named.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array, PyTree

from data.examples.loader import batches
from data.tokens.blocks import TokenBlocks
from model import step as train_step
from model.sharding.mesh import make_mesh
from model.step import ROUTER, TrainState, gradient_sites, router_sites
from model.trainer import Trainer
from pipeline.hardware.batches import share_of, to_devices
from pipeline.recipe import named
from pipeline.recipe.overrides import override
from pipeline.recipe.recipe import Recipe, with_rows
from pipeline.recipe.trainer import trainer_on
from pipeline.tokens.opened_blocks import open_blocks
from pipeline.training.log.alarms import EVERY, RouterWatch
from pipeline.training.log.live_view import SETTLING, WINDOW
from pipeline.training.run import make_examples

HEALTHY, SHOWN = 1_000, 100  # steps
RESULT = Path(__file__).parents[1] / "results/router_faults.json"
KINDS = ("dead experts", "one expert for all", "frozen router", "nan router")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What is trained, and how many faults are drawn."""

    tokens: Path
    """Token blocks."""
    faults: int = 20
    """Number of faults."""
    seed: int = 0
    """Seed of the faults."""
    run_seed: int = 0
    """Seed of the run."""


class Fault(NamedTuple):
    """One drawn fault; `router` is its number in `router_moves`, `step` the last healthy one."""

    kind: str
    router: int
    expert: int
    variant: int
    step: int


def main(arguments: Arguments) -> None:
    """Trains, breaks, and writes what the watch said."""
    settings = [f"steps={HEALTHY}", f"seed={arguments.run_seed}", "optimizer.decay_from=1"]
    recipe = override(named.get("switch-multilingual"), settings)
    blocks = open_blocks(str(arguments.tokens), None)
    run = Run(recipe, blocks)
    alarms = run.healthy()
    rows = [run.broken(fault) for fault in drawn(arguments, run)]
    named_all = sum(row["named_after"] is not None for row in rows)
    result = {"healthy_steps": HEALTHY, "false_alarms": alarms, "named": named_all, "faults": rows}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{named_all} of {len(rows)} faults named, {len(alarms)} false alarms")


def drawn(arguments: Arguments, run: "Run") -> Iterator[Fault]:
    """Yields the faults."""
    random = np.random.default_rng(arguments.seed)
    switch = run.recipe.model.switch
    assert switch is not None
    for _ in range(arguments.faults):
        yield Fault(
            kind=KINDS[random.integers(len(KINDS))],
            router=int(random.integers(len(run.sites))),
            expert=int(random.integers(1, switch.experts)),
            variant=int(random.integers(2)),
            step=int(random.integers(SETTLING, HEALTHY - SHOWN)),
        )


class Run:
    """A run whose states are kept."""

    def __init__(self, recipe: Recipe, blocks: TokenBlocks):
        self.recipe = with_rows(recipe, blocks.manifest.vocabulary.vocabulary_rows)
        self.mesh = make_mesh(recipe.mesh)
        self.trainer = trainer_on(self.recipe, self.mesh)
        self.all_sites = gradient_sites(self.trainer.shapes, self.recipe.model.layers_per_block)
        shapes, per_block = self.trainer.shapes, self.recipe.model.layers_per_block
        self.sites = router_sites(gradient_sites(shapes, per_block))
        self.examples = make_examples(self.recipe, blocks)
        self.states: dict[int, TrainState] = {}

    def watch(self, out: str, said: list[str]) -> RouterWatch:
        """Returns a new watch that says its alarms to a list."""
        warm_up = self.recipe.optimizer.warm_up_steps
        return RouterWatch("pretrain", Path(out), self.all_sites, said.append, warm_up)

    def healthy(self) -> list[str]:
        """Trains the healthy run, keeps a state every `EVERY` steps, and returns its alarms."""
        said: list[str] = []
        with TemporaryDirectory() as out:
            watch = self.watch(out, said)
            state = self.trainer.init()
            self.go_on(self.trainer, state, 0, HEALTHY, watch, keep=True)
        return said

    def broken(self, fault: Fault) -> dict[str, object]:
        """Returns a fault and how many steps passed until it was named with its layer."""
        said: list[str] = []
        start = fault.step // EVERY * EVERY
        layer = self.sites[fault.router].layer
        with TemporaryDirectory() as out:
            watch = self.watch(out, said)
            before = max(0, start - WINDOW)
            state = self.go_on(self.trainer, self.kept(before), before, fault.step, watch)
            frozen = fault.kind == "frozen router"
            trainer = self.frozen(fault.router) if frozen else self.trainer
            last = fault.step + SHOWN
            self.go_on(trainer, state, fault.step, last, watch, breaking(fault))
            path = Path(out) / "alarms.jsonl"
            lines = [json.loads(line) for line in path.open()] if path.exists() else []
        steps = [one["step"] for one in lines if (one["kind"], one["layer"]) == (fault.kind, layer)]
        others = [text for text in said if layer not in text or fault.kind not in names(lines)]
        named_after = steps[0] - fault.step if steps else None
        print(fault, layer, named_after, others, flush=True)
        return {**fault._asdict(), "layer": layer, "named_after": named_after, "others": others}

    def kept(self, step: int) -> TrainState:
        """Returns the state after a step, on the devices."""
        return jax.device_put(self.states[step], self.trainer.shardings)

    def go_on(
        self,
        trainer: Trainer,
        state: TrainState,
        first: int,
        last: int,
        watch: RouterWatch,
        breaks: Callable[[PyTree], PyTree] = lambda arrays: arrays,
        keep: bool = False,
    ) -> TrainState:
        """Trains from step `first` to `last`, with a fault before each step."""
        share = share_of(self.mesh, self.recipe.rows, 0)
        source = batches(self.examples, rows=self.recipe.rows, first_batch=first)
        for step in range(first, last):
            if keep and step % EVERY == 0:
                self.states[step] = jax.device_get(state)
            batch = to_devices(next(source), self.mesh, self.recipe.rows, share)
            state, metrics = trainer.step(state._replace(arrays=breaks(state.arrays)), batch)
            watch.add(metrics)
            if (step + 1) % EVERY == 0 and watch.look(step, in_flight=1):
                return state  # named: the rest would show the same
        watch.look(last)
        return state

    def frozen(self, router: int) -> Trainer:
        """Returns a trainer in which one router's gradient is zero."""
        unchanged = train_step.batch_gradients

        def without(*given: object) -> object:
            gradients, *losses = unchanged(*given)  # pyright: ignore[reportArgumentType]
            return changed(gradients, router, jnp.zeros_like), *losses

        train_step.batch_gradients = without  # pyright: ignore[reportAttributeAccessIssue]
        try:
            trainer = trainer_on(self.recipe, self.mesh)
            batch = next(batches(self.examples, rows=self.recipe.rows))
            share = share_of(self.mesh, self.recipe.rows, 0)
            device_batch = to_devices(batch, self.mesh, self.recipe.rows, share)
            return trainer.with_compiled_step(trainer.init(), device_batch)
        finally:
            train_step.batch_gradients = unchanged


def names(lines: list[dict]) -> set[str]:
    """Returns the kinds of faults that were recorded."""
    return {line["kind"] for line in lines}


def breaking(fault: Fault) -> Callable[[PyTree], PyTree]:
    """Returns the change of weights before each step of a fault."""
    if fault.kind == "frozen router":
        return lambda arrays: arrays
    return lambda arrays: changed(arrays, fault.router, lambda router: broken_router(fault, router))


def broken_router(fault: Fault, router: Array) -> Array:
    """Returns a router with its fault."""
    if fault.kind == "one expert for all":
        return jnp.broadcast_to(router[:, fault.expert, None], router.shape)
    if fault.kind == "nan router":
        return router.at[0, 0].set(jnp.nan) if fault.variant else router * jnp.nan
    lower = router[:, fault.expert - 1] if fault.variant else 0.0
    return router.at[:, fault.expert].set(lower)


def changed(arrays: PyTree, router: int, change: Callable[[Array], Array]) -> PyTree:
    """Returns arrays with one layer's router changed; `router` counts as `router_moves` does."""
    leaves, tree = jax.tree_util.tree_flatten_with_path(arrays)
    first, found = 0, []
    for path, leaf in leaves:
        if getattr(path[-1], "name", None) == ROUTER:
            at = router - first
            first += len(leaf)
            leaf = leaf.at[at].set(change(leaf[at])) if 0 <= at < len(leaf) else leaf
        found.append(leaf)
    return jax.tree.unflatten(tree, found)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
