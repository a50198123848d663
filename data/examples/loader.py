"""Training examples: example i is a pure function of (blocks, mixtures, seed, i).

    i -> language, part, ordinal    (schedule: fixed quotas, constant time)
    ordinal -> window               (window_order: each once per epoch, permuted; where the mixture
                                     has changed, on from where it was: segments)
    window -> tokens                (a language is a ring of tokens: no window is short)
    tokens, i -> inputs, targets    (span corruption by Philox with counter i: no shared state)

There is no filter, no shuffle buffer, and no dependence on hosts, workers or devices. The loader's
whole state is one integer, the number of batches drawn. A run resumes exactly, also on another
number of hosts: host h of n reads the h-th of n equal slices of each batch's rows. The order of
rows on the devices does not depend on the number of hosts, so a step does not either. `batch_order`
is that order; in it every slice consists of whole lanes (`schedule`).

Examples are made in chunks of whole batches, about 2,000 at once: a chunk reads each record that it
needs once and hides spans in all its rows at once. A chunk is a function of its number, without
state. Grain prefetches chunks, in a thread or in worker processes. Blocks on an object store are
prefetched earlier still.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol, runtime_checkable

import grain
import numpy as np
from absl import flags
from jaxtyping import Int, UInt64

from data.errors import DataError
from data.examples.schedule import LANES, Schedule
from data.examples.seeds import hash_seed
from data.examples.segments import Mixture, Segment, segments_of
from data.examples.span_corruption import Lengths, corrupt_rows, random_numbers
from data.examples.window_order import reversed_bits
from data.stores.addresses import Place
from data.tokens.blocks import TokenBlocks
from data.tokens.tokenizer import MODEL_FILE

SPANS = 3  # purpose of random numbers, distinct from those of `window_order`
CHUNK_EXAMPLES = 2048  # about twenty windows of each of 107 languages; 5 MB at 512 tokens
CHUNKS_AHEAD = 2
CHUNKS_PREFETCHED = (
    32  # before a chunk is made, so that blocks have a minute to arrive from a store
)


class Exposure(NamedTuple):
    """The text of one language that a run reads.

    Attributes:
        weight: share of all examples.
        examples: number of examples.
        tokens_seen: number of tokens of text.
        epochs: how often all of its training text is read.
    """

    weight: float
    examples: int
    tokens_seen: int
    epochs: float


@dataclass(frozen=True, kw_only=True)
class Examples:
    """An endless, indexable sequence of training examples.

    Attributes:
        blocks: token blocks.
        schedule: language of each example.
        lengths: lengths of the raw window, the inputs and the targets.
        first_sentinel: id of `<extra_id_0>`.
        seed: seed of windows and spans.
        later: mixtures that follow, each from one example on.
    """

    blocks: TokenBlocks
    schedule: Schedule
    lengths: Lengths
    first_sentinel: int
    seed: int
    later: tuple[Mixture, ...] = ()

    def __post_init__(self):
        _ = self.segments  # a language without tokens is found before the first example

    @cached_property
    def segments(self) -> list[Segment]:
        """The segments of examples, each with one mixture."""
        mixtures = [Mixture(0, self.schedule, self.blocks), *self.later]
        return segments_of(mixtures, self.lengths.raw, self.seed)

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages of all segments, by which the examples' `language` counts."""
        return tuple(
            dict.fromkeys(code for one in self.segments for code in one.schedule.languages)
        )

    def take(self, indices: Int[np.ndarray, " examples"]) -> dict[str, np.ndarray]:
        """Returns the examples of these indices, one row each; a row depends on its index only."""
        windows = np.empty((len(indices), self.lengths.raw), np.int32)
        languages = np.empty(len(indices), np.int32)
        for segment, rows in self.by_segment(indices):
            found = segment.windows(indices[rows])
            languages[rows] = self.numbers(segment)[found.languages]
            for stream, among in segment.by_stream(found):
                starts = found.starts[among].tolist()
                windows[rows[among]] = stream.read_windows(starts, self.lengths.raw)
        rows = corrupt_rows(windows, self.random_bits(indices), self.first_sentinel)
        return {"inputs": rows.inputs, "targets": rows.targets, "language": languages}

    def by_segment(
        self, indices: Int[np.ndarray, " examples"]
    ) -> Iterator[tuple[Segment, Int[np.ndarray, " rows"]]]:
        """Yields each segment that has some of these examples, and their positions."""
        firsts = np.array([segment.first for segment in self.segments])
        numbers = np.searchsorted(firsts, indices, side="right") - 1
        for number in np.unique(numbers).tolist():
            yield self.segments[number], np.flatnonzero(numbers == number)

    def numbers(self, segment: Segment) -> Int[np.ndarray, " languages"]:
        """Returns the position in `languages` of each language of a segment."""
        numbers = {code: number for number, code in enumerate(self.languages)}
        return np.array([numbers[code] for code in segment.schedule.languages])

    def prefetch(self, indices: Int[np.ndarray, " examples"]) -> None:
        """Starts fetching the blocks of examples, if they are on an object store."""
        for segment, rows in self.by_segment(indices):
            files = segment.blocks.files
            if files.staged:
                files.prefetch(segment.files(indices[rows], self.lengths.raw))

    @property
    def vocabulary(self) -> Place:
        """File of the SentencePiece model that made the ids."""
        return self.blocks.directory / MODEL_FILE

    def exposure(self, count: int) -> dict[str, Exposure]:
        """Returns how much of each language the first `count` examples are."""
        examples, epochs = dict.fromkeys(self.languages, 0.0), dict.fromkeys(self.languages, 0.0)
        for segment, length in self.lengths_of_segments(count):
            tokens = segment.blocks.counts("train", "tokens")
            for code in segment.schedule.languages:
                shown = segment.schedule.share(code) * length
                examples[code] += shown
                epochs[code] += shown * self.lengths.raw / tokens[code]
        return {
            code: Exposure(n / count, round(n), round(n * self.lengths.raw), epochs[code])
            for code, n in examples.items()
        }

    def lengths_of_segments(self, count: int) -> Iterator[tuple[Segment, int]]:
        """Yields each segment and how many of the first `count` examples it has."""
        ends = [*(segment.first for segment in self.segments[1:]), count]
        for segment, end in zip(self.segments, ends, strict=True):
            yield segment, max(min(end, count) - segment.first, 0)

    def __repr__(self) -> str:
        return f"{self.blocks.directory}, seed={self.seed}"

    def random_bits(
        self, indices: Int[np.ndarray, " examples"]
    ) -> UInt64[np.ndarray, "examples numbers"]:
        """Returns the random numbers for the spans of each example, one row each."""
        philox = np.random.Philox(key=hash_seed(self.seed, SPANS))
        state, count = philox.state, random_numbers(self.lengths.raw)
        bits = np.empty((len(indices), count), np.uint64)
        for row, index in enumerate(indices.tolist()):
            state["state"]["counter"][:] = 0, 0, index, 0  # a stream of 2**128 numbers per example
            philox.state = state  # 2 us; a new generator reads entropy from the system: 18 us
            bits[row] = philox.random_raw(count)
        return bits


