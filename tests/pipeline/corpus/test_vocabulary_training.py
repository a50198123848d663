import pytest

from data.demo.shipped_text import pages_of
from data.languages import get
from pipeline.command_line import parse
from pipeline.corpus.vocabulary_training import ADVISED, advised_command
from pipeline.vocabulary import train


@pytest.mark.parametrize("code", ["en", "sw", "de", "vi"])
@pytest.mark.parametrize("pages", [10, None])
def test_a_corpus_has_text_for_the_training_that_is_advised(code, pages):
    texts = [page.text for page in pages_of(get(code))][:pages]
    characters = sum(map(len, texts))
    counts = {code: {"kept": len(texts), "characters": characters}}
    asked = parse(advised_command("corpus", counts).split())
    repeated = texts * (asked.sample_characters // characters)
    train((line for text in repeated for line in text.split("\n")), asked.size, 0.99)


def test_a_large_corpus_needs_no_more_than_the_usual_settings():
    counts = {"sw": {"kept": 9, "characters": 10**8}, "und": {"kept": 1, "characters": 10}}
    assert (
        advised_command("a", counts) == f"vocabulary --corpus a --size {ADVISED} --out vocabulary"
    )
    assert not advised_command("a", {"und": {"kept": 1, "characters": 10}})
