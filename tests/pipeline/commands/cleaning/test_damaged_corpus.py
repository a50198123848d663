"""A changed bit in a file of a corpus, or a swapped file, is one sentence with its name."""

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from growing_input import SMALL, meeting_pages, write_archives
from small_corpora import record_files, texts_of, write_corpus

from data.errors import DataError
from data.files.digests import digest_of_contents
from pipeline.artifacts import MANIFEST
from pipeline.commands.inspect import Inspect
from pipeline.commands.score import Score
from pipeline.commands.select import Select
from pipeline.commands.vocabulary import Vocabulary
from pipeline.commands.withdraw import Withdraw
from pipeline.corpus.clean import cleaning
from pipeline.errors import ArtifactError
from pipeline.tokens.write import _tokenize

REFUSED = (ArtifactError, DataError)
FOOTER_BYTES = 300  # in a file of pages the last bytes are of the footer
READERS = ("inspect", "score", "select", "select by robots.txt", "withdraw")


def flipped(content: bytes, draw: random.Random, begin: int = 0) -> bytes:
    """Returns bytes of which one bit is another, at or after a place."""
    damaged = bytearray(content)
    damaged[draw.randrange(begin, len(content))] ^= 1 << draw.randrange(8)
    return bytes(damaged)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A corpus of one language with two files, its scores, and a list that names one page."""
    directory = tmp_path_factory.mktemp("made")
    write_corpus(directory / "corpus", {"sw": texts_of("sw", 9)})
    Score(corpus=str(directory / "corpus"), out=str(directory / "scores")).execute()
    (directory / "list.txt").write_text("https://site0.sw.example/page/0\n")
    robots = {"host": "site1.sw.example", "robots": "User-agent: *\nDisallow: /"}
    (directory / "robots.jsonl").write_text(json.dumps(robots))
    return directory


@pytest.fixture
def at(made, tmp_path) -> Path:
    """A copy of it."""
    return shutil.copytree(made, tmp_path, dirs_exist_ok=True)


def pages(at: Path) -> list[Path]:
    return sorted((at / "corpus/pages/sw").iterdir())


def command(name: str, at: Path) -> Callable[[], object]:
    """Returns a command that reads a corpus whole."""
    corpus = str(at / "corpus")
    more = {"quality": "none", "languages": False}
    chosen = Select(corpus=corpus, scores=str(at / "scores"), out=str(at / "selected"), **more)
    return {
        "inspect": Inspect(directory=corpus),
        "score": Score(corpus=corpus, out=str(at / "rescored")),
        "select": chosen,
        "select by robots.txt": replace(chosen, robots=(str(at / "robots.jsonl"),)),
        "withdraw": Withdraw(corpus=corpus, sites=(str(at / "list.txt"),), reason="a request"),
        "vocabulary": Vocabulary(corpus=(corpus,), size=400, out=at / "vocabulary"),
    }[name].execute


def digests(corpus: Path) -> dict[str, str]:
    """Returns the digests of the files that a corpus has, but for the cards."""
    return {
        str(path.relative_to(corpus)): digest_of_contents(path)
        for path in sorted(corpus.rglob("*.parquet"))
    }


def recorded(corpus: Path) -> dict[str, str]:
    return json.loads((corpus / MANIFEST).read_text(encoding="utf-8"))["files"]


@pytest.mark.parametrize("name", READERS)
def test_changed_bits_and_swapped_files_are_one_sentence_and_then_all_is_read(at, name):
    """Bits of columns and of a footer, which has counts that no row contradicts."""
    first, second, held_out = pages(at)
    contents, draw = {path: path.read_bytes() for path in pages(at)}, random.Random(name)
    footer = len(contents[held_out]) - FOOTER_BYTES
    for damage in (
        {first: flipped(contents[first], draw)},
        {held_out: flipped(contents[held_out], draw, footer)},
        {first: contents[second], second: contents[first]},  # has the rows that footers count
    ):
        for path, content in damage.items():
            path.write_bytes(content)
        before, names = digests(at / "corpus"), "|".join(path.name for path in damage)
        with pytest.raises(REFUSED, match=f"({names}) is .*; restore it, or") as error:
            command(name, at)()
        assert "\n" not in str(error.value)
        assert digests(at / "corpus") == before
        for path in damage:
            path.write_bytes(contents[path])
    before = digests(at / "corpus")
    command(name, at)()
    if name in ("select by robots.txt", "withdraw"):
        out = at / ("corpus" if name == "withdraw" else "selected")
        assert recorded(out) == digests(out) != before
        assert any(name.startswith("rejected/") for name in recorded(out))


@pytest.mark.parametrize("name", ["score", "select", "withdraw", "vocabulary"])
def test_a_corpus_that_lacks_a_file_is_refused_unchanged(at, name):
    (at / "corpus/growth").mkdir()
    lost = [pages(at)[0], *(at / "corpus").glob("rejected/*/*" if name == "withdraw" else "none")]
    for path in lost:
        content = path.read_bytes()
        path.unlink()
        before = digests(at / "corpus")
        for _ in range(2):
            with pytest.raises(ArtifactError, match=f"{at}/corpus .*{path.name} is missing"):
                command(name, at)()
        assert digests(at / "corpus") == before
        assert (at / "corpus/growth").exists()
        path.write_bytes(content)


@pytest.mark.parametrize("name", ["score", "withdraw"])
def test_a_corpus_that_lacks_rows_is_refused_unchanged(at, name):
    """One whose manifest was made for it by hand."""
    pq.write_table(pq.read_table(pages(at)[0]).slice(1), pages(at)[0])
    record_files(at / "corpus")
    before = digests(at / "corpus")
    with pytest.raises(REFUSED, match=r"9 (rows|pages) of sw"):
        command(name, at)()
    assert digests(at / "corpus") == before


def test_a_file_that_the_manifest_does_not_list_is_refused(at):
    shutil.copy(pages(at)[0], pages(at)[0].with_name("train-00002-of-00002.parquet"))
    with pytest.raises(ArtifactError, match=r"train-00002-of-00002\.parquet is in no line of"):
        command("score", at)()


def test_pages_are_compared_before_they_are_tokenized(made):
    path = pages(made)[0]
    assert len(list(_tokenize(str(path), digest_of_contents(path), lambda texts: texts))) == 4
    with pytest.raises(DataError, match=f"{path} is damaged or another file"):
        list(_tokenize(str(path), "0" * 64, lambda texts: texts))


def test_a_corpus_of_an_earlier_version_is_read_without_digests(at, capsys):
    manifest = json.loads((at / "corpus" / MANIFEST).read_text())
    del manifest["files"]
    (at / "corpus" / MANIFEST).write_text(json.dumps(manifest))
    for name in ("inspect", "score", "withdraw"):
        command(name, at)()
    assert "their checksums are not recorded" in capsys.readouterr().out
    assert "files" not in json.loads((at / "corpus" / MANIFEST).read_text())


@pytest.mark.slow
def test_an_addition_compares_each_file_of_its_base(tmp_path):
    """A changed bit wrote other pages without a word, a swapped file ended in a traceback."""
    some, draw = meeting_pages(3, 100), random.Random(4)
    first = write_archives(tmp_path / "first", some[: len(some) // 2], 2)
    second = write_archives(tmp_path / "second", some[len(some) // 2 :], 2)
    base = tmp_path / "base"
    cleaning((first,), base, rules="demo", growable=True, cut=SMALL).run()

    def add(out: str) -> Path:
        cleaning((second,), tmp_path / out, onto=str(base), cut=SMALL).run()
        return tmp_path / out

    assert recorded(base) == digests(base)
    other = min(base.glob("rejected/*/*")).read_bytes() + b" "
    for pattern in ("pages/*/train-*", "pages/*/validation-*", "rejected/*/*"):
        path = draw.choice(sorted(base.glob(pattern)))
        content = path.read_bytes()
        footer = flipped(content, draw, len(content) - FOOTER_BYTES)
        for damaged in (flipped(content, draw), footer, other):
            path.write_bytes(damaged)
            with pytest.raises(DataError, match=f"{path} is damaged or another file"):
                add("two")
        path.write_bytes(content)
    assert recorded(add("two")) == digests(tmp_path / "two")
    assert digests(tmp_path / "two") == digests(add("whole"))
    assert any(name.startswith("delta/") for name in recorded(tmp_path / "two"))
