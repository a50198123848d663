"""A small corpus and its scores; both only to be read."""

from pathlib import Path

import pytest
from contents import contents
from small_corpora import texts_of, write_corpus

from pipeline.commands.score import Score


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """A corpus of three languages, one without spaces.

    One page in Swahili is English; two have an address, one of them of a site that a list blocks.
    """
    texts = {code: texts_of(code, pages) for code, pages in (("en", 10), ("ja", 7), ("sw", 10))}
    texts["sw"][2] = texts["en"][2].replace("number", "page")
    texts["en"][1] += "\nWrite to someone@firm.co.ke or call nobody."
    texts["en"][6] += "\nWrite to a@firm.co.ke."  # shorter than its mask
    return write_corpus(tmp_path_factory.mktemp("curated") / "corpus", texts)


@pytest.fixture(scope="session")
def scores(corpus) -> Path:
    """Its scores, which change nothing of it."""
    out, before = corpus.with_name("scores"), contents(corpus)
    Score(corpus=str(corpus), out=str(out)).execute()
    assert contents(corpus) == before
    return out
