"""An address is put together as a path is, and stays one.

Folders of processes that were killed are removed, and those of living ones are not.

A directory of this machine and one of a store answer alike.
"""

import itertools
import os
import signal
import tempfile
import tracemalloc
from pathlib import Path

import fsspec
import pytest
from forked import CONTEXT

from data.errors import DataError
from data.files import paths
from data.files.atomic import atomic_write, upload, write_text
from data.files.digests import digest_of_contents
from data.files.json_files import read_json, write_json
from data.files.paths import PREFIX, Address, open_ranges, place, temporary_folder


def test_an_address_keeps_its_scheme():
    run = place("s3://bucket/runs/switch/")
    assert isinstance(run, Address)
    assert run == "s3://bucket/runs/switch"
    assert run / "checkpoints" / "12.json" == "s3://bucket/runs/switch/checkpoints/12.json"
    assert isinstance(run / "checkpoints", Address)


def test_an_address_has_the_parts_of_a_path():
    for text in ("s3://bucket/runs/switch", "gs://bucket/switch"):
        address, path = Address(text), Path(text.partition("://")[2])
        assert address.name == path.name
        assert address.parent == f"{text[:5]}{path.parent}"
        assert address.with_name("other") == f"{text[:5]}{path.with_name('other')}"


def test_a_bucket_is_the_root_of_its_addresses():
    bucket = place("s3://bucket/")
    assert bucket.parent == bucket == (bucket / "runs").parent
    assert isinstance(bucket.parent, Address)


def test_a_path_is_a_path():
    assert place("runs/switch") == Path("runs/switch") == place(Path("runs/switch"))


def spill_and_die(root: Path) -> None:
    """Leaves a folder with a file, as a worker does that its engine ends."""
    tempfile.tempdir = str(root)
    with temporary_folder() as folder:
        (folder / "0.npy").write_bytes(b"keys")
        os.kill(os.getpid(), signal.SIGKILL)


def left(root: Path) -> set[Path]:
    return set(root.glob(f"{PREFIX}*"))


def killed(root: Path) -> int:
    """Kills a process that has a folder; returns its number."""
    worker = CONTEXT.Process(target=spill_and_die, args=(root,))
    worker.start()
    worker.join()
    assert worker.exitcode == -signal.SIGKILL
    return worker.pid


@pytest.mark.slow
def test_the_next_process_removes_what_a_killed_one_left(tmp_path, monkeypatch):
    first = killed(tmp_path)
    assert [folder.name.split("-")[2] for folder in left(tmp_path)] == [str(first)]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with temporary_folder() as mine:
        (mine / "1.npy").write_bytes(b"keys")
        assert left(tmp_path) == {mine}
        killed(tmp_path)  # it looks for folders too, and takes none that is in use
        assert mine in left(tmp_path)
        third = killed(tmp_path)
        assert {folder.name.split("-")[2] for folder in left(tmp_path) - {mine}} == {str(third)}
    assert mine not in left(tmp_path)


NAMES = ("a.txt", "b.json", "sub/c.bin", "sub/deep/d.txt")
number = itertools.count()


@pytest.fixture(params=["local", "store"])
def directory(request, tmp_path) -> str:
    place = str(tmp_path) if request.param == "local" else f"memory://bucket{next(number)}/x"
    for name in NAMES:
        write_text(paths.join_path(place, name), name * 3)
    return place


def test_names_kinds_and_sizes(directory):
    assert paths.names_in(directory) == ["a.txt", "b.json", "sub"]
    assert paths.directories_in(directory) == ["sub"]
    assert paths.sizes_in(directory) == {"a.txt": 15, "b.json": 18}
    assert paths.names_in(paths.join_path(directory, "none")) == []


def test_a_file_is_there_and_a_directory_is_none_in_a_store(directory):
    assert paths.exists(paths.join_path(directory, "sub/c.bin"))
    assert not paths.exists(paths.join_path(directory, "sub/none"))
    assert paths.exists(paths.join_path(directory, "sub")) != paths.is_remote(directory)


