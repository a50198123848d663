import itertools

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from data.errors import DataError
from data.files.atomic import write_text
from data.files.paths import names_in, remove
from pipeline.beam import workspace
from pipeline.beam.workspace import Workspace, check_files, clear

number = itertools.count()


@pytest.fixture(params=["local", "store"])
def out(request, tmp_path) -> str:
    return str(tmp_path) if request.param == "local" else f"memory://work{next(number)}/out"


def test_finished_work_items_keep_their_records_in_the_order_of_their_numbers(out):
    space = Workspace(out, "key")
    assert not space.is_done("read", 3)
    assert space.done("read") == []
    for item in (3, 0, 12):
        space.finish("read", item, {"item": item})
    assert space.is_done("read", 3)
    assert list(space.records("read", 3, dict)) == [{"item": 0}, {"item": 3}, {"item": 12}]
    for item in (100_000, 9_999, 99_999):
        space.finish("read", item, {})
    assert space.done("read") == [0, 3, 12, 9_999, 99_999, 100_000]


def test_missing_work_items_and_files_end_the_job(out):
    space = Workspace(out, "key")
    space.finish("read", 0, {})
    with pytest.raises(DataError, match=r"2 work items of read in .* are missing"):
        space.records("read", 3, dict)
    check_files(out, [f"{space.directory}/read/00000.json"])
    with pytest.raises(DataError, match=r"1 files in .* are missing"):
        check_files(out, [f"{out}/pages/x"])
    write_text(f"{out}/manifest.json", "{}")
    clear(out)  # a finished output keeps no workspace
    assert names_in(out) == ["manifest.json"]


def test_the_files_of_a_directory_are_checked_with_one_request(monkeypatch):
    """An output has 300,000 files, and each request to a store takes some 30 ms."""
    out = f"memory://work{next(number)}/out"
    files = [f"{out}/pages/{code}/{one}" for code in ("en", "sw") for one in range(20)]
    for path in files[:-1]:
        write_text(path, "")
    requests: list[str] = []

    def counted(answer):
        return lambda self, path, **given: requests.append(path) or answer(self, path, **given)

    for asked in ("info", "ls"):
        monkeypatch.setattr(MemoryFileSystem, asked, counted(getattr(MemoryFileSystem, asked)))
    check_files(out, files[:-1])
    assert len(requests) == 2
    with pytest.raises(DataError, match=r"1 files in .* are missing"):
        check_files(out, files)


def test_another_key_is_stale_with_its_outputs(out):
    Workspace(out, "old").finish("read", 0, {})
    write_text(f"{out}/pages/x", "of the old job")
    write_text(f"{out}/unfinished.json", "{}")
    assert not Workspace(out, "old").forget_stale(["pages"])
    assert names_in(f"{out}/pages") == ["x"]
    assert Workspace(out, "new").forget_stale(["pages"])
    assert names_in(f"{out}/pages") == []
    assert not Workspace(out, "old").done("read")
    assert "unfinished.json" in names_in(out)


def test_a_kill_in_forgetting_leaves_no_records_without_their_output(out, monkeypatch):
    """Not even for the job that it forgot, should that be the next one."""
    old = Workspace(out, "old")
    old.write_shards([["a"]])
    old.finish("read", 0, {})
    write_text(f"{out}/pages/x", "of the old job")

    def killed(path):
        if path.endswith("pages"):
            remove(path)
        raise KeyboardInterrupt

    monkeypatch.setattr(workspace, "remove", killed)
    with pytest.raises(KeyboardInterrupt):
        Workspace(out, "new").forget_stale(["pages"])
    monkeypatch.setattr(workspace, "remove", remove)
    assert old.done("read") == [0]
    assert old.forget_stale(["pages"])
    assert old.done("read") == []
    assert old.shards(list[list[str]]) == [["a"]]
    assert not old.forget_stale(["pages"])
