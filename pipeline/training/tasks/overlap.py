"""Which examples of a task share text with the corpus of the pretraining."""

from collections.abc import Iterator, Sequence

from data.curation.leakage import overlapping
from data.files.paths import local_copy
from data.tasks.examples import TaskExample
from pipeline.corpus.manifests import read_corpus
from pipeline.corpus.pages import page_files, page_texts


def overlaps_with(corpus: str | None, examples: Sequence[TaskExample]) -> set[int] | None:
    """Returns the positions of examples that share 13 words in a row with a training page.

    Args:
        corpus: corpus of the pretraining; None if it is not known, and None is then returned.
        examples: examples of a task.

    Raises:
        ArtifactError: if the directory is not a finished corpus.
    """
    if corpus is None:
        return None
    there = read_corpus(corpus).languages
    codes = sorted({one.language for one in examples} & set(there))
    return overlapping(examples, _pages(corpus, codes))


def _pages(corpus: str, codes: Sequence[str]) -> Iterator[tuple[str, str]]:
    for code in codes:
        for file in page_files([corpus], code, "train"):
            with local_copy(file.path) as here:
                yield from ((code, text) for text in page_texts(here))
