"""Training examples: example i is a pure function of (blocks, mixture, seed, i).

    i -> language and ordinal           (mixture.Schedule: fixed quotas, constant time)
    ordinal -> epoch and window         (a permutation of the language's windows for each epoch)
    window -> tokens                    (a language is a ring of tokens: no window is ever short)
    tokens, i -> inputs and targets     (span corruption with a generator seeded by (seed, i))

No filter, no hidden buffer, no dependence on hosts, workers or devices. So the loader's whole
state is one integer, the number of examples drawn, and a run resumes exactly, also on another
number of hosts: host h of n reads rows h, h + n, ... of each global batch. Grain does the reading
ahead; nothing here depends on its state.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import grain
import numpy as np

from data.errors import DataError
from data.mixture import Schedule, hash_seed
from data.permutation import permute
from data.span_corruption import Lengths, corrupt
from data.token_blocks import TokenBlocks, TokenStream

WINDOWS, OFFSETS, SPANS = 1, 2, 3  # purposes of random numbers, so that no two share a seed


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

    @cached_property
    def streams(self) -> list[TokenStream]:
        """One token stream a language, in the schedule's order.

        Raises:
            DataError: a language of the mixture has no training tokens.
        """
        absent = set(self.schedule.languages) - set(self.blocks.languages("train"))
        if absent:
            raise DataError(
                f"The mixture asks for {', '.join(sorted(absent))}, of which "
                f"{self.blocks.directory} holds no training tokens; leave them out or tokenize "
                "them."
            )
        return [self.blocks.stream(code, "train") for code in self.schedule.languages]

    def windows(self, language: int) -> int:
        """Returns how many windows make one epoch of a language."""
        return -(-len(self.streams[language]) // self.lengths.raw)

    def window(self, index: int) -> np.ndarray:
        """Returns the tokens of example `index` before corruption."""
        language, ordinal = self.schedule.draw(index)
        stream, windows = self.streams[language], self.windows(language)
        epoch, place = divmod(ordinal, windows)
        which = permute(place, windows, hash_seed(self.seed, WINDOWS, language, epoch))
        # Each epoch cuts the ring elsewhere, so that small languages do not repeat the same cuts.
        offset = hash_seed(self.seed, OFFSETS, language, epoch) % len(stream)
        return stream.read_circular(offset + which * self.lengths.raw, self.lengths.raw)

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = np.random.Generator(np.random.Philox(hash_seed(self.seed, SPANS, index)))
        example = corrupt(
            self.window(index), first_sentinel=self.first_sentinel, generator=generator
        )
        return {
            "inputs": example.inputs,
            "targets": example.targets,
            "language": np.int32(self.schedule.draw(index).language),
        }

    def __len__(self) -> int:
        return 2**62

    def __repr__(self) -> str:
        return f"Examples({self.blocks.directory}, seed={self.seed})"


def batches(
    examples: Examples, *, rows: int, first_batch: int = 0, host: int = 0, hosts: int = 1
) -> Iterator[dict[str, np.ndarray]]:
    """Yields this host's part of each global batch, from batch `first_batch` on, without end.

    Args:
        examples: the sequence.
        rows: rows of the global batch.
        first_batch: how many batches came before; the whole state to resume from.
        host: this host, from 0.
        hosts: hosts in all.

    Raises:
        DataError: the rows cannot be shared evenly.
    """
    if rows % hosts:
        raise DataError(f"A batch of {rows} rows cannot be shared by {hosts} hosts evenly.")
    dataset = grain.MapDataset.source(examples)[first_batch * rows + host :: hosts]
    iterator = dataset.batch(rows // hosts).to_iter_dataset(
        grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)
    )
    return iter(iterator)
