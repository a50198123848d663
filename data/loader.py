"""Training examples: example i is a pure function of (blocks, mixture, seed, i).

    i -> language and ordinal           (schedule.Schedule: fixed quotas, constant time)
    ordinal -> epoch and window         (a permutation of the language's windows for each epoch)
    window -> tokens                    (a language is a ring of tokens: no window is ever short)
    tokens, i -> inputs and targets     (span corruption by Philox, counter i: no shared state)

No filter, no hidden buffer, no dependence on hosts, workers or devices. So the loader's whole
state is one integer, the number of batches drawn, and a run resumes exactly, also on another
number of hosts: host h of n reads the h-th of n equal stretches of each global batch, so that rows
lie on the devices in the same order however many hosts there are.

Examples are made some thousand at a time (a chunk of whole batches): a chunk reads what it needs of
a language in one call of ArrayRecord, and hides spans in all its rows at once. A chunk is a
function of its number, so nothing is remembered between them. Grain makes chunks ahead, in a thread
or in worker processes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import grain
import numpy as np
from absl import flags
from jaxtyping import Int

from data.errors import DataError
from data.permutation import permute
from data.schedule import Schedule, hash_seed
from data.span_corruption import Lengths, corrupt_rows, random_numbers
from data.token_blocks import TokenBlocks, TokenStream

WINDOWS, OFFSETS, SPANS = 1, 2, 3  # purposes of random numbers, so that no two share a seed
CHUNK_EXAMPLES = 2048  # 107 languages: some twenty windows of each; 5 MB at 512 tokens
CHUNKS_AHEAD = 2


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
        languages, ordinals = self.schedule.draw(indices)
        starts = self.window_starts(languages, ordinals)
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
    def tokens(self) -> Int[np.ndarray, " languages"]:
        """How many tokens each language has."""
        return np.array([len(stream) for stream in self.streams])

    @cached_property
    def epoch_windows(self) -> Int[np.ndarray, " languages"]:
        """How many windows make one epoch of each language."""
        return -(-self.tokens // self.lengths.raw)

    def window_starts(
        self, languages: Int[np.ndarray, " some"], ordinals: Int[np.ndarray, " some"]
    ) -> Int[np.ndarray, " some"]:
        """Returns where each window starts in its language's tokens, given its draw."""
        windows = self.epoch_windows[languages]
        epochs, places = np.divmod(ordinals, windows)
        pairs, which = np.unique(np.stack([languages, epochs]), axis=1, return_inverse=True)
        seeds = np.array([self._epoch_seeds(*pair) for pair in pairs.T.tolist()], np.uint64)
        order, shift = seeds[which].T
        # Each epoch cuts the ring elsewhere: small languages do not repeat the same cuts.
        offsets = (shift % self.tokens[languages].astype(np.uint64)).astype(np.int64)
        return offsets + permute(places, windows, order) * self.lengths.raw

    def _epoch_seeds(self, language: int, epoch: int) -> tuple[int, int]:
        return (
            hash_seed(self.seed, WINDOWS, language, epoch),
            hash_seed(self.seed, OFFSETS, language, epoch),
        )

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
        first = self.first_batch + index * self.batches
        globally = np.arange(first * self.rows, (first + self.batches) * self.rows)
        of_hosts = globally.reshape(self.batches, self.hosts, -1)
        taken = self.examples.take(of_hosts[:, self.host].reshape(-1))
        return {
            name: values.reshape(self.batches, -1, *values.shape[1:])
            for name, values in taken.items()
        }

    def __len__(self) -> int:
        return 2**40  # without end

    def __repr__(self) -> str:
        return f"Chunks({self.examples.blocks.directory}, seed={self.examples.seed})"


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
