"""A directory of this machine and one of a store answer alike."""

import itertools
import os
import tracemalloc
from pathlib import Path

import fsspec
import pytest

from data.errors import DataError
from data.stores import files
from data.stores.atomic import atomic_write, upload, write_text
from data.stores.digests import digest_of_contents
from data.stores.json_files import read_json, write_json
from data.stores.ranges import open_ranges

NAMES = ("a.txt", "b.json", "sub/c.bin", "sub/deep/d.txt")
number = itertools.count()


@pytest.fixture(params=["local", "store"])
def directory(request, tmp_path) -> str:
    place = str(tmp_path) if request.param == "local" else f"memory://bucket{next(number)}/x"
    for name in NAMES:
        write_text(files.join_path(place, name), name * 3)
    return place


def test_names_kinds_and_sizes(directory):
    assert files.names_in(directory) == ["a.txt", "b.json", "sub"]
    assert files.directories_in(directory) == ["sub"]
    assert files.sizes_in(directory) == {"a.txt": 15, "b.json": 18}
    assert files.names_in(files.join_path(directory, "none")) == []


def test_a_file_is_there_and_a_directory_is_none_in_a_store(directory):
    assert files.exists(files.join_path(directory, "sub/c.bin"))
    assert not files.exists(files.join_path(directory, "sub/none"))
    assert files.exists(files.join_path(directory, "sub")) != files.is_remote(directory)


def test_content_whole_in_parts_and_as_a_copy(directory):
    path = files.join_path(directory, "sub/deep/d.txt")
    whole = b"sub/deep/d.txt" * 3
    assert files.read_bytes(path) == whole
    with files.local_copy(path) as copy:
        assert copy.read_bytes() == whole
        assert copy.name == "d.txt"
    with open_ranges(path) as file:
        file.seek(4)
        assert file.read(4) == whole[4:8]


def test_a_pipe_or_a_device_is_one_sentence_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        for read in (files.read_bytes, digest_of_contents, lambda of: files.read_at_most(of, 9)):
            with pytest.raises(DataError, match=f"{path} should be a file and is a pipe or a de"):
                read(path)


def test_a_limit_reserves_no_memory(directory):
    tracemalloc.start()
    assert files.read_at_most(files.join_path(directory, "a.txt"), 1 << 33) == b"a.txt" * 3
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_removing_a_file_a_directory_and_nothing(directory):
    files.remove(files.join_path(directory, "a.txt"))
    files.remove(files.join_path(directory, "sub"))
    files.remove(files.join_path(directory, "none"))
    assert files.names_in(directory) == ["b.json"]


def test_what_cannot_be_removed_is_an_error(tmp_path, monkeypatch):
    """Text that was to be withdrawn would stay."""

    def refuse(*_, **__):
        raise PermissionError("another owner's")

    (tmp_path / "growth").mkdir()
    (tmp_path / "growth/page").touch()
    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(PermissionError):
        files.remove(tmp_path / "growth")


def test_a_linked_directory_is_removed_with_its_content(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "work").symlink_to(tmp_path / "elsewhere")
    files.remove(tmp_path / "work")
    assert list(tmp_path.iterdir()) == []


def test_json_there_and_back(directory):
    path = files.join_path(directory, "value.json")
    write_json(path, {"name": "Yorùbá", "counts": [1, 2]})
    assert read_json(path, dict) == {"name": "Yorùbá", "counts": [1, 2]}
    assert "Yorùbá".encode() in files.read_bytes(path)
    with pytest.raises(DataError, match=r"a.txt should hold JSON"):
        read_json(files.join_path(directory, "a.txt"), dict)


def test_every_file_below_a_directory_of_a_store():
    for name in NAMES:
        write_text(f"memory://below/x/{name}", name)
    found = list(files.files_below("memory://below/x"))
    assert [file.path for file in found] == [f"memory://below/x/{name}" for name in NAMES]
    assert [file.size for file in found] == [len(name) for name in NAMES]
    assert [one.path for one in files.files_below("memory://below/x/a.txt")] == [found[0].path]


def test_a_write_that_fails_leaves_the_old_file(directory):
    path = files.join_path(directory, "a.txt")
    with pytest.raises(OSError, match="full"), atomic_write(path) as unfinished:
        fail_half_way(unfinished)
    assert files.read_bytes(path) == b"a.txt" * 3


def fail_half_way(path: Path) -> None:
    path.write_text("half")
    raise OSError("disk full")


def test_scratch_keeps_unfinished_files_out_of_sight(tmp_path):
    with atomic_write(tmp_path / "out/a", tmp_path / "scratch") as unfinished:
        unfinished.write_text("x")
        assert not (tmp_path / "out").exists()
        assert unfinished.parent == tmp_path / "scratch"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]
    assert not list((tmp_path / "scratch").iterdir())


def test_an_upload_that_arrives_short_is_removed_and_refused(tmp_path, monkeypatch):
    from data.stores import retry

    source = tmp_path / "x"
    source.write_bytes(b"whole content")
    store = type(fsspec.filesystem("memory"))
    monkeypatch.setattr(retry, "ATTEMPTS", 2)
    monkeypatch.setattr(retry, "FIRST_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(retry, "LONGEST_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(store, "put_file", lambda self, _, path: self.pipe_file(path, b"whole"))
    with pytest.raises(DataError, match="written with 13 bytes and the store holds 5"):
        upload(source, "memory://short/x")
    assert not files.exists("memory://short/x")


def test_absolute_paths(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert files.absolute("a/b") == str(Path(tmp_path, "a/b"))
    assert files.absolute("s3://bucket/a") == "s3://bucket/a"


def test_a_file_that_is_cut_while_it_is_open_is_an_error_and_no_signal(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(bytes(1 << 20))
    with open_ranges(str(path)) as file:
        os.truncate(path, 10)
        assert file.read_at(100, 1 << 19) == b""
