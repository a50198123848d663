"""Training examples: example i is a pure function of (blocks, mixture, seed, i).

    i -> language, part, ordinal    (schedule: fixed quotas, constant time)
    ordinal -> window               (window_order: each once an epoch, permuted)
    window -> tokens                (a language is a ring of tokens: no window is ever short)
    tokens, i -> inputs, targets    (span corruption by Philox, counter i: no shared state)

No filter, no hidden buffer, no dependence on hosts, workers or devices. So the loader's whole
state is one integer, the number of batches drawn, and a run resumes exactly, also on another
number of hosts: host h of n reads the h-th of n equal stretches of each batch's rows. Rows lie on
the devices in one order however many hosts there are, so a step is the same, too; `batch_order` is
that order, in which every stretch is whole lanes (`schedule`).

Examples are made some thousand at a time (a chunk of whole batches): a chunk reads each record that
it needs once, and hides spans in all its rows at once. A chunk is a function of its number, so
nothing is remembered between them. Grain makes chunks ahead, in a thread or in worker processes;
blocks on an object store are asked for longer ahead still.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import grain
import numpy as np
from absl import flags
from jaxtyping import Int

from data.errors import DataError
from data.examples.schedule import LANES, Schedule
from data.examples.seeds import hash_seed
from data.examples.span_corruption import Lengths, corrupt_rows, random_numbers
from data.examples.window_order import WindowOrder, reversed_bits, window_order
from data.tokens.block_files import BlockFile
from data.tokens.blocks import TokenBlocks, TokenStream

SPANS = 3  # a purpose of random numbers, beside those of `window_order`
CHUNK_EXAMPLES = 2048  # 107 languages: some twenty windows of each; 5 MB at 512 tokens
CHUNKS_AHEAD = 2
CHUNKS_PREFETCHED = (
    32  # before a chunk is made, so that blocks have a minute to arrive from a store
)


@dataclass(frozen=True, kw_only=True)
class Examples:
    """An endless, indexable sequence of training examples.

    Attributes:
        blocks: where tokens come from.
        schedule: which language each example is.
        lengths: raw window and what it becomes.
        first_sentinel: id of `<extra_id_0>`.
        seed: decides windows and spans.
    """

    blocks: TokenBlocks
    schedule: Schedule
    lengths: Lengths
    first_sentinel: int
    seed: int

    def __post_init__(self):
        absent = set(self.schedule.languages) - set(self.blocks.languages("train"))
        if absent:
            raise DataError(
                f"The mixture asks for {', '.join(sorted(absent))}, of which "
                f"{self.blocks.directory} holds no training tokens; leave them out or tokenize "
                "them."
            )

    @cached_property
    def streams(self) -> list[TokenStream]:
        """One token stream a language, in the schedule's order."""
        return [self.blocks.stream(code, "train") for code in self.schedule.languages]

    def take(self, indices: Int[np.ndarray, " examples"]) -> dict[str, np.ndarray]:
        """Returns the examples of these indices, a row each; each depends on its own index only."""
        draws = self.order.schedule.draw(indices)
        languages, starts = draws.languages, self.order.starts(draws)
        windows = np.empty((len(indices), self.lengths.raw), np.int32)
        for language in np.unique(languages).tolist():
            rows = np.flatnonzero(languages == language)
            windows[rows] = self.streams[language].read_windows(
                starts[rows].tolist(), self.lengths.raw
            )
        rows = corrupt_rows(windows, self.random_bits(indices), self.first_sentinel)
        return {
            "inputs": rows.inputs,
            "targets": rows.targets,
            "language": languages.astype(np.int32),
        }

    @cached_property
    def order(self) -> WindowOrder:
        """Which windows the examples show."""
        tokens = np.array([len(stream) for stream in self.streams])
        return window_order(tokens, self.lengths.raw, self.schedule, self.seed)

    def files(self, indices: Int[np.ndarray, " examples"]) -> list[BlockFile]:
        """Returns the files that these examples are read from."""
        draws = self.order.schedule.draw(indices)
        starts = self.order.starts(draws)
        return [
            shard.records
            for language in np.unique(draws.languages).tolist()
            for shard in self.streams[language].shards_at(
                starts[draws.languages == language].tolist(), self.lengths.raw
            )
        ]

    def random_bits(self, indices: Int[np.ndarray, " examples"]) -> np.ndarray:
        """Returns the random numbers that decide each example's spans, a row each."""
        philox = np.random.Philox(key=hash_seed(self.seed, SPANS))
        state, count = philox.state, random_numbers(self.lengths.raw)
        bits = np.empty((len(indices), count), np.uint64)
        for row, index in enumerate(indices.tolist()):
            state["state"]["counter"][:] = 0, 0, index, 0  # a stream of 2**128 numbers an example
            philox.state = state  # 2 us; a new generator would ask the system for entropy: 18 us
            bits[row] = philox.random_raw(count)
        return bits


@dataclass(frozen=True)
class Chunks:
    """One host's part of the global batches, some whole batches a chunk; Grain's source.

    Attributes:
        examples: the sequence.
        rows: rows of the global batch.
        batches: batches of a chunk.
        first_batch: the first chunk begins here.
        host: this host, from 0.
        hosts: hosts in all.
    """

    examples: Examples
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
        """Asks for the blocks of a chunk, if they come from a store."""
        files = self.examples.blocks.files
        if files.staged:
            files.prefetch(self.examples.files(self.indices(index)))

    def __len__(self) -> int:
        return 2**40  # without end

    def __repr__(self) -> str:
        return f"Chunks({self.examples.blocks.directory}, seed={self.examples.seed})"


def batch_order(rows: int) -> Int[np.ndarray, " rows"]:
    """Returns which example of a batch each of its rows is.

    The first half of the rows are the even examples, the first quarter every fourth, and so on: the
    h-th of H equal stretches, for a power of two that divides the rows, is the examples that are
    equal to some number modulo H, the same in every batch.
    """
    lanes = math.gcd(rows, LANES)
    return (reversed_bits(lanes)[:, None] + lanes * np.arange(rows // lanes)).reshape(-1)


def batches(
    examples: Examples,
    *,
    rows: int,
    first_batch: int = 0,
    host: int = 0,
    hosts: int = 1,
    workers: int = 0,
) -> Iterator[dict[str, np.ndarray]]:
    """Returns this host's part of each global batch, from batch `first_batch` on, without end.

    Args:
        examples: the sequence.
        rows: rows of the global batch.
        first_batch: how many batches came before; the whole state to resume from.
        host: this host, from 0.
        hosts: hosts in all.
        workers: processes that make chunks; 0 makes them in a thread of this one.

    Raises:
        DataError: the rows cannot be shared evenly.
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
        flags.FLAGS.mark_as_parsed()  # Grain's workers read absl flags; mswitch has none of its own
        chunks = chunks.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=CHUNKS_AHEAD)
        )
    return _unstack(iter(chunks), size)


def _unstack(chunks: Iterator[dict[str, np.ndarray]], size: int) -> Iterator[dict[str, np.ndarray]]:
    for chunk in chunks:
        for number in range(size):
            yield {name: values[number] for name, values in chunk.items()}
