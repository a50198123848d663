"""JSON on S3 is read whole or refused, whatever its size: S3 answers 416 to ranges of no bytes."""

import pytest

from data.errors import DataError
from data.files import json_files, stores
from data.files.json_files import read_json, write_json


@pytest.fixture
def bucket(minio, monkeypatch) -> str:
    keys = {"key": minio.keys["AWS_ACCESS_KEY_ID"], "secret": minio.keys["AWS_SECRET_ACCESS_KEY"]}
    monkeypatch.setitem(stores._options, "s3", keys | {"endpoint_url": minio.address})
    return minio.bucket("json")


def test_an_object_is_read_whole_or_refused_by_its_size(bucket, minio, monkeypatch):
    path = f"{bucket}/manifest.json"
    write_json(path, {"counts": list(range(1000))})
    assert read_json(path, dict) == {"counts": list(range(1000))}
    monkeypatch.setattr(json_files, "MOST_BYTES", 1000)
    with pytest.raises(DataError, match="at most 1,000 bytes and is larger"):
        read_json(path, dict)
    minio.files.pipe_file(path, b"")
    with pytest.raises(DataError, match="should hold JSON with the expected fields and does not"):
        read_json(path, dict)
