"""Cleaning from and to an object store: a folder behind a scheme of its own that can misbehave."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from apache_beam.io.filesystem import FileMetadata, FileSystem

from data.demo_archive import member_of
from data.shipped_text import pages as shipped_pages
from pipeline import clean
from pipeline.arguments import Clean
from pipeline.cleaning.shards import Cut

SMALL = Cut(shard_bytes=20_000, chunk_characters=30_000, partition_bytes=30_000)
ROOT = Path()


class Misbehaviour(OSError):
    """What a store does now and then."""


class Store(FileSystem):
    """Files of `store://name` under a folder; no directories, as in a bucket."""

    lose_bytes_of_upload = -1
    fail_at_rename = -1

    @classmethod
    def scheme(cls):
        return "store"

    def join(self, basepath, *paths):
        return "/".join((basepath.rstrip("/"), *paths))

    def split(self, path):
        return tuple(path.rsplit("/", 1))

    def mkdirs(self, path):
        pass

    def has_dirs(self):
        return False

    def _list(self, dir_or_prefix):
        for file in sorted(ROOT.rglob("*")):
            path = f"store://{file.relative_to(ROOT)}"
            if file.is_file() and path.startswith(dir_or_prefix):
                yield FileMetadata(path, file.stat().st_size)

    def create(self, path, mime_type="", compression_type=""):
        at(path).parent.mkdir(parents=True, exist_ok=True)
        Store.lose_bytes_of_upload -= 1
        return at(path).open("wb") if Store.lose_bytes_of_upload else Truncated(at(path))

    def open(self, path, mime_type="", compression_type=""):
        return at(path).open("rb")

    def copy(self, source_file_names, destination_file_names):
        raise NotImplementedError

    def rename(self, source_file_names, destination_file_names):
        Store.fail_at_rename -= 1
        if Store.fail_at_rename == 0:
            raise Misbehaviour("503")
        for source, destination in zip(source_file_names, destination_file_names, strict=True):
            at(destination).parent.mkdir(parents=True, exist_ok=True)
            os.rename(at(source), at(destination))

    def exists(self, path):
        return at(path).is_file()

    def size(self, path):
        return at(path).stat().st_size

    def last_updated(self, path):
        return at(path).stat().st_mtime

    def checksum(self, path):
        return str(self.size(path))

    def metadata(self, path):
        return FileMetadata(path, self.size(path))

    def delete(self, paths):
        for path in paths:
            shutil.rmtree(at(path)) if at(path).is_dir() else at(path).unlink()


class Truncated(io.FileIO):
    """A write of which the second half never arrives."""

    def __init__(self, path: Path):
        super().__init__(path, "w")

    def write(self, content):
        super().write(content[: len(content) // 2])
        return len(content)


def at(path: str) -> Path:
    return ROOT / path.removeprefix("store://")


@pytest.fixture
def store(tmp_path, monkeypatch) -> Path:
    monkeypatch.setitem(globals(), "ROOT", tmp_path / "store")
    pages = [page for page in shipped_pages() if page.declared_language in ("sw", "yo")]
    pages += [page._replace(timestamp="2001") for page in pages[:9]]
    archive = tmp_path / "store/bucket/raw"
    archive.mkdir(parents=True)
    for number in range(3):
        content = b"".join(map(member_of, pages[number::3]))
        (archive / f"{number}.warc.wet.gz").write_bytes(content)
    return tmp_path / "store"


def cleaned(out: object) -> None:
    pattern = "store://bucket/raw/*.warc.wet.gz"
    clean.run(Clean(input=(pattern,), rules="demo", out=str(out)), SMALL)


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(directory)): file.read_bytes()
        for file in directory.rglob("*")
        if file.is_file()
    }


def test_a_store_gets_what_a_folder_gets(store, tmp_path):
    cleaned(tmp_path / "here")
    cleaned("store://bucket/corpus")
    assert contents(store / "bucket/corpus") == contents(tmp_path / "here")
    manifest = json.loads((store / "bucket/corpus/manifest.json").read_text())
    assert manifest["input"]["files"] == 3
    cleaned("store://bucket/corpus")  # finished: nothing is done
    assert contents(store / "bucket/corpus") == contents(tmp_path / "here")


@pytest.mark.parametrize("fault", ["lose_bytes_of_upload", "fail_at_rename"])
def test_a_store_that_fails_loses_nothing(store, tmp_path, monkeypatch, fault):
    cleaned(tmp_path / "here")
    for when in (2, 7, 15):
        monkeypatch.setattr(Store, fault, when)
        with pytest.raises(Exception, match=r"arrived at the store|503"):
            cleaned("store://bucket/corpus")
        whole = {name for name in contents(store / "bucket/corpus") if name.startswith("pages/")}
        expected = contents(tmp_path / "here")
        assert all(contents(store / "bucket/corpus")[name] == expected[name] for name in whole)
        assert not (store / "bucket/corpus/manifest.json").exists()
    monkeypatch.setattr(Store, fault, -1)
    cleaned("store://bucket/corpus")
    assert contents(store / "bucket/corpus") == expected


def test_what_is_there_already_is_not_overwritten(store):
    (store / "bucket/corpus").mkdir()
    (store / "bucket/corpus/x").write_text("x")
    with pytest.raises(ValueError, match="already holds something"):
        cleaned("store://bucket/corpus")


def test_a_broken_record_is_named_by_its_place_in_the_store(store):
    (store / "bucket/raw/3.warc.wet.gz").write_bytes(b"nonsense")
    cleaned("store://bucket/corpus")
    manifest = json.loads((store / "bucket/corpus/manifest.json").read_text())
    (broken,) = manifest["broken_records"].values()
    assert broken["samples"] == ["raw/3.warc.wet.gz@0"]


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"out": "nowhere://bucket/x"}, "lies in a store that cannot be reached"),
        ({"input": ("nowhere://bucket/*.wet",)}, "lies in a store that cannot be reached"),
        ({"out": "/proc/x"}, "was to be written and cannot be"),
        ({"crawl_base": "crawl.example"}, "begins with https:// or http://"),
    ],
)
def test_places_that_cannot_be_are_one_sentence(store, tmp_path, fields, message):
    given = {"input": ("store://bucket/raw/*.gz",), "rules": "demo", "out": str(tmp_path / "o")}
    with pytest.raises(ValueError, match=message):
        clean.run(Clean(**(given | fields)), SMALL)


def test_what_a_worker_says_is_one_sentence():
    error = clean.told(RuntimeError("Traceback\n  File\ndata.errors.DataError: x is 404 [while"))
    assert isinstance(error, ValueError)
    assert str(error).startswith("x is 404")
    fault = KeyError("y")
    assert clean.told(fault) is fault


def test_a_worker_that_is_killed_ends_the_job(tmp_path):
    """Beam alone would wait for ever."""
    code = """
import os, signal
import apache_beam as beam
from pipeline.beam_options import pipeline_for, pipeline_options

options = pipeline_options(["--direct_running_mode=multi_processing", "--direct_num_workers=1"])
with pipeline_for(options) as pipeline:
    pipeline | beam.Create([1]) | beam.Map(lambda _: os.kill(os.getpid(), signal.SIGKILL))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "WorkerEnded: A worker process was lost" in done.stderr
