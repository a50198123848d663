"""Leakage: texts of benchmarks and tasks in pages, found by n-grams of 13 words.

13 words are the measure of GPT-3 (Brown et al. 2020, appendix C). Words are those of
`data.dedup.hashed_words`: without case, punctuation and the values of numbers. Where spaces do not
separate words, an n-gram is the number of characters with the content of 13 English words: 23 in
Chinese (13 × 1.8), 39 in Japanese, 78 in Thai, Lao, Khmer and Burmese. 13 characters of Thai are
two words, which many unrelated pages share.

How long a text's n-grams are depends on its own script, by most of its letters. A page is compared
with all n-grams that are no longer than those of its language, so with n-grams of words in every
language: pages quote other languages. Texts of fewer than 13 words are not looked for: a one-word
answer stands in millions of pages.

A benchmark is read from files of any of these formats:

* JSON Lines, plain or gzipped, one value per line: every string of each row, however deep.
* Parquet: every string of each row, as in JSON.
* TSV: every cell.
* Descriptions of tasks, as `mswitch finetune --task` reads them: the texts of their development and
  test examples. A benchmark's training examples may be learned from.
* Every other file: each line.

Rows that cannot be read are skipped, as nothing of them can be looked for.

The examples of a task are also looked for one by one, in pages of their language. The texts of an
example are `TaskExample.texts`. One without a text of 13 words counts as a whole: its longest text
must stand in a page.

Memory grows with the texts and not with the pages, which are read once. N-grams are compared by
hashes of 64 bits: for 20,000 n-grams of texts and 10^12 words of pages, 0.001 are expected to be
equal by chance.
"""

import functools
import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Int64, UInt8, UInt64

from data import scripts
from data.dedup.hashed_words import (
    HashedWords,
    hashed_words,
    hashes_between,
    prefix_sums,
    span_hashes,
    text_chunks,
    units_of_words,
)
from data.errors import DataError
from data.files.digests import digest_of_contents, digest_of_value
from data.files.parquet_files import texts_in
from data.files.paths import absolute, exists, local_copy
from data.numbers import distinct, distinct_pairs, is_among
from data.reading import records
from data.reading.page import BrokenRecord
from data.tasks.description import DESCRIPTIONS
from data.tasks.examples import TaskExample, read_task

NGRAM_WORDS = 13
# A look-up in a table of bytes excludes most words of pages before a binary search.
SLOTS_PER_HASH, FEWEST_SLOTS = 16, 1 << 16
KANA_SHARE = 10  # a text is Japanese if a tenth of its characters is kana
JSON_LINES = ".jsonl", ".jsonl.gz", ".json.gz", ".ndjson", ".ndjson.gz"
PARQUET, TSV = ".parquet", (".tsv", ".tsv.gz")
JSON_VALUE = re.compile(r"\s*[{\[]\s*[\"\]}{\[]")


class NGrams(NamedTuple):
    """N-grams of one length that are looked for, in ascending order of their hashes.

    Attributes:
        length: number of words.
        hashes: hash of each n-gram.
        owners: owner of each n-gram's text.
    """

    length: int
    hashes: UInt64[np.ndarray, " ngrams"]
    owners: Int[np.ndarray, " ngrams"]


class Beginnings(NamedTuple):
    """Beginnings of n-grams, so that a page is compared with few lengths instead of all.

    Attributes:
        length: number of words, a power of two.
        hashes: hashes of the beginnings, sorted, each once.
        slots: whether a hash begins with the bits of the slot's number; a power of two of them.
        ngrams: n-grams with these beginnings, of less than twice the length.
    """

    length: int
    hashes: UInt64[np.ndarray, " beginnings"]
    slots: Bool[np.ndarray, " slots"]
    ngrams: list[NGrams]


Hits = tuple[NGrams, Int[np.ndarray, " hits"], UInt64[np.ndarray, " hits"]]
"""N-grams of one length; first word and hash of each of them that pages have."""


