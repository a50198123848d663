"""Lines of held-out pages that also stand on training pages of the same corpus.

114 MB of text take three seconds. A corpus that would take minutes is not read for a report: the
result is then None, and the report carries a caution.
"""

from collections.abc import Iterator

from data.dedup.line_dedup import HeldOutText, SharedLines, shared_lines
from data.files.paths import local_copy
from data.languages import UNDETERMINED
from pipeline.corpus.manifests import read_corpus
from pipeline.corpus.pages import page_files, page_texts

MOST_CHARACTERS = 2_000_000_000  # a minute of one core


def read_shared_lines(corpus: str) -> dict[str, SharedLines] | None:
    """Returns the shared lines per language; None for a corpus above `MOST_CHARACTERS`.

    Pages of undetermined language ("und") are on neither side.

    Raises:
        ArtifactError: if the directory is not a finished corpus.
    """
    entries = read_corpus(corpus).languages
    codes = [code for code in entries if code != UNDETERMINED]
    if sum(entries[code].characters for code in codes) > MOST_CHARACTERS:
        return None
    held_out = [
        HeldOutText(code, text) for code in codes for text in _texts(corpus, code, "validation")
    ]
    return shared_lines(
        held_out, (text for code in codes for text in _texts(corpus, code, "train"))
    )


def _texts(corpus: str, code: str, split: str) -> Iterator[str]:
    for file in page_files([corpus], code, split):
        with local_copy(file.path) as here:
            yield from page_texts(here)
