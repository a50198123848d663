import itertools

import pytest

from data.errors import DataError
from data.stores.atomic import write_text
from data.stores.files import names_in
from pipeline.beam.workspace import Workspace, check_files, clear

number = itertools.count()


@pytest.fixture(params=["local", "store"])
def out(request, tmp_path) -> str:
    return str(tmp_path) if request.param == "local" else f"memory://work{next(number)}/out"


def test_a_finished_work_item_keeps_its_record(out):
    space = Workspace(out, "key")
    assert not space.is_done("read", 3)
    assert space.done("read") == []
    for item in (3, 0, 12):
        space.finish("read", item, {"item": item})
    assert space.done("read") == [0, 3, 12]
    assert space.is_done("read", 3)
    assert list(space.records("read", 3, dict)) == [{"item": 0}, {"item": 3}, {"item": 12}]


def test_the_list_of_shards_comes_back(out):
    space = Workspace(out, "key")
    space.write_shards([["a", "b"], ["c"]])
    assert space.shards(list[list[str]]) == [["a", "b"], ["c"]]


def test_missing_work_items_and_files_end_the_job(out):
    space = Workspace(out, "key")
    space.finish("read", 0, {})
    with pytest.raises(DataError, match=r"2 work items of read in .* are missing"):
        space.records("read", 3, dict)
    check_files(out, [f"{space.directory}/read/00000.json"])
    with pytest.raises(DataError, match=r"1 files in .* are missing"):
        check_files(out, [f"{out}/pages/x"])


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


def test_a_finished_output_keeps_no_workspace(out):
    Workspace(out, "key").finish("read", 0, {})
    write_text(f"{out}/manifest.json", "{}")
    clear(out)
    assert names_in(out) == ["manifest.json"]