@dataclass(frozen=True)
class Benchmarks:
    """The n-grams of benchmarks, of which the owners are positions in `names`.

    Attributes:
        names: names of the benchmarks, as files or tasks.
        ngrams: number of different n-grams that are looked for, per benchmark.
        sought: their n-grams.
    """

    names: tuple[str, ...]
    ngrams: tuple[int, ...]
    sought: list[Beginnings]

    @classmethod
    def read(cls, paths: Iterable[str]) -> "Benchmarks":
        """Returns the benchmarks of files and descriptions of tasks (`texts_of`).

        Raises:
            DataError: if one cannot be read or has no text of 13 words.
        """
        return cls.of({name: list(texts_of(path)) for name, path in _paths_by_name(paths).items()})

    @classmethod
    def of(cls, benchmarks: Mapping[str, Sequence[str]]) -> "Benchmarks":
        """Returns benchmarks of texts, by name.

        Raises:
            DataError: if one has no text of 13 words.
        """
        names = tuple(benchmarks)
        texts = [text for name in names for text in benchmarks[name]]
        owners = np.repeat(np.arange(len(names)), [len(benchmarks[name]) for name in names])
        lengths = np.array([ngram_length(text) for text in texts], np.int64)
        is_sought = word_counts(texts) >= lengths
        sought = sought_ngrams(texts, owners, np.where(is_sought, lengths, 0))
        ngram_owners = [ngrams.owners for beginnings in sought for ngrams in beginnings.ngrams]
        ngrams = np.bincount(np.concatenate([owners[:0], *ngram_owners]), minlength=len(names))
        for name, count in zip(names, ngrams, strict=True):
            if not count:
                raise DataError(
                    f"The benchmark {name} should have a text of {NGRAM_WORDS} words and has none, "
                    "so no page can share one; leave it out."
                )
        return cls(names, tuple(ngrams.tolist()), sought)

    def overlaps(self, texts: Sequence[str], language: str) -> list[list[str]]:
        """Returns for each page the benchmarks that it shares an n-gram with, by name, in order.

        Args:
            texts: the pages.
            language: code of their language.
        """
        sought = _no_longer_than(units_of_words(NGRAM_WORDS, language), self.sought)
        names: list[list[str]] = []
        for chunk in text_chunks(texts):
            begin = len(names)
            names += [[] for _ in chunk]
            for page, owner in _pairs(sought, hashed_words(chunk)):
                names[begin + page].append(self.names[owner])
        return names


def leaked_examples(examples: Sequence[TaskExample], pages: Iterable[tuple[str, str]]) -> set[int]:
    """Returns the positions of the examples that share an n-gram of 13 words with a page.

    Args:
        examples: examples of any languages.
        pages: language and text of each page, best with pages of one language in a row.
    """
    by_language: dict[str, list[int]] = defaultdict(list)
    for position, example in enumerate(examples):
        by_language[example.language].append(position)
    sought = {
        code: _ngrams_of_examples(examples, positions, code)
        for code, positions in by_language.items()
    }
    leaked: set[int] = set()
    for code, group in itertools.groupby(pages, key=lambda page: page[0]):
        if code in sought:
            for texts in text_chunks(text for _, text in group):
                for ngrams, _, hashes in find_hits(sought[code], hashed_words(texts)):
                    leaked.update(ngrams.owners[np.isin(ngrams.hashes, hashes)].tolist())
    return leaked


def absolute_place(path: str) -> str:
    """Returns a benchmark's path, or the NAME=DIRECTORY of a task, as every process resolves it."""
    if not _is_shipped(path):
        return absolute(path)
    name, _, directory = path.partition("=")
    return f"{name}={absolute(directory)}"


def digest_of(path: str) -> str:
    """Returns a digest of a benchmark: of a file's bytes, or of the texts of a task.

    Raises:
        DataError: if there is no such file, or a task cannot be read.
    """
    if is_task(path):
        return digest_of_value(list(texts_of(path)))
    _check_exists(path)
    return digest_of_contents(path)


def texts_of(path: str) -> Iterator[str]:
    """Yields the texts of a benchmark.

    Args:
        path: path or address of a file, or a task as `data.tasks.description.find_task` takes it.

    Raises:
        DataError: if the file does not exist or is not of the form that its name says, or the
            description is wrong.
    """
    if is_task(path):
        data = read_task(path)
        for example in (*data.development, *data.test):
            yield from example.texts
    else:
        _check_exists(path)
        with local_copy(path) as here:
            yield from _texts_of_file(here, path)


def is_task(path: str) -> bool:
    """Returns whether this names a task instead of a file: a description, or NAME=DIRECTORY."""
    return path.endswith(DESCRIPTIONS) or _is_shipped(path)


def _is_shipped(path: str) -> bool:
    return "=" in path and not path.endswith(DESCRIPTIONS) and not exists(path)


def _check_exists(path: str) -> None:
    if not exists(path):
        raise DataError(f"The benchmark {path} does not exist; check its path.")


