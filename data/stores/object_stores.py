"""Object stores through fsspec: one file system per process, scheme and set of options.

Options are fsspec's, by scheme. What is left out comes from where each store's library looks by
itself: environment variables (`AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, `STORAGE_EMULATOR_HOST`),
files in the home directory, the machine's own identity on a cloud.

Why fsspec and neither Beam's file systems nor obstore: docs/decisions/object-stores.md.
"""

import functools
import json
import os
from collections.abc import Mapping
from typing import Any

import fsspec

from data.errors import DataError

StoreOptions = Mapping[str, Mapping[str, Any]]  # fsspec's options, by scheme
ALWAYS: StoreOptions = {
    "file": {"auto_mkdir": True},  # as in a store, where directories need not be made
    "gs": {"consistency": "md5"},  # compares each upload with the MD5 that the store computed;
    "gcs": {"consistency": "md5"},  # for S3, botocore sends a CRC32 that the store compares
}
_options: dict[str, Mapping[str, Any]] = {}


def set_options(options: StoreOptions) -> None:
    """Sets this process's object-store options."""
    _options.update(options)


def open_store(path: str) -> tuple[Any, str]:
    """Returns the file system of a remote path, and the path in that file system's own form.

    Raises:
        DataError: if the scheme is unknown or its package is not installed.
    """
    scheme = path.partition("://")[0]
    options = {**ALWAYS.get(scheme, {}), **_options.get(scheme, {})}
    try:
        filesystem = _file_system(os.getpid(), scheme, json.dumps(options, sort_keys=True))
    except (ImportError, ValueError) as error:
        raise DataError(
            f"{path} lies in a store that cannot be reached ({error}); give a path of this "
            "machine, or an address such as s3:// or gs:// with its package installed: "
            "make install EXTRAS=demo,dev,s3 (or gcs) in the checkout."
        ) from error
    return filesystem, filesystem._strip_protocol(path)


@functools.lru_cache(maxsize=16)
def _file_system(process: int, scheme: str, options: str) -> Any:
    """Returns this process's file system; fsspec would make one per thread, at 0.1 s each."""
    # Otherwise gcsfs queries every bucket's kind by gRPC, for a minute where no server answers.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    # No cache of listings: other workers write at the same time.
    return fsspec.filesystem(
        scheme, use_listings_cache=False, skip_instance_cache=True, **json.loads(options)
    )
