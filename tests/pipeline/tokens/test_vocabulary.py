""""""

import re
from dataclasses import replace

import pytest
from small_corpora import texts_of, write_corpus

from data.errors import DataError
from pipeline.command_line import parse
from pipeline.commands import vocabulary
from pipeline.corpus.pages import read_corpus
from pipeline.tokens.vocabulary import ADVISED, advised_command


def counts_of(**characters: int) -> dict[str, dict[str, int]]:
    return {code: {"kept": 1, "characters": number} for code, number in characters.items()}


def test_a_small_corpus_is_told_a_size_that_fits(tmp_path):
    corpus = write_corpus(tmp_path / "corpus", {"sw": texts_of("sw", 40), "en": texts_of("en", 9)})
    entries = read_corpus(corpus).languages
    counts = counts_of(**{code: entry.characters for code, entry in entries.items()})
    asked = parse(advised_command(str(corpus), counts))
    asked = replace(asked, out=tmp_path / "vocabulary")
    assert asked.sample_characters == 10 * sum(entry.characters for entry in entries.values())
    with pytest.raises(DataError, match="the text has pieces for at most") as told:
        vocabulary.run(asked)
    (size,) = re.findall("give --size ([0-9]+) or less", str(told.value))
    vocabulary.run(replace(asked, size=int(size)))
    assert (tmp_path / "vocabulary/manifest.json").exists()


def test_a_large_corpus_needs_no_more_than_the_usual_settings():
    usual = f"vocabulary --corpus a --size {ADVISED} --out vocabulary"
    assert advised_command("a", counts_of(sw=10**8, und=10)) == usual.split()
    assert not advised_command("a", counts_of(und=10))