def _texts_of_file(path: Path, name: str) -> Iterator[str]:
    kind = name.lower()
    if kind.endswith(PARQUET):
        yield from texts_in(path, name)
    elif kind.endswith(JSON_LINES):
        yield from _texts_of_json_lines(path, name)
    else:
        for number, line in enumerate(records.read_lines(path)):
            if isinstance(line, BrokenRecord):
                raise refusal_of_damage(name, line)
            if number == 0 and not _is_text(line.content):
                raise DataError(
                    f"The benchmark {name} should be lines of UTF-8 and begins with JSON or with "
                    "bytes of another form; name it .jsonl, convert or unpack it."
                )
            text = line.content.decode("utf-8-sig", "replace").rstrip("\r\n")
            yield from text.split("\t") if kind.endswith(TSV) else [text]


def _is_text(line: bytes) -> bool:
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError:
        return False
    return "\0" not in text and JSON_VALUE.match(text) is None


def _texts_of_json_lines(path: Path, name: str) -> Iterator[str]:
    for number, row in enumerate(records.values(path)):
        if not isinstance(row, BrokenRecord):
            yield from strings(row.value)
        elif number == 0:  # the last lines of an indented value may be values of their own
            raise DataError(
                f"The first line of the benchmark {name} is not a JSON value; write one per line."
            )
        elif row.reason in ("truncated", "unreadable"):
            raise refusal_of_damage(name, row)


def refusal_of_damage(name: str, broken: BrokenRecord) -> DataError:
    """Returns the refusal of a benchmark of which a part would not be found."""
    return DataError(
        f"The benchmark {name} is {broken.reason} at byte {broken.offset:,}, so pages would not be "
        "compared with what follows; restore the file."
    )


def strings(value: Any) -> Iterator[str]:
    """Yields the strings of a JSON value, in order, without the names of fields."""
    stack = [value]
    while stack:
        part = stack.pop()
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict):
            stack.extend(reversed(part.values()))
        elif isinstance(part, list):
            stack.extend(reversed(part))


def _paths_by_name(paths: Iterable[str]) -> dict[str, str]:
    """Returns the path of each benchmark by its name, with as many folders as tell them apart."""
    paths = tuple(dict.fromkeys(paths))
    for parts in range(1, 2 + max((path.count("/") for path in paths), default=0)):
        by_name = {_benchmark_name(path, parts): path for path in paths}
        if len(by_name) == len(paths):
            return by_name
    raise DataError(
        f"The benchmarks {', '.join(paths)} should have different names and two have the "
        "same; leave one out, or score with each by itself."
    )


def _benchmark_name(path: str, parts: int) -> str:
    """Returns the name of a task, or the last parts of a path."""
    if _is_shipped(path):
        return path.partition("=")[0]
    return "/".join(path.rstrip("/").split("/")[-parts:])


def word_counts(texts: Sequence[str]) -> Int[np.ndarray, " texts"]:
    """Returns the number of words in each text."""
    counts = [np.diff(hashed_words(chunk).offsets) for chunk in text_chunks(texts)]
    return np.concatenate([np.empty(0, np.int64), *counts])


def ngram_length(text: str) -> int:
    """Returns the number of units in the n-grams of a benchmark's text, by its script."""
    spaced, han, kana, other = np.bincount(_script()[scripts.code_points(text)], minlength=5)[1:5]
    if spaced >= han + kana + other:
        return NGRAM_WORDS
    if other > han + kana:
        return units_of_words(NGRAM_WORDS, "th")
    return units_of_words(NGRAM_WORDS, "ja" if KANA_SHARE * kana > han + kana else "zh")


@functools.cache
def _script() -> UInt8[np.ndarray, "1114112"]:
    """Returns the kind of each character: 1 in spaced words, 2 Han, 3 kana, 4 other unspaced."""
    table = (scripts.kinds() == scripts.IN_A_WORD).astype(np.uint8)
    table[scripts.kinds() == scripts.UNSPACED] = 4
    table[scripts.characters_with(r"[\p{Han}\p{Bopo}\p{Yi}]")] = 2
    table[scripts.characters_with(r"[\p{Hira}\p{Kana}]")] = 3
    return table


