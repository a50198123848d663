"""Which examples of a task stand in the pretraining corpus: a shared n-gram of 13 words.

N-grams are those of `data.leakage.ngrams`. The texts of an example are `TaskExample.texts`. One
without a text of 13 words counts as a whole: its longest text must stand in a page. Pages of other
languages are not compared.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Int

from data.dedup.hashed_words import Words, chunks_of, hashed_words, length_of
from data.leakage.ngrams import NGRAM_WORDS, Beginnings, hits_of, sought_ngrams, word_counts
from data.tasks.examples import TaskExample


def overlapping(examples: Sequence[TaskExample], pages: Iterable[tuple[str, str]]) -> set[int]:
    """Returns the positions of the examples that share an n-gram of 13 words with a page.

    Args:
        examples: examples of any languages.
        pages: language and text of each page, best with pages of one language in a row.
    """
    of_language: dict[str, list[int]] = defaultdict(list)
    for position, example in enumerate(examples):
        of_language[example.language].append(position)
    sought = {code: _sought(examples, some, code) for code, some in of_language.items()}
    found: set[int] = set()
    for code, some in itertools.groupby(pages, key=lambda page: page[0]):
        if code in sought:
            for texts in chunks_of(text for _, text in some):
                found.update(_found(sought[code], hashed_words(texts)))
    return found


def _sought(
    examples: Sequence[TaskExample], positions: list[int], language: str
) -> list[Beginnings]:
    """Returns what is looked for in the pages of a language."""
    texts = [text for position in positions for text in examples[position].texts]
    owners = np.repeat(positions, [len(examples[position].texts) for position in positions])
    lengths = _ngram_lengths(word_counts(texts), owners, length_of(NGRAM_WORDS, language))
    return sought_ngrams(texts, owners, lengths)


def _ngram_lengths(
    counts: Int[np.ndarray, " texts"], owners: Int[np.ndarray, " texts"], longest: int
) -> Int[np.ndarray, " texts"]:
    """Returns the length of each text's n-grams; 0 for texts that are not looked for."""
    lengths = np.where(counts >= longest, longest, 0)
    by_length = np.lexsort((-counts, owners))
    longest_texts = by_length[np.unique(owners[by_length], return_index=True)[1]]
    whole = longest_texts[counts[longest_texts] < longest]
    lengths[whole] = counts[whole]
    return lengths


def _found(sought: list[Beginnings], words: Words) -> Iterator[int]:
    """Yields the positions of examples with an n-gram in these pages."""
    for ngrams, _, hashes in hits_of(sought, words):
        yield from ngrams.owners[np.isin(ngrams.hashes, hashes)].tolist()
