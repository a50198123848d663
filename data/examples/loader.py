"""Batches of examples: the part of one host, from any batch on.

The loader's whole state is one integer, the number of batches drawn. A run resumes exactly, also on
another number of hosts: host h of n reads the h-th of n equal slices of each batch's rows. The
order of rows on the devices does not depend on the number of hosts, so a step does not either.
`batch_order` is that order; in it every slice consists of whole lanes (`mixture`).

Examples are made in chunks of whole batches, about 2,000 at once: a chunk reads each record that it
needs once and hides spans in all its rows at once. A chunk is a function of its number, without
state, so Grain prefetches chunks in a thread. Blocks on an object store are prefetched earlier
still.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import grain
import numpy as np
from jaxtyping import Int

from data.errors import DataError
from data.examples.mixture import LANES
from data.examples.pretraining_examples import Exposure
from data.examples.window_order import reversed_bits
from data.files.paths import Place

CHUNK_EXAMPLES = 2048  # about twenty windows of each of 107 languages; 5 MB at 512 tokens
CHUNKS_AHEAD = 2
CHUNKS_PREFETCHED = 32  # before one is made, so that blocks have a minute to arrive from a store


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
        examples = self.examples.take(self.indices(index))
        return {
            name: values.reshape(self.batches, -1, *values.shape[1:])
            for name, values in examples.items()
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
) -> Iterator[dict[str, np.ndarray]]:
    """Returns an endless iterator over this host's part of each global batch.

    Args:
        examples: sequence of all examples.
        rows: number of rows of the global batch.
        first_batch: number of batches drawn before; the whole state to resume from.
        host: index of this host.
        hosts: number of hosts.

    Raises:
        DataError: if the rows are not a multiple of the hosts.
    """
    if rows % hosts:
        raise DataError(
            f"A batch of {rows} rows cannot be shared by {hosts} hosts evenly; set rows to a "
            "multiple of the hosts."
        )
    size = max(CHUNK_EXAMPLES * hosts // rows, 1)
    source = Chunks(examples, rows, size, first_batch, host, hosts)
    for index in range(CHUNKS_PREFETCHED):
        source.prefetch(index)
    chunks = grain.MapDataset.source(source).to_iter_dataset(
        grain.ReadOptions(num_threads=1, prefetch_buffer_size=CHUNKS_AHEAD)
    )
    return (
        {name: values[number] for name, values in chunk.items()}
        for chunk in chunks
        for number in range(size)
    )
