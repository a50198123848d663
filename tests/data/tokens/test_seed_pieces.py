"""Counts of seed pieces beside a slow count, and beside what SentencePiece trains on."""

import io
from itertools import combinations, repeat

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from data.tokens import seed_pieces
from data.tokens.seed_pieces import most_pieces

LINES = st.lists(st.text("ab é\u0e01", max_size=30), max_size=20)


def slow_count(lines: list[str]) -> int:
    characters, followers = set(), {}
    for line in lines:
        words = [f"\u2581{word}" for word in " ".join(line.split()).split(" ")]
        for word, end in zip(words, [*repeat(" ", len(words) - 1), "\n"], strict=True):
            characters |= {*word}
            for first, last in combinations(range(len(word) + 1), 2):
                if 2 <= last - first <= 16:
                    followers.setdefault(word[first:last], set()).add((word + end)[last])
    return len(characters) + sum(len(found) > 1 for found in followers.values())


@given(LINES)
def test_the_count_is_that_of_all_substrings(lines):
    assert most_pieces(lines, 10**9) == slow_count(lines)


@settings(max_examples=30)
@given(LINES, st.integers(1, 200))
def test_a_part_has_enough_only_if_the_whole_has(lines, enough):
    assert (most_pieces(lines, enough) >= enough) == (slow_count(lines) >= enough)


@settings(max_examples=30, deadline=None)
@given(LINES.filter(lambda lines: any(line.strip() for line in lines)), st.integers(1, 3))
def test_sentencepiece_trains_on_no_more(lines, times):
    with pytest.raises(RuntimeError, match=r"set it to a value <= [0-9]+") as told:
        sentencepiece.SentencePieceTrainer.train(  # pyright: ignore[reportAttributeAccessIssue]
            sentence_iterator=iter(lines * times),
            model_writer=io.BytesIO(),
            model_type="unigram",
            vocab_size=5000,
            byte_fallback=True,
            minloglevel=2,
        )
    most = int(str(told.value).rpartition("<= ")[2].rstrip("."))
    assert most <= most_pieces(lines, 10**9) + 256 + 3


def test_only_a_part_of_a_long_text_is_read(monkeypatch):
    lines = (f"{number:09}" for number in range(10**9))
    assert most_pieces(lines, 1000) >= 1000
    assert int(next(lines)) < 10_000


def test_what_is_repeated_is_counted_once(monkeypatch):
    sizes, count = [], seed_pieces._count
    monkeypatch.setattr(seed_pieces, "_count", lambda text: sizes.append(len(text)) or count(text))
    lines = ["ab ac", "ad b"]
    assert most_pieces(lines * 10_000, 10**6) == most_pieces(lines, 10**6)
    assert sizes[0] == sizes[1] < 50
