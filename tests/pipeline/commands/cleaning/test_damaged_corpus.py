"""A changed bit in a file of a corpus, or a swapped file, is one sentence with its name."""

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from growing_input import SMALL, meeting_pages, write_archives
from small_corpora import texts_of, write_corpus

from data.errors import DataError
from data.files.digests import digest_of_contents
from pipeline.artifacts import MANIFEST
from pipeline.commands.inspect import Inspect
from pipeline.commands.score import Score
from pipeline.commands.select import Select
from pipeline.commands.withdraw import Withdraw
from pipeline.corpus.clean import cleaning
from pipeline.errors import ArtifactError
from pipeline.tokens.write import _tokenize

REFUSED = (ArtifactError, DataError)
FOOTER_BYTES = 300  # in a file of pages the last bytes are of the footer


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


def commands(at: Path) -> dict[str, Callable[[], object]]:
    """Returns the commands that read a corpus whole, but for those that need other processes."""
    corpus = str(at / "corpus")
    more = {"quality": "none", "languages": False}
    chosen = Select(corpus=corpus, scores=str(at / "scores"), out=str(at / "selected"), **more)
    asked = replace(chosen, robots=(str(at / "robots.jsonl"),), out=str(at / "asked"))
    listed = Withdraw(corpus=corpus, sites=(str(at / "list.txt"),), reason="a request")
    return {
        "inspect": Inspect(directory=corpus).execute,
        "score": Score(corpus=corpus, out=str(at / "rescored")).execute,
        "select": chosen.execute,
        "select by robots.txt": asked.execute,
        "withdraw": listed.execute,
    }


@pytest.mark.parametrize("name", ["inspect", "score", "select", "select by robots.txt", "withdraw"])
@pytest.mark.parametrize("seed", range(3))
def test_a_changed_bit_is_one_sentence_and_then_the_whole_file_is_read(made, tmp_path, name, seed):
    """Bits of the columns, of the footer, and any: a footer has counts that no row contradicts."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    draw = random.Random(seed)
    path = sorted((tmp_path / "corpus/pages/sw").iterdir())[seed]
    content = path.read_bytes()
    path.write_bytes(flipped(content, draw, len(content) - FOOTER_BYTES if seed else 0))
    before = digests(tmp_path / "corpus")
    with pytest.raises(REFUSED, match=f"{path.name} is .*; restore it, or") as error:
        commands(tmp_path)[name]()
    assert "\n" not in str(error.value)
    assert digests(tmp_path / "corpus") == before
    path.write_bytes(content)
    commands(tmp_path)[name]()


def test_swapped_files_of_a_language_are_noticed(made, tmp_path):
    """Each has the rows that the footer counts, and together they have all pages."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    one, other, _ = sorted((tmp_path / "corpus/pages/sw").iterdir())
    shutil.copy(one, tmp_path / "one")
    shutil.copy(other, one)
    shutil.copy(tmp_path / "one", other)
    for run in commands(tmp_path).values():
        with pytest.raises(REFUSED, match=r"train-0000[01]-of-00002\.parquet is "):
            run()


def test_a_file_that_the_manifest_does_not_list_is_refused(made, tmp_path):
    shutil.copytree(made / "corpus", tmp_path / "corpus")
    one = min((tmp_path / "corpus/pages/sw").iterdir())
    shutil.copy(one, one.with_name("train-00002-of-00002.parquet"))
    with pytest.raises(ArtifactError, match=r"train-00002-of-00002\.parquet is in no line of"):
        Score(corpus=str(tmp_path / "corpus"), out=str(tmp_path / "scores")).execute()


def test_pages_are_compared_before_they_are_tokenized(made):
    path = min((made / "corpus/pages/sw").iterdir())
    assert len(list(_tokenize(str(path), digest_of_contents(path), lambda texts: texts))) == 4
    with pytest.raises(DataError, match=f"{path} is damaged or another file"):
        list(_tokenize(str(path), "0" * 64, lambda texts: texts))


def test_a_corpus_of_an_earlier_version_is_read_without_digests(made, tmp_path, capsys):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    manifest = json.loads((tmp_path / "corpus" / MANIFEST).read_text())
    del manifest["files"]
    (tmp_path / "corpus" / MANIFEST).write_text(json.dumps(manifest))
    for name in ("inspect", "score", "withdraw"):
        commands(tmp_path)[name]()
    assert "their checksums are not recorded" in capsys.readouterr().out
    assert "files" not in json.loads((tmp_path / "corpus" / MANIFEST).read_text())


def digests(corpus: Path) -> dict[str, str]:
    """Returns the digests of the files that a corpus has, but for the cards."""
    return {
        str(path.relative_to(corpus)): digest_of_contents(path)
        for path in sorted(corpus.rglob("*.parquet"))
    }


def recorded(corpus: Path) -> dict[str, str]:
    return json.loads((corpus / MANIFEST).read_text(encoding="utf-8"))["files"]


def test_what_select_and_withdraw_write_has_new_digests(made, tmp_path):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    for name in ("select by robots.txt", "withdraw"):
        commands(tmp_path)[name]()
    for name in ("corpus", "asked"):
        assert recorded(tmp_path / name) == digests(tmp_path / name)
    assert recorded(tmp_path / "corpus") != recorded(made / "corpus")
    assert any(name.startswith("rejected/") for name in recorded(tmp_path / "asked"))


@pytest.mark.slow
def test_an_addition_compares_each_file_of_its_base(tmp_path):
    """A changed bit wrote other pages without a word, a swapped file ended in a traceback."""
    pages, draw = meeting_pages(3, 100), random.Random(4)
    first = write_archives(tmp_path / "first", pages[: len(pages) // 2], 2)
    second = write_archives(tmp_path / "second", pages[len(pages) // 2 :], 2)
    base = tmp_path / "base"
    cleaning((first,), base, rules="demo", growable=True, cut=SMALL).run()

    def add(out: str) -> Path:
        cleaning((second,), tmp_path / out, onto=str(base), cut=SMALL).run()
        return tmp_path / out

    assert recorded(base) == digests(base)
    for pattern in ("pages/*/train-*", "pages/*/validation-*", "rejected/*/*"):
        path = draw.choice(sorted(base.glob(pattern)))
        content = path.read_bytes()
        for begin in (0, len(content) - FOOTER_BYTES):
            path.write_bytes(flipped(content, draw, begin))
            with pytest.raises(DataError, match=f"{path} is damaged or another file"):
                add("two")
        path.write_bytes(min(base.glob("rejected/*/*")).read_bytes() + b" ")
        with pytest.raises(DataError, match=f"{path} is damaged or another file"):
            add("two")
        path.write_bytes(content)
    assert recorded(add("two")) == digests(tmp_path / "two")
    assert digests(tmp_path / "two") == digests(add("whole"))
    assert any(name.startswith("delta/") for name in recorded(tmp_path / "two"))