@runtime_checkable
class ExampleSource(Protocol):
    """An endless sequence of examples, of which each is a function of its index."""

    @property
    def languages(self) -> tuple[str, ...]:
        """Names of the languages, by which the examples' `language` counts."""
        ...

    @property
    def vocabulary(self) -> Place:
        """File of the SentencePiece model that made the ids."""
        ...

    def exposure(self, count: int) -> dict[str, Exposure]:
        """Returns how much of each language the first `count` examples are."""
        ...

    def take(self, indices: Int[np.ndarray, " examples"]) -> dict[str, np.ndarray]:
        """Returns the fields of a batch for these examples, one row each."""
        ...

    def prefetch(self, indices: Int[np.ndarray, " examples"]) -> None:
        """Starts fetching what these examples are read from."""
        ...


@dataclass(frozen=True)
class Chunks:
    """One host's part of the global batches, in chunks of whole batches; the source for Grain.

    Attributes:
        examples: sequence of all examples.
        rows: number of rows of the global batch.
        batches: number of batches per chunk.
        first_batch: number of the first chunk's first batch.
        host: index of this host.
        hosts: number of hosts.
    """

    examples: ExampleSource
    rows: int
    batches: int
    first_batch: int
    host: int
    hosts: int

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        self.prefetch(index + CHUNKS_PREFETCHED)
        taken = self.examples.take(self.indices(index))
        return {
            name: values.reshape(self.batches, -1, *values.shape[1:])
            for name, values in taken.items()
        }

    def indices(self, index: int) -> Int[np.ndarray, " examples"]:
        """Returns which examples this host makes for a chunk, batch by batch, in order of rows."""
        first = self.first_batch + index * self.batches
        firsts = np.arange(first, first + self.batches) * self.rows
        rows = batch_order(self.rows).reshape(self.hosts, -1)[self.host]
        return (firsts[:, None] + rows).reshape(-1)

    def prefetch(self, index: int) -> None:
        """Starts fetching what a chunk is read from."""
        self.examples.prefetch(self.indices(index))

    def __len__(self) -> int:
        return 2**40  # without end

    def __repr__(self) -> str:
        return f"Chunks({self.examples})"


def batch_order(rows: int) -> Int[np.ndarray, " rows"]:
    """Returns the example of a batch that each of its rows holds.

    The first half of the rows are the even examples, the first quarter every fourth, and so on. If
    H is a power of two that divides the rows, the h-th of H equal slices holds the examples of one
    residue modulo H, the same one in every batch.
    """
    lanes = math.gcd(rows, LANES)
    return (reversed_bits(lanes)[:, None] + lanes * np.arange(rows // lanes)).reshape(-1)


def batches(
    examples: ExampleSource,
    *,
    rows: int,
    first_batch: int = 0,
    host: int = 0,
    hosts: int = 1,
    workers: int = 0,
) -> Iterator[dict[str, np.ndarray]]:
    """Returns an endless iterator over this host's part of each global batch.

    Args:
        examples: sequence of all examples.
        rows: number of rows of the global batch.
        first_batch: number of batches drawn before; the whole state to resume from.
        host: index of this host.
        hosts: number of hosts.
        workers: number of processes that make chunks; 0 for a thread of this one.

    Raises:
        DataError: if the rows are not a multiple of the hosts.
    """
    if rows % hosts:
        raise DataError(f"A batch of {rows} rows cannot be shared by {hosts} hosts evenly.")
    size = max(CHUNK_EXAMPLES * hosts // rows, 1)
    source = Chunks(examples, rows, size, first_batch, host, hosts)
    for index in range(CHUNKS_PREFETCHED):
        source.prefetch(index)
    chunks = grain.MapDataset.source(source).to_iter_dataset(
        grain.ReadOptions(num_threads=1, prefetch_buffer_size=CHUNKS_AHEAD)
    )
    if workers:
        flags.FLAGS.mark_as_parsed()  # Grain's workers read absl flags; mswitch has none
        chunks = chunks.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=CHUNKS_AHEAD)
        )
    return _unstack(iter(chunks), size)


def _unstack(chunks: Iterator[dict[str, np.ndarray]], size: int) -> Iterator[dict[str, np.ndarray]]:
    for chunk in chunks:
        for number in range(size):
            yield {name: values[number] for name, values in chunk.items()}
