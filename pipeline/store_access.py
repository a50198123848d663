"""How a store is reached: the job's own options for it, in fsspec's words.

What stands after `--` describes a store to Beam (`--s3_endpoint_url`, ...), and Beam tells it to
every worker. What is left out comes from where each store's library looks by itself: environment
variables (`AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, `STORAGE_EMULATOR_HOST`), files in the home
directory, the machine's own identity on a cloud. Commands that run no Beam job have only those.

Why fsspec and not Beam's own file systems: docs/decisions/object-stores.md.
"""

from typing import Any

import fsspec
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, S3Options

from data.errors import DataError


def open_store(path: str) -> tuple[Any, str]:
    """Returns the file system of an address, and the address as it knows it.

    Raises:
        DataError: the scheme is unknown, or its package is not installed.
    """
    words = OF_SCHEME.get(path.partition("://")[0], _nothing)(_options())
    try:
        # Listings are never remembered: other workers write at the same time.
        return fsspec.core.url_to_fs(path, use_listings_cache=False, **words)
    except (ImportError, ValueError) as error:
        raise DataError(
            f"{path} lies in a store that cannot be reached ({error}); give a path of this "
            "machine, or an address such as s3:// or gs:// with its package installed: "
            "mswitch[s3], mswitch[gcs]."
        ) from error


def _options() -> PipelineOptions:
    """Returns what Beam told this process; it has no public way to ask."""
    told = FileSystems._pipeline_options
    return told if isinstance(told, PipelineOptions) else PipelineOptions([])


def _s3(options: PipelineOptions) -> dict[str, Any]:
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


def _google(options: PipelineOptions) -> dict[str, Any]:
    given = options.view_as(GoogleCloudOptions)
    return _known(project=given.project, token="anon" if given.no_auth else None)


def _files(options: PipelineOptions) -> dict[str, Any]:
    return {"auto_mkdir": True}  # as on a store, where directories need not be made


def _nothing(options: PipelineOptions) -> dict[str, Any]:
    return {}


def _known(**words: Any) -> dict[str, Any]:
    return {name: value for name, value in words.items() if value is not None}


OF_SCHEME = {"file": _files, "s3": _s3, "gs": _google, "gcs": _google}
