""""""

import re
from collections import Counter
from dataclasses import replace

import pytest
import sentencepiece
from msgspec import to_builtins
from small_corpora import texts_of, write_corpus

from data.errors import DataError
from data.tokens.tokenizer import LEAST_IDS
from pipeline.command_line import parse
from pipeline.corpus import sample as sampled
from pipeline.corpus.pages import read_corpus
from pipeline.corpus.sample import MOST_COUNTED, advised_command, least_size
from pipeline.tokens import vocabulary


def counts_of(**characters: int) -> dict[str, dict[str, int]]:
    return {
        code: {"kept": 1, "held_out": 0, "characters": number}
        for code, number in characters.items()
    }


def test_a_small_corpus_is_told_a_size_that_fits_and_a_sample_with_all_of_its_text(
    tmp_path, monkeypatch
):
    texts = {"sw": texts_of("sw", 40), "en": texts_of("en", 9)}
    corpus = write_corpus(tmp_path / "corpus", texts)
    asked = parse([*advised_command(str(corpus), to_builtins(read_corpus(corpus).languages))])
    asked = replace(asked, out=tmp_path / "vocabulary")
    read = []
    monkeypatch.setattr(vocabulary, "train", lambda lines, *_: read.extend(lines))
    with pytest.raises(TypeError):  # no model comes of it
        asked.execute()
    monkeypatch.undo()
    lines = Counter(read)
    assert {*lines} == {
        line for some in texts.values() for text in some[:-1] for line in text.split("\n")
    }
    assert min(lines.values()) == 1  # what need not be repeated is not
    with pytest.raises(DataError, match="the text has pieces for at most") as told:
        asked.execute()
    (size,) = re.findall("give --size ([0-9]+) or less", str(told.value))
    replace(asked, size=int(size)).execute()
    assert (tmp_path / "vocabulary/manifest.json").exists()


def test_a_size_that_no_substrings_fill_is_refused_before_training(monkeypatch):
    trained = []
    monkeypatch.setattr(sentencepiece.SentencePieceTrainer, "train", lambda **_: trained.append(1))
    lines = texts_of("sw", 40) * (MOST_COUNTED // 1000)
    with pytest.raises(DataError, match="a far smaller --size, such as 4096, or more text"):
        vocabulary.train(iter(lines), 200_000, 0.9999)
    assert trained == []


def test_a_corpus_of_many_characters_is_told_a_size_with_room_for_them(tmp_path, monkeypatch):
    parts = (range(0x4E00 + 500 * part, 0x4E00 + 500 * part + 500) for part in range(6))
    corpus = write_corpus(
        tmp_path / "corpus", {"zh": ["".join(map(chr, part)) for part in parts] * 4}
    )
    counts = counts_of(zh=12_000, und=10)
    advised = parse([*advised_command(str(corpus), counts)])

    def intend(size: int) -> None:
        for job in replace(advised, size=size, out=tmp_path / "vocabulary").jobs():
            job.intent()

    assert advised.size == 4096  # of 2048 and 4096 the first above 1.1 x (3,000 + 359)
    intend(4096)
    with pytest.raises(DataError, match=r"its characters alone need 33[0-9][0-9]: give --size"):
        intend(2048)
    assert not [*advised_command("a", counts_of(und=10))]
    for module in (sampled, vocabulary):
        monkeypatch.setattr(module, "MOST_COUNTED", 11_000)  # of 12,000: the rest may hold others
    assert parse([*advised_command(str(corpus), counts)]).size == 8192  # above 1.5 x 3,359
    intend(3300)
    with pytest.raises(DataError, match=r"alone need 33[0-9][0-9]: give --size 50[0-9][0-9] or"):
        intend(2048)


def test_the_least_size_is_sentencepieces_own():
    texts = [*texts_of("sw", 30), *texts_of("ja", 9), "ｱ\u200b ﬁ２ \t½ e\u0301"]
    for coverage in (0.98, 0.9995, 0.99999, 1.0):
        with pytest.raises(DataError, match="its characters alone need") as told:
            vocabulary.train(iter(texts), LEAST_IDS, coverage)
        (least,) = re.findall("need ([0-9]+):", str(told.value))
        assert least_size(texts, coverage) == int(least)
