"""Training examples of tasks: example i is a pure function of (examples, mixture, seed, i).

    i -> source, ordinal        (a source is a language of a task; mixture: fixed quotas)
    ordinal -> epoch and place  (each example once per epoch, permuted anew in each)

As in pretraining there is no shuffle buffer and no state but the number of batches drawn. One
further source may be pretraining itself, with its own examples in their order.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from data.examples.mixture import Schedule
from data.examples.pretraining_examples import Examples, Exposure
from data.examples.window_order import permute
from data.files.paths import Place
from data.numbers import hash_seeds
from data.tasks.examples import TaskExample
from data.tokens.tokenizer import EOS, PADDING, SENTINELS, Tokenizer

PRETRAINING = "pretraining"  # name of its source
TASKS = 3  # purpose of random numbers, apart from those of windows


class Source(NamedTuple):
    """The training examples of one language of one task, as ids with EOS.

    Attributes:
        name: `TASK/LANGUAGE`.
        inputs, targets: ids of each example, no longer than a row.
        cut_inputs, cut_targets: number of texts that were longer and lost their end.
    """

    name: str
    inputs: list[Int[np.ndarray, " _"]]
    targets: list[Int[np.ndarray, " _"]]
    cut_inputs: int
    cut_targets: int


def encode_source(
    name: str, examples: Sequence[TaskExample], tokenizer: Tokenizer, inputs: int, targets: int
) -> Source:
    """Returns the examples of a source as ids.

    Args:
        name: name of the source.
        examples: its examples.
        tokenizer: the run's tokenizer.
        inputs: encoder tokens per row.
        targets: decoder tokens per row.
    """
    input_ids, cut_inputs = cut_ids([example.input for example in examples], tokenizer, inputs)
    target_ids, cut_targets = cut_ids([example.target for example in examples], tokenizer, targets)
    return Source(name, input_ids, target_ids, cut_inputs, cut_targets)


def cut_ids(
    texts: Sequence[str], tokenizer: Tokenizer, length: int
) -> tuple[list[Int[np.ndarray, " _"]], int]:
    """Returns the ids of texts, each with EOS and at most `length`, and how many were cut."""
    ids = [tokenizer.encode(text) for text in texts]
    cut = sum(len(text_ids) >= length for text_ids in ids)
    return [np.append(text_ids[: length - 1], EOS).astype(np.int32) for text_ids in ids], cut


def padded_rows(texts: Sequence[Int[np.ndarray, " _"]], length: int) -> Int[np.ndarray, "rows _"]:
    """Returns the ids of each text, filled up with padding."""
    rows = np.full((len(texts), length), PADDING, np.int32)
    for row, ids in zip(rows, texts, strict=True):
        row[: len(ids)] = ids
    return rows


def without_sentinels(
    targets: Int[np.ndarray, "rows targets"], first_sentinel: int
) -> Int[np.ndarray, "rows targets"]:
    """Returns targets of pretraining without their sentinels, and with padding at their ends.

    As mT5 has them beside tasks (Xue et al. 2021, on accidental translation): answers otherwise get
    sentinels.
    """
    is_sentinel = (targets > first_sentinel - SENTINELS) & (targets <= first_sentinel)
    order = np.argsort(is_sentinel, axis=1, kind="stable")
    return np.take_along_axis(np.where(is_sentinel, PADDING, targets), order, axis=1)


@dataclass(frozen=True, kw_only=True)
class TaskExamples:
    """An endless, indexable sequence of training examples of tasks.

    Attributes:
        sources: languages of tasks, in the schedule's order.
        schedule: source of each example; the last one may be `PRETRAINING`.
        inputs: encoder tokens per row.
        targets: decoder tokens per row.
        seed: seed of the order.
        vocabulary: file of the SentencePiece model that made the ids.
        pretraining: examples of the pretraining; None without that source.
    """

    sources: tuple[Source, ...]
    schedule: Schedule
    inputs: int
    targets: int
    seed: int
    vocabulary: Place
    pretraining: Examples | None = None

    @cached_property
    def sizes(self) -> Int[np.ndarray, " sources"]:
        """Number of examples of each task source."""
        return np.array([len(source.inputs) for source in self.sources])

    def take(self, indices: Int[np.ndarray, " examples"]) -> dict[str, np.ndarray]:
        """Returns the examples of these indices, one row each; a row depends on its index only."""
        draws = self.schedule.draw(indices)
        source = draws.languages
        inputs = np.full((len(indices), self.inputs), PADDING, np.int32)
        targets = np.full((len(indices), self.targets), PADDING, np.int32)
        tasks = np.flatnonzero(source < len(self.sources))
        places = self.places(source[tasks], draws.ordinals[tasks]).tolist()
        sources = [self.sources[number] for number in source[tasks].tolist()]
        chosen = list(zip(sources, places, strict=True))
        inputs[tasks] = padded_rows([task.inputs[place] for task, place in chosen], self.inputs)
        targets[tasks] = padded_rows([task.targets[place] for task, place in chosen], self.targets)
        rest = np.flatnonzero(source == len(self.sources))
        if self.pretraining is not None and rest.size:
            pretraining = self.pretraining.take(draws.ordinals[rest])
            spans = without_sentinels(pretraining["targets"], self.pretraining.first_sentinel)
            inputs[rest] = pretraining["inputs"]
            targets[rest, : spans.shape[1]] = spans
        return {"inputs": inputs, "targets": targets, "language": source.astype(np.int32)}

    @property
    def languages(self) -> tuple[str, ...]:
        """Names of the sources."""
        return self.schedule.languages

    def places(
        self, source: Int[np.ndarray, " examples"], ordinals: Int[np.ndarray, " examples"]
    ) -> Int[np.ndarray, " examples"]:
        """Returns which example of its source each one is: every example once per epoch."""
        epochs, within = np.divmod(ordinals, self.sizes[source])
        return permute(within, self.sizes[source], hash_seeds(self.seed, TASKS, source, epochs))

    def prefetch(self, indices: Int[np.ndarray, " examples"]) -> None:
        """Starts fetching the pretraining's blocks; examples of tasks are in memory."""
        if self.pretraining is not None:
            draws = self.schedule.draw(indices)
            rest = draws.languages == len(self.sources)
            self.pretraining.prefetch(draws.ordinals[rest])

    def exposure(self, count: int) -> dict[str, Exposure]:
        """Returns how much of each source the first `count` examples are."""
        exposures = {}
        for source in self.sources:
            share, size = self.schedule.share(source.name), len(source.inputs)
            tokens = sum(map(len, (*source.inputs, *source.targets))) / size
            examples = share * count
            seen = round(examples * tokens)
            exposures[source.name] = Exposure(share, round(examples), seen, examples / size)
        if self.pretraining is not None:
            share = self.schedule.share(PRETRAINING)
            languages = self.pretraining.exposure(max(round(share * count), 1)).values()
            seen = sum(language.tokens_seen for language in languages)
            total = math.fsum(
                language.tokens_seen / language.epochs for language in languages if language.epochs
            )
            epochs = seen / total if total else 0.0  # of so few examples that all round to none
            exposures[PRETRAINING] = Exposure(share, round(share * count), seen, epochs)
        return exposures

    def __repr__(self) -> str:
        return f"{', '.join(self.schedule.languages)}, seed={self.seed}"
