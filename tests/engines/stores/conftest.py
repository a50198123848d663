"""Stores of this machine: MinIO and an emulator of Google's, in folders that are deleted."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import s3fs

KEYS = ("engines", "engines-secret")


class Minio:
    """An S3 store of this machine.

    Attributes:
        address: address of the server, http://HOST:PORT.
        data: folder that holds the buckets.
    """

    def __init__(self, port: int, data: Path, pid: int):
        self.address, self.data, self.pid = f"http://127.0.0.1:{port}", data, pid
        self.files = s3fs.S3FileSystem(
            key=KEYS[0], secret=KEYS[1], endpoint_url=self.address, use_listings_cache=False
        )

    def options(self, address: str = "") -> list[str]:
        """Returns the options after `--`; `address` may be a proxy's."""
        return [f"--s3_endpoint_url={address or self.address}", "--s3_region_name=us-east-1"]

    @property
    def keys(self) -> dict[str, str]:
        """Returns the environment variables that every command and pool of workers needs."""
        return {"AWS_ACCESS_KEY_ID": KEYS[0], "AWS_SECRET_ACCESS_KEY": KEYS[1]}

    @property
    def variables(self) -> dict[str, str]:
        """Returns the environment variables for a command without Beam options."""
        return self.reached_at(self.address)

    def reached_at(self, address: str) -> dict[str, str]:
        """Returns the variables with another address, a proxy's."""
        place = {"AWS_ENDPOINT_URL": address, "AWS_DEFAULT_REGION": "us-east-1"}
        return self.keys | place

    @property
    def fsspec(self) -> dict[str, dict[str, str]]:
        """Returns the options of `data.files.stores` for the tests' own process."""
        return {"s3": {"key": KEYS[0], "secret": KEYS[1], "endpoint_url": self.address}}

    def bucket(self, name: str) -> str:
        self.files.mkdir(name)
        return f"s3://{name}"

    def fetched(self, address: str, to: Path) -> Path:
        """A copy of a directory of the store."""
        self.files.get(address, str(to), recursive=True)
        return to


@pytest.fixture(scope="session")
def minio(tmp_path_factory, served, free_port) -> Iterator[Minio]:
    data, port, console = tmp_path_factory.mktemp("minio"), free_port(), free_port()
    keys = {"MINIO_ROOT_USER": KEYS[0], "MINIO_ROOT_PASSWORD": KEYS[1], "MINIO_UPDATE": "off"}
    addresses = ("--address", f"127.0.0.1:{port}", "--console-address", f"127.0.0.1:{console}")
    with served(port, "bin/minio", "server", data, *addresses, **keys) as process:
        yield Minio(port, data, process.pid)


class Google:
    """A store of Google's, emulated on this machine.

    Attributes:
        address: address of the server, http://HOST:PORT.
        data: folder that holds the buckets.
    """

    def __init__(self, address: str, data: Path):
        self.address, self.data = address, data

    @property
    def variables(self) -> dict[str, str]:
        """Returns the environment variables for a command."""
        return self.reached_at(self.address)

    def reached_at(self, address: str) -> dict[str, str]:
        """Returns the variables with another address, a proxy's."""
        return {"STORAGE_EMULATOR_HOST": address}

    @property
    def fsspec(self) -> dict[str, dict[str, str]]:
        """Returns the options of `data.files.stores` for the tests' own process."""
        return {"gs": {"token": "anon", "endpoint_url": self.address}}

    def bucket(self, name: str) -> str:
        (self.data / name).mkdir()
        return f"gs://{name}"


@pytest.fixture(scope="session")
def google(tmp_path_factory, served, free_port) -> Iterator[Google]:
    data, port = tmp_path_factory.mktemp("google"), free_port()
    host = ("-scheme", "http", "-host", "127.0.0.1", "-port", port, "-log-level", "warn")
    backend = ("-backend", "filesystem", "-filesystem-root", data)
    where = ("-public-host", f"127.0.0.1:{port}")
    with served(port, "bin/fake-gcs-server", *host, *backend, *where):
        yield Google(f"http://127.0.0.1:{port}", data)


@pytest.fixture(scope="session")
def raw_on_s3(minio, raw) -> str:
    """The archives in a bucket, as a glob."""
    bucket = minio.bucket("raw")
    for path in sorted(raw.glob("*.warc.wet.gz")):
        minio.files.put_file(str(path), f"{bucket}/crawl/{path.name}")
    return f"{bucket}/crawl/*.warc.wet.gz"
