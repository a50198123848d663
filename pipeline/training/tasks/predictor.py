"""A network's answers to the examples of a task: labels by likelihood, text greedily or by beams.

Inputs are cut to one length and batches have one size, so each task has one program per kind of
answer. Dispatch is dropless, so an answer depends on its example alone. Every host has all
examples, and its devices compute their rows of each batch.

Of a sparse network it also counts which experts the tokens of each language are sent to: those of
the inputs, which the encoder reads, and of the correct targets, which the decoder reads as in
training. So the counts do not depend on the network's answers, and two runs are counted on the same
tokens. The columns are those of pretraining's evaluations (`eval/experts.py`).
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Num

from data.examples.task_examples import cut_ids, padded_rows
from data.tasks.description import Task
from data.tasks.examples import TaskExample
from data.tokens.tokenizer import PADDING, Tokenizer
from eval.experts import Usage, add_usage, routing_columns, usage_by_language
from model.batch import Batch, Call
from model.decoding.beam_search import Beams, beam_search, label_nats
from model.decoding.generation import cached_decoder, never_dropping, write_greedily
from model.loss.training_loss import row_routings
from model.sharding.layouts import batch_sharding, replicated_layout
from model.switch.balancing import RoutingSums
from model.trainer import Trainer
from model.transformer import Transformer
from pipeline.hardware.batches import Stop, one_ahead, rows_on_devices


def row_routing(
    model: Transformer,
    inputs: Int[Array, "batch source"],
    targets: Int[Array, "batch target"],
    mesh: Mesh,
) -> RoutingSums:
    """Returns the routing sums of each row of a sparse network.

    Args:
        model: the network.
        inputs, targets: ids with EOS, right-padded; the mesh's batch axes must divide the rows.
        mesh: the devices.
    """
    model = never_dropping(model, inputs.shape[1], targets.shape[1])
    assert model.config.switch is not None  # a sparse network
    batch = Batch(inputs, targets, jnp.zeros(len(inputs), jnp.int32))
    return row_routings(model(batch, Call(mesh)), batch, model.config.switch.experts)


def usage_columns(
    routings: Iterable[Sequence[Num[np.ndarray, "layers batch ..."]]],
    languages: Sequence[str],
    every: int,
) -> dict[str, list[Any]]:
    """Returns the columns of a routing file.

    Args:
        routings: `RoutingSums` of each batch, on the host; rows beyond the languages are padding.
        languages: language of each example, in the order of the rows.
        every: distance between sparse feed-forward layers of a stack.
    """
    codes, code_numbers = np.unique(np.array(languages), return_inverse=True)
    usage: Usage | None = None
    first = 0
    for routing in routings:
        rows = routing[0].shape[1]
        numbers = np.full(rows, -1)
        here = code_numbers[first : first + rows]
        numbers[: len(here)] = here
        usage = add_usage(usage, usage_by_language(routing, numbers, len(codes)))
        first += rows
    assert usage is not None  # a task has examples
    return routing_columns(usage, codes.tolist(), every)


class ExampleAnswers(NamedTuple):
    """Answers to examples, in their order.

    Attributes:
        texts: generated text of each example.
        label_nats: nats of each of the task's labels; no columns without labels.
        routing: columns of the routing file; None for a dense network.
    """

    texts: list[str]
    label_nats: Float[np.ndarray, "examples labels"]
    routing: dict[str, list[Any]] | None = None


def label_ids(task: Task, tokenizer: Tokenizer) -> Int[np.ndarray, "labels ids"]:
    """Returns the ids of each label of a task with EOS, padded."""
    ids, _ = cut_ids(task.labels, tokenizer, np.iinfo(np.int32).max)
    return padded_rows(ids, max(map(len, ids), default=0))


def best_of_beams(
    model: Transformer,
    inputs: Int[Array, "batch source"],
    *,
    beams: int,
    length: int,
    ids: int,
    mesh: Mesh,
) -> Int[Array, "batch length"]:
    """Returns the best targets of a beam search with T5's length penalty."""
    decoder = cached_decoder(model, inputs, length=length, ids=ids, mesh=mesh)
    return beam_search(decoder, Beams(number=beams))


