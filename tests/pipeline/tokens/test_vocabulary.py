""""""

import re
from dataclasses import replace

import pytest
from small_corpora import texts_of, write_corpus

from data.errors import DataError
from data.tokens.tokenizer import LEAST_IDS
from pipeline.command_line import parse
from pipeline.commands import vocabulary
from pipeline.corpus.pages import read_corpus
from pipeline.tokens.vocabulary import advised_command, least_size


def counts_of(**characters: int) -> dict[str, dict[str, int]]:
    return {
        code: {"kept": 1, "held_out": 0, "characters": number}
        for code, number in characters.items()
    }


def test_a_small_corpus_is_told_a_size_that_fits(tmp_path):
    corpus = write_corpus(tmp_path / "corpus", {"sw": texts_of("sw", 40), "en": texts_of("en", 9)})
    entries = read_corpus(corpus).languages
    counts = counts_of(**{code: entry.characters for code, entry in entries.items()})
    asked = parse([*advised_command(str(corpus), counts)])
    asked = replace(asked, out=tmp_path / "vocabulary")
    assert asked.sample_characters == 10 * sum(entry.characters for entry in entries.values())
    with pytest.raises(DataError, match="the text has pieces for at most") as told:
        vocabulary.run(asked)
    (size,) = re.findall("give --size ([0-9]+) or less", str(told.value))
    vocabulary.run(replace(asked, size=int(size)))
    assert (tmp_path / "vocabulary/manifest.json").exists()


def test_a_corpus_of_many_characters_is_told_a_size_with_room_for_them(tmp_path):
    han = [
        "".join(map(chr, range(0x4E00 + 500 * part, 0x4E00 + 500 * part + 500)))
        for part in range(6)
    ]
    corpus = write_corpus(tmp_path / "corpus", {"zh": han * 4})
    counts = counts_of(zh=12_000, und=10)
    asked = parse([*advised_command(str(corpus), counts)])
    assert asked.size == 4096  # of 2048 and 4096 the first above 1.1 x (3,000 + 359)
    vocabulary.intents(replace(asked, out=tmp_path / "vocabulary"))
    with pytest.raises(DataError, match=r"its characters alone need 33[0-9][0-9]: give --size"):
        vocabulary.intents(replace(asked, size=2048, out=tmp_path / "vocabulary"))
    assert not [*advised_command("a", counts_of(und=10))]


def test_the_least_size_is_sentencepieces_own():
    texts = [*texts_of("sw", 30), *texts_of("ja", 9), "ｱ\u200b ﬁ２ \t½ e\u0301"]
    for coverage in (0.98, 0.9995, 0.99999, 1.0):
        with pytest.raises(DataError, match="its characters alone need") as told:
            vocabulary.train(iter(texts), LEAST_IDS, coverage)
        (least,) = re.findall("need ([0-9]+):", str(told.value))
        assert least_size(texts, coverage) == int(least)
