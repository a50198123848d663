"""How a store is reached: the job's own options for it, in fsspec's words.

What stands after `--` describes a store (`--s3_endpoint_url`, ...), in Beam's words. What is left
out comes from where each store's library looks by itself: environment variables
(`AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, `STORAGE_EMULATOR_HOST`), files in the home directory, the
machine's own identity on a cloud. Commands that run no Beam job have only those.

Beam tells a job's options to the workers of some runners and not to others (a pool of workers hears
nothing), so what reaches the stores travels with the work itself (`Reaching`).

Why fsspec and not Beam's own file systems: docs/decisions/object-stores.md.
"""

import functools
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import fsspec

from data.errors import DataError

if TYPE_CHECKING:  # whoever has options has loaded Beam; other commands do without
    from apache_beam.options.pipeline_options import PipelineOptions

Words = Mapping[str, Mapping[str, Any]]  # of fsspec, by scheme
_used: dict[str, Mapping[str, Any]] = {}  # by this process


def use(words: Words) -> None:
    """Has this process reach stores in these words from here on."""
    _used.update(words)


def words_of(options: "PipelineOptions") -> Words:
    """Returns what a job's options say of each store."""
    return {scheme: told(options) for scheme, told in OF_SCHEME.items()}


@dataclass(frozen=True)
class Reaching:
    """A function that reaches the stores of its job in whatever process it is called."""

    words: Words
    function: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        """Calls the function."""
        use(self.words)
        return self.function(*arguments)


def open_store(path: str) -> tuple[Any, str]:
    """Returns the file system of an address, and the address as it knows it.

    Raises:
        DataError: the scheme is unknown, or its package is not installed.
    """
    scheme = path.partition("://")[0]
    words = ALWAYS.get(scheme, {}) | dict(_used.get(scheme, {}))
    try:
        filesystem = _file_system(os.getpid(), scheme, json.dumps(words, sort_keys=True))
    except (ImportError, ValueError) as error:
        raise DataError(
            f"{path} lies in a store that cannot be reached ({error}); give a path of this "
            "machine, or an address such as s3:// or gs:// with its package installed: "
            "mswitch[s3], mswitch[gcs]."
        ) from error
    return filesystem, filesystem._strip_protocol(path)


@functools.lru_cache(maxsize=16)
def _file_system(process: int, scheme: str, words: str) -> Any:
    """Returns the one of this process; fsspec itself would make one a thread, 0.1 s each."""
    # Else gcsfs asks every bucket's kind by gRPC, for a minute where nobody answers (an emulator).
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    # Listings are never remembered: other workers write at the same time.
    return fsspec.filesystem(
        scheme, use_listings_cache=False, skip_instance_cache=True, **json.loads(words)
    )


def _s3(options: "PipelineOptions") -> dict[str, Any]:
    from apache_beam.options.pipeline_options import S3Options

    given = options.view_as(S3Options)
    client = _known(
        region_name=given.s3_region_name, api_version=given.s3_api_version, verify=given.s3_verify
    )
    return _known(
        key=given.s3_access_key_id,
        secret=given.s3_secret_access_key,
        token=given.s3_session_token,
        endpoint_url=given.s3_endpoint_url,
        use_ssl=False if given.s3_disable_ssl else None,
        client_kwargs=client or None,
    )


def _google(options: "PipelineOptions") -> dict[str, Any]:
    from apache_beam.options.pipeline_options import GoogleCloudOptions

    given = options.view_as(GoogleCloudOptions)
    return _known(project=given.project, token="anon" if given.no_auth else None)


def _known(**words: Any) -> dict[str, Any]:
    return {name: value for name, value in words.items() if value is not None}


OF_SCHEME = {"s3": _s3, "gs": _google, "gcs": _google}
ALWAYS = {"file": {"auto_mkdir": True}}  # as on a store, where directories need not be made
