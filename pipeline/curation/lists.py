"""Lists of domains and addresses that `select` and `withdraw` apply: what they name in a corpus.

What each entry names is shown: a list of strangers may name a whole country, and a mistyped entry
names nothing.
"""

import functools
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from data.curation.block_lists import BLOCKED, BlockList, Reasons, entries_in
from data.files.paths import join_path
from pipeline.corpus.pages import CorpusFile, page_urls

MOST_ENTRIES, SAMPLES = 20, 3  # entries with pages that are printed, the largest; and without


@functools.lru_cache(maxsize=4)
def read_lists(paths: tuple[str, ...], reasons: Reasons) -> BlockList:
    """Returns the entries of lists, read once per worker.

    Raises:
        DataError: if a list does not exist, is damaged, or has no entry.
    """
    return BlockList.read(paths, reasons)


def set_aside(paths: tuple[str, ...], names: Sequence[str]) -> Iterator[str]:
    """Yields a sentence about the lines of lists that are not entries, if there are any."""
    lists = read_lists(paths, BLOCKED)
    if lists.set_aside:
        yield (
            f"{lists.set_aside:,} lines of {', '.join(names)} are neither domains nor addresses "
            f"and were set aside, such as {', '.join(map(repr, lists.samples))}."
        )


def matches(
    paths: tuple[str, ...], pages: Mapping[str, int], names: Sequence[str]
) -> Iterator[str]:
    """Yields which entries of lists name pages of a corpus, and which do not.

    Args:
        paths: the lists.
        pages: number of pages by entry, of those that name any.
        names: the lists as the user named them.
    """
    if not paths:
        return
    most = Counter(pages).most_common(MOST_ENTRIES)
    of_each = ", ".join(f"{entry} ({number:,})" for entry, number in most)
    more = f" and {len(pages) - len(most):,} more" if len(pages) > len(most) else ""
    if pages:
        yield f"entries of {', '.join(names)} that name pages: {of_each}{more}"
    lists = read_lists(paths, BLOCKED)
    if without := len(lists.domains) + len(lists.urls) - len(pages):
        others = (entry for path in paths for entry in entries_in(path) if entry not in pages)
        samples = ", ".join(dict.fromkeys(itertools.islice(others, SAMPLES)))
        yield f"entries of {', '.join(names)} that name no page: {without:,}, such as {samples}"


def pages_of_entries(
    corpus: str, files: Iterable[CorpusFile], paths: tuple[str, ...]
) -> Counter[str]:
    """Returns how many pages of a corpus each entry of lists names; reads addresses alone."""
    counts: Counter[str] = Counter()
    for file in files if paths else ():
        counts.update(
            read_lists(paths, BLOCKED).entries_of(page_urls(join_path(corpus, file.name)))
        )
    return counts
