"""Every pattern that meets a page takes linear time on repetitions of the pattern's own pieces.

Patterns are found in all modules of the packages below, so a new one is covered without being named
here. A pattern is tried with the methods that the code calls it by. Times of a process are compared
with each other, never with a limit: from 16 to 64 thousand characters a linear search takes four
times as long and a quadratic one sixteen times.
"""

import importlib
import itertools
import pkgutil
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import regex

from data.curation import personal_numbers
from data.languages import table_rows
from data.rules import bad_words

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "data",
    "pipeline.corpus",
    "pipeline.curation",
    "pipeline.tokens",
)
SEARCHES = ("finditer", "search", "sub", "split", "findall", "match", "fullmatch")
# Patterns that meet a piece of a page, of at most as many characters.
SHORT = {
    "NAME_BEFORE": 64, "AT_DOMAIN": 255, "A_DOMAIN": 255,  # around an @
    "END_MARK": 12,  # the end of a line
}  # fmt: skip
CHARACTERS, SLOWER = 4_000, 9


def modules() -> Iterator:
    for package in map(importlib.import_module, PACKAGES):
        yield package
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            yield importlib.import_module(found.name)


def patterns() -> Iterator[tuple[str, str | None, re.Pattern]]:
    """Yields the name of each, the method that is taken of it if one is, and the pattern."""
    kinds = (re.Pattern, regex.Pattern)
    for module in modules():
        for name, value in vars(module).items():
            pattern = getattr(value, "__self__", value)
            if isinstance(pattern, kinds) and name not in SHORT:
                yield name, None if pattern is value else value.__name__, pattern
    for row in table_rows("data.curation", "national_numbers.tsv"):
        for number in personal_numbers._numbers_of_regions((row["region"],)):
            yield "form", "search", number.form
        yield "numbers", "match", personal_numbers._plans((row["region"],))[0].numbers
    for spaced in (True, False):
        words = frozenset({"zounds", "a$$hat", "two words"})
        yield "bad_words", "search", bad_words._pattern(words, spaced=spaced)


def methods(name: str, source: str) -> list[str]:
    return sorted(set(re.findall(rf"\b{name}\.(\w+)\(", source)) & set(SEARCHES)) or ["finditer"]


def run(pattern: re.Pattern, method: str, text) -> None:
    if method == "sub":
        pattern.sub(text[:0], text)
    elif method == "finditer":
        for _ in pattern.finditer(text):
            pass
    else:
        getattr(pattern, method)(text)


def pieces(pattern: re.Pattern) -> list[str]:
    """Returns texts of the pattern's own literals and classes, alone and in twos."""
    source = (
        pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin1")
    )
    source = re.sub(r"\(\?[<!=:#P>iasmLux-]+(\w+>)?|\\[pP]\{[^}]*\}|\{\d*,?\d*\}", "\0", source)
    for escape, character in {
        r"\d": "1",
        r"\w": "a",
        r"\s": " ",
        r"\S": "a",
        r"\W": "-",
        r"\n": "\n",
        r"\r": "\r",
        r"\t": "\t",
        r"\b": " ",
    }.items():
        source = source.replace(escape, character)
    source = re.sub(r"\\(.)", r"\1", re.sub(r"(?<!\\)[][(){}|*+?^$]", "\0", source))
    runs = [one for one in source.split("\0") if one]
    characters = sorted({*itertools.chain(*(one[:1] + one[-1:] for one in runs)), *"a1 .-"})
    longest = sorted({*runs, "".join(runs) or "a"}, key=len)[-6:]
    mixed = [a + b for a in [*longest, *characters] for b in characters]
    first, last = mixed[: len(longest) * len(characters)], mixed[len(longest) * len(characters) :]
    random.Random(1).shuffle(first)
    random.Random(1).shuffle(last)
    return [*longest, *characters[:6], *first[:12], *last[:8]]


def seconds(
    pattern: re.Pattern, method: str, piece: str, tail: str, size: int, times: int
) -> float:
    text = (piece * (size // len(piece) + 1))[:size] + tail
    text = text if isinstance(pattern.pattern, str) else text.encode()
    spent = []
    for _ in range(times):
        begin = time.process_time()
        run(pattern, method, text)
        spent.append(time.process_time() - begin)
    return min(spent)


def is_superlinear(pattern: re.Pattern, method: str, piece: str, tail: str) -> bool:
    def slower(size: int, times: int) -> float:
        small, large = (seconds(pattern, method, piece, tail, n, times) for n in (size, 4 * size))
        return large / max(small, 1e-5)

    return (  # one measurement in a busy second proves nothing
        slower(CHARACTERS, 1) > SLOWER
        and slower(CHARACTERS, 3) > SLOWER
        and slower(4 * CHARACTERS, 3) > SLOWER
    )


def is_slow(pattern: re.Pattern, method: str) -> bool:
    tried = itertools.product(pieces(pattern), ("", "!\n"))
    return any(is_superlinear(pattern, method, piece, tail) for piece, tail in tried)


def test_no_pattern_is_slower_than_linear():
    source = "\n".join(path.read_text() for path in ROOT.glob("[dp]*/**/*.py"))
    found = dict.fromkeys(patterns())
    slow = [
        (name, method)
        for name, taken, pattern in found
        for method in ([taken] if taken else methods(name, source))
        if is_slow(pattern, method)
    ]
    assert len(found) > 50
    assert not slow


EMAILS = r"(?:email@example\.com|firstname\.lastname@example\.org)"


@pytest.mark.parametrize(
    "pattern, expected",
    [
        (rf"{EMAILS}(?:[.-]+{EMAILS})+(?![a-z]|[.-][a-z])", True),
        (r"(?<!a)a+b", False),
        (r"\S{100}", False),
    ],
)
def test_the_test_knows_them_apart(pattern, expected):
    assert is_slow(re.compile(pattern, re.DOTALL), "search") is expected
