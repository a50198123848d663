"""One training step: loss, gradients, update; and where a nonfinite number came from.

Gradients come from a batch at once or from microbatches. Losses are sums over tokens, divided once
by the tokens of the whole batch, so the microbatches' gradients add up to the batch's. A mean of
means would weigh tokens of a short microbatch more. A routing group is never split: it keeps its
tokens, its number and hence its jitter, whichever microbatch it is in.

Randomness is a function of (seed, step), so a resumed run draws the same numbers as an
uninterrupted one. A step with nonfinite loss or gradients, or with exploded gradients, is skipped:
it changes only the step count and reports `skipped`.

The origin of a skip. The gradient norm is a sum over parameters and blocks anyway. Kept apart,
these sums show where gradients became nonfinite or exploded. Backpropagation runs from the loss to
the input: a nonfinite value in a layer's backward pass spreads to all earlier layers, so its origin
is the last layer with a nonfinite gradient. If the loss itself is nonfinite, all gradients are.
Then the forward pass decides: its origin is the first layer with nonfinite output in any row. The
losses of the rows show which texts were involved.

A step also reports how far each router moved. A router that gets no gradient stays where it is; one
that is not a number cannot be compared with itself. Both are invisible in the loss for a long time.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PyTree

from model.batch import Batch, Call, Microbatch, join_rows, split_rows
from model.loss.training_loss import Distillation, Losses, RowLosses, combined_losses, training_loss
from model.sharding.layouts import dimension_names, is_names
from model.switch.balancing import with_new_biases, without_expert_biases
from model.transformer import Transformer

STAGES = ("embedding", "encoder", "decoder", "logits")
ROUTER = "router"


class Trace(NamedTuple):
    """Numbers of one step from which the cause of a skipped update follows.

    Attributes:
        gradient_squares: sum of squares of the gradient at each of `gradient_sites`.
        row_loss_nats: loss of each row of the batch.
        row_language: language of each row, as in the batch.
        row_finite_layers: number of each row's layers before the first with nonfinite output.
    """

    gradient_squares: Float[Array, " sites"]
    row_loss_nats: Float[Array, " batch"]
    row_language: Int[Array, " batch"]
    row_finite_layers: Int[Array, " batch"]


class GradientSite(NamedTuple):
    """One parameter of one layer.

    Attributes:
        depth: position in the forward pass, the same for all parameters of a layer.
        layer: name such as `decoder layer 3`, counted from 1 within the stack as in a report, or
            `embedding` outside of layers.
        parameter: name within the layer.
    """

    depth: tuple[int, int]
    layer: str
    parameter: str


def gradient_squares(gradients: eqx.Module) -> Float[Array, " sites"]:
    """Returns the sums of squares of each parameter, one per block, in one vector."""

    def squares(names: tuple[str, ...], leaf: Array) -> Float[Array, " blocks"]:
        first = names[0] == "blocks"
        summed = tuple(range(int(first), leaf.ndim))
        return jnp.sum(jnp.square(leaf.astype(jnp.float32)), axis=summed).reshape(-1)

    names = dimension_names(gradients)
    vectors = jax.tree.map(squares, names, gradients, is_leaf=is_names)
    return jnp.concatenate(jax.tree.leaves(vectors))


def gradient_sites(shapes: eqx.Module, layers_per_block: int) -> list[GradientSite]:
    """Returns the site of each number in `gradient_squares`.

    Args:
        shapes: arrays of the model or their shapes.
        layers_per_block: layers per scanned block.
    """
    shapes = without_expert_biases(shapes)
    names = jax.tree.leaves(dimension_names(shapes), is_leaf=is_names)
    leaves, _ = jax.tree_util.tree_flatten_with_path(shapes)
    return [
        _site(path, block, layers_per_block)
        for (path, leaf), dimensions in zip(leaves, names, strict=True)
        for block in range(leaf.shape[0] if dimensions[0] == "blocks" else 1)
    ]


def _site(path: tuple, block: int, layers_per_block: int) -> GradientSite:
    top, *rest = (str(getattr(key, "name", getattr(key, "idx", key))) for key in path)
    stage = STAGES.index(top)
    if len(rest) > 2 and rest[0] == "blocks":
        layer = block * layers_per_block + int(rest[1])
        return GradientSite((stage, layer), f"{top} layer {layer + 1}", ".".join(rest[2:]))
    # Gradients of a stack's biases are sums over its layers: a fault in any layer reaches them.
    depth = 10**6 if rest and rest[0] != "position_bias" else -1
    return GradientSite((stage, depth), top, ".".join(rest) or top)


def skip_cause(trace: Trace, sites: list[GradientSite], limit: float) -> str:
    """Returns a phrase that names the layer because of which a step was skipped.

    Args:
        trace: trace of the step, on the host.
        sites: gradient sites of the model.
        limit: gradient norm above which gradients count as exploded.
    """
    squares = np.asarray(trace.gradient_squares)
    nonfinite = [site for site, square in zip(sites, squares, strict=True) if not square < np.inf]
    lost = not np.isfinite(trace.row_loss_nats).all()  # a wrong target has a finite gradient
    broken = _broken_layer(int(np.min(trace.row_finite_layers)), sites)
    if len(nonfinite) in (0, len(sites)) and (lost or (nonfinite and broken)):
        if broken:
            return f"the forward pass stopped being finite in {broken}"
        return "every layer was finite in the forward pass and the loss was not"
    if nonfinite:
        last = max(nonfinite, key=lambda site: site.depth)
        return f"the gradient stopped being finite in {last.layer} ({last.parameter})"
    largest = int(np.argmax(squares))
    norm, site = np.sqrt(squares.sum()), sites[largest]
    share = squares[largest] / squares.sum()
    return (
        f"the gradient norm was {norm:.3g}, more than {limit:.3g}, and {share:.0%} of its square "
        f"came from {site.layer} ({site.parameter})"
    )


def _broken_layer(finite_layers: int, sites: list[GradientSite]) -> str | None:
    """Returns the first layer with nonfinite output; None if all layers are finite.

    Args:
        finite_layers: smallest number of finite layers of any row.
        sites: gradient sites of the model; each layer has some.
    """
    order = sorted({(site.depth, site.layer) for site in sites if " layer " in site.layer})
    return order[finite_layers][1] if finite_layers < len(order) else None


def router_moves(before: eqx.Module, after: eqx.Module) -> Float[Array, " routers"]:
    """Returns the squared distance that each layer's router moved; NaN if a weight is not a number.

    The order is that of `router_sites`; empty for a dense network.
    """
    moves = [
        jnp.sum(jnp.square(new - old), axis=(-2, -1)).reshape(-1)
        for old, new in zip(_routers(before), _routers(after), strict=True)
    ]
    return jnp.concatenate(moves) if moves else jnp.zeros(0)


def router_sites(sites: Sequence[GradientSite]) -> list[GradientSite]:
    """Returns the sites of a network that are routers, in the order of `router_moves`."""
    return [site for site in sites if site.parameter.split(".")[-1] == ROUTER]


def _routers(arrays: eqx.Module) -> list[Array]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(arrays)
    return [leaf for path, leaf in leaves if getattr(path[-1], "name", None) == ROUTER]


def batch_gradients(
    static: Transformer,
    arrays: PyTree,
    batch: Batch,
    call: Call,
    accumulate: int,
    distillation: Distillation | None = None,
) -> tuple[PyTree, Losses, RowLosses]:
    """Returns the gradients of the training loss, its terms, and the losses of each row.

    Gradients are None for experts' biases; rows are in the order of the batch.

    Args:
        static: the model without its arrays.
        arrays: arrays of the model.
        batch: the batch; devices and microbatches must divide its rows.
        call: mesh, key and rematerialization of the step.
        accumulate: number of microbatches; 1 computes the batch at once.
        distillation: teacher of a student, which is also run per microbatch.
    """
    whole = Microbatch.whole(batch)

    def microbatch_gradients(batch: Batch, number: Array | int) -> tuple[PyTree, Losses, RowLosses]:
        microbatch = whole._replace(number=number, total=accumulate)
        microbatch_call = call._replace(microbatch=microbatch)

        def loss(moving: PyTree) -> tuple[Float[Array, ""], tuple[Losses, RowLosses]]:
            model = eqx.combine(moving, arrays, static)
            return training_loss(model, batch, microbatch_call, distillation)

        value_and_gradients = jax.value_and_grad(loss, has_aux=True)
        (_, (losses, rows)), gradients = value_and_gradients(without_expert_biases(arrays))
        return gradients, losses, rows

    if accumulate == 1:
        return microbatch_gradients(batch, 0)
    switch = static.config.switch  # a part does not know the loads of the others
    assert switch is None or switch.balance_loss_over == "group"
    microbatches = jax.tree.map(lambda rows: split_rows(rows, accumulate, call.mesh), batch)

    def add(sums: PyTree, numbered: tuple[Batch, Array]) -> tuple[PyTree, tuple[Losses, RowLosses]]:
        gradients, losses, rows = microbatch_gradients(*numbered)
        return jax.tree.map(jnp.add, sums, gradients), (losses, rows)

    zeros = jax.tree.map(jnp.zeros_like, without_expert_biases(arrays))
    numbered = microbatches, jnp.arange(accumulate)
    gradients, (losses, rows) = jax.lax.scan(add, zeros, numbered)
    rows = jax.tree.map(lambda values: join_rows(values, call.mesh), rows)
    return gradients, combined_losses(losses), rows


class TrainState(NamedTuple):
    """The state of a run: with its recipe, all that a resumed run needs.

    Attributes:
        arrays: arrays of the model, in its structure.
        optimizer: statistics of the update rule, such as second moments, of what is learned.
        step: number of steps, skipped ones included.
    """

    arrays: PyTree
    optimizer: PyTree
    step: Int[Array, ""]


class StepMetrics(NamedTuple):
    """The report of a step.

    Attributes:
        losses: losses of the batch, before the update.
        gradient_norm: norm over all parameters.
        learning_rate: learning rate of the update.
        skipped: True if nothing was updated, because the loss or a gradient was nonfinite or the
            gradient norm exceeded the recipe's limit.
        trace: numbers that locate the cause; fetched from the devices only after a skipped step.
        router_moves: squared distance that each router moved, in the order of `router_sites`.
    """

    losses: Losses
    gradient_norm: Float[Array, ""]
    learning_rate: Float[Array, ""]
    skipped: Bool[Array, ""]
    trace: Trace
    router_moves: Float[Array, " routers"]


def step_function(
    static: Transformer,
    optimizer: optax.GradientTransformation,
    rate: Callable[[ArrayLike], Array],
    *,
    limit: float,
    call: Call,
    accumulate: int,
    distillation: Distillation | None = None,
) -> Callable[..., tuple[TrainState, StepMetrics]]:
    """Returns the function of a step: (state, batch, *teacher_arrays) to (state, metrics).

    Args:
        static: the model without its arrays.
        optimizer: the update rule of what is learned, without the learning rate.
        rate: learning rate as a function of the step.
        limit: largest norm of the gradients of a step that is not skipped.
        call: inputs of the forward pass, with the key of the run.
        accumulate: microbatches per batch.
        distillation: teacher of a student, without its arrays.
    """
    run_key = call.key
    assert run_key is not None  # training has a key

    def step(
        state: TrainState, batch: Batch, *teacher_arrays: PyTree
    ) -> tuple[TrainState, StepMetrics]:
        step_call = call._replace(key=jax.random.fold_in(run_key, state.step))
        teaching = distillation
        if distillation is not None:
            teacher = eqx.combine(*teacher_arrays, distillation.teacher)
            teaching = distillation._replace(teacher=teacher)
        gradients, losses, rows = batch_gradients(
            static, state.arrays, batch, step_call, accumulate, teaching
        )
        updates, moments = optimizer.update(
            gradients, state.optimizer, without_expert_biases(state.arrays)
        )
        step_rate = jnp.asarray(rate(state.step), jnp.float32)
        updates = jax.tree.map(lambda update: -step_rate * update, updates)
        squares = gradient_squares(gradients)
        norm = jnp.sqrt(jnp.sum(squares))
        healthy = jnp.isfinite(losses.loss_nats) & jnp.isfinite(norm) & (norm <= limit)
        moved = eqx.apply_updates(state.arrays, updates)
        moved = with_new_biases(moved, static.config.switch, losses.layers, losses.margins)
        arrays, moments = jax.tree.map(
            lambda new, old: jnp.where(healthy, new, old),
            (moved, moments),
            (state.arrays, state.optimizer),
        )
        metrics = StepMetrics(
            losses=losses._replace(margins=None),  # megabytes that nobody reads
            gradient_norm=norm,
            learning_rate=step_rate,
            skipped=~healthy,
            trace=Trace(squares, rows.loss_nats, batch.language, rows.finite_layers),
            router_moves=router_moves(state.arrays, arrays),
        )
        return TrainState(arrays, moments, state.step + 1), metrics

    return step