def test_content_whole_in_parts_and_as_a_copy(directory):
    path = paths.join_path(directory, "sub/deep/d.txt")
    whole = b"sub/deep/d.txt" * 3
    assert paths.read_bytes(path) == whole
    with paths.local_copy(path) as copy:
        assert copy.read_bytes() == whole
        assert copy.name == "d.txt"
    with open_ranges(path) as file:
        file.seek(4)
        assert file.read(4) == whole[4:8]


def test_a_pipe_or_a_device_is_one_sentence_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        for read in (paths.read_bytes, digest_of_contents, lambda of: paths.read_at_most(of, 9)):
            with pytest.raises(DataError, match=f"{path} should be a file and is a pipe or a de"):
                read(path)


def test_a_limit_reserves_no_memory(directory):
    tracemalloc.start()
    assert paths.read_at_most(paths.join_path(directory, "a.txt"), 1 << 33) == b"a.txt" * 3
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_removing_a_file_a_directory_and_nothing(directory):
    paths.remove(paths.join_path(directory, "a.txt"))
    paths.remove(paths.join_path(directory, "sub"))
    paths.remove(paths.join_path(directory, "none"))
    assert paths.names_in(directory) == ["b.json"]


def test_what_cannot_be_removed_is_an_error(tmp_path, monkeypatch):
    """Text that was to be withdrawn would stay."""

    def refuse(*_, **__):
        raise PermissionError("another owner's")

    (tmp_path / "growth").mkdir()
    (tmp_path / "growth/page").touch()
    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(PermissionError):
        paths.remove(tmp_path / "growth")


def test_a_linked_directory_is_removed_with_its_content(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "work").symlink_to(tmp_path / "elsewhere")
    paths.remove(tmp_path / "work")
    assert list(tmp_path.iterdir()) == []


def test_json_there_and_back(directory):
    path = paths.join_path(directory, "value.json")
    write_json(path, {"name": "Yorùbá", "counts": [1, 2]})
    assert read_json(path, dict) == {"name": "Yorùbá", "counts": [1, 2]}
    assert "Yorùbá".encode() in paths.read_bytes(path)
    with pytest.raises(DataError, match=r"a.txt should hold JSON"):
        read_json(paths.join_path(directory, "a.txt"), dict)


def test_every_file_below_a_directory_of_a_store():
    for name in NAMES:
        write_text(f"memory://below/x/{name}", name)
    found = list(paths.files_below("memory://below/x"))
    assert [file.path for file in found] == [f"memory://below/x/{name}" for name in NAMES]
    assert [file.size for file in found] == [len(name) for name in NAMES]
    assert [one.path for one in paths.files_below("memory://below/x/a.txt")] == [found[0].path]


def test_a_write_that_fails_leaves_the_old_file(directory):
    path = paths.join_path(directory, "a.txt")
    with pytest.raises(OSError, match="full"), atomic_write(path) as unfinished:
        fail_half_way(unfinished)
    assert paths.read_bytes(path) == b"a.txt" * 3


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
    from data.files import stores

    source = tmp_path / "x"
    source.write_bytes(b"whole content")
    store = type(fsspec.filesystem("memory"))
    monkeypatch.setattr(stores, "ATTEMPTS", 2)
    monkeypatch.setattr(stores, "FIRST_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(stores, "LONGEST_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(store, "put_file", lambda self, _, path: self.pipe_file(path, b"whole"))
    with pytest.raises(DataError, match="written with 13 bytes and the store holds 5"):
        upload(source, "memory://short/x")
    assert not paths.exists("memory://short/x")


def test_absolute_paths(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert paths.absolute("a/b") == str(Path(tmp_path, "a/b"))
    assert paths.absolute("s3://bucket/a") == "s3://bucket/a"


def test_a_file_that_is_cut_while_it_is_open_is_an_error_and_no_signal(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(bytes(1 << 20))
    with open_ranges(str(path)) as file:
        os.truncate(path, 10)
        assert file.read_at(100, 1 << 19) == b""
