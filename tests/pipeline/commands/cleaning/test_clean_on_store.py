"""Cleaning to and from an object store: a folder behind a scheme of its own that can misbehave."""

import json
import os
from collections import Counter
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest
from contents import contents
from faulty_store import Store

from data.demo import member_of, shipped_pages
from data.errors import DataError
from data.files import paths, stores
from data.files.paths import open_ranges
from pipeline.commands.clean import Clean
from pipeline.commands.estimate import Estimate
from pipeline.commands.inspect import Inspect
from pipeline.commands.vocabulary import Vocabulary
from pipeline.corpus import clean, job
from pipeline.corpus.clean import cleaning
from pipeline.corpus.pages import read_funnel
from pipeline.corpus.read import Cut

pytestmark = pytest.mark.slow

SMALL = Cut(shard_bytes=20_000, chunk_characters=30_000, partition_bytes=30_000)


@pytest.fixture
def store(tmp_path, monkeypatch) -> Path:
    fsspec.register_implementation("store", Store, clobber=True)
    monkeypatch.setattr(Store, "root", tmp_path / "store")
    monkeypatch.setattr(stores, "FIRST_WAIT_SECONDS", 0.001)
    monkeypatch.setattr(stores, "LONGEST_WAIT_SECONDS", 0.001)
    misbehave(monkeypatch)
    fill(tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> dict[str, bytes]:
    """What a folder gets."""
    fsspec.register_implementation("store", Store, clobber=True)
    directory = tmp_path_factory.mktemp("expected")
    fill(directory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "root", directory)
        cleaned(directory / "here")
    return contents(directory / "here")


def fill(root: Path) -> None:
    pages = [page for page in shipped_pages() if page.declared_language in ("sw", "yo")]
    pages += [page._replace(timestamp="2001") for page in pages[:9]]
    archive = root / "bucket/raw"
    archive.mkdir(parents=True)
    for number in range(3):
        content = b"".join(map(member_of, pages[number::3]))
        (archive / f"{number}.warc.wet.gz").write_bytes(content)
    (archive / "3.warc.wet.gz").write_bytes(b"nonsense")


def misbehave(monkeypatch, lasting: bool = False, **faults: tuple[str, int]) -> None:
    monkeypatch.setattr(Store, "faults", faults)
    monkeypatch.setattr(Store, "lasting", lasting)
    monkeypatch.setattr(Store, "calls", Counter())


def cleaned(out: object) -> None:
    pattern = "store://bucket/raw/*.warc.wet.gz"
    cleaning((pattern,), str(out), rules="demo", cut=SMALL).run()


def test_a_store_gets_what_a_folder_gets(store, expected):
    cleaned("store://bucket/corpus")
    assert contents(store / "bucket/corpus") == expected
    manifest = json.loads((store / "bucket/corpus/manifest.json").read_text())
    assert manifest["input"]["files"] == 4
    (broken,) = manifest["broken_records"].values()
    assert broken["samples"] == ["raw/3.warc.wet.gz@0"]
    cleaned("store://bucket/corpus")  # finished: nothing is done
    assert contents(store / "bucket/corpus") == expected


@pytest.mark.parametrize(
    "call, fault, said",
    [
        ("put", "fail", "cannot be written"),
        ("put", "lose", "was written with"),
        ("put", "alter", "BadDigest"),
        ("get", "fail", "cannot be read"),
        ("look", "fail", "cannot be (read|written)"),  # an upload ends with a look
    ],
)
def test_what_a_store_does_wrong_is_done_again_or_ends_in_a_sentence_and_loses_nothing(
    store, expected, monkeypatch, call, fault, said
):
    for when in (2, 12):
        misbehave(monkeypatch, lasting=True, **{call: (fault, when)})
        with pytest.raises(DataError, match=rf"store://bucket/.* {said}"):
            cleaned("store://bucket/corpus")
        there = contents(store / "bucket/corpus")
        whole = {name for name in there if name.startswith("pages/")}
        assert all(there[name] == expected[name] for name in whole)
        assert not (store / "bucket/corpus/manifest.json").exists()
    misbehave(monkeypatch, **{call: (fault, 3)})
    cleaned("store://bucket/corpus")
    assert Store.calls[call] > 10
    assert contents(store / "bucket/corpus") == expected


def cut_short(monkeypatch, out: str) -> None:
    """Leaves a run whose every file is written, and which is not finished."""
    with monkeypatch.context() as patch:
        patch.setattr(clean, "check_files", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            cleaned(out)


@pytest.mark.parametrize("where", ["store://bucket/corpus", "{store}/bucket/corpus"])
def test_nothing_of_another_version_survives(store, expected, monkeypatch, capsys, where):
    """Another version may cut a language into other files, or write other rows into the same."""
    out, there = where.format(store=store), store / "bucket/corpus"
    cut_short(monkeypatch, out)
    for path in there.rglob("*.parquet"):
        path.write_bytes(b"of another version")
    (there / "pages/sw/train-00000-of-00009.parquet").write_bytes(b"of another version")
    monkeypatch.setattr(job, "VERSION", "another version")
    cleaned(out)
    assert "begins anew" in " ".join(capsys.readouterr().err.split())
    assert contents(there) == expected


@pytest.mark.parametrize("where", ["store://bucket/", "{store}/bucket/"])
def test_input_that_is_changed_between_two_attempts_is_read_again(store, monkeypatch, where):
    """A file of the same name and size is the same input to the manifest, but not to the work."""
    bucket, there = where.format(store=store), store / "bucket"
    line = {"text": "Habari ya leo ni njema sana.", "url": "https://a.example/", "language": "sw"}
    raw = there / "raw/x.jsonl"
    raw.write_text(json.dumps(line))
    asked = Clean(input=(f"{bucket}raw/*.jsonl",), rules="none", out=f"{bucket}corpus")
    with monkeypatch.context() as patch:
        patch.setattr(clean, "check_files", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            asked.execute()
    line["text"] = line["text"].replace("njema", "mbaya")
    raw.write_text(json.dumps(line))
    os.utime(raw, ns=(10**18, 10**18))  # the file system's clock may be coarse
    asked.execute()
    (page,) = pq.read_table(there / "corpus/pages").to_pylist()
    assert page["text"] == line["text"]


def test_what_no_waiting_mends_is_asked_once(store, monkeypatch):
    def refused(self, *_, **__):
        Store.calls["refused"] += 1
        raise PermissionError("InvalidAccessKeyId")

    monkeypatch.setattr(Store, "put_file", refused)
    with pytest.raises(DataError, match=r"cannot be written \(PermissionError: InvalidAccessKeyId"):
        cleaned("store://bucket/corpus")
    assert Store.calls["refused"] == 1


def test_parts_of_a_file_are_read_as_parts(store, monkeypatch):
    content = bytes(range(256)) * 10_000
    (store / "bucket/x").write_bytes(content)
    asked = []
    whole = Store.cat_file
    monkeypatch.setattr(
        Store, "cat_file", lambda *a, **b: asked.append(b["end"] - b["start"]) or whole(*a, **b)
    )
    with open_ranges("store://bucket/x") as file:
        assert file.size() == len(content)
        file.seek(1_000_000)
        assert file.read(700) == content[1_000_000:1_000_700]
        file.seek(-5, 2)
        assert file.read() == content[-5:]
    assert sum(asked) < 2 * paths.AHEAD_BYTES


def test_later_stages_read_a_corpus_where_it_lies(store, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    cleaned(tmp_path / "here")
    cleaned("store://bucket/corpus")
    here, there = str(tmp_path / "here"), "store://bucket/corpus"
    for name, corpus in (("here", here), ("there", there)):
        asked = {"size": 500, "character_coverage": 0.99, "sample_characters": 20_000}
        Vocabulary(corpus=(corpus,), out=tmp_path / f"vocabulary-{name}", **asked).execute()
        Inspect(directory=corpus).execute()
    assert contents(tmp_path / "vocabulary-here") == contents(tmp_path / "vocabulary-there")
    first, second = capsys.readouterr().out.split("clean, schema")[1:]
    assert first == second
    funnel = read_funnel(there)
    assert funnel == read_funnel(here)
    assert any(reason.samples for reason in funnel.reasons)
    pattern = "store://bucket/raw/*.warc.wet.gz"
    Estimate(input=(pattern,), rules="demo").execute()
    assert "100.0% of the input" in capsys.readouterr().out


def test_what_is_no_corpus_at_an_address_is_one_sentence(store, tmp_path):
    for corpus, said in (("none", "does not exist"), ("raw", "holds no manifest.json")):
        place = f"store://bucket/{corpus}"
        asked = Vocabulary(corpus=(place,), size=400, out=tmp_path / "v")
        for command in (Inspect(directory=place), asked):
            with pytest.raises(ValueError, match=said):
                command.execute()


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"out": "nowhere://bucket/x"}, "lies in a store that cannot be reached"),
        ({"input": ("nowhere://bucket/*.wet",)}, "lies in a store that cannot be reached"),
        ({"out": "/proc/x"}, "was to be written and cannot be"),
    ],
)
def test_places_that_cannot_be_are_one_sentence(store, tmp_path, fields, message):
    given = {"input": ("store://bucket/raw/*.gz",), "rules": "demo", "out": str(tmp_path / "o")}
    with pytest.raises(ValueError, match=message):
        Clean(**(given | fields)).execute()
