"""One page an address, one page a line: mC4's two deduplications, as joins.

Both are independent of the order of their input. Of the pages of one normalized address the newest
timestamp stays, as in mC4 3.1.0; the reference leaves ties to chance, here the smaller hash of the
text wins. Lines are shared out by `line_rules`. Every line becomes an element of a shuffle: the
largest collection of the job, 32 bytes each.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from data.line_rules import distinct_lines, keep_lines
from data.page import Page
from data.urls import normalized_hash, url_hash
from pipeline.transforms.judge import REJECTED, rejected

Hash = bytes


class DeduplicateUrls(beam.PTransform):
    """Gives (kept, rejected): the newest page of each normalized address is kept."""

    def expand(self, input_or_inputs):
        return (
            input_or_inputs
            | "KeyByNormalizedUrl" >> beam.Map(lambda page: (normalized_hash(page.url), page))
            | "GroupByNormalizedUrl" >> beam.GroupByKey()
            | "KeepNewest" >> beam.FlatMap(_newest).with_outputs(REJECTED, main="kept")
        )


class DeduplicateLines(beam.PTransform):
    """Gives (kept, rejected): each line stays in one page; pages without any left are rejected."""

    def expand(self, input_or_inputs):
        pages = input_or_inputs | "KeyByUrl" >> beam.Map(lambda page: (url_hash(page.url), page))
        kept_lines = (
            pages
            | "HashLines" >> beam.FlatMapTuple(_line_claims)
            | "SmallestUrlKeepsLine" >> beam.CombinePerKey(min)
            | "KeyLineByUrl" >> beam.MapTuple(lambda line, url: (url, line))
        )
        return (
            {"pages": pages, "lines": kept_lines}
            | "JoinLinesToPages" >> beam.CoGroupByKey()
            | "RemoveLines"
            >> beam.FlatMapTuple(_without_others_lines).with_outputs(REJECTED, main="kept")
        )


def _newest(grouped: tuple[Hash, Iterable[Any]]) -> Iterator[Any]:
    newest_first = sorted(grouped[1], key=_age)
    yield newest_first[-1]
    for page in newest_first[:-1]:
        yield rejected(page, "duplicate_url")


def _age(page: Page) -> tuple[str, int, str, str]:
    digest = hashlib.md5(page.text.encode("utf-8"), usedforsecurity=False).digest()
    return page.timestamp, -int.from_bytes(digest, "big"), page.url, page.declared_language or ""


def _line_claims(url: Hash, page: Any) -> Iterator[tuple[Hash, Hash]]:
    for line in distinct_lines(page.text):
        yield line, url


def _without_others_lines(_: Hash, joined: dict[str, Iterable[Any]]) -> Iterator[Any]:
    (page,) = joined["pages"]
    text = keep_lines(page.text, list(joined["lines"]))
    if text:
        removed = page.text.count("\n") - text.count("\n")
        yield page._replace(
            text=text, removed_lines=(*page.removed_lines, ("duplicate_line", removed))
        )
    else:
        yield rejected(page, "only_duplicate_lines")
