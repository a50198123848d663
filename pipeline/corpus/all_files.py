"""All files of a corpus's kept pages, as `score`, `select` and `withdraw` work on them."""

from collections.abc import Sequence
from typing import NamedTuple

from data.files.json_files import Count, Name, RelativePath
from data.files.paths import absolute, directories_in, join_path, sizes_in

PAGES, REJECTED = "pages", "rejected"


class CorpusFile(NamedTuple):
    """One Parquet file of a corpus.

    Attributes:
        language: mC4's code, or "und".
        name: path relative to the corpus.
        size: size in bytes.
    """

    language: Name
    name: RelativePath
    size: Count


def corpus_files(corpus: str, folders: Sequence[str] = (PAGES,)) -> list[CorpusFile]:
    """Returns the Parquet files of a corpus, in the order of their names."""
    top = absolute(corpus)
    return [
        CorpusFile(code, join_path(folder, code, name), size)
        for folder in folders
        for code in sorted(directories_in(join_path(top, folder)))
        for name, size in sizes_in(join_path(top, folder, code)).items()
        if name.endswith(".parquet")
    ]
