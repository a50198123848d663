"""Overlaps are those of tuples of words in plain Python (`plain_shingles`)."""

import random

import pytest
from plain_shingles import WORD, shingle_set

from data.dedup import hashed_words
from data.dedup.hashed_words import length_of
from data.tasks.examples import TaskExample
from data.tasks.overlap import NGRAM_WORDS, overlapping

LETTERS = {
    "sw": "abcdefghijklmnopqrstuvwyz",
    "ru": "абвгдежзийклмнопрстуфхцч",
    "zh": "的一是不了在人有我他这",
    "ja": "あいうえおかきくけこ日本語",
    "th": "กขคงจฉชซญดตถทธน",
    "am": "ሀለሐመሠረሰቀበተ",
}
LENGTHS = {"sw": 13, "ru": 13, "zh": 23, "ja": 39, "th": 78, "am": 13}


def text(draw: random.Random, code: str, words: int) -> str:
    """Returns a text of so many units, each a word or a character."""
    size = 4 if LENGTHS[code] == NGRAM_WORDS else 1
    units = ["".join(draw.choices(LETTERS[code], k=size)) for _ in range(words)]
    return (" " if size > 1 else "").join(units)


def example(code: str, *texts: str) -> TaskExample:
    return TaskExample(code, "0", "", "", (), texts)


def reference(examples, pages) -> set[int]:
    """Returns the positions of overlapping examples, from sets of tuples."""
    found = set()
    for position, one in enumerate(examples):
        run = length_of(NGRAM_WORDS, one.language)
        texts = [text for text in one.texts if len(WORD.findall(text)) >= run]
        if not texts:
            texts = [max(one.texts, key=lambda text: len(WORD.findall(text)))]
            run = len(WORD.findall(texts[0]))
        sought = {shingle for text in texts for shingle in shingle_set(text, run) if run}
        for code, page in pages:
            if code == one.language and sought & shingle_set(page, run or 1):
                found.add(position)
    return found


@pytest.mark.parametrize("code", LENGTHS)
def test_a_run_has_the_content_of_13_words(code):
    assert length_of(NGRAM_WORDS, code) == LENGTHS[code]


@pytest.mark.parametrize("code", LENGTHS)
def test_planted_overlaps_are_found_and_shorter_ones_are_not(code):
    draw, run = random.Random(code), LENGTHS[code]
    space = " " if run == NGRAM_WORDS else ""
    shared, short, whole = (text(draw, code, n) for n in (run, run - 1, run // 2))
    around = [text(draw, code, 9) for _ in range(12)]
    examples = [
        example(code, space.join([around[0], shared, around[1]])),
        example(code, space.join([around[2], short, around[3]])),
        example(code, whole),
        example(code, whole[: len(whole) // 2], text(draw, code, run)),
        example("en", space.join([around[0], shared])),
        example(code, "", "?!"),
    ]
    pages = [
        (code, space.join([around[n], one, around[n + 1]]))
        for n, one in ((4, shared), (6, short), (8, whole))
    ]
    assert overlapping(examples, pages) == {0, 2} == reference(examples, pages)


def test_case_punctuation_and_numbers_are_not_compared():
    words = "Mvua kubwa ilinyesha usiku kucha katika vijiji 12 vya pwani, na mito ikafurika."
    page = words.upper().replace("12", "1375").replace(",", " –") + " Mwisho."
    assert overlapping([example("sw", words)], [("sw", page)]) == {0}


def test_runs_do_not_go_on_in_the_next_page_or_text():
    words = text(random.Random(0), "sw", 14).split()
    halves = " ".join(words[:7]), " ".join(words[7:])
    assert overlapping([example("sw", " ".join(words))], [("sw", half) for half in halves]) == set()
    assert overlapping([example("sw", *halves)], [("sw", " ".join(words))]) == {0}  # as a whole
    assert overlapping([example("sw", *halves)], [("sw", halves[1])]) == set()


@pytest.mark.parametrize("chunk", [1, 60, 1 << 18])
def test_equals_the_reference_in_chunks_of_any_size(monkeypatch, chunk):
    monkeypatch.setattr(hashed_words, "CHUNK_CHARACTERS", chunk)
    draw = random.Random(chunk)
    examples, pages = [], []
    for code in [*LENGTHS, "sw"]:
        source = text(draw, code, 6 * LENGTHS[code])
        for _ in range(6):
            cuts = [sorted(draw.choices(range(len(source)), k=2)) for _ in range(2)]
            mixed = source[slice(*cuts[0])] + " " + text(draw, code, 5)
            examples.append(example(code, mixed, text(draw, code, draw.randrange(40))))
            examples.append(example(code, source[slice(*cuts[1])][: draw.randrange(60)]))
            pages.append((code, text(draw, code, 3) + " " + source[slice(*cuts[1])]))
    found = overlapping(examples, iter(pages))
    assert found == reference(examples, pages)
    assert 0.2 < len(found) / len(examples) < 0.8