class Predictor:
    """The answers of a run's network to one task.

    Args:
        trainer: functions of the network.
        tokenizer: the run's tokenizer.
        task: the task.
        rows: rows per batch.
        inputs: encoder tokens per row.
        targets: tokens per generated answer, at most.
        beams: number of beams of the search for an answer; 1 is greedy.
        logits_bytes: largest size of the logits of labels that a device holds at one time.
    """

    def __init__(
        self,
        trainer: Trainer,
        tokenizer: Tokenizer,
        task: Task,
        *,
        rows: int,
        inputs: int,
        targets: int,
        beams: int = 1,
        logits_bytes: int,
    ):
        self.mesh, self.tokenizer, self.task = trainer.mesh, tokenizer, task
        self.rows, self.inputs, self.targets = rows, inputs, targets
        call = Call(trainer.mesh, logits_bytes=logits_bytes)
        shardings = trainer.shardings.arrays, batch_sharding(trainer.mesh)
        program = functools.partial(
            jax.jit, in_shardings=shardings, out_shardings=replicated_layout(trainer.mesh)
        )
        self._label_nats = program(
            lambda arrays, inputs: label_nats(
                eqx.combine(arrays, trainer.static), inputs, jnp.asarray(self.labels), call
            )
        )
        self.switch = trainer.static.config.switch
        self._route = jax.jit(
            lambda arrays, inputs, targets: row_routing(
                eqx.combine(arrays, trainer.static), inputs, targets, trainer.mesh
            ),
            in_shardings=(*shardings, shardings[1]),
            out_shardings=replicated_layout(trainer.mesh),
        )
        write = write_greedily if beams == 1 else functools.partial(best_of_beams, beams=beams)
        self._generate = program(
            lambda arrays, inputs: write(
                eqx.combine(arrays, trainer.static),
                inputs,
                length=targets,
                ids=tokenizer.size,
                mesh=trainer.mesh,
            )
        )

    @functools.cached_property
    def labels(self) -> Int[np.ndarray, "labels ids"]:
        """Ids of each label with EOS, padded."""
        return label_ids(self.task, self.tokenizer)

    def answers(
        self,
        arrays: Any,
        examples: Sequence[TaskExample],
        stop: Callable[[], bool],
        *,
        with_text: bool,
    ) -> ExampleAnswers | None:
        """Returns the network's answers; None if it was stopped.

        Args:
            arrays: weights of the network.
            examples: examples to answer.
            stop: called before every batch; True abandons the work.
            with_text: whether to generate text where labels are scored.
        """
        ids, _ = cut_ids([example.input for example in examples], self.tokenizer, self.inputs)
        texts, nats = [""] * len(ids), np.zeros((len(ids), 0))
        try:
            if self.task.labels:
                nats = self._over(self._label_nats, arrays, ids, stop).astype(np.float64)
            if with_text or not self.task.labels:
                written = self._over(self._generate, arrays, ids, stop)
                texts = [self.tokenizer.decode(row) for row in written]
            routing = self._routing(arrays, examples, ids, stop) if self.switch else None
        except Stop:
            return None
        return ExampleAnswers(texts, nats, routing)

    def _routing(
        self, arrays: Any, examples: Sequence[TaskExample], ids: list, stop: Callable[[], bool]
    ) -> dict[str, list[Any]]:
        """Returns the columns of the routing file, of inputs and right targets."""
        targets, _ = cut_ids([example.target for example in examples], self.tokenizer, self.targets)
        batches = zip(
            self._batches(ids, self.inputs), self._batches(targets, self.targets), strict=True
        )
        assert self.switch is not None  # a dense network has no routing
        outputs = self._outputs(self._route, arrays, batches, stop)
        return usage_columns(outputs, [example.language for example in examples], self.switch.every)

    def _over(
        self, program: Callable[..., jax.Array], arrays: Any, ids: list, stop: Callable[[], bool]
    ) -> np.ndarray:
        """Returns a program's output for each row of ids."""
        batches = ((batch,) for batch in self._batches(ids, self.inputs))
        return np.concatenate(list(self._outputs(program, arrays, batches, stop)))[: len(ids)]

    def _outputs(
        self,
        program: Callable[..., Any],
        arrays: Any,
        batches: Iterable[tuple[jax.Array, ...]],
        stop: Callable[[], bool],
    ) -> Iterator[Any]:
        """Yields a program's output for each batch, on the host."""

        def calls() -> Iterator[Any]:
            for batch in batches:
                if stop():
                    raise Stop
                yield program(arrays, *batch)

        return map(jax.device_get, one_ahead(calls()))

    def _batches(self, ids: list, length: int) -> Iterator[jax.Array]:
        for first in range(0, len(ids), self.rows):
            rows = np.full((self.rows, length), PADDING, np.int32)
            filled = padded_rows(ids[first : first + self.rows], length)
            rows[: len(filled)] = filled
            yield rows_on_devices(rows, self.mesh)
