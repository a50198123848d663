"""An address is put together as a path is, and stays one."""

from pathlib import Path

from data.stores.addresses import Address, place


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