def sought_ngrams(
    texts: Sequence[str], owners: Int[np.ndarray, " texts"], lengths: Int[np.ndarray, " texts"]
) -> list[Beginnings]:
    """Returns the n-grams of texts, arranged for `find_hits`.

    Args:
        texts: the texts.
        owners: number by which each text's n-grams are known; several texts may have the same.
        lengths: number of words in each text's n-grams; 0 for texts that are not looked for.
    """
    groups: dict[int, tuple[list[np.ndarray], list[NGrams]]] = defaultdict(lambda: ([], []))
    for length in distinct(lengths[lengths > 0]).tolist():
        rows = np.flatnonzero(lengths == length).tolist()
        beginning = 1 << (length.bit_length() - 1)
        first, ngrams = _ngrams([texts[row] for row in rows], owners[rows], length, beginning)
        groups[beginning][0].append(first)
        groups[beginning][1].append(ngrams)
    sought = []
    for length, (parts, ngrams) in groups.items():
        hashes = distinct(np.concatenate(parts))
        slots = np.zeros(max(1 << (SLOTS_PER_HASH * len(hashes)).bit_length(), FEWEST_SLOTS), bool)
        slots[_slots(hashes, len(slots))] = True
        sought.append(Beginnings(length, hashes, slots, ngrams))
    return sought


def _ngrams(
    texts: list[str], owners: Int[np.ndarray, " texts"], length: int, beginning: int
) -> tuple[UInt64[np.ndarray, " ngrams"], NGrams]:
    """Returns the hashes of the beginnings, and the n-grams, each once per owner."""
    firsts, hashes, ngram_owners, done = [], [], [], 0
    for chunk in text_chunks(texts):
        words = hashed_words(chunk)
        starts = np.flatnonzero(_room(words) >= length)
        rows = np.searchsorted(words.offsets, starts, side="right") - 1
        firsts.append(distinct(span_hashes(words.hashes, starts, starts + beginning)))
        hashes.append(span_hashes(words.hashes, starts, starts + length))
        ngram_owners.append(owners[done + rows])
        done += len(chunk)
    pairs = distinct_pairs(np.concatenate(hashes), np.concatenate(ngram_owners))
    return np.concatenate(firsts), NGrams(length, *pairs)


def _slots(hashes: UInt64[np.ndarray, " hashes"], count: int) -> Int64[np.ndarray, " hashes"]:
    """Returns the slot of each hash: the number that its first bits are."""
    return (hashes >> np.uint64(65 - count.bit_length())).astype(np.int64)


def _room(words: HashedWords) -> Int[np.ndarray, " words"]:
    """Returns the number of words from each word to the end of its page, itself included."""
    ends = np.repeat(words.offsets[1:], np.diff(words.offsets))
    return ends - np.arange(len(ends))


def find_hits(sought: Sequence[Beginnings], words: HashedWords) -> Iterator[Hits]:
    """Yields the n-grams of pages that are among those looked for."""
    room, sums = _room(words), prefix_sums(words.hashes)
    for beginnings in sought:
        starts = np.flatnonzero(room >= beginnings.length)
        hashes = hashes_between(sums, starts, starts + beginnings.length)
        likely = np.flatnonzero(beginnings.slots[_slots(hashes, len(beginnings.slots))])
        starts = starts[likely[is_among(hashes[likely], beginnings.hashes)]]
        for ngrams in beginnings.ngrams:
            long_enough = starts[room[starts] >= ngrams.length]
            if long_enough.size:
                hashes = hashes_between(sums, long_enough, long_enough + ngrams.length)
                is_hit = is_among(hashes, ngrams.hashes)
                yield ngrams, long_enough[is_hit], hashes[is_hit]


def _no_longer_than(length: int, sought: list[Beginnings]) -> list[Beginnings]:
    shorter = (
        beginnings._replace(
            ngrams=[ngrams for ngrams in beginnings.ngrams if ngrams.length <= length]
        )
        for beginnings in sought
    )
    return [beginnings for beginnings in shorter if beginnings.ngrams]


def _pairs(sought: list[Beginnings], words: HashedWords) -> list[tuple[int, int]]:
    """Returns pages and the benchmarks that they share an n-gram with, in order, each pair once."""
    pairs: set[tuple[int, int]] = set()
    for ngrams, starts, hashes in find_hits(sought, words):
        pages = np.searchsorted(words.offsets, starts, side="right") - 1
        first, last = (np.searchsorted(ngrams.hashes, hashes, side) for side in ("left", "right"))
        counts = last - first
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        owners = ngrams.owners[np.repeat(first, counts) + within]
        pairs.update(zip(np.repeat(pages, counts).tolist(), owners.tolist(), strict=True))
    return sorted(pairs)


def _ngrams_of_examples(
    examples: Sequence[TaskExample], positions: list[int], language: str
) -> list[Beginnings]:
    """Returns the n-grams that are looked for in the pages of a language."""
    texts = [text for position in positions for text in examples[position].texts]
    owners = np.repeat(positions, [len(examples[position].texts) for position in positions])
    lengths = _ngram_lengths(word_counts(texts), owners, units_of_words(NGRAM_WORDS, language))
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
