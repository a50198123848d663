"""Copies that a store makes by itself, and copies on one disk."""

from pathlib import Path

import pytest
from faulty_store import Store
from stored_runs import use_store

from data.errors import DataError
from data.files.atomic import copy_file, upload

SOURCE, TARGET = "store://bucket/x", "store://bucket/y"
CONTENT = b"content" * 99


@pytest.fixture
def bucket(tmp_path, monkeypatch) -> Path:
    use_store(tmp_path, monkeypatch)
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket/x").write_bytes(CONTENT)
    return tmp_path / "bucket"


def copied(source: object, target: object, bucket: Path) -> None:
    copy_file(str(source), str(target), str(bucket.parent / "scratch"))


def test_a_store_copies_by_itself(bucket):
    copied(SOURCE, TARGET, bucket)
    assert (bucket / "y").read_bytes() == CONTENT
    assert Store.calls["copy"] == 1
    assert Store.calls.keys() <= {"copy", "look"}


@pytest.mark.parametrize("fault", ["fail", "lose"])
def test_a_copy_that_fails_or_loses_bytes_is_made_again(bucket, monkeypatch, fault):
    monkeypatch.setattr(Store, "faults", {"copy": (fault, 2)})
    for name in ("1", "2", "3"):
        copied(SOURCE, f"{TARGET}{name}", bucket)
        assert (bucket / f"y{name}").read_bytes() == CONTENT
    assert Store.calls["copy"] > 3


def test_a_store_that_keeps_losing_bytes_ends_in_a_sentence_and_leaves_nothing(bucket, monkeypatch):
    monkeypatch.setattr(Store, "faults", {"copy": ("lose", 1)})
    with pytest.raises(DataError, match=r"y was written with 693 bytes and the store holds 346"):
        copied(SOURCE, TARGET, bucket)
    assert not (bucket / "y").exists()


def test_between_store_and_disk_bytes_travel_and_on_one_disk_none_do(bucket, tmp_path):
    here, second = tmp_path / "here", tmp_path / "second"
    copied(SOURCE, here, bucket)
    copied(here, second, bucket)
    copied(here, TARGET, bucket)
    assert here.read_bytes() == (bucket / "y").read_bytes() == CONTENT
    assert second.samefile(here)
    assert not here.samefile(bucket / "x")


def test_what_exists_is_left_as_it_is(bucket):
    (bucket / "y").write_bytes(b"finished")
    copied(SOURCE, TARGET, bucket)
    assert (bucket / "y").read_bytes() == b"finished"


def test_where_a_file_is_seen_while_it_is_written_it_is_renamed_when_it_is_whole(
    tmp_path, monkeypatch
):
    """A killed upload would leave a part under the name of a finished file."""

    def killed(self, source, target, **_):
        Path(target).write_bytes(CONTENT[:9])
        raise KeyboardInterrupt

    (source := tmp_path / "source").write_bytes(CONTENT)
    address, target = f"file://{tmp_path}/target", tmp_path / "target"
    with monkeypatch.context() as patch:
        patch.setattr("fsspec.implementations.local.LocalFileSystem.put_file", killed)
        with pytest.raises(KeyboardInterrupt):
            upload(source, address)
    assert not target.exists()
    target.write_bytes(b"before")
    upload(source, address)
    assert target.read_bytes() == CONTENT
    assert len(list(tmp_path.iterdir())) == 3  # and the part, under another name
